"""Messages for tests."""

from mailsandbox.store.model import Delivery

BOB = "bob@beta.test"
TRACE = b"Return-Path: <ann@alpha.test>\r\nDelivered-To: bob@beta.test\r\n"


def letter(subject: str = "Hello", body: str = "How are you?", *, number: int = 1, extra: str = "") -> bytes:
    """A small message; different numbers give different octets."""
    text = (
        f"From: Ann <ann@alpha.test>\r\nTo: Bob <bob@beta.test>\r\nSubject: {subject}\r\n"
        f"Date: Mon, 21 Sep 2026 14:13:20 +0000\r\nMessage-ID: <{number}@alpha.test>\r\n{extra}"
        f"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{body}\r\n"
    )
    return text.encode()


def to_bob(trace: bytes = TRACE, mailbox: str = "INBOX") -> Delivery:
    return Delivery(BOB, trace, mailbox, recipient=BOB)
