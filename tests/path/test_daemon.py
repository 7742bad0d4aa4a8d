"""The daemon: ready file, signals, durability, and what it says when it cannot start."""

import json
import os
import signal
import smtplib
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from mailsandbox.specs import SandboxSpec
from tests.path.conftest import DEADLINE, french_message, run_cli

BOB = "bob@beta.test"


def send(daemon, octets=b"Subject: hello\r\n\r\nhello\r\n", recipient=BOB):
    with smtplib.SMTP(*daemon.services["alpha.smtp"]) as smtp:
        smtp.sendmail("alice@alpha.test", [recipient], octets)


def arrived(daemon, **query):
    host, port = daemon.services["http"]
    answer = httpx.get(f"http://{host}:{port}/v1/wait", params={"timeout": 10, **query}, timeout=DEADLINE)
    assert answer.status_code == 200, answer.text
    return answer.json()["messages"]


def test_the_ready_file_names_every_service_and_goes_with_the_daemon(daemon):
    content = json.loads(daemon.ready_file.read_text())
    assert (content["version"], content["pid"]) == (1, daemon.process.pid)
    assert set(content["services"]) == {
        "alpha.smtp",
        "alpha.submission",
        "alpha.submissions",
        "beta.smtp",
        "pop3",
        "pop3s",
        "imap",
        "imaps",
        "http",
    }
    for place in content["services"].values():
        host, _, port = place.rpartition(":")
        socket.create_connection((host, int(port)), timeout=5).close()
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(DEADLINE) == 0
    assert not daemon.ready_file.exists()


def test_it_stops_although_clients_are_connected(daemon):
    clients = [socket.create_connection(daemon.services[name]) for name in ("alpha.smtp", "pop3", "imap", "http")]
    daemon.process.send_signal(signal.SIGINT)
    assert daemon.process.wait(DEADLINE) == 0
    for client in clients:
        client.close()


def test_what_was_answered_250_survives_kill_9(serve, tmp_path):
    first = serve("--data", str(tmp_path / "data"))
    send(first, french_message(BOB))
    first.process.kill()
    first.process.wait()
    second = serve("--data", str(tmp_path / "data"))
    (message,) = arrived(second, to=BOB)
    assert message["subject"] == "Été à la plage – déjà vu"
    assert len(arrived(second, to=BOB, count=1)) == 1


def rest(daemon, method, path, **content):
    host, port = daemon.services["http"]
    answer = httpx.request(method, f"http://{host}:{port}/v1/{path}", timeout=DEADLINE, **content)
    assert answer.is_success, answer.text
    return answer.json()


@pytest.mark.rfc(5321, "6.1")
@pytest.mark.parametrize(
    "fault",
    [
        {"stage": "rcpt", "reply": "451 4.7.1 later"},  # it waits in the queue
        {"stage": "message", "delay": 3600},  # all its octets are with the next server, which has not answered
    ],
)
def test_what_was_answered_250_and_not_delivered_yet_arrives_once_after_kill_9(serve, tmp_path, fault):
    config = tmp_path / "box.toml"
    config.write_text('[clock]\nmode = "manual"\n')
    flags = ("--data", str(tmp_path / "data"), "--config", str(config))
    first = serve(*flags)
    rest(first, "POST", "faults", json={"protocol": "smtp", "site": "beta", **fault})
    send(first, french_message(BOB))  # smtplib raises without 250
    deadline = time.monotonic() + DEADLINE
    while not rest(first, "GET", "faults")["faults"][0]["hits"]:
        assert time.monotonic() < deadline, "the relay did not try"
    assert rest(first, "GET", "messages", params={"account": BOB})["messages"] == []
    first.process.kill()
    assert first.process.wait(DEADLINE) == -signal.SIGKILL
    second = serve(*flags)
    for period in ("1d", "6d"):
        rest(second, "POST", "clock/advance", json={"by": period})
        assert rest(second, "GET", "queue")["items"] == []
        [message] = rest(second, "GET", "messages", params={"account": BOB})["messages"]
        assert message["subject"] == "Été à la plage – déjà vu"
        assert rest(second, "GET", f"messages/{message['id']}/journey")["state"] == "delivered"
    assert rest(second, "GET", "messages", params={"account": "alice@alpha.test"})["messages"] == []


