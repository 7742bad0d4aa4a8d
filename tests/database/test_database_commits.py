"""Transactions that share a commit: durable together, failing alone, told in order."""

import asyncio
import contextlib
import hashlib
import itertools
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from postgres_cluster import postgres  # noqa: F401

from mailsandbox.database import Database, Tx, checkpoints, open_database
from mailsandbox.database import file as file_database
from mailsandbox.database.batch import Batch
from mailsandbox.database.blobs import MAX_LATELY, MIGRATIONS, Blobs, Lately
from mailsandbox.database.file import FileDatabase
from mailsandbox.database.schema import migrate
from mailsandbox.errors import NoSuchMessage, StartError, StoreFull, StoreUnavailable


@pytest.fixture(params=["memory", "file", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    match request.param:
        case "memory":
            target = ":memory:"
        case "file":
            target = str(tmp_path / "data")
        case _:
            target = request.getfixturevalue("postgres").new_database()
    opened = open_database(target)
    await opened.start()
    await opened.write(lambda tx: tx.execute("CREATE TABLE t (n INTEGER PRIMARY KEY)"))
    yield opened
    await opened.aclose()


def _insert(number: int):
    def work(tx: Tx) -> int:
        tx.execute("INSERT INTO t (n) VALUES (?)", (number,))
        return number

    return work


async def _numbers(database: Database) -> list[int]:
    return await database.read(lambda tx: [row[0] for row in tx.execute("SELECT n FROM t ORDER BY n")])


async def test_works_submitted_together_are_all_durable(database: Database) -> None:
    assert await asyncio.gather(*[database.write(_insert(number)) for number in range(50)]) == list(range(50))
    assert await _numbers(database) == list(range(50))


async def test_a_statement_run_for_several_rows_tells_how_many_it_changed(database: Database) -> None:
    await asyncio.gather(*[database.write(_insert(number)) for number in range(3)])
    delete = "DELETE FROM t WHERE n = ?"
    counts = [
        await database.write(lambda tx, rows=rows: tx.executemany(delete, rows).rowcount)
        for rows in ([(0,), (2,), (7,)], [(7,)])
    ]
    assert counts == [2, 0]


async def test_a_work_that_fails_undoes_only_itself(database: Database) -> None:
    def fails(tx: Tx) -> None:
        tx.execute("INSERT INTO t (n) VALUES (?)", (1000,))
        raise ZeroDivisionError("mine")

    results = await asyncio.gather(
        *[database.write(_insert(number)) for number in range(5)],
        database.write(fails),
        *[database.write(_insert(number)) for number in range(5, 10)],
        return_exceptions=True,
    )
    assert [type(result) for result in results].count(ZeroDivisionError) == 1
    assert await _numbers(database) == list(range(10))


async def test_a_constraint_is_a_bug_of_the_caller_not_an_unavailable_store(database: Database) -> None:
    await database.write(_insert(1))
    with pytest.raises(Exception, match=r"(?i)unique") as refused:
        await database.write(_insert(1))
    assert not isinstance(refused.value, StoreUnavailable)
    assert await _numbers(database) == [1]


async def test_results_and_callbacks_come_in_commit_order(database: Database) -> None:
    told: list[str] = []

    def work(number: int):
        def run(tx: Tx) -> int:
            tx.after_commit(lambda: told.append(f"after {number}"))
            if number == 3:
                raise ZeroDivisionError
            tx.execute("INSERT INTO t (n) VALUES (?)", (number,))
            return number

        return run

    for number in range(6):
        database.submit(work(number), lambda outcome: told.append(f"done {outcome!r}"))
    await database.write(_insert(100))
    after = [each for each in told if each.startswith("after")]
    assert after == ["after 0", "after 1", "after 2", "after 4", "after 5"]
    done = [each for each in told if each.startswith("done")]
    assert done == ["done 0", "done 1", "done 2", "done ZeroDivisionError()", "done 4", "done 5"]
    for number in (0, 1, 2, 4, 5):
        assert told.index(f"after {number}") < told.index(f"done {number}")


async def test_a_callback_that_fails_is_logged_and_stops_nothing(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    def work(tx: Tx) -> str:
        tx.after_commit(lambda: 1 / 0)  # type: ignore[arg-type, return-value]
        return "done"

    assert await database.write(work) == "done"
    assert "callback" in caplog.text


async def test_a_callback_may_submit_more(database: Database) -> None:
    finished = asyncio.get_running_loop().create_future()

    def work(tx: Tx) -> None:
        tx.after_commit(lambda: database.submit(_insert(2), finished.set_result))
        tx.execute("INSERT INTO t (n) VALUES (1)")

    await database.write(work)
    assert await finished == 2
    assert await _numbers(database) == [1, 2]


async def test_heavy_and_light_works_keep_their_order(database: Database) -> None:
    order: list[int] = []

    def work(number: int):
        def run(tx: Tx) -> None:
            order.append(number)

        return run

    await asyncio.gather(*[database.write(work(number), heavy=number % 3 == 0) for number in range(10)])
    assert order == list(range(10))


async def test_a_writer_that_is_cancelled_still_writes(database: Database) -> None:
    writing = asyncio.ensure_future(database.write(_insert(1)))
    await asyncio.sleep(0)
    writing.cancel()
    with contextlib.suppress(asyncio.CancelledError):  # in memory it was done before it could be cancelled
        await writing
    await database.write(_insert(2))
    assert await _numbers(database) == [1, 2]


async def test_a_closed_database_says_so(database: Database) -> None:
    await database.write(_insert(1))
    await database.aclose()
    await database.aclose()
    with pytest.raises(StoreUnavailable, match="closed"):
        await database.write(_insert(2))
    with pytest.raises(StoreUnavailable, match="closed"):
        await database.read(lambda tx: None)


async def test_a_read_sees_one_moment_while_others_write(database: Database) -> None:
    def work(tx: Tx) -> tuple[int, int]:
        first = tx.execute("SELECT count(*) FROM t").fetchone()[0]
        return first, tx.execute("SELECT count(*) FROM t").fetchone()[0]

    writes = [database.write(_insert(number)) for number in range(40)]
    reads = [database.read(work, heavy=True) for _ in range(10)]
    for first, second in (await asyncio.gather(*reads, *writes))[:10]:
        assert first == second


async def test_blobs_are_stored_once_and_go_with_the_last_reference(database: Database) -> None:
    blobs = Blobs()
    await database.write(lambda tx: migrate(tx, "blobs", MIGRATIONS))
    first = await database.write(lambda tx: blobs.put(tx, b"octets\x00\xff"))
    assert await database.write(lambda tx: blobs.put(tx, b"octets\x00\xff")) == first
    assert await database.write(lambda tx: blobs.put(tx, b"")) != first
    await database.write(lambda tx: blobs.release(tx, first))
    assert await database.read(lambda tx: blobs.get(tx, first)) == b"octets\x00\xff"
    await database.write(lambda tx: blobs.release(tx, first))
    with pytest.raises(NoSuchMessage):
        await database.read(lambda tx: blobs.get(tx, first))
    assert await database.write(lambda tx: blobs.put(tx, b"octets\x00\xff")) > first


async def test_octets_put_lately_are_the_same_whatever_became_of_them(database: Database) -> None:
    """Where they were is only a guess: the work may be undone, its id given to others, a snapshot put back."""
    lately = Lately()
    alpha, beta = Blobs(lately), Blobs(lately)

    def undone(tx: Tx) -> None:
        alpha.put(tx, b"undone")
        raise LookupError

    async def put(blobs: Blobs, octets: bytes) -> int:
        key = await database.write(lambda tx: blobs.put(tx, octets))
        assert await database.read(lambda tx: blobs.get(tx, key)) == octets
        return key

    await database.write(lambda tx: migrate(tx, "blobs", MIGRATIONS))
    image = await database.snapshot()
    key = await put(alpha, b"passed on")
    assert await put(beta, b"passed on") == key
    await database.write(lambda tx: alpha.release(tx, key))
    assert await put(alpha, b"passed on") == key
    for _ in range(2):
        await database.write(lambda tx: beta.release(tx, key))
    assert await put(beta, b"passed on") > key
    with pytest.raises(LookupError):
        await database.write(undone)
    others = await put(alpha, b"others")  # under the id that SQLite gave to those undone
    assert await put(beta, b"undone") != others
    await database.restore(image)
    key = await put(alpha, b"others")
    assert key != await put(beta, b"passed on")
    assert await database.read(lambda tx: tx.execute("SELECT refs FROM blobs").fetchall()) == [(1,), (1,)]


def test_what_was_put_lately_is_remembered_within_bounds() -> None:
    lately = Lately()
    for number in range(MAX_LATELY + 1):
        lately.note(b"%d" % number, number)
    assert (lately.get(b"0"), lately.get(b"1"), lately.get(b"%d" % MAX_LATELY)) == (None, 1, MAX_LATELY)


async def test_blobs_of_the_first_version_keep_their_octets_and_references(database: Database) -> None:
    def first_version(tx: Tx) -> None:
        migrate(tx, "blobs", MIGRATIONS[:1])
        digest = hashlib.sha256(b"old").digest()
        tx.execute("INSERT INTO blobs (sha256, refs, size, octets) VALUES (?, 2, 3, ?)", (digest, b"old"))

    blobs = Blobs()
    await database.write(first_version)
    await database.write(lambda tx: migrate(tx, "blobs", MIGRATIONS))
    key = await database.write(lambda tx: blobs.put(tx, b"old"))
    assert await database.read(lambda tx: blobs.get(tx, key)) == b"old"
    assert await database.read(lambda tx: tx.execute("SELECT refs FROM blobs").fetchall()) == [(3,)]
    assert await database.write(lambda tx: blobs.put(tx, b"new")) != key


async def test_migrations_are_applied_once_and_in_order(database: Database) -> None:
    steps = [["CREATE TABLE a (x INTEGER)"], ["ALTER TABLE a ADD COLUMN y TEXT", "INSERT INTO a VALUES (1, 'one')"]]
    assert await database.write(lambda tx: migrate(tx, "part", steps[:1])) == 0
    assert await database.write(lambda tx: migrate(tx, "part", steps)) == 1
    assert await database.write(lambda tx: migrate(tx, "part", steps)) == 2
    assert await database.read(lambda tx: tx.execute("SELECT x, y FROM a").fetchall()) == [(1, "one")]
    with pytest.raises(StartError, match="newer version"):
        await database.write(lambda tx: migrate(tx, "part", steps[:1]))


@pytest.fixture
async def file(tmp_path: Path) -> AsyncIterator[FileDatabase]:
    opened = FileDatabase(tmp_path / "data")
    await opened.start()
    await opened.write(lambda tx: tx.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, octets BLOB)"))
    yield opened
    await opened.aclose()


async def test_a_full_disk_refuses_until_there_is_room_again(file: FileDatabase) -> None:
    def large(number: int):
        return lambda tx: tx.execute("INSERT INTO t VALUES (?, ?)", (number, b"x" * 200_000))

    pages = await file.read(lambda tx: tx.execute("PRAGMA page_count").fetchone()[0])
    await file.write(large(1))
    await file.aclose()
    await file.start()
    await file.limit_pages(pages + 60)
    results = await asyncio.gather(*[file.write(large(number)) for number in (2, 3)], return_exceptions=True)
    assert [type(result) for result in results] == [StoreFull, StoreFull]
    assert "no room" in str(results[0])
    assert str(file.path) in str(results[0])
    await file.limit_pages(1 << 30)
    await file.write(large(4))
    assert await _numbers(file) == [1, 4]


async def test_what_was_answered_survives_a_kill(tmp_path: Path) -> None:
    program = """
import asyncio, os, signal, sys
from mailsandbox.database import open_database
async def main():
    database = open_database(sys.argv[1])
    await database.start()
    await database.write(lambda tx: tx.execute("CREATE TABLE t (n INTEGER PRIMARY KEY)"))
    async def insert(number):
        await database.write(lambda tx: tx.execute("INSERT INTO t VALUES (?)", (number,)))
        print(number, flush=True)
    waiting = [asyncio.ensure_future(insert(number)) for number in range(500)]
    await asyncio.sleep(0)
    await waiting[0]
    await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    command = [sys.executable, "-c", program, str(tmp_path / "data")]
    ended = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert ended.returncode == -9, ended.stderr
    answered = {int(line) for line in ended.stdout.split()}
    assert answered
    database = open_database(str(tmp_path / "data"))
    await database.start()  # the lock went with the process
    assert answered <= set(await _numbers(database))
    await database.aclose()


async def test_a_directory_has_one_daemon(file: FileDatabase) -> None:
    with pytest.raises(StartError, match=r"in use by process \d+"):
        await FileDatabase(file.directory).start()


@pytest.mark.parametrize("place", ["/proc/nowhere", "{file}/below"])
async def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    where = place.format(file=tmp_path / "file")
    with pytest.raises(StartError, match="cannot be used") as refused:
        await FileDatabase(where).start()
    assert where in str(refused.value)


async def test_a_file_that_is_no_database_is_left_alone_and_named(tmp_path: Path) -> None:
    (tmp_path / "mailsandbox.sqlite").write_bytes(b"this is not a database" * 100)
    with pytest.raises(StartError, match=r"damaged.*recover") as refused:
        await FileDatabase(tmp_path).start()
    assert "mailsandbox.sqlite" in str(refused.value)
    assert (tmp_path / "mailsandbox.sqlite").read_bytes().startswith(b"this is not")


async def test_a_damaged_file_is_unavailable_with_a_hint(file: FileDatabase) -> None:
    for number in range(40):
        await file.write(lambda tx, n=number: tx.execute("INSERT INTO t VALUES (?, ?)", (n, bytes(3000))))
    await file.aclose()
    octets = bytearray(file.path.read_bytes())
    octets[8192:60_000] = b"\xa5" * (60_000 - 8192)
    file.path.write_bytes(octets)
    await file.start()
    with pytest.raises(StoreUnavailable, match=r"damaged.*recover"):
        await file.read(lambda tx: tx.execute("SELECT count(octets), sum(length(octets)) FROM t").fetchall())


async def test_the_file_is_an_ordinary_sqlite_database(file: FileDatabase) -> None:
    await file.write(lambda tx: tx.execute("INSERT INTO t VALUES (1, x'00')"))
    await file.aclose()
    with sqlite3.connect(file.path) as other:
        assert other.execute("SELECT n FROM t").fetchall() == [(1,)]
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.close()


async def test_the_log_is_emptied_while_the_database_is_in_use(
    file: FileDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "LOG", 100_000)
    monkeypatch.setattr(checkpoints, "MAX_LOG", 400_000)
    monkeypatch.setattr(checkpoints, "_EVERY", 4)
    log = file.path.with_name(file.path.name + "-wal")
    largest = 0
    for number in range(400):
        await file.write(lambda tx, n=number: tx.execute("INSERT INTO t VALUES (?, ?)", (n, bytes(5000))))
        largest = max(largest, log.stat().st_size)
    assert largest < 1_000_000
    assert len(await _numbers(file)) == 400
    assert file.path.stat().st_size > 1_000_000


async def test_a_work_that_comes_a_few_turns_of_the_loop_later_shares_the_commit(
    file: FileDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    class Watched(Batch):
        def __init__(self, connection, submissions, *rest) -> None:
            sizes.append(len(submissions))
            super().__init__(connection, submissions, *rest)

    monkeypatch.setattr(file_database, "Batch", Watched)
    first = asyncio.ensure_future(file.write(lambda tx: tx.execute("INSERT INTO t (n) VALUES (1)")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.gather(first, file.write(lambda tx: tx.execute("INSERT INTO t (n) VALUES (2)")))
    assert sizes == [2]
    assert await _numbers(file) == [1, 2]


async def test_while_many_write_a_snapshot_still_finds_its_turn(file: FileDatabase) -> None:
    numbers, taken = itertools.count(), asyncio.Event()
    told: list[int] = []

    async def write() -> None:
        while not taken.is_set():
            number = next(numbers)
            await file.write(lambda tx, n=number: tx.execute("INSERT INTO t (n) VALUES (?)", (n,)))
            told.append(number)

    writers = [asyncio.ensure_future(write()) for _ in range(40)]
    while len(told) < 200:
        await asyncio.sleep(0)
    try:
        image = await asyncio.wait_for(file.snapshot(), 30)
    finally:
        taken.set()
    await asyncio.gather(*writers)
    assert sorted(told) == await _numbers(file)
    assert told == sorted(told)  # in the order in which they came, whichever commit they shared
    await file.restore(image)
    assert len(await _numbers(file)) >= 200


async def test_a_snapshot_finds_its_turn_though_each_result_brings_the_next_work(
    file: FileDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_database, "_QUICK_COMMIT", 0.0)  # each commit ends in a later turn of the loop
    last = 500
    ended = asyncio.get_running_loop().create_future()
    before: list[int] = []
    told: list[int] = []

    async def snapshot() -> None:
        await file.snapshot()
        before.append(len(told))

    def go_on(number: int) -> None:
        told.append(number)
        if number < last:
            file.submit(_insert(number + 1), go_on)
        else:
            ended.set_result(None)

    def first(tx: Tx) -> int:
        taking.append(asyncio.ensure_future(snapshot()))  # begins while this is being committed
        return _insert(1)(tx)

    taking: list[asyncio.Future[None]] = []
    file.submit(first, go_on)
    await ended
    await taking[0]
    assert before < [last]
    assert await _numbers(file) == list(range(1, last + 1))


async def test_works_go_on_when_a_snapshot_is_given_up_that_they_waited_for(file: FileDatabase) -> None:
    begun, go_on, written = threading.Event(), threading.Event(), asyncio.Event()

    def work(tx: Tx) -> None:
        begun.set()
        go_on.wait(30)

    def next_batch_gives_way_and_is_called_back(outcome: object) -> None:
        file.submit(_insert(1), lambda outcome: written.set())
        snapshot.cancel()

    file.submit(work, next_batch_gives_way_and_is_called_back, heavy=True)
    assert await asyncio.to_thread(begun.wait, 30)
    snapshot = asyncio.ensure_future(file.snapshot())
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.wait_for(written.wait(), 10)
    with pytest.raises(asyncio.CancelledError):
        await snapshot
    assert await _numbers(file) == [1]


async def test_results_come_after_their_commit_while_many_write(file: FileDatabase) -> None:
    """Each result is durable when it is told: another connection, which sees commits alone, has it."""
    with contextlib.closing(sqlite3.connect(file.path)) as other:

        async def write(number: int) -> None:
            for n in range(number * 10, number * 10 + 10):
                await file.write(lambda tx, n=n: tx.execute("INSERT INTO t (n) VALUES (?)", (n,)))
                assert other.execute("SELECT count(*) FROM t WHERE n = ?", (n,)).fetchone() == (1,)

        await asyncio.gather(*[write(number) for number in range(30)])


@pytest.mark.parametrize(("writers", "written", "octets"), [(4, 800, 5_000), (40, 3_200, 2_000)])
async def test_the_log_is_begun_anew_under_steady_load(
    file: FileDatabase, monkeypatch: pytest.MonkeyPatch, writers: int, written: int, octets: int
) -> None:
    monkeypatch.setattr(checkpoints, "LOG", 100_000)
    monkeypatch.setattr(checkpoints, "_EVERY", 4)
    log = file.path.with_name(file.path.name + "-wal")
    numbers = iter(range(written))

    async def write() -> None:
        for number in numbers:
            await file.write(lambda tx, n=number: tx.execute("INSERT INTO t VALUES (?, ?)", (n, bytes(octets))))

    await asyncio.gather(*[write() for _ in range(writers)])
    # Of which more than twice as many octets were written to it in all.
    assert log.stat().st_size < 2_000_000
    assert len(await _numbers(file)) == written
