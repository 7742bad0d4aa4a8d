"""Large octets lie in files: durable before the row that names them, gone after it; told of when they are damaged."""

import asyncio
import errno
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mailsandbox.database import blobs, files
from mailsandbox.database.blobs import Blobs, written_ahead
from mailsandbox.database.file import FileDatabase
from mailsandbox.database.files import LARGE
from mailsandbox.errors import DamagedContent, NoSuchMessage, StoreFull, StoreUnavailable

BLOBS = Blobs()


def octets(letter: str, size: int = LARGE + 1) -> bytes:
    return letter.encode() * size


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[FileDatabase]:
    opened = FileDatabase(tmp_path / "data")
    await opened.start()
    await opened.write(blobs.create_in)
    yield opened
    await opened.aclose()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "data" / "large"


async def settled(database: FileDatabase) -> None:
    """Files that were released are gone: the thread that removes them has come to this read."""
    await database.read(lambda tx: None, heavy=True)


async def get(database: FileDatabase, key: int) -> bytes:
    return await database.read(lambda tx: BLOBS.get(tx, key))


async def put(database: FileDatabase, content: bytes) -> int:
    return await database.write(lambda tx: BLOBS.put(tx, content), heavy=True)


async def test_only_what_is_large_has_a_file_which_all_references_share(database, directory):
    small, large = await put(database, octets("s", LARGE)), await put(database, octets("l"))
    assert await put(database, octets("l")) == large
    (file,) = directory.iterdir()
    assert file.read_bytes() == octets("l")
    assert file.stat().st_mode & 0o777 == 0o600
    assert [await get(database, key) for key in (small, large)] == [octets("s", LARGE), octets("l")]
    assert await database.read(lambda tx: list(blobs.in_files(tx, [small, large], first={large: 3}))) == [
        (large, b"lll")
    ]


async def test_a_file_is_synced_with_its_name_before_the_row_is_committed(database, directory, monkeypatch):
    done: list[str] = []
    sync, commit = os.fsync, database._finish

    def fsync(descriptor: int) -> None:
        sync(descriptor)
        done.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).parent.name)

    def finish(batch):
        batch.run(heavy_too=True)
        done.append("works")
        return commit(batch)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(database, "_finish", finish)
    await put(database, octets("l"))
    assert done == ["large", "data", "works"]  # the file, then the directory that has its name


async def test_the_last_reference_takes_the_file_along_once_that_is_committed(database, directory):
    key = await put(database, octets("l"))
    await put(database, octets("l"))
    await database.write(lambda tx: BLOBS.release(tx, key))
    await settled(database)
    assert len(list(directory.iterdir())) == 1

    def fails(tx):
        BLOBS.release(tx, key)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await database.write(fails)
    await settled(database)
    assert await get(database, key) == octets("l")
    await database.write(lambda tx: BLOBS.release(tx, key))
    await settled(database)
    assert list(directory.iterdir()) == []
    with pytest.raises(NoSuchMessage):
        await get(database, key)


async def test_octets_that_come_again_while_the_last_reference_goes_have_a_file(database, directory):
    key = await put(database, octets("l"))
    _, again = await asyncio.gather(
        database.write(lambda tx: BLOBS.release(tx, key)), database.write(lambda tx: BLOBS.put(tx, octets("l")))
    )
    await settled(database)
    assert await get(database, again) == octets("l")
    assert len(list(directory.iterdir())) == 1


async def test_a_work_that_fails_leaves_no_file_and_costs_others_none(database, directory):
    def fails(tx):
        BLOBS.put(tx, octets("f"))
        raise ZeroDivisionError

    results = await asyncio.gather(
        put(database, octets("a")), database.write(fails), put(database, octets("b")), return_exceptions=True
    )
    assert isinstance(results[1], ZeroDivisionError)
    assert {file.read_bytes()[:1] for file in directory.iterdir()} == {b"a", b"b"}
    assert [(await get(database, results[at]))[:1] for at in (0, 2)] == [b"a", b"b"]