def test_mail_flags_and_journeys_are_there_after_a_restart(serve, tmp_path):
    first = serve("--data", str(tmp_path / "data"))
    send(first)
    (before,) = arrived(first, to=BOB)
    first.process.terminate()
    first.process.wait(DEADLINE)
    second = serve("--data", str(tmp_path / "data"))
    (after,) = arrived(second, to=BOB)
    assert after == before
    host, port = second.services["http"]
    journey = httpx.get(f"http://{host}:{port}/v1/messages/{after['id']}/journey").json()
    assert [hop["site"] for hop in journey["hops"]] == ["alpha", "beta"]


def test_a_port_in_use_is_named_and_nothing_is_left_running(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config = tmp_path / "box.toml"
        free = "".join(f"{name} = 0\n" for name in ("pop3", "pop3s", "imaps", "http"))
        sites = "[sites.alpha]\nsmtp = 0\nsubmission = 0\nsubmissions = 0\n[sites.beta]\nsmtp = 0\n"
        config.write_text(f"{sites}[access]\n{free}imap = {port}\n")
        done = run_cli("serve", "--config", str(config))
    assert done.returncode != 0
    assert f"imap: cannot listen on 127.0.0.1:{port}: Address already in use" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--data", "/proc/mailsandbox"], "data directory /proc/mailsandbox: cannot be made or written"),
        (["--data", "/dev/null"], "data directory /dev/null: cannot be made or written: it is not a directory"),
        (["--config", "/nonexistent.toml"], "/nonexistent.toml: cannot be read: No such file or directory"),
        (["--host", "mail.example.org"], "not an IP address"),
        (["--ready-file", "/proc/x/ready.json"], "ready file /proc/x/ready.json: cannot be written"),
    ],
)
def test_what_prevents_the_start_is_named(flags, says):
    done = run_cli("serve", "--ephemeral", *flags)
    assert done.returncode not in (0, -signal.SIGTERM)
    assert says in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_an_unknown_key_is_named_with_its_line_and_what_was_meant(tmp_path):
    config = tmp_path / "box.toml"
    config.write_text("[access]\nimpa = 1143\n")
    done = run_cli("serve", "--config", str(config))
    assert done.returncode == 2
    assert f"{config}:2: access.impa: unknown key; did you mean imap?" in " ".join(done.stderr.split())


def test_an_unknown_command_is_wrong_use():
    done = run_cli("sned")
    assert done.returncode == 2
    assert "sned" in done.stderr


def test_everything_listens_on_loopback_only(daemon):
    pid = daemon.process.pid
    inodes = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    with open(f"/proc/{pid}/net/tcp") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    listening = [row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in inodes]
    assert len(listening) == len(daemon.services)
    assert all(local.startswith("0100007F:") for local in listening)


def test_the_default_ports_are_those_of_the_readme():
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    spec = SandboxSpec()
    ports = [spec.sites[0].smtp, spec.sites[0].submission, spec.sites[0].submissions, spec.sites[1].smtp]
    ports += [spec.access.pop3, spec.access.pop3s, spec.access.imap, spec.access.imaps, spec.access.http]
    assert ports == [1025, 1587, 1465, 2025, 1110, 1995, 1143, 1993, 8025]
    table = readme[readme.index("## Services and ports") :]
    assert all(str(port) in table for port in ports)


def test_a_second_daemon_on_one_data_directory_is_refused(serve, tmp_path):
    first = serve("--data", str(tmp_path / "data"))
    send(first)
    arrived(first, to=BOB)
    started = time.monotonic()
    done = subprocess.run(
        [
            "timeout",
            "10",
            str(Path(sys.executable).with_name("mailsandbox")),
            "serve",
            "--ephemeral",
            "--quiet",
            "--data",
            str(tmp_path / "data"),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    assert done.returncode not in (0, 124), "two daemons on one directory would not hear of each other's changes"
    assert "in use" in done.stderr
    assert time.monotonic() - started < DEADLINE
