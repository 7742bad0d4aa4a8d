"""SQLite in a directory: WAL, synchronous=FULL, group commit.

Invariant: one batch is open at a time; what arrives meanwhile becomes the next. The works of a batch run on the loop's
thread, as they are short and a second thread would wait for the GIL after each statement; only its COMMIT, which waits
for the disk without the GIL, and heavy works run in the writer's thread, which the loop waits to see begin: the disk
then writes while the loop works. A small batch, while the disk is quick, is committed on the loop's thread as well: two
thread switches cost as much, and a lone message does not pay them for nothing. Large batches cost less, so a batch
begins when no more comes for it (see gathering), and the results of one are given out before the next begins: beginning
it first, or with half of what waits, so that the loop is busy while the disk is written, makes smaller ones.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import sqlite3
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from mailsandbox.database.batch import Batch, SqliteTx, Submission, closed
from mailsandbox.database.checkpoints import Checkpoints
from mailsandbox.database.connections import connect
from mailsandbox.database.failures import sqlite_failure
from mailsandbox.database.files import Files
from mailsandbox.database.gathering import Gathering
from mailsandbox.database.tx import Done, Heir, Work, telling
from mailsandbox.database.worker import Worker
from mailsandbox.errors import StartError
from mailsandbox.tasks import Tasks

T = TypeVar("T")

_log = logging.getLogger(__name__)

FILE_NAME: Final = "mailsandbox.sqlite"
LARGE_NAME: Final = "large"  # the directory of large octets
MAX_BATCH: Final = 512  # works; bounds how long one turn of the loop is kept
_LOG_BEGINS: Final = b"\x37\x7f\x06\x82"  # or ...83, SQLite file format §4.1
_FEW: Final = 4  # works; more are committed by the writer: the loop has somebody else to serve meanwhile
_QUICK_COMMIT: Final = 0.001  # seconds; on a slower disk few are too


@dataclass(frozen=True, slots=True)
class Image:
    """A snapshot: the database as SQLite serializes it, and the files of large octets by name."""

    database: bytes
    files: dict[str, bytes]


class FileDatabase:
    """A `Database` in `directory`, which it makes and locks."""

    shared = False

    def __init__(self, directory: str | Path) -> None:
        self.daemon = uuid.uuid4().hex[:12]
        self.directory = Path(directory)
        self.path = self.directory / FILE_NAME
        self.place = str(self.path)
        # The thread that has the long reads has none of them under way when it comes to a job given after them.
        self.files = Files(self.directory / LARGE_NAME, lambda job: self._read_worker.submit(job, lambda outcome: None))
        self._lock: int | None = None
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._heavy_reader: sqlite3.Connection | None = None
        self._pending: deque[Submission] = deque()
        self._batch: Batch | None = None
        self._commit_seconds = 0.0  # of recent commits, smoothed
        self._idle = asyncio.Event()
        self._idle.set()
        self._tasks = Tasks()
        self._leisure_job: Callable[[], bool] = bool  # this one never has anything to do
        self._held = False  # by a snapshot or a restore
        self._asked = 0  # such jobs that wait for a batch to end; the next batch waits for them
        self._between = asyncio.Event()  # set while neither a batch nor such a job runs
        self._between.set()

    async def start(self) -> None:
        if self._writer is not None:
            return
        self._loop = asyncio.get_running_loop()
        self._gathering = Gathering(self._loop, self._pending.__len__, self._start_batch)
        self._write_worker = Worker("database-writer", self._loop)
        self._read_worker = Worker("database-reader", self._loop)
        self._checkpoint_worker = Worker("database-checkpoint", self._loop)
        self._checkpoints = Checkpoints(self.place, self._checkpoint_worker, self._run_between)
        self._open()

    async def aclose(self) -> None:
        if self._writer is None:
            return
        await self._idle.wait()
        # First what gives the writer work of its own.
        await self._checkpoint_worker.aclose()
        await self._tasks.aclose()
        await self._write_worker.aclose()
        await self._read_worker.aclose()
        self._checkpoints.close()
        self._close_connections()

    def write(self, work: Work[T], *, heavy: bool = False) -> Awaitable[T]:
        waiting: asyncio.Future[T] = self._loop.create_future()
        self.submit(work, telling(waiting), heavy=heavy)
        return waiting

    def submit(self, work: Work[T], done: Done, *, heavy: bool = False) -> None:
        if self._writer is None:
            done(closed(self.place))
            return
        if not self._pending:
            self._idle.clear()
        self._pending.append(Submission(work, done, heavy))
        self._schedule()

    def listen(self, heard: Callable[[str], None]) -> None:
        """Nobody shares this database."""

    def on_death(self, heir: Heir) -> None:
        """Nobody shares this database."""

    def on_leisure(self, job: Callable[[], bool]) -> None:
        self._leisure_job = job

    async def read(self, work: Work[T], *, heavy: bool = False) -> T:
        if heavy:
            return await self._read_worker.run(lambda: self._read_on(self._heavy_reader, work))
        return self._read_on(self._reader, work)

    def read_now(self, work: Work[T]) -> T:
        """`read` without a coroutine."""
        return self._read_on(self._reader, work)

    async def snapshot(self) -> object:
        return await self._exclusively(self._copy_out)

    async def restore(self, image: object) -> None:
        assert isinstance(image, Image)

        def put_back(writer: sqlite3.Connection) -> None:
            with self.files.putting_back(image.files):
                _copy_in(writer, image.database)

        await self._exclusively(put_back)

    async def limit_pages(self, pages: int) -> None:
        """Let the file grow to so many pages of 4,096 octets and no further: as if the disk were full then."""
        await self._exclusively(lambda writer: writer.execute(f"PRAGMA max_page_count = {pages:d}").fetchone())

    def _run_between(self, statement: str) -> None:
        """Have the writer run a statement between two batches."""
        if not self._tasks:
            self._tasks.spawn(self._exclusively(lambda writer: writer.execute(statement).fetchone()), name=statement)

    async def _exclusively(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Run a job on the writer's connection, in its thread, between two batches."""
        self._asked += 1
        try:
            while self._batch is not None or self._held:
                await self._between.wait()
        finally:
            self._asked -= 1
            self._schedule()  # for a batch that gave way to one who was cancelled
        if self._writer is None:
            raise closed(self.place)
        self._held = True
        self._between.clear()
        writer = self._writer
        try:
            return await self._write_worker.run(lambda: job(writer))
        except sqlite3.Error as error:
            raise sqlite_failure(error, self.place) or error from error
        finally:
            self._held = False
            self._between.set()
            self._schedule()

    def _copy_out(self, writer: sqlite3.Connection) -> "Image":
        with contextlib.closing(sqlite3.connect(":memory:")) as copy:
            writer.backup(copy)
            image = bytearray(copy.serialize())
        # Bytes 18 and 19 of the header say "WAL", which a database in memory cannot be (SQLite file format §1.3.3).
        image[18:20] = b"\x01\x01"
        return Image(bytes(image), self.files.copy_out())

    def _schedule(self) -> None:
        """Start a batch when it is possible and no more comes for it."""
        if self._pending and self._batch is None and not self._held:
            self._gathering.begin()

    def _start_batch(self) -> None:
        if self._writer is None or self._held or self._batch is not None or not self._pending:
            return
        if self._asked:
            return  # it has waited for this moment, and schedules a batch when it is done
        self._between.clear()
        count = min(len(self._pending), MAX_BATCH)
        submissions = [self._pending.popleft() for _ in range(count)]
        self._batch = batch = Batch(self._writer, submissions, self.place, self.files)
        batch.begin()
        complete = batch.run(heavy_too=False)
        if complete and count <= _FEW and self._commit_seconds < _QUICK_COMMIT:
            self._end_batch(self._finish(batch))
        else:
            self._write_worker.begin(lambda: self._finish(batch), self._end_batch)
            self._loop.call_soon(self._use_leisure)

    def _use_leisure(self) -> None:
        # One job in each turn of the loop: what comes from the network has its turn too.
        if self._batch is not None and self._leisure_job():
            self._loop.call_soon(self._use_leisure)

    def _finish(self, batch: Batch) -> float:
        """Run the heavy rest and commit; returns the seconds that the commit took."""
        batch.run(heavy_too=True)
        began = time.perf_counter()
        batch.commit()
        return time.perf_counter() - began

    def _end_batch(self, seconds: object) -> None:
        if isinstance(seconds, float):
            self._commit_seconds += (seconds - self._commit_seconds) / 8
        batch, self._batch = self._batch, None
        assert batch is not None
        batch.settle()
        self._checkpoints.batch_ended()
        self._between.set()
        if self._pending:
            self._schedule()
        else:
            self._idle.set()

    def _read_on(self, connection: sqlite3.Connection | None, work: Work[T]) -> T:
        if connection is None:
            raise closed(self.place)
        try:
            connection.execute("BEGIN")
            try:
                return work(SqliteTx(connection, self.files))
            finally:
                if connection.in_transaction:
                    connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise sqlite_failure(error, self.place) or error from error

    def _open(self) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._take_lock()
            self.files.open()
            self._look_at_log()
            self._writer = connect(self.place, durable=True)
            self._writer.execute("SELECT count(*) FROM sqlite_master").fetchone()
            self._writer.execute("BEGIN IMMEDIATE")  # a read-only file system says so here
            self._writer.execute("ROLLBACK")
            self._reader = connect(self.place, read_only=True)
            self._heavy_reader = connect(self.place, read_only=True)
        except OSError as error:
            self._close_connections()
            raise StartError(
                f"the data directory {self.directory} cannot be used: {error.strerror or error}"
            ) from error
        except sqlite3.Error as error:
            self._close_connections()
            raise StartError(f"the database cannot be opened: {sqlite_failure(error, self.place) or error}") from error

    def _take_lock(self) -> None:
        """One daemon per directory: the lock goes with the process, however it ends."""
        lock = os.open(self.directory / "store.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 32).decode("ascii", "replace").strip()
            os.close(lock)
            raise StartError(
                f"the data directory {self.directory} is in use by process {holder or 'unknown'}; "
                "use --database postgresql://… to share one store among several daemons"
            ) from None
        os.truncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock

    def _look_at_log(self) -> None:
        """SQLite passes over a log that is none, without a word: what was in it is missed by nobody but us."""
        log = self.path.with_name(f"{FILE_NAME}-wal")
        with contextlib.suppress(FileNotFoundError), log.open("rb") as file:
            head = file.read(len(_LOG_BEGINS))
            if head.strip(b"\0") and not head.startswith(_LOG_BEGINS[:-1]):
                _log.warning(
                    "%s: not a write-ahead log of SQLite; what was acknowledged last may be missing, and a backup may "
                    "have it",
                    log,
                )

    def _close_connections(self) -> None:
        for connection in (self._reader, self._heavy_reader, self._writer):
            if connection is not None:
                connection.close()
        self._reader = self._heavy_reader = self._writer = None
        self.files.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _copy_in(writer: sqlite3.Connection, image: bytes) -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as copy:
        copy.deserialize(image)
        copy.backup(writer)
