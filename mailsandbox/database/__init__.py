"""Connections, transactions, group commit and schema versions; knows no mail."""

from mailsandbox.database.blobs import Blobs
from mailsandbox.database.opening import open_database
from mailsandbox.database.tx import Database, Tx, Work

__all__ = ["Blobs", "Database", "Tx", "Work", "open_database"]
