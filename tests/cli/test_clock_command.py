"""`mailsandbox clock`: the manual clock of a daemon, shown and advanced."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from daemons import started, stopped

from mailsandbox.clock import ManualClock
from mailsandbox.message.trace import format_date

VIEW = {"mode": "manual", "now": "2026-09-21T14:13:20.000000Z", "timestamp": 1_790_000_000.0}
WRITTEN = "Thu, 1 Jan 2026 00:00:00 +0000"
CONFIG = """
[relay]
retry = { first = "1m", jitter = 0.0, limit = "4h", lifetime = "5d", warn = "4h" }
[[routes]]
domain = "gamma.test"
host = "127.0.0.1"
port = 9
"""


@pytest.mark.parametrize("arguments", [["clock"], ["clock", "show"]])
def test_the_time_is_shown_with_whose_it_is(run, scripted, arguments):
    scripted.answers["GET", "/v1/clock"] = 200, VIEW
    local = datetime.fromtimestamp(VIEW["timestamp"], UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    assert run(*arguments).out == f"{local}, a manual clock\n"
    assert run(*arguments, "--json").json == VIEW
    scripted.answers["GET", "/v1/clock"] = 200, VIEW | {"mode": "system"}
    assert run(*arguments).out == f"{local}, the system's time\n"


def test_advance_asks_for_the_period_and_shows_the_new_time(run, scripted):
    scripted.answers["POST", "/v1/clock/advance"] = 200, VIEW
    assert "a manual clock" in run("clock", "advance", "5d").out
    assert json.loads(scripted.asked[0][3]) == {"by": "5d"}
    assert run("clock", "advance", "90", "--json").json == VIEW


@pytest.fixture(scope="module")
def manual(tmp_path_factory) -> Iterator[Path]:
    """The ready file of a daemon that runs on a manual clock."""
    place = tmp_path_factory.mktemp("manual")
    (place / "box.toml").write_text(CONFIG)
    ready_file = place / "ready.json"
    process = started(ready_file, "--config", str(place / "box.toml"), MAILSANDBOX_CLOCK_MODE="manual")
    yield ready_file
    stopped(process)


@pytest.fixture
def on_manual_time(manual, monkeypatch) -> Path:
    monkeypatch.setenv("MAILSANDBOX_READY_FILE", str(manual))
    return manual


def test_five_days_of_retries_are_over_when_advance_ends(on_manual_time, run):
    began = run("clock", "--json").json
    assert (began["mode"], began["timestamp"] >= ManualClock().now()) == ("manual", True)
    assert run("send", "--from", "ann@alpha.test", "--to", "x@gamma.test", "--subject", "lost").code == 0
    assert run("clock", "advance", "4h").code == 0
    assert [item["recipients"][0]["status"] for item in run("queue", "--json").json["items"]] == ["waiting"]
    ended = run("clock", "advance", "5d", "--json").json
    assert ended["timestamp"] == began["timestamp"] + 4 * 3600 + 5 * 86400
    assert run("queue", "--json").json["items"] == []
    subjects = [row["subject"] for row in run("list", "ann@alpha.test", "--json").json["messages"]]
    assert len(subjects) == 2  # the delay, and the end


def test_sessions_of_every_protocol_and_what_the_sandbox_writes_have_the_manual_clocks_time(on_manual_time, run):
    now = run("clock", "--json").json
    assert run("send", "--to", "tim@beta.test", "--subject", "when", "--header", f"Date: {WRITTEN}").code == 0
    [came] = run("wait", "tim@beta.test", "--timeout", "10", "--json").json["messages"]
    assert came["received_at"] == now["now"]
    raw = run("raw", came["id"]).out
    assert raw.count(f"Date: {WRITTEN}\r\n") == raw.count("\nDate: ") == 1
    assert raw.count(format_date(now["timestamp"])) == raw.count("Received: ") == 2
    run("watch", "tim@beta.test", "--via", "pop3", "--timeout", "0.1")
    run("watch", "tim@beta.test", "--via", "idle", "--timeout", "0.1")
    newest = {row["protocol"]: row["started_at"] for row in reversed(run("sessions", "--json").json["sessions"])}
    assert newest == dict.fromkeys(("smtp", "relay", "pop3", "imap"), now["now"])


@pytest.mark.parametrize("period", ["soon", "5x", "", "5 days", "100000w"])
def test_a_period_that_is_none_is_wrong_use_and_moves_nothing(on_manual_time, run, period):
    before = run("clock", "--json").json
    ran = run("clock", "advance", period)
    assert (ran.code, ran.out) == (2, "")
    assert "time" in ran.err or "the clock cannot go on" in ran.err
    assert run("clock", "--json").json == before


def test_the_system_s_time_is_not_advanced_and_the_error_says_how_to_get_a_manual_clock(run, tmp_path):
    ready_file = tmp_path / "ready.json"
    process = started(ready_file)
    try:
        ran = run("clock", "advance", "5d", "--ready-file", ready_file)
        assert (ran.code, ran.out) == (1, "")
        assert "the system's time" in ran.err
        assert "MAILSANDBOX_CLOCK_MODE=manual" in ran.err
        assert run("clock", "--ready-file", ready_file, "--json").json["mode"] == "system"
    finally:
        stopped(process)
