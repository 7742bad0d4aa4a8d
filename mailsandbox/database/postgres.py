"""PostgreSQL by psycopg 3: one store shared by several daemons.

Works run in a writer thread, those that came together in one transaction; reads in reader threads, each with its own
connection and snapshot. What a work announces reaches the other daemons by NOTIFY when it is committed.
Invariant: nothing is retried once COMMIT was sent, so no work takes effect twice; where its answer was lost the server
is asked what became of it. A lost connection is opened anew for the next work, so the daemon recovers by itself.
"""

import asyncio
import contextlib
import logging
import re
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import psycopg
from psycopg import errors

from mailsandbox.database import copying, presence
from mailsandbox.database.batch import Submission, closed, settle
from mailsandbox.database.listening import Listening
from mailsandbox.database.postgres_tx import Connection, PostgresTx, Statements, lost_a_race, postgres_failure
from mailsandbox.database.schema import migrate
from mailsandbox.database.tx import Done, Heir, Work, telling
from mailsandbox.database.worker import Worker
from mailsandbox.errors import StartError, StoreError, StoreUnavailable

T = TypeVar("T")

READERS: Final = 4  # threads and connections
MAX_BATCH: Final = 256  # works in one transaction, which holds the rows they lock
ATTEMPTS: Final = 6  # at a work that lost a deadlock
MAX_PAYLOAD: Final = 7_000  # octets; PostgreSQL's limit for NOTIFY is 8,000
_PATIENCE: Final = 5  # milliseconds that a work waits for rows while it holds those of others
_CONNECT_TIMEOUT: Final = 5  # seconds
_ASKED: Final = 5.0  # seconds; how long a server that went away in COMMIT is asked what became of it
_PAUSE: Final = 0.1  # seconds between two such questions

Settled = tuple[list[Any], list[Callable[[], None]]]  # Any: results of unrelated works, the first of a batch

_log = logging.getLogger(__name__)


