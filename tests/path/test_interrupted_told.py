"""An attempt that nobody finished, as the journey tells it to a person: what is known, and what is not."""

import itertools
import signal
import smtplib
import socket

import httpx
import pytest

from mailsandbox import Sandbox
from mailsandbox.cli.journey import WIDTH, report
from tests.path.conftest import DEADLINE

FAR = "far@nobody.test"


@pytest.fixture
def silent():
    """A server that lets itself be connected to and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(DEADLINE)
        yield server


@pytest.mark.rfc(1047, "1")
@pytest.mark.parametrize(
    ("how", "why"),
    [
        (signal.SIGKILL, "the daemon that held it died; this is the next one on its data"),
        (signal.SIGTERM, "the daemon was stopped"),
    ],
)
def test_an_interrupted_attempt_says_what_is_known_and_does_not_contradict_itself(serve, silent, tmp_path, how, why):
    config = tmp_path / "mailsandbox.toml"
    config.write_text(f'[[routes]]\ndomain = "nobody.test"\nhost = "127.0.0.1"\nport = {silent.getsockname()[1]}\n')
    arguments = ("--config", str(config), "--data", str(tmp_path / "data"))
    first = serve(*arguments)
    with smtplib.SMTP(*first.services["alpha.smtp"]) as smtp:
        smtp.sendmail("alice@alpha.test", [FAR], b"Subject: x\r\n\r\nx\r\n")
    with silent.accept()[0]:  # the attempt has begun
        host, port = first.services["http"]
        [item] = httpx.get(f"http://{host}:{port}/v1/queue").json()["items"]
        first.process.send_signal(how)
        first.process.wait(DEADLINE)

    host, port = serve(*arguments).services["http"]
    view = httpx.get(f"http://{host}:{port}/v1/journeys/{item['id']}").json()
    assert view["state"] == "queued"
    attempt = view["hops"][0]["attempts"][0]
    assert (attempt["interrupted"], attempt["possible_duplicate"]) == (True, True)
    lines = [line.strip() for line in report(view)]
    begin = next(number for number, line in enumerate(lines) if line.startswith("attempt 1"))
    told = [*itertools.takewhile(bool, lines[begin:])]
    assert told[0].startswith("attempt 1, interrupted: noticed at +")
    assert told[1:3] == ["from <alice@alpha.test>", f"to <{FAR}>"]
    text = " ".join(told)
    assert "B in the queue; to which server, and how much of it was sent, is not known" in text
    assert "possibly sent: there may be a second copy" in text
    assert why in text
    assert "none sent" not in text
    assert "last octet" not in text
    assert max(map(len, report(view))) <= WIDTH


def test_what_an_older_version_wrote_of_an_interrupted_attempt_is_told_in_the_same_words():
    attempt = {
        "number": 1, "started_at": 10.0, "ended_at": 10.0, "host": "", "address": "", "tls": "", "offers": [],
        "envelope": {"reverse_path": "", "recipients": [FAR], "mail_parameters": {}, "recipient_parameters": {}},
        "octets_in": 5, "octets_out": 0, "findings": [], "edits": [], "outcomes": [], "possible_duplicate": True,
        "transcript": [],
    }  # fmt: skip
    hop = {"site": "alpha", "accepted": None, "expansions": [], "undelivered": [], "attempts": [attempt],
           "deliveries": [], "notifications": []}  # fmt: skip
    text = "\n".join(report({"id": "Q", "state": "queued", "hops": [hop]}))
    assert "attempt 1, interrupted: noticed at" in text
    assert "none sent" not in text


@pytest.mark.rfc(7505, "3")
def test_an_attempt_that_had_nowhere_to_go_names_no_server(tmp_path):
    config = tmp_path / "mailsandbox.toml"
    config.write_text('[zone]\n"nomail.test" = { MX = ["0 ."] }\n')
    with Sandbox(config) as box:
        sent = box.send("x@nomail.test")
        box.journey(sent)
        view = httpx.get(f"{box.url}/v1/journeys/{sent.id}").json()
    told = [line for line in report(view) if line.startswith("attempt 1")]
    assert len(told) == 1
    assert told[0].endswith(": to no server")
