"""The manual clock of a sandbox that keeps its data goes on where it stood, however the one before ended."""

import dataclasses
import datetime

import httpx
import pytest

from mailsandbox import Sandbox
from mailsandbox.clock import MANUAL_START, ManualClock
from mailsandbox.config import load
from mailsandbox.database.opening import open_database
from mailsandbox.errors import StoreFull
from mailsandbox.specs import SandboxSpec
from mailsandbox.store.manual_time import keep_time
from tests.path.conftest import DEADLINE
from tests.postgres_cluster import postgres  # noqa: F401

HOUR = 3600.0  # daemons on PostgreSQL look at each other's leases every two minutes: a test of days takes seconds
FAR = "far@nobody.test"
CONFIG = """
[clock]
mode = "manual"
[[routes]]
domain = "nobody.test"
host = "127.0.0.1"
port = 1
[relay]
retry = { lifetime = "1h" }
"""


@pytest.fixture(params=["file", "postgresql"])
def kept(request, tmp_path) -> SandboxSpec:
    if request.param == "file":
        return SandboxSpec(data=tmp_path / "data", manual_clock=True)
    return SandboxSpec(database=request.getfixturevalue("postgres").new_database(), manual_clock=True)


def test_it_goes_on_after_a_restart_and_from_there(kept):
    with Sandbox(kept) as box:
        assert box.clock.now() == MANUAL_START
        assert box.clock.advance(10 * HOUR) == MANUAL_START + 10 * HOUR
    with Sandbox(kept) as box:
        assert box.clock.now() == MANUAL_START + 10 * HOUR
        assert box.clock.advance(1.5) == MANUAL_START + 10 * HOUR + 1.5
    with Sandbox(kept) as box:
        assert box.clock.now() == MANUAL_START + 10 * HOUR + 1.5


def test_what_waits_is_tried_after_the_restart_as_if_there_had_been_none(kept, tmp_path):
    config = tmp_path / "mailsandbox.toml"
    config.write_text(CONFIG)
    spec = load(config)
    kept = dataclasses.replace(kept, routes=spec.routes, relay=spec.relay)
    with Sandbox(kept) as box:
        box.clock.advance(10 * HOUR)
        sent = box.send(FAR)
        assert box.journey(sent).state == "queued"
    with Sandbox(kept) as box:
        before = len(box.journey(sent).hops[0].attempts)
        box.clock.advance(HOUR / 2)
        assert len(box.journey(sent).hops[0].attempts) > before
        box.clock.advance(HOUR)
        assert box.journey(sent).state == "failed"


def test_two_that_share_a_database_leave_the_later_time(postgres):  # noqa: F811
    spec = SandboxSpec(database=postgres.new_database(), manual_clock=True)
    with Sandbox(spec) as one, Sandbox(spec) as other:
        one.clock.advance(2 * HOUR)
        other.clock.advance(HOUR)
    with Sandbox(spec) as box:
        assert box.clock.now() == MANUAL_START + 2 * HOUR


def test_without_data_every_sandbox_begins_at_the_documented_date():
    documented = datetime.datetime(2026, 9, 21, 14, 13, 20, tzinfo=datetime.UTC)
    for _ in range(2):
        with Sandbox(clock="manual") as box:
            assert box.clock.now() == documented.timestamp()
            box.clock.advance(HOUR)


def test_data_of_the_system_clock_does_not_lie_in_the_future_of_a_manual_one(kept):
    with Sandbox(dataclasses.replace(kept, manual_clock=False)) as box:
        sent = box.send("bob@beta.test", subject="now")
        received = box.wait_for(subject="now").received_at
    with Sandbox(kept) as box:
        assert box.clock.now() >= received
        assert box.journey(sent).state == "delivered"


def test_kill_9_right_after_the_answer_does_not_take_the_time_back(serve, tmp_path):
    config = tmp_path / "mailsandbox.toml"
    config.write_text(CONFIG)
    arguments = ("--config", str(config), "--data", str(tmp_path / "data"))

    def clock(daemon, path: str = "", **body) -> float:
        host, port = daemon.services["http"]
        url = f"http://{host}:{port}/v1/clock{path}"
        answer = httpx.post(url, json=body, timeout=DEADLINE) if body else httpx.get(url)
        assert answer.status_code == 200, answer.text
        return answer.json()["timestamp"]

    first = serve(*arguments)
    then = clock(first, "/advance", by="5h")
    assert then == MANUAL_START + 5 * HOUR
    first.process.kill()
    first.process.wait()
    assert clock(serve(*arguments)) == then


async def test_a_time_that_the_database_does_not_take_is_not_reached(tmp_path, monkeypatch):
    database, clock = open_database(str(tmp_path / "data")), ManualClock()
    await database.start()
    await database.write(lambda tx: tx.execute("CREATE TABLE journey_events (id INTEGER PRIMARY KEY, at REAL)"))
    await keep_time(clock, database)
    with monkeypatch.context() as patched:

        async def full(*_, **__):
            raise StoreFull("the disk is full")

        patched.setattr(database, "write", full)
        with pytest.raises(StoreFull):
            await clock.advance(HOUR)
        assert clock.now() == MANUAL_START
        await clock.advance(0)  # needs no database
    assert await clock.advance(HOUR) == MANUAL_START + HOUR
    await database.aclose()
