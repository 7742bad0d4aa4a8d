"""The contract of a database: transactions as plain functions, run by whoever owns the connections.

A *work* is a function of one `Tx`. It may be run again from the start after a lost connection or a deadlock, so it has
no effect outside its transaction but through `Tx.after_commit`. Invariant: a work's result, its `after_commit`
callbacks and those of all works before it reach the loop's thread in commit order, and only once they are durable.
Knows no table and no mail.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from mailsandbox.database.files import Files

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Row = tuple[Any, ...]  # Any: a column's type is known to the statement that names it, not here


class Counted(Protocol):
    """What statements that give no rows have done."""

    @property
    def rowcount(self) -> int:
        """Rows changed, by all of them."""
        ...


class Cursor(Counted, Protocol):
    """The result of one statement."""

    def fetchone(self) -> Any:  # Any: see Row; None when there is none
        ...

    def fetchall(self) -> list[Any]:  # Any: see Row
        ...

    def __iter__(self) -> Iterator[Any]:  # Any: see Row
        ...


class Update:
    """An UPDATE of the row that `where` finds before and after it, which can tell some columns as they are then.

    Told by RETURNING where each statement is a message to a server. SQLite makes a table for what RETURNING returns,
    which takes twice as long as the UPDATE and a SELECT behind it.
    """

    __slots__ = ("returning", "select", "sql")

    def __init__(self, table: str, change: str, *, where: str, tells: str) -> None:
        self.sql = f"UPDATE {table} SET {change} WHERE {where}"
        self.select = f"SELECT {tells} FROM {table} WHERE {where}"
        self.returning = f"{self.sql} RETURNING {tells}"


class Tx(Protocol):
    """One transaction, or one read snapshot. Statements use `?` placeholders and the dialect both databases share."""

    def execute(self, sql: str, parameters: Sequence[object] = (), /) -> Cursor:
        """Run one statement."""
        ...

    def change(self, sql: str, parameters: Sequence[object], /) -> Counted:
        """Run one statement that gives no rows. What it has done is asked at once: the next such takes its place."""
        ...

    def executemany(self, sql: str, rows: Iterable[Sequence[object]], /) -> Counted:
        """Run one statement for each row of parameters."""
        ...

    def insert(self, sql: str, parameters: Sequence[object], /) -> int | None:
        """Run an INSERT of one row into a table whose key is `id`; its id, or None where a conflict was passed over."""
        ...

    def update(self, update: Update, values: tuple[object, ...], where: tuple[object, ...], /) -> Any:  # Any: see Row
        """Run an UPDATE of one row; what it tells, or None where there is no such row."""
        ...

    @property
    def memo(self) -> dict[object, Any]:  # Any: theirs who put it there
        """What works of this transaction know of rows that they changed; emptied when one of them is undone.

        Whoever changes such rows without looking here empties it too.
        """
        ...

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call back on the loop's thread once this work is durable; forgotten if the work fails."""
        ...

    def announce(self, topic: str) -> None:
        """Tell other daemons that share the database, once this work is durable. A topic has no spaces."""
        ...

    @property
    def files(self) -> Files | None:
        """Where large octets lie instead of in a table; None where they lie in the table."""
        ...

    @property
    def written(self) -> list[str]:
        """The files that works of this transaction have written; removed when these are undone."""
        ...

    @property
    def for_update(self) -> str:
        """What a SELECT ends with so that no other daemon changes the rows it finds until the commit: " FOR UPDATE".

        Every later statement then sees what was committed before. "" where a writer is alone, and where nothing is
        written.
        """
        ...

    @property
    def dialect(self) -> str:
        """ "sqlite" or "postgresql", for the few statements that cannot be common."""
        ...


Work = Callable[[Tx], T]
Heir = Callable[[Tx, str], None]  # takes over, in the transaction, what the daemon of that name held
Done = Callable[[Any], None]  # Any: the work's result, or the exception that ended it


def telling(waiting: asyncio.Future[T]) -> Done:
    """A `Done` that ends a future."""

    def done(outcome: Any) -> None:  # Any: as in Done; a union of T would be made at each call
        if waiting.done():  # cancelled; the work is committed all the same
            return
        if isinstance(outcome, BaseException):
            waiting.set_exception(outcome)
        else:
            waiting.set_result(outcome)

    return done


class Database(Protocol):
    """A place for tables. The engine's errors surface as StoreUnavailable or StoreFull; StartError when it opens."""

    @property
    def place(self) -> str:
        """Where it is, for messages; without passwords."""
        ...

    @property
    def daemon(self) -> str:
        """This process among those that share it; never given twice."""
        ...

    @property
    def shared(self) -> bool:
        """Whether other daemons may write to it too."""
        ...

    @property
    def files(self) -> Files | None:
        """As `Tx.files`."""
        ...

    async def start(self) -> None:
        """Open; raises StartError."""
        ...

    async def aclose(self) -> None:
        """Finish what was submitted and close. May be called again."""
        ...

    def write(self, work: Work[T], *, heavy: bool = False) -> Awaitable[T]:
        """Run in a transaction shared with whoever else writes now; durable when it returns.

        An exception of `work` undoes that work only and is raised here. `heavy`: long enough to want a thread.
        """
        ...

    def submit(self, work: Work[T], done: Done, *, heavy: bool = False) -> None:
        """`write` without a coroutine: `done` gets the result, or the exception."""
        ...

    async def read(self, work: Work[T], *, heavy: bool = False) -> T:
        """Run on a consistent snapshot; does not wait for writers."""
        ...

    def read_now(self, work: Work[T]) -> T:
        """`read` on the caller's thread, for a few rows; only where the database is not `shared`."""
        ...

    async def snapshot(self) -> object:
        """Everything as it is now, in memory; for `restore` of the same object."""
        ...

    async def restore(self, image: object) -> None:
        """Put everything back to a `snapshot`."""
        ...

    def listen(self, heard: Callable[[str], None]) -> None:
        """Call `heard` on the loop's thread with each topic that another daemon announced.

        The topic "" means that some may have been missed. Never called where nobody else can share the database.
        """
        ...

    def on_leisure(self, job: Callable[[], bool]) -> None:
        """Call `job` on the loop's thread while that waits for a commit, again and again until it returns False.

        Never where the loop has no such time. One job; a later one takes its place.
        """
        ...

    def on_death(self, heir: Heir) -> None:
        """Call `heir` in the transaction that declares another daemon dead. Never where nobody else can share it."""
        ...
