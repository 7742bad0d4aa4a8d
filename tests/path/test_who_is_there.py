"""With fixed accounts: who is there, at RCPT and for what the site itself sends on."""

import smtplib

import httpx
import pytest

from mailsandbox import Sandbox
from mailsandbox.config import parse

CONFIG = """
[clock]
mode = "manual"

[accounts]
any = false
"alice@alpha.test" = {}
"bob@beta.test" = {}

[aliases]
"team@beta.test" = ["bob@beta.test", "left@beta.test"]
"""
LETTER = b"From: alice@alpha.test\r\nSubject: hello\r\n\r\nHello\r\n"


@pytest.fixture
def box():
    with Sandbox(parse(CONFIG)) as box:
        yield box


def rcpt(box, address: str, service: str = "beta.smtp") -> int:
    with smtplib.SMTP(*box.services[service]) as smtp:
        smtp.ehlo()
        smtp.mail("alice@alpha.test")
        return smtp.docmd(f"RCPT TO:<{address}>")[0]


@pytest.mark.rfc(5321, "4.5.1")
@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("bob@beta.test", 250),
        ("nobody@beta.test", 550),
        ("team@beta.test", 250),
        ("postmaster", 250),
        ("PostMaster@beta.test", 250),
        ("postmaster@gamma.test", 550),
    ],
)
def test_mail_is_taken_for_those_who_are_there_and_always_for_postmaster(box, address, code):
    assert rcpt(box, address) == code


def test_a_member_of_an_alias_who_is_not_there_is_told_as_failed(box):
    with smtplib.SMTP(*box.services["beta.smtp"]) as smtp:
        smtp.sendmail("alice@alpha.test", ["team@beta.test"], LETTER)
    assert len(box.messages("bob@beta.test")) == 1
    dsn = box.wait_for(to="alice@alpha.test")
    assert b"Final-Recipient: rfc822; left@beta.test\r\nAction: failed\r\nStatus: 5.1.1\r\n" in dsn.octets


@pytest.mark.rfc(5321, "4.5.5")
def test_a_notification_for_a_sender_who_is_not_there_is_a_double_bounce_and_makes_no_account(box):
    with smtplib.SMTP(*box.services["alpha.smtp"]) as smtp:
        smtp.sendmail("ghost@alpha.test", ["nobody@beta.test"], LETTER)
    box.clock.advance(86_400)
    assert httpx.get(f"{box.url}/v1/queue").json()["items"] == []
    known = [account["address"] for account in httpx.get(f"{box.url}/v1/accounts").json()["accounts"]]
    assert "ghost@alpha.test" not in known