@pytest.mark.parametrize(
    ("number", "raised"), [(errno.ENOSPC, StoreFull), (errno.EFBIG, StoreFull), (errno.EROFS, StoreUnavailable)]
)
async def test_a_disk_that_takes_no_file_refuses_that_work_alone(database, directory, monkeypatch, number, raised):
    write = os.write

    def full(descriptor: int, octets: memoryview) -> int:
        if bytes(octets[:1]) == b"f":
            raise OSError(number, os.strerror(number))
        return write(descriptor, octets[:100_000])  # a short count is no error

    monkeypatch.setattr(os, "write", full)
    results = await asyncio.gather(put(database, octets("f")), put(database, octets("a")), return_exceptions=True)
    assert type(results[0]) is raised
    assert str(directory) in str(results[0])
    assert await get(database, results[1]) == octets("a")
    assert len(list(directory.iterdir())) == 1


async def test_the_next_start_removes_what_a_crash_left_and_names_what_is_missing(database, directory, caplog):
    kept, lost = await put(database, octets("k")), await put(database, octets("l"))
    missing = next(file for file in directory.iterdir() if file.read_bytes()[:1] == b"l")
    missing.unlink()
    (directory / "0123456789").write_bytes(b"without a row")
    await database.aclose()
    await database.start()
    await database.write(blobs.create_in)
    assert len(list(directory.iterdir())) == 1
    assert "1 large messages are missing" in caplog.text
    assert missing.name in caplog.text
    assert await get(database, kept) == octets("k")
    with pytest.raises(DamagedContent, match=f"{missing.name}.*missing"):
        await get(database, lost)


async def test_a_process_that_dies_before_its_commit_leaves_a_file_that_the_next_start_removes(tmp_path):
    program = (
        "import asyncio, os, sys\n"
        "from mailsandbox.database import blobs\n"
        "from mailsandbox.database.file import FileDatabase\n"
        "def dies(tx):\n"
        "    blobs.Blobs().put(tx, b'd' * (2 << 20))\n"
        "    os._exit(9)\n"
        "async def main():\n"
        "    database = FileDatabase(sys.argv[1])\n"
        "    await database.start()\n"
        "    await database.write(blobs.create_in)\n"
        "    print(await database.write(lambda tx: blobs.Blobs().put(tx, b'k' * (2 << 20))), flush=True)\n"
        "    await database.write(dies)\n"
        "asyncio.run(main())\n"
    )
    data = tmp_path / "data"
    command = [sys.executable, "-c", program, str(data)]
    ended = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
    assert ended.returncode == 9
    assert len(list((data / "large").iterdir())) == 2
    database = FileDatabase(data)
    await database.start()
    await database.write(blobs.create_in)
    assert len(list((data / "large").iterdir())) == 1
    assert await get(database, int(ended.stdout)) == b"k" * (2 << 20)
    await database.aclose()


async def test_a_file_that_was_cut_off_is_damaged_and_the_others_are_not(database, directory):
    whole = await put(database, octets("w"))
    (before,) = directory.iterdir()
    cut = await put(database, octets("c"))
    (file,) = set(directory.iterdir()) - {before}
    os.truncate(file, 1000)
    with pytest.raises(DamagedContent, match=f"{file.name}.* 1000 octets instead of {LARGE + 1}"):
        await get(database, cut)
    assert await get(database, whole) == octets("w")
    assert await put(database, octets("n"))


async def test_a_snapshot_brings_released_files_back_and_takes_later_ones_away(database, directory):
    first = await put(database, octets("1"))
    image = await database.snapshot()
    second = await put(database, octets("2"))
    await database.write(lambda tx: BLOBS.release(tx, first))  # its file may not be removed yet
    await database.restore(image)
    await settled(database)
    assert await get(database, first) == octets("1")
    with pytest.raises(NoSuchMessage):
        await get(database, second)
    assert [file.read_bytes()[:1] for file in directory.iterdir()] == [b"1"]
    await database.write(lambda tx: BLOBS.release(tx, first))
    await settled(database)
    assert list(directory.iterdir()) == []
    await database.restore(image)
    assert await get(database, first) == octets("1")


# Written ahead of the transaction


def digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def ahead(database: FileDatabase, content: bytes):
    return written_ahead(database, content, sha256=digest(content))


async def test_what_was_written_ahead_is_taken_and_not_written_again(database, directory, monkeypatch):
    async with ahead(database, octets("l")):
        (file,) = directory.iterdir()
        monkeypatch.setattr(database.files, "write", None)
        key = await put(database, octets("l"))
    assert list(directory.iterdir()) == [file]
    assert await get(database, key) == octets("l")


