"""Moves what is in SQLite's write-ahead log into the database file, on a thread and a connection of its own.

SQLite would do it within a COMMIT, which some message would then wait for. A passive checkpoint waits for nobody and
nobody waits for it, but under steady load it is never quite done. So the writer moves the little that came meanwhile
between two batches, and the next batch begins the log anew: a log that is written over is synchronised in half the time
of one that grows. Where a reader holds the log, it grows; beyond MAX_LOG the writer pauses until it is empty.
"""

import logging
import os
import sqlite3
from collections.abc import Callable
from typing import Final

from mailsandbox.database.connections import connect
from mailsandbox.database.worker import Worker

LOG: Final = 16 << 20  # octets of the log at which it is worth the work
MAX_LOG: Final = 256 << 20  # octets at which the writer pauses until the log is empty
_EVERY: Final = 64  # batches between two checkpoints, while the log does not grow

_log = logging.getLogger(__name__)


class Checkpoints:
    """Of the database at `path`. `between` has the writer run a statement between two batches."""

    def __init__(self, path: str, worker: Worker, between: Callable[[str], None]) -> None:
        self._path = path
        self._worker = worker
        self._between = between
        self._used = 0  # octets of the log that was begun last: below that size nobody sees how full it is
        self._connection: sqlite3.Connection | None = None
        self._batches = 0
        self._running = False

    def batch_ended(self) -> None:
        """Look at the log."""
        self._batches += 1
        if self._running:
            return
        size = self._size()
        if size <= LOG or (self._batches < _EVERY and size <= self._used + LOG):
            return
        self._batches = 0
        self._used = size
        if size > MAX_LOG:
            self._between("PRAGMA wal_checkpoint(TRUNCATE)")
        else:
            self._running = True
            self._worker.submit(self._run, self._ended)

    def close(self) -> None:
        """Close the connection; the worker must be idle."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _size(self) -> int:
        try:
            return os.stat(self._path + "-wal").st_size
        except OSError:
            return 0

    def _run(self) -> None:
        if self._connection is None:
            self._connection = connect(self._path)
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def _ended(self, outcome: object) -> None:
        self._running = False
        if isinstance(outcome, Exception):
            _log.warning("the write-ahead log of %s could not be emptied: %s", self._path, outcome)
        else:
            self._between("PRAGMA wal_checkpoint(PASSIVE)")
