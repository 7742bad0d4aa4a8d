"""The commands against a real daemon, as a user has them in a terminal."""

import imaplib
import io
import json
import smtplib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemons import environment, started, stopped

from mailsandbox.cli.watch import MODELS

PNG = b"\x89PNG\r\n\x1a\n\x00\xff"


@pytest.fixture(scope="module")
def ready_file(tmp_path_factory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("daemon") / "ready.json"
    process = started(path)
    yield path
    stopped(process)


@pytest.fixture
def daemon(ready_file, monkeypatch) -> Path:
    """The commands find it by the environment."""
    monkeypatch.setenv("MAILSANDBOX_READY_FILE", str(ready_file))
    return ready_file


def test_the_ready_file_names_every_service_and_is_gone_after_sigterm(tmp_path):
    path = tmp_path / "ready.json"
    process = started(path)
    ready = json.loads(path.read_text())
    assert ready["version"] == 1
    assert ready["pid"] == process.pid
    assert {"alpha.smtp", "alpha.submission", "alpha.submissions", "beta.smtp", "pop3", "imap", "http"} <= set(
        ready["services"]
    )
    assert stopped(process) == 0
    assert not path.exists()


def test_a_port_in_use_is_a_sentence_and_exit_code_one(daemon, run, tmp_path):
    taken = json.loads(daemon.read_text())["services"]["imap"].rpartition(":")[2]
    config = tmp_path / "taken.toml"
    config.write_text(
        "[sites.alpha]\nsmtp = 0\nsubmission = 0\nsubmissions = 0\n[sites.beta]\nsmtp = 0\n"
        f"[access]\nimap = {taken}\npop3 = 0\npop3s = 0\nimaps = 0\nhttp = 0\n"
    )
    ran = run("serve", "--config", config, "--ready-file", tmp_path / "r.json")
    assert ran.code == 1
    assert taken in ran.err
    assert "Traceback" not in ran.err


def test_what_a_client_does_wrong_is_not_on_the_console(tmp_path, capfd):
    path = tmp_path / "ready.json"
    process = started(path)
    try:
        host, _, port = json.loads(path.read_text())["services"]["alpha.submission"].rpartition(":")
        with smtplib.SMTP(host, int(port), timeout=10) as client:
            client.ehlo()
            assert [client.docmd(line)[0] for line in ("AUTH LOGIN", "*", "NONSENSE")] == [334, 501, 500]
    finally:
        assert stopped(process) == 0
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("by", ["option", "environment"])
def test_a_url_is_enough_for_the_commands_that_speak_smtp_and_imap(ready_file, run, tmp_path, monkeypatch, by):
    """The daemon has no default port, and its ready file is not named."""
    services = json.loads(ready_file.read_text())["services"]
    url = f"http://{services['http']}"
    named = ("--url", url) if by == "option" else ()
    if by == "environment":
        monkeypatch.setenv("MAILSANDBOX_URL", url)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"Subject: piped\n\nx\n")))
    whose = f"{by}@beta.test"
    assert run("send", "--to", whose, "--subject", "sent", "--text", "x", *named).code == 0
    assert run("sendmail", *named, whose).code == 0
    (tmp_path / "m.eml").write_bytes(f"To: {whose}\r\nSubject: imported\r\n\r\nx\r\n".encode())
    assert run("import", tmp_path / "m.eml", "--account", whose, *named).code == 0
    assert run("wait", whose, "--count", "3", "--timeout", "20", *named).code == 0
    assert {row["subject"] for row in run("list", whose, "--json", *named).json["messages"]} == {
        "sent", "piped", "imported",
    }  # fmt: skip
    assert run("readyz", "--json", *named).json["services"] == services


@pytest.mark.parametrize("via", ["pop3", "idle", "sse"])
def test_a_url_is_enough_to_watch(ready_file, run, via):
    url = f"http://{json.loads(ready_file.read_text())['services']['http']}"
    ran = run("watch", f"watched-{via}@beta.test", "--via", via, "--timeout", "0.2", "--url", url)
    assert ran.code == 1  # as nothing came
    assert "watching by" in ran.err


