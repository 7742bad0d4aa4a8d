"""The golden pairs once more, by alpha's SMTP to beta's IMAP: what arrives is what the gate says, to the octet."""

import imaplib
import re
import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest
from encoding_gates import relay

from mailsandbox import Sandbox

GOLDEN = Path(__file__).parent / "golden"
KINDS = sorted(path.name.removesuffix(".in.eml") for path in GOLDEN.glob("*.in.eml"))
BY = re.compile(rb"(X-MIME-Autoconverted: from \S+ to \S+ by ).*")


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


def send(box: Sandbox, octets: bytes, recipient: str) -> None:
    with smtplib.SMTP(*box.services["alpha.smtp"]) as smtp:
        options = [] if octets.isascii() else ["BODY=8BITMIME"]
        smtp.sendmail("a@alpha.test", [recipient], octets, mail_options=options)


def fetched(box: Sandbox, account: str) -> bytes:
    with imaplib.IMAP4(*box.services["imap"]) as imap:
        imap.login(account, "x")
        imap.select("INBOX", readonly=True)
        answer = imap.fetch("1", "(BODY.PEEK[])")[1][0]
        assert isinstance(answer, tuple)
        return answer[1]


@pytest.mark.rfc(6152, "3")
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_arrives_as_the_relay_gate_says(box, kind):
    account = f"{kind}@beta.test".replace("_", "-")
    octets = (GOLDEN / f"{kind}.in.eml").read_bytes()
    octets = octets if octets.endswith(b"\r\n") else octets + b"\r\n"  # DATA ends with a line (RFC 5321 §4.1.1.4)
    send(box, octets, account)
    message = box.wait_for(to=account)
    expected = BY.sub(rb"\1beta", relay(octets).octets)
    arrived = BY.sub(rb"\1beta", fetched(box, account))
    trace, content = arrived[: -len(expected)], arrived[-len(expected) :]
    assert content == expected
    fields = re.sub(rb"\r\n[ \t]+", b" ", trace).decode().split("\r\n")
    assert {field.partition(":")[0] for field in fields if field} <= {"Received", "Return-Path", "Delivered-To"}
    alpha, beta = box.journey(message).hops
    (attempt,) = alpha.attempts
    assert attempt.sha256_out == beta.accepted.sha256
    assert attempt.edits
    assert beta.accepted.findings == [] or kind == "broken_structure"


@pytest.mark.rfc(6152, "3")
def test_clean_mail_arrives_untouched_and_without_a_finding(box):
    octets = b"Subject:x\r\nX-A:   y\r\n\r\n.\r\n..\r\ntrailing  \r\n"
    send(box, octets, "clean@beta.test")
    message = box.wait_for(to="clean@beta.test")
    assert fetched(box, "clean@beta.test").endswith(b"\r\n" + octets)
    assert [hop.accepted.findings for hop in box.journey(message).hops] == [[], []]


@pytest.mark.rfc(1847, "2.1")
def test_what_cannot_be_converted_comes_back_and_beta_never_sees_it(box):
    octets = (
        b"From: s@alpha.test\r\nMIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=s\r\n\r\n--s\r\n\r\n"
        b"\xc3\xbc\r\n--s--\r\n"
    )
    with smtplib.SMTP(*box.services["alpha.smtp"]) as smtp:
        smtp.sendmail("s@alpha.test", ["signed@beta.test"], octets, mail_options=["BODY=8BITMIME"])
    notice = box.wait_for(to="s@alpha.test")
    assert b"Status: 5.6.2" in notice.octets
    assert list(box.messages("signed@beta.test")) == []
