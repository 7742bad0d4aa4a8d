"""Whatever lies in a mailbox, POP3, IMAP and HTTP give the same octets of it."""

import http.client
import imaplib
import json
import re
import socket

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailsandbox import Sandbox

FRAGMENTS = [
    *(b".", b"..", b"\r\n", b"\r\n.", b"\r\n\r\n", b"\n", b"\r", b"\t"),
    *(b"a: b", b"Subject: x", b"text", b"\xc3\xa9", b"\xff"),
]
LETTERS = st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=40).map(lambda parts: b"".join(parts) + b"\r\n")


@pytest.fixture(scope="module")
def box():
    with Sandbox() as started:
        yield started


def place(service: str) -> tuple[str, int]:
    host, _, port = str(service).rpartition(":")
    return host, int(port)


def by_pop3(service: str, account: str) -> list[bytes]:
    """Every message by RETR, read by the book: lines end by CRLF, one leading dot is taken away."""
    found = []
    with socket.create_connection(place(service), timeout=20) as wire, wire.makefile("rb") as heard:

        def ask(command: str) -> bytes:
            wire.sendall(command.encode() + b"\r\n")
            return heard.readline()

        def line() -> bytes:
            octets = heard.readline()
            while not octets.endswith(b"\r\n"):
                octets += (more := heard.readline())
                assert more, "the server closed"
            return octets

        heard.readline()
        ask(f"USER {account}")
        ask("PASS any")
        for number in range(1, int(ask("STAT").split()[1]) + 1):
            size = int(ask(f"RETR {number}").split()[1])
            octets = b""
            while (next_line := line()) != b".\r\n":
                octets += next_line.removeprefix(b".")
            assert len(octets) == size
            found.append(octets)
        ask("QUIT")
    return found


def by_imap(service: str, account: str) -> list[bytes]:
    client = imaplib.IMAP4(*place(service))
    try:
        client.login(account, "any")
        client.select("INBOX", readonly=True)
        _, data = client.fetch("1:*", "(BODY.PEEK[])")
        return [part[1] for part in data if isinstance(part, tuple)]
    finally:
        client.logout()


def by_http(service: str, account: str) -> list[bytes]:
    client = http.client.HTTPConnection(*place(service), timeout=20)
    try:

        def get(path: str) -> bytes:
            client.request("GET", path)
            answer = client.getresponse()
            octets = answer.read()
            assert answer.status == 200, octets
            return octets

        listed = json.loads(get(f"/v1/messages?account={account}&limit=100"))["messages"]
        return [get(f"/v1/messages/{each['id']}/raw") for each in sorted(listed, key=lambda each: each["uid"])]
    finally:
        client.close()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LETTERS, min_size=1, max_size=5))
def test_the_octets_by_retr_by_body_and_by_raw_are_the_same(box, letters):
    account = f"same{abs(hash(tuple(letters)))}@beta.test"
    client = imaplib.IMAP4(*place(box.services["imap"]))
    client.login(account, "any")
    _, (status,) = client.status("INBOX", "(MESSAGES)")
    if re.search(rb"MESSAGES 0", status):
        for letter in letters:
            # imaplib's own append rewrites line ends
            client.literal = letter
            assert client._simple_command("APPEND", "INBOX")[0] == "OK"
    client.logout()
    services = box.services
    pop3 = by_pop3(services["pop3"], account)
    assert pop3 == letters
    assert by_imap(services["imap"], account) == letters
    assert by_http(services["http"], account) == letters