def test_a_message_is_sent_awaited_listed_shown_and_its_journey_told(daemon, run, tmp_path):
    (tmp_path / "plage.png").write_bytes(PNG)
    sent = run("send", "--to", "ann@beta.test", "--subject", "Été à la plage", "--text", "déjà vu",
               "--attach", tmp_path / "plage.png", "--json")  # fmt: skip
    assert sent.code == 0
    (came,) = run("wait", "ann@beta.test", "--subject", "plage$", "--timeout", "10", "--json").json["messages"]
    assert "Été à la plage [1 attached]" in run("list", "ann@beta.test", "--whole").out
    assert max(map(len, run("list", "ann@beta.test").out.splitlines())) <= 80
    assert "ann@beta.test" in run("list").out
    shown = run("show", came["id"])
    assert "Subject: Été à la plage" in shown.out
    assert shown.out.endswith("déjà vu\n")
    assert 'image/png, base64, attachment, "plage.png"' in shown.out
    told = run("journey", sent.json["queue_id"])
    assert told.out == run("journey", came["journey_id"] if "journey_id" in came else sent.json["queue_id"]).out
    assert "1  ALPHA" in told.out
    assert "2  BETA" in told.out
    assert "   edit in part 1" in told.out
    assert "delivered at +" in told.out
    assert max(map(len, told.out.splitlines())) <= 80


