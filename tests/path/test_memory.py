"""What was delivered is not kept in memory: not by a connection that stays open, nor until the collector comes by."""

import collections
import gc
import imaplib
import poplib
import smtplib
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from types import ModuleType

import pytest

from mailsandbox import Sandbox
from tests.path.conftest import DEADLINE

SIZE = 2_000_000  # octets
TEXT = b"From: a@alpha.test\r\nSubject: large\r\n\r\n" + b"a line of text.\r\n" * (SIZE // 17)


@pytest.fixture
def no_collector() -> Iterator[None]:
    """It counts objects, not their size: what only it can free may be gigabytes before it looks."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def holders() -> list[str]:
    """The types of objects that hold something large; `TEXT` and literals of modules are not among it.

    Modules are not asked themselves, as their contents are: CPython 3.12's _asyncio gives out futures it has freed.
    """
    return [
        type(holder).__qualname__
        for holder in gc.get_objects()
        if type(holder) is not ModuleType and (type(holder) is not dict or "TEXT" not in holder)
        for held in gc.get_referents(holder)
        if isinstance(held, bytes | bytearray | str) and len(held) > SIZE // 4 and held is not TEXT
    ]


def read_all(box) -> None:
    """By everybody who serves mail."""
    with imaplib.IMAP4(*box.services["imap"]) as imap:
        imap.login("b@beta.test", "x")
        imap.select()
        assert len(imap.fetch("1", "(BODY[])")[1][0][1]) > SIZE
        imap.logout()
    pop3 = poplib.POP3(*box.services["pop3"])
    pop3.user("b@beta.test")
    pop3.pass_("x")
    assert pop3.retr(1)[2] > SIZE
    pop3.quit()
    http = HTTPConnection(*box.services["http"])
    http.request("GET", f"/v1/messages/{box.messages('b@beta.test')[0].id}/raw")
    assert len(http.getresponse().read()) > SIZE
    http.close()


@pytest.mark.parametrize("place", ["memory", "file"])
def test_octets_are_freed_without_the_collector(tmp_path, no_collector, place):
    before = collections.Counter(holders())

    def kept() -> collections.Counter[str]:
        return collections.Counter(holders()) - before

    with Sandbox(data=tmp_path if place == "file" else None) as box, smtplib.SMTP(*box.services["alpha.smtp"]) as smtp:
        box.faults.add("smtp", site="beta", stage="rcpt", account="refused@beta.test", reply="550 5.1.1 no")
        for _ in range(3):
            smtp.sendmail("a@alpha.test", ["b@beta.test", "refused@beta.test"], TEXT)
        until = time.monotonic() + DEADLINE
        while len(box.messages("b@beta.test")) < 3 or len(box.messages("a@alpha.test")) < 3 or kept():
            assert time.monotonic() < until, kept()
        read_all(box)
        while kept():
            assert time.monotonic() < until, kept()
