"""SQLite in memory: one connection, every work runs at once on the caller's thread.

For tests and for `--memory`. Works that callbacks submit run after those before them, so commit order holds.
"""

import sqlite3
import uuid
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from mailsandbox.database.batch import Batch, SqliteTx, Submission, closed
from mailsandbox.database.connections import connect
from mailsandbox.database.failures import sqlite_failure
from mailsandbox.database.tx import Done, Heir, Work
from mailsandbox.errors import StoreUnavailable

T = TypeVar("T")

_PLACE = "the database in memory"


class MemoryDatabase:
    """A `Database` that lives as long as the object."""

    place = _PLACE
    shared = False
    files = None

    def __init__(self) -> None:
        self.daemon = uuid.uuid4().hex[:12]
        self._connection: sqlite3.Connection | None = None
        self._pending: deque[Submission] = deque()
        self._draining = False

    async def start(self) -> None:
        if self._connection is None:
            self._connection = connect(":memory:")

    async def aclose(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def write(self, work: Work[T], *, heavy: bool = False) -> T:
        outcomes: list[T | BaseException] = []
        self.submit(work, outcomes.append)
        if not outcomes:  # called from within a callback of another work's commit
            raise RuntimeError("write() inside a callback: use submit()")
        outcome = outcomes[0]
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def submit(self, work: Work[T], done: Done, *, heavy: bool = False) -> None:
        self._pending.append(Submission(work, done))
        if self._draining:
            return
        self._draining = True
        try:
            while self._pending:
                self._run(self._pending.popleft())
        finally:
            self._draining = False

    def _run(self, submission: Submission) -> None:
        if self._connection is None:
            submission.done(closed(_PLACE))
            return
        batch = Batch(self._connection, [submission], _PLACE)
        batch.begin()
        batch.run(heavy_too=True)
        batch.commit()
        batch.settle()

    def listen(self, heard: Callable[[str], None]) -> None:
        """Nobody shares this database."""

    def on_leisure(self, job: Callable[[], bool]) -> None:
        """Nothing is written to a disk."""

    def on_death(self, heir: Heir) -> None:
        """Nobody shares this database."""

    async def read(self, work: Work[T], *, heavy: bool = False) -> T:
        return self.read_now(work)

    def read_now(self, work: Work[T]) -> T:
        """`read` without a coroutine."""
        if self._connection is None:
            raise closed(_PLACE)
        try:
            return work(SqliteTx(self._connection))
        except sqlite3.Error as error:
            raise sqlite_failure(error, _PLACE) or error from error

    async def snapshot(self) -> bytes:
        if self._connection is None:
            raise closed(_PLACE)
        return self._connection.serialize()

    async def restore(self, image: object) -> None:
        if self._connection is None or self._draining:
            raise StoreUnavailable(f"{_PLACE}: busy")
        assert isinstance(image, bytes)
        self._connection.deserialize(image)
