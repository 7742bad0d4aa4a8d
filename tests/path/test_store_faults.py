"""What clients are told while the disk fails, and that nothing acknowledged is lost by it."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from mailsandbox.clock import SystemClock
from mailsandbox.database import open_database
from mailsandbox.store.model import Delivery
from mailsandbox.store.store import Store
from tests.path.conftest import DEADLINE
from tests.path.failing_disk import (
    BOB,
    ReadOnly,
    append_says,
    arrived,
    http_get,
    http_says,
    letter,
    pop3_update_says,
    run_queues,
    small_disk,
    smtp_says,
    subjects,
)


@pytest.fixture
def on_disk(serve, request):
    """A daemon on a disk that can fail, with one message delivered."""
    with small_disk(request.param) as disk:
        daemon = serve("--data", str(disk.path))
        disk.pid = daemon.process.pid
        assert smtp_says(daemon, letter("before"))[0] == 250
        arrived(daemon, "before")
        yield daemon, disk


@pytest.mark.rfc(5321, "4.2.5")
@pytest.mark.rfc(5530, "3")
@pytest.mark.rfc(3206, "4")
@pytest.mark.parametrize("on_disk", ["tmpfs", "limit"], indirect=True)
def test_a_disk_without_room_is_told_by_each_protocol_while_it_lasts_and_needs_no_restart(on_disk):
    daemon, disk = on_disk
    disk.fail()
    large = letter("refused", 200_000)
    code, text = smtp_says(daemon, large)
    assert (code, text[:5]) == (452, "4.3.1")
    assert smtp_says(daemon, letter("refused", 3_000_000))[0] == 452  # it would have had a file of its own
    assert list((disk.path / "large").iterdir()) == []
    assert append_says(daemon, large).startswith("NO [UNAVAILABLE]")
    answer = http_says(daemon, large)
    assert (answer.status_code, answer.json()["reply"]["enhanced"]) == (503, "4.3.1")
    assert http_get(daemon, "/v1/messages").json()["messages"][0]["subject"] == "before"
    disk.mend()
    for number in range(3):
        assert smtp_says(daemon, letter(f"after{number}"))[0] == 250
    arrived(daemon, "after0", "after1", "after2")
    assert append_says(daemon, letter("appended")).startswith("OK")
    assert pop3_update_says(daemon).startswith("+OK")
    assert subjects(daemon) == ["after0", "after1", "after2", "appended"]


@pytest.mark.rfc(3206, "4")
@pytest.mark.parametrize("on_disk", ["limit"], indirect=True)
def test_a_maildrop_that_cannot_be_updated_keeps_its_messages(on_disk):
    daemon, disk = on_disk
    disk.fail()
    assert "[SYS/TEMP]" in pop3_update_says(daemon)
    disk.mend()
    assert subjects(daemon) == ["before"]
    assert pop3_update_says(daemon).startswith("+OK")
    assert subjects(daemon) == []


@pytest.mark.rfc(5321, "6.1")
@pytest.mark.parametrize("on_disk", ["tmpfs", "limit"], indirect=True)
def test_everything_acknowledged_while_the_disk_fills_up_arrives(on_disk):
    daemon, disk = on_disk
    acknowledged = []
    for number in range(40):
        if number == 20:
            disk.fail()
        if smtp_says(daemon, letter(f"number-{number:02}", 20_000))[0] == 250:
            acknowledged.append(f"number-{number:02}")
    assert 20 <= len(acknowledged) < 40
    disk.mend()
    run_queues(daemon)  # what beta refused waits a minute otherwise
    arrived(daemon, *acknowledged)
    assert subjects(daemon) == ["before", *acknowledged]


@pytest.mark.parametrize("on_disk", ["ext4"], indirect=True)
def test_a_file_system_that_turns_read_only_refuses_mail_and_goes_on_serving_what_there_is(on_disk, serve):
    daemon, disk = on_disk
    disk.fail()
    code, text = smtp_says(daemon, letter("refused"))
    assert (code, text[:5]) == (452, "4.3.1")
    assert append_says(daemon, letter("refused")).startswith("NO [UNAVAILABLE]")
    assert http_says(daemon, letter("refused")).status_code == 503
    assert "[SYS/TEMP]" in pop3_update_says(daemon)
    assert subjects(daemon) == ["before"]
    daemon.process.kill()
    daemon.process.wait()
    if isinstance(disk, ReadOnly):  # the limit of a stand-in went with its process
        code, line = started("--data", str(disk.path))
        assert code == 1
        assert "Read-only file system" in line or "readonly" in line


# At the start


def started(*arguments: str, unprivileged: bool = False) -> tuple[int, str]:
    """Exit code and the one line on stderr of a daemon that cannot start."""
    command = [str(Path(sys.executable).with_name("mailsandbox")), "serve", "--ephemeral", "--quiet", *arguments]
    if unprivileged and os.getuid() == 0:  # mode bits mean nothing to root with its capabilities
        command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False, env=environment)
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("mailsandbox: ")
    return done.returncode, lines[0]


def test_a_directory_that_may_not_be_written_is_named(tmp_path):
    (tmp_path / "data").mkdir(mode=0o555)
    code, line = started("--data", str(tmp_path / "data"), unprivileged=True)
    assert code == 1
    assert f"data directory {tmp_path}/data: cannot be made or written: Permission denied" in line


@pytest.fixture(scope="module")
def thirty(tmp_path_factory) -> Path:
    """A data directory with thirty messages."""
    place = tmp_path_factory.mktemp("thirty") / "data"

    async def fill() -> None:
        database = open_database(str(place))
        await database.start()
        store = Store(database, clock=SystemClock())
        await store.start()
        for number in range(30):
            await store.deliver([Delivery(account=BOB, trace=b"")], letter(f"number-{number}", 5_000))
        await store.aclose()
        await database.aclose()

    asyncio.run(fill())
    return place


@pytest.fixture
def filled(thirty, tmp_path) -> Path:
    """Its database file, to be damaged."""
    shutil.copytree(thirty, tmp_path / "data")
    return tmp_path / "data" / "mailsandbox.sqlite"


def overwrite(path: Path, at: int, octets: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(octets)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: overwrite(path, 0, b"\xa5" * 100),  # the header
        lambda path: path.write_bytes(b"this is not a database\n" * 1000),
        lambda path: os.truncate(path, path.stat().st_size // 3),
    ],
    ids=["header overwritten", "not a database", "truncated"],
)
def test_a_damaged_database_is_named_at_the_start_with_what_can_be_done_and_left_as_it_is(filled, damage):
    damage(filled)
    before = filled.read_bytes()
    code, line = started("--data", str(filled.parent))
    assert code == 1
    assert str(filled) in line
    assert "damaged" in line
    assert ".recover" in line
    assert filled.read_bytes() == before


def test_a_page_overwritten_in_the_middle_is_told_to_whoever_reads_it_and_the_rest_is_served(filled, serve):
    pages = filled.stat().st_size // 4096
    with sqlite3.connect(filled) as connection:
        [(root,)] = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'blob_octets'").fetchall()
    connection.close()
    assert pages > 60
    overwrite(filled, (root - 1) * 4096, b"\xa5" * 4096)
    daemon = serve("--data", str(filled.parent))
    listed = http_get(daemon, "/v1/messages", limit=100)
    assert listed.status_code == 200
    assert len(listed.json()["messages"]) == 30
    raw = http_get(daemon, f"/v1/messages/{listed.json()['messages'][0]['id']}/raw")
    assert raw.status_code == 503
    assert "damaged" in raw.json()["detail"]
    code, text = smtp_says(daemon, letter("refused"))
    assert (code, text[:5]) == (452, "4.3.1")
    assert append_says(daemon, letter("refused")).startswith("NO [UNAVAILABLE]")


def test_a_write_ahead_log_of_garbage_costs_what_was_in_it_alone_and_is_told(filled, serve):
    log = filled.with_name(filled.name + "-wal")
    log.write_bytes(os.urandom(50_000))
    daemon = serve("--data", str(filled.parent))
    assert len(subjects(daemon)) == 30
    assert smtp_says(daemon, letter("after"))[0] == 250
    arrived(daemon, "after")
    daemon.process.terminate()
    daemon.process.wait(DEADLINE)
    assert f"{log}: not a write-ahead log of SQLite" in daemon.process.stderr.read().decode()


def test_data_of_a_newer_version_are_not_touched(filled):
    with sqlite3.connect(filled) as connection:
        connection.execute("UPDATE schema_versions SET version = 99 WHERE component = 'store'")
    connection.close()
    code, line = started("--data", str(filled.parent))
    assert code == 1
    assert "newer version" in line
    assert "schema 99 of store" in line


def test_a_database_that_is_no_postgresql_url_is_wrong_use():
    code, line = started("--database", "mysql://root@localhost/mail")
    assert code == 2
    assert "postgresql://" in line
    assert not Path("mysql:").exists()