def test_raw_is_what_is_stored_and_a_part_is_decoded(daemon, run, tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    run("send", "--to", "raw@beta.test", "--subject", "x", "--attach", tmp_path / "a.png")
    (came,) = run("wait", "raw@beta.test", "--json").json["messages"]
    run("raw", came["id"], "-o", tmp_path / "whole")
    octets = (tmp_path / "whole").read_bytes()
    assert len(octets) == came["octets"]
    assert octets.startswith(b"Return-Path: <alice@alpha.test>\r\n")
    run("raw", came["id"], "--part", "2", "-o", tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == PNG


def test_a_wait_in_vain_names_what_came_instead(daemon, run):
    run("send", "--to", "vain@beta.test", "--subject", "Something else", "--text", "x")
    run("wait", "vain@beta.test")
    ran = run("wait", "vain@beta.test", "--subject", "Invoice", "--timeout", "0.2")
    assert ran.code == 1
    assert "Something else" in ran.err
    assert "Invoice" in ran.err


@pytest.mark.parametrize("model", [name for name in MODELS if name != "smtp"])
def test_a_message_is_watched_arriving_by_every_model(daemon, run, model):
    watching = subprocess.Popen(
        [sys.executable, "-m", "mailsandbox", "watch", f"{model}@beta.test", "--via", model, "--count", "1",
         "--interval", "0.05", "--timeout", "20"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(MAILSANDBOX_READY_FILE=str(daemon)),
    )  # fmt: skip
    assert watching.stderr is not None
    assert watching.stderr.readline().startswith("watching by ")
    run("send", "--to", f"{model}@beta.test", "--subject", "Hello watcher", "--text", "x")
    out, err = watching.communicate(timeout=30)
    assert watching.returncode == 0
    assert "Hello watcher" in out
    assert "1 connection" in err or "connections" in err


def test_a_message_is_pushed_by_smtp_along_the_route_that_comes_with_the_package(run, tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    text = (Path(__file__).parents[2] / "configs" / "push.toml").read_text().replace("2600", str(port))
    (tmp_path / "push.toml").write_text(text)
    path = tmp_path / "ready.json"
    monkeypatch.setenv("MAILSANDBOX_READY_FILE", str(path))
    process = started(path, "--config", str(tmp_path / "push.toml"))
    watching = subprocess.Popen(
        [sys.executable, "-m", "mailsandbox", "watch", "bob@push.test", "--via", "smtp", "--count", "1",
         "--timeout", "20", "--listen", f"127.0.0.1:{port}"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(MAILSANDBOX_READY_FILE=str(path)),
    )  # fmt: skip
    try:
        assert watching.stderr is not None
        assert watching.stderr.readline().startswith("watching by SMTP push")
        run("send", "--to", "bob@push.test", "--subject", "Pushed", "--text", "x")
        out, _ = watching.communicate(timeout=30)
        assert "Pushed" in out
        taken = run("watch", "bob@push.test", "--via", "smtp", "--listen", f"127.0.0.1:{port_of(path, 'imap')}")
        assert taken.code == 1
        assert "cannot listen on" in taken.err
        assert "Address already in use" in taken.err
    finally:
        stopped(process)


def port_of(ready_file: Path, service: str) -> str:
    return json.loads(ready_file.read_text())["services"][service].rpartition(":")[2]


def test_a_watch_that_saw_nothing_is_exit_code_one(daemon, run):
    assert run("watch", "nobody@beta.test", "--via", "sse", "--timeout", "0.1").code == 1


def test_sendmail_hands_over_and_speaks_smtp(daemon, run):
    env = environment(MAILSANDBOX_READY_FILE=str(daemon))
    sent = subprocess.run(
        [sys.executable, "-m", "mailsandbox", "sendmail", "-t", "-i"],
        input="To: cron@beta.test\nSubject: Cron\n\n.\nécrit\n", text=True, env=env, check=False, timeout=60,
    )  # fmt: skip
    assert sent.returncode == 0
    (came,) = run("wait", "cron@beta.test", "--json").json["messages"]
    assert run("show", came["id"]).out.endswith("\n.\nécrit\n")
    spoken = subprocess.run(
        [sys.executable, "-m", "mailsandbox", "sendmail", "-bs"],
        input="EHLO x.test\r\nQUIT\r\n", capture_output=True, text=True, env=env, check=False, timeout=60,
    )  # fmt: skip
    assert spoken.stdout.startswith("220 ")
    assert spoken.stdout.splitlines()[-1].startswith("221")


@pytest.mark.parametrize("kind", ["zip", "mbox", "maildir", "eml"])
def test_what_is_exported_can_be_imported_again(daemon, run, tmp_path, kind):
    whose = f"{kind}@beta.test"
    for subject in ("one", "From the second"):
        run("send", "--to", whose, "--subject", subject, "--text", f"From {subject}\n\nlast")
    run("wait", whose, "--count", "2")
    path = tmp_path / "archive"
    assert run("export", path, "--account", whose, "--format", kind).code == 0
    target = path / whose if kind == "maildir" else path
    back = run("import", target, "--account", f"again-{kind}@beta.test", "--json")
    assert back.json["imported"] == {f"again-{kind}@beta.test": 2}

    def contents(account: str) -> list[bytes]:
        found = []
        for row in run("list", account, "--json").json["messages"]:
            run("raw", row["id"], "-o", tmp_path / "octets")
            found.append((tmp_path / "octets").read_bytes())
        return sorted(found)

    assert contents(f"again-{kind}@beta.test") == contents(whose)


def test_import_keeps_flags_dates_and_mailboxes(daemon, run, tmp_path):
    path = tmp_path / "old.mbox"
    path.write_bytes(b"From x@y.test Sat Nov 21 03:04:22 2026\nSubject: kept\nStatus: RO\nX-Status: F\n\nbody\n")
    assert run("import", path, "--account", "kept@beta.test", "--mailbox", "Entwürfe/2026 & älter").code == 0
    (row,) = run("list", "kept@beta.test", "--json").json["messages"]
    assert row["mailbox"] == "Entwürfe/2026 & älter"
    assert row["flags"] == ["\\Flagged", "\\Seen"]
    assert row["received_at"].startswith("2026-11-21T03:04:22")


def test_the_zip_of_everything_comes_back_into_another_daemon_as_it_was(daemon, run, tmp_path, monkeypatch):
    run("send", "--to", "zipped@beta.test", "--subject", "x", "--text", "x")
    (came,) = run("wait", "zipped@beta.test", "--json").json["messages"]
    journey = run("journey", came["id"], "--json").json["id"]
    assert run("export", tmp_path / "all.zip").code == 0
    other = tmp_path / "other.json"
    process = started(other, "--data", str(tmp_path / "data"))
    monkeypatch.setenv("MAILSANDBOX_READY_FILE", str(other))
    try:
        back = run("import", tmp_path / "all.zip")
        assert back.code == 0
        assert "imported from" in back.out
        assert back.err == ""
        (row,) = run("list", "zipped@beta.test", "--json").json["messages"]
        assert (row["uid"], row["received_at"]) == (came["uid"], came["received_at"])
        assert run("journey", row["id"], "--json").json["id"] == journey
        again = run("import", tmp_path / "all.zip")
        assert "INBOX of zipped@beta.test was in use: 1 message appended with new UIDs" in again.err
        assert run("reindex").out.endswith("rendered again\n")
        busy = run("reindex", "--data", tmp_path / "data")
        assert busy.code == 1
        assert "in use by the mailsandbox of process" in busy.err
    finally:
        stopped(process)
    assert run("reindex", "--data", tmp_path / "data", "--json").json["contents"] > 0
    assert run("reindex", "--data", tmp_path / "none").code == 1


def test_a_zip_that_is_damaged_is_refused_by_name(daemon, run, tmp_path):
    run("export", tmp_path / "all.zip")
    whole = (tmp_path / "all.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    for options in ((), ("--account", "cut@beta.test")):
        ran = run("import", tmp_path / "cut.zip", *options)
        assert ran.code == 1
        assert "cut.zip" in ran.err


def test_an_account_that_is_none_is_said_to_be_none_and_those_like_it_are_named(daemon, run):
    run("send", "--to", "spelled@beta.test", "--text", "x")
    run("wait", "spelled@beta.test")
    ran = run("list", "speled@beta.test")
    assert ran.code == 1
    assert "there is no account speled@beta.test; there is spelled@beta.test" in ran.err
    ran = run("list", "spelled@beta.test", "--mailbox", "inbx")
    assert ran.err == "mailsandbox: there is no mailbox inbx of spelled@beta.test; there is INBOX\n"
    told = run("export", "unwritten", "--account", "speled@beta.test", "--json")
    assert told.code == 1
    assert json.loads(told.err)["error"]["code"] == "no-such-account"
    assert json.loads(told.err)["error"]["near"] == ["spelled@beta.test"]
    assert run("list", "spelled@beta.test", "--subject", "none").err == "no messages\n"


def test_a_mailbox_that_cannot_be_exported_is_named_with_its_account_and_those_that_are_there(daemon, run, tmp_path):
    run("send", "--to", "boxed@beta.test", "--text", "x")
    run("wait", "boxed@beta.test")
    ran = run("export", tmp_path / "none", "--account", "boxed@beta.test", "--mailbox", "Nope")
    assert (ran.code, ran.err) == (1, "mailsandbox: there is no mailbox Nope of boxed@beta.test; it has INBOX\n")
    for kind in ("none.zip", "none.mbox"):
        ran = run("export", tmp_path / kind, "--mailbox", "inbx")
        assert ran.code == 1
        assert "mailsandbox: there is no mailbox inbx of any account; there is INBOX\n" in ran.err
        assert not (tmp_path / kind).exists()


def test_a_message_that_waits_is_listed_held_released_retried_and_removed(run, tmp_path, monkeypatch):
    config = tmp_path / "stuck.toml"
    config.write_text('[[routes]]\ndomain = "stuck.test"\nhost = "127.0.0.1"\nport = 9\n')
    path = tmp_path / "ready.json"
    monkeypatch.setenv("MAILSANDBOX_READY_FILE", str(path))
    process = started(path, "--config", str(config))
    try:
        queue_id = run("send", "--to", "b@stuck.test", "--text", "x", "--json").json["queue_id"]
        assert run("queue", "run").code == 0
        listed = run("queue", "list", "--site", "alpha")
        assert queue_id in listed.out
        assert "b@stuck.test: " in listed.out
        assert "1 message in the queue" in listed.err
        assert run("queue", "hold", queue_id).code == 0
        assert "held" in run("queue").out
        assert "stays held until it is released" in run("queue", "retry", queue_id).out
        assert run("queue", "release", queue_id).code == 0
        assert "is being tried" in run("queue", "retry", queue_id).out
        assert "attempt 1 at +" in run("journey", queue_id).out
        assert run("queue", "remove", queue_id).code == 0
        assert run("queue", "hold", queue_id).code == 1
        assert "the queue is empty" in run("queue").err
    finally:
        stopped(process)


def test_a_message_with_nul_is_imported_and_what_is_refused_is_named(daemon, run, tmp_path):
    (tmp_path / "nul.eml").write_bytes(b"Subject: nul\r\n\r\n\x00\x00")
    assert run("import", tmp_path / "nul.eml", "--account", "nul@beta.test").code == 0
    (row,) = run("list", "nul@beta.test", "--json").json["messages"]
    # RFC 3516 §4.4: the server may re-encode what came as literal8; the content stays.
    run("raw", row["id"], "--part", "1", "-o", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"\x00\x00"
    refused = run("import", tmp_path / "nul.eml", "--account", "nul@beta.test", "--mailbox", "a\x01b")
    assert refused.code == 1
    assert "skipped" in refused.err


def test_connections_are_listed_with_their_transcripts(daemon, run):
    run("send", "--to", "s@beta.test", "--text", "x")
    with imaplib.IMAP4("127.0.0.1", int(port_of(daemon, "imap"))) as imap:
        imap.login(f"{'long' * 15}@beta.test", "x")
    rows = run("sessions", "--protocol", "smtp", "--json").json["sessions"]
    assert rows
    assert "long" * 15 not in run("sessions").out
    assert "long" * 15 in run("sessions", "--whole").out
    shown = run("sessions", rows[0]["id"])
    assert " C " in shown.out
    assert " S 220 " in shown.out


def test_readyz_waits_for_a_daemon_that_is_about_to_start(run, tmp_path):
    path = tmp_path / "late.json"
    processes: list[subprocess.Popen[str]] = []
    starting = threading.Thread(target=lambda: processes.append(started(path)))
    starting.start()
    ran = run("readyz", "--ready-file", path, "--timeout", "20")
    starting.join()
    stopped(processes[0])
    assert ran.code == 0


def test_a_daemon_with_a_data_directory_keeps_mail_over_a_restart(run, tmp_path):
    path = tmp_path / "ready.json"
    process = started(path, "--data", str(tmp_path / "data"))
    run("send", "--to", "kept@beta.test", "--subject", "stays", "--text", "x", "--ready-file", path)
    assert run("wait", "kept@beta.test", "--ready-file", path).code == 0
    stopped(process)
    process = started(path, "--data", str(tmp_path / "data"))
    assert "stays" in run("list", "kept@beta.test", "--ready-file", path).out
    stopped(process)
