"""One PostgreSQL connection as a `Tx`, and its errors in our words."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import psycopg
from psycopg import errors

from mailsandbox.database.tx import Counted, Cursor, Update
from mailsandbox.errors import MailsandboxError, StoreFull, StoreUnavailable

Connection = psycopg.Connection[tuple[Any, ...]]  # Any: columns of any type


class Statements:
    """SQL in the common dialect to psycopg's: `?` becomes `%s`. Remembers what it translated."""

    def __init__(self) -> None:
        self._translated: dict[str, bytes] = {}

    def __getitem__(self, sql: str) -> bytes:
        found = self._translated.get(sql)
        if found is None:
            if len(self._translated) > 5_000:  # lists of placeholders differ in length
                self._translated.clear()
            found = self._translated[sql] = sql.replace("%", "%%").replace("?", "%s").encode()
        return found


class PostgresTx:
    """A transaction on `connection`."""

    __slots__ = ("_statements", "callbacks", "connection", "for_update", "memo", "topics", "written")

    dialect = "postgresql"
    files = None

    def __init__(self, connection: Connection, statements: Statements, *, read_only: bool = False) -> None:
        self.connection = connection
        self.for_update = "" if read_only else " FOR UPDATE"
        self._statements = statements
        self.callbacks: list[Callable[[], None]] = []
        self.topics: dict[str, None] = {}
        self.memo: dict[object, Any] = {}  # Any: see Tx
        self.written: list[str] = []

    def execute(self, sql: str, parameters: Sequence[object] = (), /) -> Cursor:
        # cast: psycopg's cursor has what Cursor names, with wider types
        return cast(Cursor, self.connection.execute(self._statements[sql], parameters))

    def change(self, sql: str, parameters: Sequence[object], /) -> Counted:
        return self.execute(sql, parameters)

    def executemany(self, sql: str, rows: Iterable[Sequence[object]], /) -> Counted:
        cursor = self.connection.cursor()  # not closed: it would forget how many rows it changed
        cursor.executemany(self._statements[sql], rows)
        return cursor

    def insert(self, sql: str, parameters: Sequence[object], /) -> int | None:
        row = self.execute(f"{sql} RETURNING id", parameters).fetchone()
        return row[0] if row else None

    def update(self, update: Update, values: tuple[object, ...], where: tuple[object, ...], /) -> Any:  # Any: see Row
        return self.execute(update.returning, (*values, *where)).fetchone()

    def after_commit(self, callback: Callable[[], None]) -> None:
        self.callbacks.append(callback)

    def announce(self, topic: str) -> None:
        self.topics[topic] = None

    def undone(self, *, callbacks: int, topics: int) -> None:
        """Forget what a work did that is undone: all but so many of the callbacks and topics."""
        del self.callbacks[callbacks:]
        for topic in list(self.topics)[topics:]:
            del self.topics[topic]
        self.memo.clear()


def lost_a_race(error: BaseException) -> bool:
    """Whether another daemon was quicker, so that the work may succeed when it is run again."""
    match error:
        case errors.DeadlockDetected() | errors.SerializationFailure():
            return True
        case errors.DuplicateTable() | errors.DuplicateObject():
            return True  # both make the tables
        case errors.UniqueViolation():
            # CREATE TABLE IF NOT EXISTS is no lock: two daemons meet in the catalogue.
            return (error.diag.constraint_name or "").startswith("pg_")
    return False


def postgres_failure(error: psycopg.Error, place: str) -> MailsandboxError | None:
    """The store error for an error of PostgreSQL; None when it is a bug of ours."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    match error:
        case errors.DiskFull() | errors.OutOfMemory() | errors.ProgramLimitExceeded():
            return StoreFull(f"{place}: no room left ({text})")
        case errors.InsufficientPrivilege() | errors.InvalidSchemaName() | errors.ReadOnlySqlTransaction():
            return StoreUnavailable(f"{place}: {text}")
        case errors.IntegrityError() | errors.ProgrammingError() | errors.DataError():
            return None
        case psycopg.OperationalError() | psycopg.InternalError():
            return StoreUnavailable(f"{place}: {text}")
    return None
