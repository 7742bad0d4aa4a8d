"""Commands that ask a daemon, against one by script: what they ask, what they print, how they end."""

import json

import pytest

from mailsandbox.cli.daemon import Daemon, default_ready_file, find_daemon, seen_from
from mailsandbox.cli.journey import WIDTH, report

ROW = {
    "id": "1-7",
    "account": "bob@beta.test",
    "mailbox": "INBOX",
    "uid": 7,
    "subject": "Été \x1b[31m",
    "from": "A <a@x.test>",
    "to": "bob@beta.test",
    "received_at": "2026-11-21T03:04:22Z",
    "octets": 1234,
    "flags": ["\\Seen"],
    "attachments": 1,
}


def test_list_asks_for_the_account_and_prints_a_safe_table(run, scripted):
    scripted.answers["GET", "/v1/messages"] = 200, {"messages": [ROW], "next": None}
    ran = run("list", "bob@beta.test", "--subject", "été")
    assert ran.code == 0
    assert scripted.asked[0][2] == [("account", "bob@beta.test"), ("subject", "été"), ("limit", "100")]
    assert "1-7" in ran.out
    assert "\x1b" not in ran.out
    assert max(map(len, ran.out.splitlines())) <= 80


def test_list_follows_pages_up_to_the_limit(run, scripted):
    scripted.answers["GET", "/v1/messages"] = 200, {"messages": [ROW] * 1000, "next": "more"}
    ran = run("list", "bob@beta.test", "--limit", "2000", "--json")
    assert len(ran.json["messages"]) == 2000
    assert [dict(query).get("after") for _, _, query, _ in scripted.asked] == [None, "more"]


def test_list_without_an_address_lists_the_accounts(run, scripted):
    account = {"address": "bob@beta.test", "messages": 3, "unseen": 1, "octets": 52_345, "cursor": 9}
    scripted.answers["GET", "/v1/accounts"] = 200, {"accounts": [account]}
    assert "bob@beta.test         3       1  52 kB" in run("list").out


def test_an_unknown_message_is_exit_code_one_with_the_daemons_words(run, scripted):
    scripted.answers["GET", "/v1/messages/9-9"] = 404, {"title": "Not found", "detail": "there is no message '9-9'"}
    for command in ("show", "raw"):
        ran = run(command, "9-9")
        assert ran.code == 1
    assert run("show", "9-9").err == "mailsandbox: there is no message '9-9'\n"


def test_an_id_cannot_lead_to_another_route(run, scripted):
    run("show", "../../v1/reset?x=")
    assert scripted.asked[0][1] == "/v1/messages/..%2F..%2Fv1%2Freset%3Fx%3D"


def test_show_prints_header_tree_and_text(run, scripted):
    mime = {
        "number": "",
        "content_type": "multipart/mixed",
        "octets": 900,
        "encoding": "7bit",
        "parts": [
            {"number": "1", "content_type": "text/plain", "octets": 10, "encoding": "8bit", "charset": "utf-8"},
            {"number": "2", "content_type": "image/png", "octets": 800, "encoding": "base64", "filename": "a.png"},
        ],
    }
    headers = [{"name": "Subject", "value": "Été"}, {"name": "X-Other", "value": "y"}]
    view = {**ROW, "journey_id": "J1", "mime": mime, "headers": headers}
    scripted.answers["GET", "/v1/messages/1-7"] = 200, view
    scripted.answers["GET", "/v1/messages/1-7/text"] = 200, "bonjour\r\n\x1b[2Jété\r\n".encode()
    ran = run("show", "1-7")
    assert ran.out.startswith("Subject: Été\n\nin bob@beta.test INBOX, UID 7")
    assert '2   image/png, base64, "a.png", 800 B' in ran.out
    assert ran.out.endswith("bonjour\n\ufffd[2Jété\n")
    assert "X-Other: y" in run("show", "1-7", "--headers").out


def test_raw_writes_exact_octets(run, scripted, tmp_path):
    octets = b"Subject: x\r\n\r\n\x00\xff\r\nno end"
    scripted.answers["GET", "/v1/messages/1-7/raw"] = 200, octets
    assert run("raw", "1-7", "-o", tmp_path / "out").code == 0
    assert (tmp_path / "out").read_bytes() == octets