class PostgresDatabase:
    """A `Database` at a postgresql:// URL."""

    shared = True
    files = None

    def __init__(self, url: str) -> None:
        self.url = url
        self.place = re.sub(r"(?<=://)([^@/]*)@|\?.*", "", url)  # without user and password, for messages
        self.daemon = uuid.uuid4().hex[:12]  # tells our own announcements from others'
        self._listening: Listening | None = None
        self._listeners: list[Callable[[str], None]] = []
        self._heirs: list[Heir] = []
        self._writer: Connection | None = None
        self._readers: list[Connection | None] = [None] * READERS
        self._idle_readers: asyncio.Queue[int] = asyncio.Queue()
        self._pending: deque[Submission] = deque()
        self._running = False
        self._scheduled = False
        self._open = False
        self._numbered = True  # until an engine says that it knows no numbers of transactions
        self._idle = asyncio.Event()
        self._idle.set()
        self._statements = Statements()

    async def start(self) -> None:
        if self._open:
            return
        self._loop = asyncio.get_running_loop()
        self._write_worker = Worker("database-writer", self._loop)
        self._read_workers = [Worker(f"database-reader-{number}", self._loop) for number in range(READERS)]
        self._idle_readers = asyncio.Queue()
        for number in range(READERS):
            self._idle_readers.put_nowait(number)
        try:
            self._writer = await self._write_worker.run(self._connect)
        except psycopg.Error as error:
            await self._write_worker.aclose()
            raise StartError(
                f"the database {self.place} cannot be opened: {' '.join(str(error).split())} Is the server running, "
                "and are host, port, user, password and name right in postgresql://USER:PASSWORD@HOST:PORT/NAME?"
            ) from error
        self._open = True
        try:
            await self.write(lambda tx: migrate(tx, "daemons", presence.MIGRATIONS))
        except StoreError as error:
            await self.aclose()
            raise StartError(f"the database cannot be used: {error}") from error
        except StartError:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        if not self._open:
            return
        await self._idle.wait()
        self._open = False
        if self._listening is not None:
            await self._listening.aclose()
        for worker in (self._write_worker, *self._read_workers):
            await worker.aclose()
        for connection in (self._writer, *self._readers):
            if connection is not None:
                connection.close()
        self._writer = None
        self._readers = [None] * READERS

    def write(self, work: Work[T], *, heavy: bool = False) -> Awaitable[T]:
        waiting: asyncio.Future[T] = self._loop.create_future()
        self.submit(work, telling(waiting), heavy=heavy)
        return waiting

    def submit(self, work: Work[T], done: Done, *, heavy: bool = False) -> None:
        if not self._open:
            done(closed(self.place))
            return
        self._pending.append(Submission(work, done, heavy))
        self._idle.clear()
        self._schedule()

    async def read(self, work: Work[T], *, heavy: bool = False) -> T:
        if not self._open:
            raise closed(self.place)
        number = await self._idle_readers.get()
        try:
            return await self._read_workers[number].run(lambda: self._read(number, work))
        finally:
            self._idle_readers.put_nowait(number)

    def read_now(self, work: Work[T]) -> T:
        raise RuntimeError("a shared database is read in a thread")

    def listen(self, heard: Callable[[str], None]) -> None:
        self._listeners.append(heard)
        self._attend()

    def on_leisure(self, job: Callable[[], bool]) -> None:
        """There is none: while the loop works, the writer's thread waits for the GIL."""

    def on_death(self, heir: Heir) -> None:
        self._heirs.append(heir)
        self._attend()

    def _attend(self) -> None:
        if self._listening is None:
            self._listening = Listening(self.url, self.daemon, self._loop, heard=self._heard, died=self._died)
            self._listening.start()

    def _died(self, daemon: str) -> None:
        heirs = list(self._heirs)
        if self._open and heirs:
            self.submit(lambda tx: presence.bury(tx, daemon, heirs), _buried)

    def _heard(self, topic: str) -> None:
        for heard in tuple(self._listeners):
            heard(topic)

    async def snapshot(self) -> object:
        return await self.write(copying.copy_out)

    async def restore(self, image: object) -> None:
        assert isinstance(image, copying.Image)
        await self.write(lambda tx: copying.copy_in(tx, image))

    def _schedule(self) -> None:
        if self._pending and not self._running and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._start_batch)

    def _start_batch(self) -> None:
        self._scheduled = False
        self._running = True
        batch = [self._pending.popleft() for _ in range(min(len(self._pending), MAX_BATCH))]
        self._write_worker.submit(lambda: self._run_batch(batch), lambda result: self._end_batch(batch, result))

    def _end_batch(self, batch: list[Submission], result: object) -> None:
        self._running = False
        if isinstance(result, BaseException):
            _log.error("the database writer failed", exc_info=result)
        else:
            assert isinstance(result, tuple)
            outcomes, callbacks = result
            done = len(outcomes)
            self._pending.extendleft(reversed(batch[done:]))
            settle(batch[:done], outcomes, callbacks)
        if self._pending:
            self._schedule()
        else:
            self._idle.set()

    # -- in the writer's thread

    def _run_batch(self, batch: list[Submission]) -> Settled:
        """As many of the first as one transaction takes; again if it lost a deadlock."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._transact(batch)
            except BaseException as error:
                if lost_a_race(error):
                    if attempt < ATTEMPTS:
                        continue
                elif isinstance(error, psycopg.OperationalError):  # what befalls the database befalls all
                    return [self._outcome(error)] * len(batch), []
                elif len(batch) > 1:
                    batch = batch[:1]  # whose failure it is shows when it is alone
                    continue
                return [self._outcome(error)], []
        raise AssertionError("unreachable")

    def _transact(self, batch: list[Submission]) -> Settled:
        connection, number = self._begin()
        tx = PostgresTx(connection, self._statements)
        try:
            outcomes = self._run_works(tx, batch)
            self._notify(tx)
        except BaseException:
            self._roll_back(connection)
            raise
        try:
            connection.commit()
        except psycopg.Error as error:
            self._roll_back(connection)
            if not isinstance(error, psycopg.OperationalError) or not self._is_committed(number):
                raise
        return outcomes, tx.callbacks

    def _run_works(self, tx: PostgresTx, batch: list[Submission]) -> list[Any]:  # Any: as Settled
        """The results of the first works, or their errors: what fails behind the first is undone on its own.

        Only the first waits for rows that other daemons hold. Another holds rows of those before it: were it to wait,
        and the other daemon for these, both would stand until PostgreSQL sees the deadlock, a second later. It begins
        the next transaction instead.
        """
        outcomes = [batch[0].work(tx)]
        if len(batch) == 1:
            return outcomes
        tx.connection.execute(f"SET LOCAL lock_timeout = {_PATIENCE}")
        tx.connection.execute("SAVEPOINT work")
        for submission in batch[1:]:
            done, told = len(tx.callbacks), len(tx.topics)
            try:
                outcomes.append(submission.work(tx))
            except BaseException as error:
                lost = isinstance(error, psycopg.OperationalError) and not isinstance(error, errors.LockNotAvailable)
                if lost or lost_a_race(error):
                    raise
                tx.undone(callbacks=done, topics=told)
                tx.connection.execute("ROLLBACK TO SAVEPOINT work")
                if isinstance(error, errors.LockNotAvailable):
                    break
                outcomes.append(self._outcome(error))
            else:
                tx.connection.execute("RELEASE SAVEPOINT work; SAVEPOINT work", prepare=False)
        tx.connection.execute("SET LOCAL lock_timeout TO DEFAULT")  # COMMIT waits its turn to notify
        return outcomes

    def _is_committed(self, number: str) -> bool:
        """Whether a transaction whose COMMIT was not answered is in the database all the same.

        A client that is told 452 sends again: without asking, the message would be there twice. False where the server
        does not come back soon, and on engines that give transactions no numbers.
        """
        deadline = time.monotonic() + _ASKED
        while number and time.monotonic() < deadline:
            with contextlib.suppress(psycopg.OperationalError), self._connect() as connection:
                row = connection.execute("SELECT pg_xact_status(%s::xid8)", (number,)).fetchone()
                if row != ("in progress",):  # the server may not have noticed yet that its client is gone
                    return row == ("committed",)
            time.sleep(_PAUSE)
        return False

    def _notify(self, tx: PostgresTx) -> None:
        payload = self.daemon
        for topic in tx.topics:
            if len(payload) + len(topic) > MAX_PAYLOAD:
                tx.execute("SELECT pg_notify('mailsandbox', ?)", (payload,))
                payload = self.daemon
            payload += " " + topic
        if tx.topics:
            tx.execute("SELECT pg_notify('mailsandbox', ?)", (payload,))

    def _begin(self) -> tuple[Connection, str]:
        """A transaction and its number. The connection is made anew if it was lost: one that idled tells it here."""
        if self._writer is not None and not self._writer.closed:
            try:
                return self._writer, self._number(self._writer)
            except psycopg.OperationalError:
                self._writer.close()
        self._writer = self._connect()
        return self._writer, self._number(self._writer)

    def _number(self, connection: Connection) -> str:
        if not self._numbered:
            connection.execute("SELECT 1")
            return ""
        try:
            row = connection.execute("SELECT pg_current_xact_id()::text").fetchone()
        except (errors.UndefinedFunction, errors.FeatureNotSupported):
            connection.rollback()
            self._numbered = False
            return ""
        return str(row[0]) if row else ""

    def _roll_back(self, connection: Connection | None) -> None:
        if connection is None:
            return
        try:
            connection.rollback()
        except psycopg.Error:
            connection.close()

    def _outcome(self, error: BaseException) -> BaseException:
        if not isinstance(error, psycopg.Error):
            return error
        if lost_a_race(error):
            return StoreUnavailable(f"{self.place}: {ATTEMPTS} attempts lost against other daemons ({error})")
        return postgres_failure(error, self.place) or error

    # -- in a reader's thread

    def _read(self, number: int, work: Work[T]) -> T:
        for fresh in (False, True):
            connection = self._readers[number]
            try:
                if connection is None or connection.closed:
                    connection = self._readers[number] = self._connect(read_only=True)
                result = work(PostgresTx(connection, self._statements, read_only=True))
                connection.rollback()
                return result
            except psycopg.OperationalError as error:
                if connection is not None:
                    connection.close()
                if fresh:
                    raise self._outcome(error) from error
            except psycopg.Error as error:
                self._roll_back(connection)
                raise self._outcome(error) from error
            except BaseException:
                self._roll_back(connection)
                raise
        raise AssertionError("unreachable")

    def _connect(self, *, read_only: bool = False) -> Connection:
        connection: Connection = psycopg.connect(
            self.url, connect_timeout=_CONNECT_TIMEOUT, application_name="mailsandbox"
        )
        if read_only:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
        return connection


def _buried(outcome: object) -> None:
    """What failed is done again at the next look."""
    if isinstance(outcome, BaseException):
        _log.warning("a daemon that died was not buried yet: %s", outcome)
