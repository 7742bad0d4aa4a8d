"""Readers wait on the store's log of changes with a cursor."""

from mailsandbox.notify.hub import Hub, Reader

__all__ = ["Hub", "Reader"]