def test_wait_prints_what_came(run, scripted):
    scripted.answers["GET", "/v1/wait"] = 200, {"messages": [ROW]}
    ran = run("wait", "bob@beta.test", "--subject", "^Été", "--timeout", "5")
    assert ran.code == 0
    assert ran.out.startswith("1-7  ")
    assert dict(scripted.asked[0][2])["subject"] == "/^Été/"


def test_wait_that_timed_out_prints_the_nearest_misses(run, scripted):
    miss = {**ROW, "differs": ["subject: wanted /x/, it is Été"]}
    scripted.answers["GET", "/v1/wait"] = 408, {"title": "x", "messages": [], "near_misses": [miss]}
    ran = run("wait", "bob@beta.test", "--subject", "x", "--timeout", "0.1")
    assert ran.code == 1
    assert ran.out == ""
    assert "no such message within 0.1 s" in ran.err
    assert "subject: want" in ran.err
    as_json = run("wait", "bob@beta.test", "--subject", "x", "--timeout", "0.1", "--json")
    assert as_json.code == 1
    assert as_json.json["near_misses"][0]["differs"] == ["subject: wanted /x/, it is Été"]


ITEM = {
    "id": "Q1",
    "site": "alpha",
    "journey_id": "Q1",
    "from": "",
    "received_at": "2026-11-21T03:04:22Z",
    "octets": 99,
    "held": False,
    "recipients": [
        {
            "address": "b@x.test",
            "status": "waiting",
            "attempts": 1,
            "next_attempt": "2026-11-21T03:05:22Z",
            "reply": "451 4.7.1 later",
            "remote": "mx.x.test",
        },
    ],
}


def test_the_queue_is_listed_with_each_recipients_state(run, scripted):
    scripted.answers["GET", "/v1/queue"] = 200, {"items": [ITEM]}
    for arguments in (["queue"], ["queue", "list"]):
        ran = run(*arguments)
        assert "Q1  alpha  99 B" in ran.out
        assert "from <>" in ran.out
        assert "b@x.test: waiting, 1 attempt, next " in ran.out
        assert "mx.x.test said: 451 4.7.1 later" in ran.out
    assert run("queue", "--json").json == {"items": [ITEM]}


@pytest.mark.parametrize(
    ("action", "method", "path"),
    [
        ("retry", "POST", "/v1/queue/Q1/retry"),
        ("hold", "POST", "/v1/queue/Q1/hold"),
        ("release", "POST", "/v1/queue/Q1/release"),
        ("bounce", "POST", "/v1/queue/Q1/bounce"),
        ("remove", "DELETE", "/v1/queue/Q1"),
    ],
)
def test_the_queue_is_steered_by_ids(run, scripted, action, method, path):
    scripted.answers[method, path] = (204, None) if action != "hold" else (200, ITEM)
    assert run("queue", action, "Q1").code == 0
    assert scripted.asked[0][:2] == (method, path)
    assert run("queue", action, "gone").code == 1
    several = run("queue", action, "gone", "Q1", "Q1")
    assert (several.code, several.out.count("Q1: ")) == (1, 2)


def test_the_queue_is_run(run, scripted):
    scripted.answers["POST", "/v1/queue/run"] = 202, {"recipients": 2}
    assert "2 recipients tried now" in run("queue", "run").out


def test_sessions_are_listed_and_shown_with_their_transcript(run, scripted):
    session = {
        "id": "S1",
        "protocol": "imap",
        "service": "imap",
        "peer": "127.0.0.1:4",
        "local": "127.0.0.1:1143",
        "started_at": "2026-11-21T03:04:22Z",
        "ended_at": None,
        "outcome": "open",
        "account": "b@x.test",
        "tls": "",
        "helo": "",
    }
    scripted.answers["GET", "/v1/sessions"] = 200, {"sessions": [session]}
    shown = {**session, "findings": [], "transcript": [{"at": 0.5, "side": "C", "text": "a1 NOOP"}]}
    scripted.answers["GET", "/v1/sessions/S1"] = 200, shown
    assert "S1  " in run("sessions", "--protocol", "imap").out
    assert ("protocol", "imap") in scripted.asked[0][2]
    assert "      0.500 C a1 NOOP" in run("sessions", "S1").out


