"""Transcripts of connections: complete while short, bounded when long, and findable."""

import re
from pathlib import Path

import mailsandbox
from mailsandbox.clock import ManualClock
from mailsandbox.journey.sessions import HEAD_LINES, MAX_LINE, OUTCOMES, TAIL_LINES, SessionLog


def opened(log, **fields):
    return log.open("smtp", "alpha.smtp", peer="127.0.0.1:1", local="127.0.0.1:1025", **fields)


async def test_a_session_begins_and_ends_at_the_sandboxs_time():
    clock = ManualClock()
    record = opened(SessionLog(clock))
    await clock.advance(3600)
    record.client("QUIT")
    record.close()
    assert (record.started_at, record.ended_at) == (clock.now() - 3600, clock.now())
    [line] = record.transcript
    assert line.at < 3600  # what the peer really took


def test_a_transcript_has_both_sides_in_order():
    record = opened(SessionLog(ManualClock()))
    record.server("220 hello")
    record.client("QUIT")
    record.note("connection lost")
    assert [(line.side, line.text) for line in record.transcript] == [
        ("S", "220 hello"),
        ("C", "QUIT"),
        ("!", "connection lost"),
    ]


def test_the_part_since_a_mark_is_one_transaction():
    record = opened(SessionLog(ManualClock()))
    record.client("EHLO x")
    mark = record.mark
    record.client("MAIL FROM:<>")
    assert [line.text for line in record.since(mark)] == ["MAIL FROM:<>"]


def test_a_long_session_keeps_its_beginning_and_its_end_and_says_what_is_missing():
    record = opened(SessionLog(ManualClock()))
    total = HEAD_LINES + TAIL_LINES + 50
    for number in range(total):
        record.client(f"line {number}")
    lines = [line.text for line in record.transcript]
    assert lines[0] == "line 0"
    assert lines[HEAD_LINES] == "[50 lines not kept]"
    assert lines[-1] == f"line {total - 1}"
    assert len(lines) == HEAD_LINES + TAIL_LINES + 1
    assert [line.text for line in record.since(total - 2)] == [f"line {total - 2}", f"line {total - 1}"]


def test_a_long_line_is_cut_and_says_so():
    record = opened(SessionLog(ManualClock()))
    record.client("x" * (MAX_LINE + 1))
    assert record.transcript[0].text.endswith(f"[cut: {MAX_LINE + 1} characters]")


def test_the_log_keeps_the_newest_closed_sessions_and_every_open_one():
    log = SessionLog(ManualClock(), keep=2)
    still_open = opened(log)
    closed = [opened(log) for _ in range(3)]
    for record in closed:
        record.close("closed")
    assert list(log) == [closed[2], closed[1], still_open]
    assert log.get(closed[0].id) is None
    assert log.open_count == 1


def test_sessions_come_by_their_beginning_newest_first_whenever_they_ended():
    log = SessionLog(ManualClock())
    first, second, third = (opened(log) for _ in range(3))
    for record in (second, third, first):
        record.close()
    assert list(log) == [third, second, first]


def test_every_outcome_that_a_server_gives_is_a_known_one():
    given = re.compile(r'(?:\.close|_end|_goodbye|thrown_out)\("([^"]+)"\)|Leave\(.*, "([^"]+)"\)|_outcome = "([^"]+)"')
    package = Path(mailsandbox.__file__).parent
    sources = [path for area in ("access", "submit") for path in (package / area).rglob("*.py")]
    found = {next(filter(None, groups)) for path in sources for groups in given.findall(path.read_text("utf-8"))}
    assert {"rejected", "tls failed", "shutdown", "too many errors", "fault"} <= found
    assert found <= set(OUTCOMES)


def test_the_first_outcome_stands():
    record = opened(SessionLog(ManualClock()))
    record.close("aborted")
    record.close("closed")
    assert record.outcome == "aborted"
