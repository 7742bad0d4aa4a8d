"""Large octets lie in files: durable before the row that names them, gone after it; told of when they are damaged."""

import asyncio
import errno
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mailsandbox.database import blobs
from mailsandbox.database.blobs import Blobs
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