def test_a_finding_that_no_session_has_is_told_with_those_that_there_are(run, scripted, monkeypatch):
    asked = []

    def get(_, path, parameters=(), **__):
        asked.append(dict(parameters))
        rows = [{"rules": ["bare-lf-command", "command-in-idle"]}, {"rules": ["bare-lf-command"]}]
        return {"sessions": rows if asked[-1].get("finding") == "any" else []}

    monkeypatch.setattr(Daemon, "get", get)
    ran = run("sessions", "--finding", "nope")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err == "no connections; rules that clients broke so far: bare-lf-command, command-in-idle\n"
    assert run("sessions", "--finding", "nope", "--json").json == {"sessions": []}
    asked.clear()
    assert run("sessions", "--protocol", "imap").err == "no connections\n"
    assert len(asked) == 1


def test_findings_of_sessions_are_a_column_only_where_there_are_some(run, scripted):
    session = dict.fromkeys(("protocol", "service", "peer", "local", "account", "tls", "helo"), "x")
    session |= {"id": "S1", "started_at": "2026-11-21T03:04:22Z", "ended_at": None, "outcome": "open", "rules": []}
    scripted.answers["GET", "/v1/sessions"] = 200, {"sessions": [session]}
    assert "FINDINGS" not in run("sessions").out
    broken = {**session, "id": "S2", "rules": ["command-in-idle", "bare-lf-command"]}
    scripted.answers["GET", "/v1/sessions"] = 200, {"sessions": [broken, session]}
    out = run("sessions", "--finding", "any").out
    assert "FINDINGS" in out
    assert "command-in-idle" in out
    assert ("finding", "any") in scripted.asked[-1][2]


def test_an_outcome_of_sessions_is_one_that_there_is_with_hyphens_or_spaces(run, scripted):
    scripted.answers["GET", "/v1/sessions"] = 200, {"sessions": []}
    words = {"hung-up": "hung up", "hung up": "hung up", "tls-on-a-plain-port": "TLS on a plain port"}
    for given, asked in words.items():
        assert run("sessions", "--outcome", given).code == 0
        assert ("outcome", asked) in scripted.asked[-1][2]
    wrong = run("sessions", "--outcome", "nonsense")
    assert wrong.code == 2
    assert "rejected" in wrong.err
    told = " ".join(run("sessions", "--help").out.split())
    assert "open, closed, rejected, aborted, hung-up," in told


def test_readyz_is_zero_when_ready_and_one_when_not(run, scripted):
    scripted.answers["GET", "/readyz"] = 200, {"status": "ready"}
    assert run("readyz").code == 0
    scripted.answers["GET", "/readyz"] = 503, {"title": "x", "detail": "not every service listens yet"}
    ran = run("readyz", "--json")
    assert (ran.code, ran.json) == (1, {"ready": False, "why": "not every service listens yet"})


# Finding the daemon


def test_a_ready_file_names_the_daemon(tmp_path):
    path = tmp_path / "ready.json"
    path.write_text(json.dumps({"version": 1, "pid": 1, "services": {"http": "127.0.0.1:7", "imap": "127.0.0.1:8"}}))
    found = find_daemon(path, None)
    assert found.url == "http://127.0.0.1:7"
    assert found.service("imap") == ("127.0.0.1", 8)


def test_a_daemon_without_http_is_not_mistaken_for_the_one_on_the_default_port(run, tmp_path):
    path = tmp_path / "ready.json"
    path.write_text(json.dumps({"version": 1, "pid": 1, "services": {"imap": "127.0.0.1:8"}}))
    assert find_daemon(path, None).service("imap") == ("127.0.0.1", 8)
    ran = run("list", "--ready-file", path)
    assert (ran.code, ran.err) == (
        1,
        "mailsandbox: the daemon has no HTTP interface, which this needs: give access.http a port\n",
    )


def test_the_default_ready_file_is_found_unless_its_daemon_is_gone(tmp_path):
    path = default_ready_file()
    path.parent.mkdir()
    import os

    for pid, url in ((os.getpid(), "http://127.0.0.1:7"), (2**22 + 1, "http://127.0.0.1:8025")):
        path.write_text(json.dumps({"version": 1, "pid": pid, "services": {"http": "127.0.0.1:7"}}))
        assert find_daemon(None, None).url == url


def test_without_any_hint_the_default_ports_are_asked():
    found = find_daemon(None, None)
    assert found.url == "http://127.0.0.1:8025"
    assert found.service("alpha.smtp") == ("127.0.0.1", 1025)


