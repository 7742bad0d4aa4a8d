"""What connections are told that SQLite's builds differ in."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mailsandbox.database.file import FileDatabase


@pytest.fixture
async def file(tmp_path: Path) -> AsyncIterator[FileDatabase]:
    opened = FileDatabase(tmp_path / "data")
    await opened.start()
    yield opened
    await opened.aclose()


async def test_what_is_removed_is_not_written_once_more(file: FileDatabase) -> None:
    log = file.path.with_name(file.path.name + "-wal")
    await file.write(lambda tx: tx.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, octets BLOB)"))
    for number in range(50):
        await file.write(lambda tx, n=number: tx.execute("INSERT INTO t VALUES (?, ?)", (n, bytes(20_000))))
    before = log.stat().st_size
    await file.write(lambda tx: tx.execute("DELETE FROM t"))
    assert log.stat().st_size - before < 100_000  # of 1,000,000 octets
