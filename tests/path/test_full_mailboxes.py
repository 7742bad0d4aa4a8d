"""Recipients who cannot have their copy: by LMTP each is answered on its own, by SMTP the sender hears of it."""

import smtplib
import socket

import httpx
import pytest

from mailsandbox import Sandbox
from mailsandbox.config import parse

CONFIG = """
[clock]
mode = "manual"

[sites.beta]
lmtp = 0
offers = ["PIPELINING", "SIZE 26214400", "DSN", "CHUNKING"]

[accounts]
any = false
"alice@alpha.test" = {}
"full@alpha.test" = { quota = 5000 }
"bob@beta.test" = {}
"carl@beta.test" = {}
"small@beta.test" = { quota = 2000 }
"tiny@beta.test" = { quota = 200 }

[aliases]
"team@beta.test" = ["bob@beta.test", "tiny@beta.test"]
"""
LETTER = b"From: alice@alpha.test\r\nSubject: hello\r\n\r\n" + b"x" * 70 + b"\r\n"
BIG = LETTER + b"y" * 70 + (b"\r\n" + b"y" * 70) * 22 + b"\r\n"


@pytest.fixture
def box():
    with Sandbox(parse(CONFIG)) as box:
        yield box


def deliver_by_lmtp(box, *recipients, octets=LETTER, bdat=False):
    """The replies to RCPT, then those after the data."""
    with socket.create_connection(tuple(box.services["beta.lmtp"]), timeout=10) as wire, wire.makefile("rwb") as file:

        def say(line: bytes, replies: int = 1) -> list[str]:
            file.write(line)
            file.flush()
            heard = []
            while len(heard) < replies:
                line = file.readline().decode()
                if line[3:4] == " ":
                    heard.append(line[:9])
            return heard

        say(b"", 1)
        say(b"LHLO client.test\r\n")
        say(b"MAIL FROM:<alice@alpha.test>\r\n")
        taken = [say(f"RCPT TO:<{one}>\r\n".encode())[0] for one in recipients]
        accepted = sum(answer.startswith("2") for answer in taken)
        if bdat:
            return taken, say(b"BDAT %d LAST\r\n" % len(octets) + octets, accepted)
        say(b"DATA\r\n")
        return taken, say(octets + b".\r\n", accepted)


@pytest.mark.rfc(2033, "4.2")
@pytest.mark.parametrize("bdat", [False, True])
def test_lmtp_answers_for_each_recipient_on_its_own(box, bdat):
    people = ("bob@beta.test", "nobody@beta.test", "small@beta.test", "tiny@beta.test", "carl@beta.test")
    deliver_by_lmtp(box, "small@beta.test", octets=BIG[:1500] + b"\r\n")
    taken, said = deliver_by_lmtp(box, *people, octets=BIG[:1000] + b"\r\n", bdat=bdat)
    assert [answer[:3] for answer in taken] == ["250", "550", "250", "250", "250"]
    assert said == ["250 2.0.0", "452 4.2.2", "552 5.2.2", "250 2.0.0"]
    assert [len(box.messages(one)) for one in people] == [1, 0, 1, 0, 1]
    assert box.messages("alice@alpha.test") == []  # the client has been told, so nobody else is


@pytest.mark.rfc(2033, "4.2")
def test_lmtp_with_no_recipient_served_leaves_nothing_behind(box):
    _, said = deliver_by_lmtp(box, "tiny@beta.test", octets=BIG)
    assert said == ["552 5.2.2"]
    assert box.messages("tiny@beta.test") == []


@pytest.mark.rfc(2033, "4.2")
def test_a_scripted_answer_after_lmtp_data_is_for_the_recipients_it_names(box):
    box.faults.add("smtp", stage="message", account="^carl@", reply="451 4.3.0 try again")
    _, said = deliver_by_lmtp(box, "carl@beta.test", "bob@beta.test")
    assert said == ["451 4.3.0", "250 2.0.0"]
    assert [len(box.messages(one)) for one in ("carl@beta.test", "bob@beta.test")] == [0, 1]


@pytest.mark.rfc(3463, "3.3")
def test_smtp_refuses_a_message_that_none_of_its_recipients_has_room_for(box):
    with smtplib.SMTP(*box.services["beta.smtp"]) as smtp, pytest.raises(smtplib.SMTPDataError) as refused:
        smtp.sendmail("alice@alpha.test", ["tiny@beta.test"], BIG)
    assert (refused.value.smtp_code, refused.value.smtp_error[:6]) == (552, b"5.2.2 ")


@pytest.mark.rfc(5321, "6.1")
def test_one_full_mailbox_keeps_nobody_elses_mail_back_and_the_sender_is_told(box):
    with smtplib.SMTP(*box.services["beta.smtp"]) as smtp:
        smtp.sendmail("alice@alpha.test", ["bob@beta.test", "tiny@beta.test"], BIG)
    [message] = box.messages("bob@beta.test")
    dsn = box.wait_for(to="alice@alpha.test")
    assert b"Final-Recipient: rfc822; tiny@beta.test\r\nAction: failed\r\nStatus: 5.2.2\r\n" in dsn.octets
    journey = box.journey(message)
    assert journey.state == "failed"
    assert [one.recipient for hop in journey.hops for one in hop.undelivered] == ["tiny@beta.test"]


def test_a_full_mailbox_behind_an_alias_is_told_with_the_aliases_address(box):
    with smtplib.SMTP(*box.services["beta.smtp"]) as smtp:
        smtp.sendmail("alice@alpha.test", ["team@beta.test"], BIG)
    assert len(box.messages("bob@beta.test")) == 1
    dsn = box.wait_for(to="alice@alpha.test")
    assert b"Original-Recipient: rfc822; team@beta.test\r\nFinal-Recipient: rfc822; tiny@beta.test" in dsn.octets


@pytest.mark.rfc(5321, "4.5.5")
def test_a_notification_for_a_sender_whose_mailbox_is_full_is_a_double_bounce_and_ends_there(box):
    with smtplib.SMTP(*box.services["alpha.smtp"]) as smtp:
        smtp.sendmail("full@alpha.test", ["nobody@beta.test"], BIG + BIG + BIG)
    box.clock.advance(6 * 86_400)
    relayed = httpx.get(f"{box.url}/v1/sessions", params={"protocol": "relay"}).json()["sessions"]
    assert len(relayed) == 1
    assert box.messages("full@alpha.test") == []
    assert httpx.get(f"{box.url}/v1/queue").json()["items"] == []