def test_the_daemon_of_a_url_is_asked_where_its_services_are_and_only_when_it_matters(scripted):
    scripted.answers["GET", "/v1/services"] = 200, {"services": {"imap": "127.0.0.1:7", "http": "127.0.0.1:1"}}
    found = find_daemon(None, scripted.url)
    assert scripted.asked == []
    assert found.service("imap") == ("127.0.0.1", 7)
    assert found.services["http"] == scripted.url.removeprefix("http://")  # the URL reached it: it is right
    assert [path for _, path, _, _ in scripted.asked] == ["/v1/services"]
    found.close()
    assert find_daemon(None, "box.test:9000").url == "http://box.test:9000"


@pytest.mark.parametrize(
    ("url", "told", "place"),
    [
        ("http://box.test:8025", "0.0.0.0:1143", "box.test:1143"),
        ("http://box.test:8025", "[::]:1143", "box.test:1143"),
        ("http://box.test:8025", "127.0.0.1:1143", "box.test:1143"),  # its own loopback, not ours
        ("http://[fd00::1]:8025", "[::]:1143", "[fd00::1]:1143"),
        ("http://127.0.0.1:8025", "[::1]:1143", "[::1]:1143"),
        ("http://localhost:8025", "127.0.0.1:1143", "127.0.0.1:1143"),
        ("http://box.test:8025", "192.0.2.7:1143", "192.0.2.7:1143"),
        ("http://box.test:8025", "unix:/run/lmtp", "unix:/run/lmtp"),
    ],
)
def test_a_place_that_a_daemon_names_is_seen_from_where_its_url_was(url, told, place):
    assert seen_from(url, told) == place


@pytest.mark.parametrize(
    "answer", [(404, {"detail": "there is no /v1/services"}), (200, {"services": [1]}), (200, b"<html>"), (200, [])]
)
@pytest.mark.parametrize(
    "arguments", [("send", "--to", "a@b.test", "--text", "x"), ("watch", "a@b.test", "--via", "idle")]
)
def test_a_url_of_something_else_is_an_error_that_names_it(run, scripted, answer, arguments):
    scripted.answers["GET", "/v1/services"] = answer
    ran = run(*arguments)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(f"mailsandbox: {scripted.url} does not say where its services are (")


def test_an_https_url_of_an_interface_without_tls_is_told_as_that(run, scripted):
    url = scripted.url.replace("http:", "https:")
    assert f"no daemon answers at {url} (TLS failed: wrong version number);" in run("list", "--url", url).err


@pytest.mark.parametrize(
    "arguments",
    [
        ("send", "--to", "a@b.test", "--text", "x"),
        ("watch", "a@b.test", "--via", "pop3", "--timeout", "0.1"),
        ("watch", "a@b.test", "--via", "smtp", "--listen", "127.0.0.1:0", "--timeout", "0.1"),
        ("import", __file__, "--account", "a@b.test", "--format", "eml"),
    ],
)
def test_nobody_at_the_url_is_an_error_of_every_command_that_speaks_another_protocol(run, arguments):
    ran = run(*arguments, "--url", "http://127.0.0.1:9")
    assert (ran.code, ran.out) == (1, "")
    assert "no daemon answers at http://127.0.0.1:9 (Connection refused)" in ran.err


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"version": 2, "pid": 1, "services": {}}'])
def test_a_broken_ready_file_is_named(run, tmp_path, content):
    path = tmp_path / "ready.json"
    path.write_text(content)
    ran = run("list", "--ready-file", path)
    assert ran.code == 1
    assert str(path) in ran.err


# The journey


