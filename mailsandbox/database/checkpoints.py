"""Moves what is in SQLite's write-ahead log into the database file, on a thread and a connection of its own.

SQLite would do it within a COMMIT, which some message would then wait for. A passive checkpoint waits for nobody and
nobody waits for it; under steady load it cannot start the log anew, so beyond MAX_LOG the writer is asked to pause.
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
_EVERY: Final = 64  # batches between two looks at the log's size

_log = logging.getLogger(__name__)


class Checkpoints:
    """Of the database at `path`. `pause` has the writer run a full checkpoint between two batches."""

    def __init__(self, path: str, worker: Worker, pause: Callable[[], None]) -> None:
        self._path = path
        self._worker = worker
        self._pause = pause
        self._connection: sqlite3.Connection | None = None
        self._batches = 0
        self._running = False

    def batch_ended(self) -> None:
        """Look at the log now and then."""
        self._batches += 1
        if self._batches % _EVERY or self._running:
            return
        size = self._size()
        if size > MAX_LOG:
            self._pause()
        elif size > LOG:
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
