"""A message that this process is sending itself: what is known of it is used where it is the same, and only there."""

import hashlib

import pytest

from mailsandbox.message.envelope import Recipient
from mailsandbox.message.underway import LARGE, Known
from mailsandbox.smtp.extensions import Offers
from mailsandbox.submit.gate import Gate
from mailsandbox.submit.model import Incoming, Kind, ListenerSpec
from mailsandbox.submit.transaction import Client, Transaction

TRACE = b"Received: from x by mx.alpha.test with ESMTP id Q1; Sat, 21 Nov 2026 00:00:00 +0000\r\n"
CONTENT = b"From: a@alpha.test\r\nBcc: c@beta.test\r\nMessage-ID: <1@a>\r\nDate: x\r\n\r\n" + b"0123456789\r\n" * (
    LARGE // 10
)
CLEAN = Known(TRACE, CONTENT, b"\1" * 32, "of both", True)  # digests that nobody would compute


def received(octets: bytes, known: Known | None, **changes) -> Incoming:
    gate = Gate(ListenerSpec("beta.smtp", **changes))
    transaction = Transaction()
    transaction.mail_from = "a@alpha.test"
    transaction.recipients, transaction.rcpt_tos = [Recipient("b@beta.test")], ["b@beta.test"]
    passed, findings = gate.judge(octets, transaction, offers=Offers(), known=known)
    client = Client(None)
    client.host_name, client.extended_smtp = "mx.alpha.test", True
    return gate.admit(passed, findings, transaction, client=client, queue_id="Q2", session_id="", now=0.0)


def test_as_it_was_sent_it_is_neither_hashed_nor_examined_again():
    incoming = received(TRACE + CONTENT, CLEAN)
    assert (incoming.accepted.sha256, incoming.clean) == ("of both", True)
    assert incoming.known is CLEAN


def test_behind_another_trace_it_is_hashed_again():
    octets = TRACE.replace(b"Q1", b"Q7") + CONTENT
    incoming = received(octets, CLEAN)
    assert incoming.accepted.sha256 == hashlib.sha256(octets).hexdigest()
    assert (incoming.clean, incoming.known) == (True, CLEAN)


@pytest.mark.parametrize("trace", [TRACE.replace(b"x", b"\xff"), b"X: " + b"x" * 999 + b"\r\n", b"X: a\nY: b\r\n"])
def test_a_trace_that_is_not_clean_is_found_whatever_follows_it(trace):
    assert not received(trace + CONTENT, CLEAN).clean


@pytest.mark.rfc(5322, "3.6.3")
def test_a_submission_that_loses_its_bcc_is_another_message():
    incoming = received(CONTENT, Known(b"", CONTENT, b"\1" * 32, "of it", True), kind=Kind.SUBMISSION)
    assert b"Bcc" not in incoming.octets
    assert incoming.known is None
    assert incoming.accepted.sha256 == hashlib.sha256(incoming.octets).hexdigest()


def test_line_ends_that_are_mended_make_it_another_message():
    content = CONTENT.replace(b"9\r\n", b"9\n", 1)
    incoming = received(TRACE + content, Known(TRACE, content, b"\1" * 32, "of both", False), mode="normalize")
    assert incoming.octets == TRACE + CONTENT
    assert (incoming.known, incoming.clean) == (None, False)
    assert incoming.accepted.sha256 == hashlib.sha256(TRACE + CONTENT).hexdigest()


@pytest.mark.parametrize("ending", [b"", b"\xff\r\n", b"\0\r\n", b"\n"])
def test_clean_is_what_the_octets_are(ending):
    assert received(CONTENT + ending, None).clean is (not ending)