JOURNEY = {
    "id": "A1",
    "state": "delivered",
    "findings": [],
    "hops": [
        {
            "site": "alpha",
            "accepted": {
                "site": "alpha",
                "queue_id": "A1",
                "at": 1795230262.0,
                "session_id": "S1",
                "peer": "127.0.0.1:4000",
                "helo": "client.test",
                "protocol": "ESMTP",
                "tls": "",
                "octets": 500,
                "sha256": "ab" * 32,
                "envelope": {
                    "reverse_path": "a@alpha.test",
                    "recipients": ["b@beta.test"],
                    "mail_parameters": {"BODY": "8BITMIME", "SMTPUTF8": ""},
                    "recipient_parameters": {},
                },
                "findings": [
                    {
                        "rule": "undeclared-8bit",
                        "source": "RFC 6152 §3",
                        "text": "8-bit content",
                        "offset": 40,
                        "part": "1",
                        "enhanced": "5.6.1",
                        "fatal": False,
                    }
                ],
                "transcript": [
                    {"at": 0.001, "side": "C", "text": "EHLO client.test"},
                    {"at": 0.002, "side": "S", "text": "x" * 100},
                ],
            },
            "attempts": [
                {
                    "site": "alpha",
                    "queue_id": "A1",
                    "number": 1,
                    "started_at": 1795230262.01,
                    "ended_at": 1795230262.05,
                    "host": "beta.test",
                    "address": "127.0.0.1:2025",
                    "offers": ["PIPELINING"],
                    "tls": "",
                    "envelope": {
                        "reverse_path": "a@alpha.test",
                        "recipients": ["b@beta.test"],
                        "mail_parameters": {},
                        "recipient_parameters": {},
                    },
                    "octets_in": 560,
                    "sha256_in": "cd" * 32,
                    "octets_out": 600,
                    "sha256_out": "ef" * 32,
                    "body": "",
                    "findings": [],
                    "edits": [
                        {
                            "part": "1",
                            "start": 100,
                            "end": 108,
                            "rule": "8bit-body",
                            "source": "RFC 6152 §3",
                            "before": "déjà vu",
                            "after": "d=C3=A9j=C3=A0 vu",
                        }
                    ],
                    "outcomes": [
                        {"address": "b@beta.test", "outcome": "relayed", "reply": "250 2.0.0 Ok", "enhanced": "2.0.0"}
                    ],
                    "possible_duplicate": False,
                    "transcript": [],
                }
            ],
            "deliveries": [],
            "notifications": [],
            "expansions": [],
            "undelivered": [],
        },
        {
            "site": "beta",
            "accepted": None,
            "attempts": [],
            "expansions": [
                {"site": "beta", "address": "team@beta.test", "members": ["b@beta.test", "c@beta.test"], "at": 0.0}
            ],
            "undelivered": [{"site": "beta", "recipient": "c@beta.test", "reply": "552 5.2.2 Mailbox full", "at": 0.0}],
            "notifications": [
                {
                    "site": "beta",
                    "at": 1795230263.0,
                    "action": "failed",
                    "recipients": ["c@beta.test"],
                    "dsn_journey": "D1",
                }
            ],
            "deliveries": [
                {
                    "delivery": {
                        "site": "beta",
                        "recipient": "b@beta.test",
                        "account": "b@beta.test",
                        "mailbox": "INBOX",
                        "uid": 1,
                        "message_id": "1-1",
                        "seq": 3,
                        "octets": 700,
                        "at": 1795230262.06,
                        "committed_ns": 5,
                    },
                    "first_shown": [{"message_id": "1-1", "protocol": "sse", "at": 1795230262.07, "after_ms": 1.25}],
                }
            ],
        },
    ],
}


def test_the_journey_reads_hop_by_hop_in_eighty_columns(run, scripted):
    scripted.answers["GET", "/v1/journeys/A1"] = 200, JOURNEY
    ran = run("journey", "A1")
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert max(map(len, lines)) <= WIDTH
    for expected in (
        "journey A1: delivered",
        "1  ALPHA  ",
        "accepted at +0.0 ms from 127.0.0.1:4000 (client.test), ESMTP, no TLS",
        "   from <a@alpha.test> BODY=8BITMIME SMTPUTF8",
        "   finding undeclared-8bit (5.6.1 RFC 6152 §3) at octet 40, part 1:",
        "      0.001 C EHLO client.test",
        "attempt 1 at +10.0 ms, 40.0 ms: to beta.test (127.0.0.1:2025), no TLS",
        "   560 octets in, 600 sent after conversion, no BODY parameter",
        "   edit in part 1, octets 100-108: 8bit-body (RFC 6152 §3)",
        "     - déjà vu",
        "alias team@beta.test: b@beta.test, c@beta.test",
        "not delivered to c@beta.test: 552 5.2.2 Mailbox full",
        "     + d=C3=A9j=C3=A0 vu",
        "   b@beta.test: relayed, 250 2.0.0 Ok",
        "delivered at +60.0 ms to b@beta.test INBOX, UID 1, 700 B",
        "   first shown by server-sent events 1.2 ms after the commit",
        "notification at +1.0 s: failed, about c@beta.test",
    ):
        assert any(line.startswith(expected) for line in lines), expected
    assert "EHLO" not in "\n".join(report(JOURNEY, transcript=False))
    assert run("journey", "A1", "--json").json == JOURNEY
