"""Works that share one commit, though each fails alone; their results are given out together.

Invariant: `settle` is called exactly once for every batch, after its commit or after its failure, on the loop's thread.
Knows SQLite's connection, not who calls it from which thread.
"""

import logging
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from mailsandbox.database.failures import sqlite_failure
from mailsandbox.database.files import Files
from mailsandbox.database.tx import Done, Update, Work
from mailsandbox.errors import StoreUnavailable

_log = logging.getLogger(__name__)

_FAILED: Final = "a callback after commit failed"


class Submission(msgspec.Struct, eq=False):
    """A work, and who waits for its result."""

    work: Work[Any]  # Any: results of unrelated works
    done: Done
    heavy: bool = False


class SqliteTx:
    """One connection as a `Tx`. `execute`, `change` and `executemany` are methods of SQLite's: no call in between."""

    __slots__ = ("callbacks", "change", "connection", "execute", "executemany", "files", "memo", "written")

    dialect = "sqlite"
    for_update = ""

    def __init__(self, connection: sqlite3.Connection, files: Files | None = None) -> None:
        self.connection = connection
        self.files = files
        self.execute = connection.execute
        # One cursor for them all: `execute` makes one each time, an eighth of what a small statement takes.
        cursor = connection.cursor()
        self.change = cursor.execute
        self.executemany = cursor.executemany
        self.callbacks: list[Callable[[], None]] = []
        self.memo: dict[object, Any] = {}  # Any: see Tx
        self.written: list[str] = []

    def insert(self, sql: str, parameters: Sequence[object], /) -> int | None:
        # Not by RETURNING, which takes SQLite twice as long.
        cursor = self.change(sql, parameters)
        return cursor.lastrowid if cursor.rowcount else None

    def update(self, update: Update, values: tuple[object, ...], where: tuple[object, ...], /) -> Any:  # Any: see Row
        if not self.change(update.sql, (*values, *where)).rowcount:
            return None
        return self.change(update.select, where).fetchone()

    def after_commit(self, callback: Callable[[], None]) -> None:
        self.callbacks.append(callback)

    def announce(self, topic: str) -> None:
        """Nobody shares this database."""

    def undone(self, *, written: int = 0, callbacks: int = 0) -> None:
        """Forget what works did that are undone: all but so many of the files and callbacks."""
        del self.callbacks[callbacks:]
        self.memo.clear()
        if self.files is not None:
            self.files.discard(self.written[written:])
        del self.written[written:]


@dataclass(slots=True)
class _Failed:
    """The outcome of a work that raised."""

    error: BaseException


class Batch:
    """Runs submissions in one transaction of `connection`.

    First without savepoints, which cost as much as a statement each; when a work fails, all is undone and run again
    with them.
    """

    __slots__ = ("_broken", "_careful", "_outcomes", "_place", "_tx", "submissions")

    def __init__(
        self, connection: sqlite3.Connection, submissions: list[Submission], place: str, files: Files | None = None
    ) -> None:
        self.submissions = submissions
        self._tx = SqliteTx(connection, files)
        self._place = place
        self._careful = False
        self._outcomes: list[object] = []
        self._broken: BaseException | None = None

    def begin(self) -> None:
        """Take the write lock."""
        try:
            self._tx.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            self._broken = self._failure(error)

    def run(self, *, heavy_too: bool) -> bool:
        """Run what has not run yet, stopping before a heavy work unless `heavy_too`; True when all have."""
        while self._broken is None and len(self._outcomes) < len(self.submissions):
            submission = self.submissions[len(self._outcomes)]
            if submission.heavy and not heavy_too:
                return False
            if self._careful:
                self._run_carefully(submission.work)
            else:
                self._run_plainly(submission.work)
        return True

    def commit(self) -> None:
        """Make it durable."""
        if self._broken is not None:
            self._roll_back()
            return
        try:
            if self._tx.connection.in_transaction:
                self._tx.connection.commit()  # which takes the GIL once afterwards, a cursor would twice
        except sqlite3.Error as error:
            self._broken = self._failure(error)
            self._roll_back()

    def settle(self) -> None:
        """Give out callbacks, then results."""
        if self._broken is not None:
            settle(self.submissions, [self._broken] * len(self.submissions), [])
            return
        settle(
            self.submissions,
            [outcome.error if isinstance(outcome, _Failed) else outcome for outcome in self._outcomes],
            self._tx.callbacks,
        )

    def _run_plainly(self, work: Work[Any]) -> None:  # Any: see Submission
        try:
            self._outcomes.append(work(self._tx))
        except BaseException as error:
            lost = self._lost(error)
            if not lost:
                self._roll_back()
            self._tx.undone()
            if lost:
                return
            if len(self.submissions) == 1:
                self._outcomes.append(_Failed(self._failure(error)))
                return
            self._outcomes.clear()
            self._careful = True
            self.begin()

    def _run_carefully(self, work: Work[Any]) -> None:  # Any: see Submission
        tx = self._tx
        callbacks, written = len(tx.callbacks), len(tx.written)
        try:
            tx.execute("SAVEPOINT work")
            value = work(tx)
            tx.execute("RELEASE work")
        except BaseException as error:
            if self._lost(error):
                tx.undone()
                return
            try:
                tx.execute("ROLLBACK TO work")
                tx.execute("RELEASE work")
            except sqlite3.Error as second:
                self._broken = self._failure(second)
                return
            tx.undone(written=written, callbacks=callbacks)
            self._outcomes.append(_Failed(self._failure(error)))
        else:
            self._outcomes.append(value)

    def _lost(self, error: BaseException) -> bool:
        """Whether the engine ended the whole transaction by itself, as it does for a full disk or an I/O error."""
        if self._tx.connection.in_transaction:
            return False
        self._broken = self._failure(error)
        return True

    def _roll_back(self) -> None:
        try:
            if self._tx.connection.in_transaction:
                self._tx.execute("ROLLBACK")
        except sqlite3.Error as error:
            _log.error("%s: rollback failed: %s", self._place, error)

    def _failure(self, error: BaseException) -> BaseException:
        return (sqlite_failure(error, self._place) or error) if isinstance(error, sqlite3.Error) else error


def settle(submissions: Sequence[Submission], outcomes: Sequence[object], callbacks: list[Callable[[], None]]) -> None:
    """Give out the callbacks, which the list then has no longer, and to each submission its outcome.

    A failure of one is its own: it is logged, and the others still run.
    """
    for callback in callbacks:
        try:
            callback()
        except Exception:
            _log.exception(_FAILED)
    # They hold the message, and most also the transaction that held them: left so, it would stay in memory until the
    # collector comes by, which counts objects and not their size.
    callbacks.clear()
    for submission, outcome in zip(submissions, outcomes, strict=True):
        try:
            submission.done(outcome)
        except Exception:
            _log.exception(_FAILED)


def closed(place: str) -> StoreUnavailable:
    """The error for work handed to a database that is not open."""
    return StoreUnavailable(f"{place}: the database is closed")