async def test_it_is_durable_with_its_name_before_the_transaction_begins(database, directory, monkeypatch):
    synced: list[str] = []
    sync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda fd: (sync(fd), synced.append(Path(os.readlink(f"/proc/self/fd/{fd}")).parent.name))
    )
    async with ahead(database, octets("l")):
        assert synced == ["large", "data"]


async def test_what_no_transaction_took_is_removed(database, directory):
    async with ahead(database, octets("l")):
        assert len(list(directory.iterdir())) == 1
    assert list(directory.iterdir()) == []


async def test_what_is_stored_already_or_is_small_is_not_written_ahead(database, directory):
    await put(database, octets("l"))
    before = list(directory.iterdir())
    async with ahead(database, octets("l")), ahead(database, octets("s", LARGE)):
        assert list(directory.iterdir()) == before


async def test_the_same_octets_written_ahead_twice_at_once_are_stored_once(database, directory):
    async def store() -> int:
        async with ahead(database, octets("l")):
            await both_are_here.wait()
            return await put(database, octets("l"))

    both_are_here = asyncio.Barrier(2)
    keys = await asyncio.gather(store(), store())
    assert keys[0] == keys[1]
    assert len(list(directory.iterdir())) == 1
    assert await get(database, keys[0]) == octets("l")


async def test_a_transaction_that_is_undone_and_run_again_writes_it_again(database, directory):
    def fails(tx):
        raise ZeroDivisionError

    async with ahead(database, octets("l")):
        first = asyncio.ensure_future(put(database, octets("l")))
        results = await asyncio.gather(first, database.write(fails), return_exceptions=True)
    assert isinstance(results[1], ZeroDivisionError)
    assert len(list(directory.iterdir())) == 1
    assert await get(database, results[0]) == octets("l")


async def test_one_that_is_given_up_while_it_is_written_leaves_no_file(database, directory, monkeypatch):
    write, writing, go_on = os.write, threading.Event(), threading.Event()

    def slow(descriptor: int, content: memoryview) -> int:
        writing.set()
        go_on.wait()
        return write(descriptor, content)

    monkeypatch.setattr(os, "write", slow)

    async def store() -> None:
        async with ahead(database, octets("l")):
            raise AssertionError("never reached")

    task = asyncio.create_task(store())
    await asyncio.to_thread(writing.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(list(directory.iterdir())) == 1  # in the thread, which cannot be stopped
    go_on.set()
    await asyncio.get_running_loop().shutdown_default_executor()
    assert list(directory.iterdir()) == []


async def test_a_full_disk_is_told_before_the_transaction(database, directory, monkeypatch):
    def full(descriptor: int, content: memoryview) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(StoreFull, match="no room left"):
            async with ahead(database, octets("l")):
                raise AssertionError("never reached")
    assert list(directory.iterdir()) == []
    assert database.files.take(digest(octets("l"))) is None


async def test_what_is_written_ahead_is_no_part_of_a_snapshot_and_outlives_a_restore(database, directory):
    kept = await put(database, octets("k"))
    async with ahead(database, octets("l")):
        image = await database.snapshot()
        assert len(image.files) == 1
        await database.restore(image)
        await settled(database)
        key = await put(database, octets("l"))
    await settled(database)
    assert [await get(database, one) for one in (kept, key)] == [octets("k"), octets("l")]


async def test_only_the_newest_are_kept_in_memory_by_the_system(database, directory, monkeypatch):
    forgotten: list[str] = []

    def advise(descriptor: int, offset: int, length: int, advice: int) -> None:
        assert (offset, length, advice) == (0, 0, os.POSIX_FADV_DONTNEED)
        forgotten.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).read_bytes()[:1].decode())

    monkeypatch.setattr(os, "posix_fadvise", advise)
    monkeypatch.setattr(files, "FRESH", 2 * LARGE + 2)
    removed = await put(database, octets("a"))
    for letter in "bc":
        await put(database, octets(letter))
    assert forgotten == ["a"]
    await database.write(lambda tx: BLOBS.release(tx, removed + 1))
    await settled(database)
    await put(database, octets("d"))  # the next to be forgotten, b, is gone
    await put(database, octets("e"))
    assert forgotten == ["a", "c"]
