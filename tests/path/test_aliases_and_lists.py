"""Aliases and lists from the configuration, through a whole sandbox (RFC 5321 §3.9, RFC 3461 §5.2.7)."""

import email
import smtplib

import pytest
from flufl.bounce import all_failures

from mailsandbox import Sandbox
from mailsandbox.config import parse

CONFIG = """
[clock]
mode = "manual"

[sites.beta]
offers = ["PIPELINING", "SIZE 26214400", "DSN", "SMTPUTF8"]
accepts = "local"

[sites.alpha]
offers = ["PIPELINING", "DSN", "8BITMIME"]

[aliases]
"team@beta.test" = ["ann@beta.test", "Ben@beta.test"]
"both@beta.test" = ["team@beta.test", "ann@beta.test", "carl@alpha.test"]
"chief@beta.test" = ["ann@beta.test"]
"keep@beta.test" = ["keep@beta.test", "ann@beta.test"]
"one@beta.test" = ["two@beta.test"]
"two@beta.test" = ["one@beta.test"]
"ping@alpha.test" = ["ping@beta.test"]
"ping@beta.test" = ["ping@alpha.test"]
"sans@beta.test" = ["zoë@beta.test"]
"self@beta.test" = { members = ["ann@beta.test", "gone@alpha.test"], owner = "self@beta.test" }
"news@beta.test" = { members = ["ann@beta.test", "nobody@alpha.test"], owner = "owner@beta.test" }
"""
LETTER = b"From: carl@alpha.test\r\nTo: team@beta.test\r\nSubject: hello\r\nMessage-ID: <1@alpha.test>\r\n\r\nHello\r\n"


@pytest.fixture
def box():
    with Sandbox(parse(CONFIG)) as box:
        yield box


def send(box, *recipients, service="beta.smtp", rcpt_options=(), mail_options=(), sender="carl@alpha.test"):
    with smtplib.SMTP(*box.services[service]) as smtp:
        return smtp.sendmail(sender, recipients, LETTER, mail_options=mail_options, rcpt_options=rcpt_options)


def failures(dsn):
    """What a mailing list manager takes from a notification: who failed for now, and who for good."""
    return all_failures(email.message_from_bytes(dsn.octets))


def subjects(box, account):
    return [message.subject for message in box.messages(account)]


@pytest.mark.rfc(5321, "3.9.1")
def test_the_members_of_an_alias_get_the_message_with_its_sender(box):
    send(box, "team@beta.test")
    for member in ("ann@beta.test", "ben@beta.test"):
        [message] = box.messages(member)
        assert message.header("Return-Path") == "<carl@alpha.test>"
        assert b"Delivered-To: team@beta.test\r\n" in message.octets
    assert box.messages("team@beta.test") == []


def test_who_is_named_twice_gets_the_message_once(box):
    send(box, "both@beta.test", "ben@beta.test", "Team@beta.test")
    assert (len(box.messages("ann@beta.test")), len(box.messages("ben@beta.test"))) == (1, 1)
    assert box.wait_for(to="carl@alpha.test").subject == "hello"


def test_an_alias_that_names_itself_means_its_own_mailbox(box):
    send(box, "keep@beta.test")
    assert subjects(box, "keep@beta.test") == subjects(box, "ann@beta.test") == ["hello"]


@pytest.mark.rfc(3463, "3.5")
def test_an_alias_that_leads_back_to_itself_is_refused_at_rcpt(box):
    with smtplib.SMTP(*box.services["beta.smtp"]) as smtp:
        smtp.ehlo()
        smtp.mail("carl@alpha.test")
        code, text = smtp.rcpt("one@beta.test")
    assert (code, text[:6]) == (554, b"5.4.6 ")
    assert b"one@beta.test -> two@beta.test -> one@beta.test" in text


@pytest.mark.rfc(5321, "6.3")
def test_aliases_of_two_sites_that_lead_to_each_other_end_in_one_notification(box):
    send(box, "ping@alpha.test", service="alpha.smtp")
    dsn = box.wait_for(to="carl@alpha.test")
    assert b"Status: 5.4.6" in dsn.octets
    assert b"Original-Recipient: rfc822; ping@alpha.test" in dsn.octets
    box.clock.advance(6 * 86_400)
    assert len(box.messages("carl@alpha.test")) == 1


@pytest.mark.rfc(3461, "5.2.7.3")
def test_success_at_an_alias_of_several_is_told_once_as_expanded_and_their_failures_as_ever(box):
    send(box, "team@beta.test", rcpt_options=["NOTIFY=SUCCESS,FAILURE"])
    dsn = box.wait_for(to="carl@alpha.test")
    assert b"Action: expanded\r\nStatus: 2.1.5" in dsn.octets
    assert failures(dsn) == (set(), set())
    assert b"Final-Recipient: rfc822; team@beta.test" in dsn.octets
    assert len(box.messages("ann@beta.test")) == 1
    box.clock.advance(1)
    assert len(box.messages("carl@alpha.test")) == 1


@pytest.mark.rfc(3461, "5.2.7.2")
def test_success_at_an_alias_of_one_is_told_by_who_delivers_with_the_address_that_was_written(box):
    send(box, "chief@beta.test", rcpt_options=["NOTIFY=SUCCESS"])
    dsn = box.wait_for(to="carl@alpha.test")
    assert b"Action: delivered" in dsn.octets
    assert b"Original-Recipient: rfc822; chief@beta.test\r\nFinal-Recipient: rfc822; ann@beta.test" in dsn.octets
    assert failures(dsn) == (set(), set())


@pytest.mark.rfc(5321, "3.9.2")
@pytest.mark.rfc(3461, "5.2.7.1")
def test_a_list_sends_on_with_its_owner_as_sender_and_tells_delivery_to_the_list(box):
    box.faults.add("smtp", stage="rcpt", reply="550 5.1.1 no such user", site="alpha", account="nobody@")
    send(box, "news@beta.test", rcpt_options=["NOTIFY=SUCCESS,FAILURE"], mail_options=["ENVID=E1", "RET=HDRS"])
    dsn = box.wait_for(to="carl@alpha.test")
    assert b"Action: delivered" in dsn.octets
    assert b"Final-Recipient: rfc822; news@beta.test" in dsn.octets
    assert b"Original-Envelope-Id: E1\r\n" in dsn.octets
    assert failures(dsn) == (set(), set())
    [copy] = box.messages("ann@beta.test")
    assert copy.header("Return-Path") == "<owner@beta.test>"
    bounce = box.wait_for(to="owner@beta.test")
    assert b"Action: failed" in bounce.octets
    assert failures(bounce) == (set(), {b"nobody@alpha.test"})
    assert b"Original-Envelope-Id" not in bounce.octets  # RFC 3461 §5.2.7.1: a list has no ENVID of the sender's
    box.clock.advance(1)
    assert len(box.messages("carl@alpha.test")) == 1


@pytest.mark.rfc(5321, "4.5.5")
def test_a_list_that_is_its_own_owner_does_not_bounce_to_itself_for_ever(box):
    fault = box.faults.add("smtp", stage="rcpt", reply="550 5.1.1 no such user", site="alpha", account="gone@")
    send(box, "self@beta.test")
    box.wait_for(to="ann@beta.test", subject="could not be delivered")
    box.clock.advance(6 * 86_400)
    senders = sorted(message.header("Return-Path") for message in box.messages("ann@beta.test"))
    assert senders == ["<>", "<self@beta.test>"]
    assert fault.hits == 2  # the message, and the notification, which nobody is told of


@pytest.mark.rfc(5321, "3.5.1")
@pytest.mark.rfc(6531, "3.7.4.2")
def test_expn_names_the_members(box):
    with smtplib.SMTP(*box.services["beta.smtp"]) as smtp:
        smtp.ehlo()
        assert smtp.docmd("EXPN", "team") == (250, b"2.1.5 <ann@beta.test>\n2.1.5 <Ben@beta.test>")
        assert smtp.docmd("EXPN", "<chief@beta.test>") == (250, b"2.1.5 <ann@beta.test>")
        assert smtp.docmd("EXPN", "ann")[0] == 252
        assert smtp.docmd("EXPN", "sans")[1][:5] == b"5.6.8"
        assert smtp.docmd("EXPN", "sans SMTPUTF8") == (250, "2.1.5 <zoë@beta.test>".encode())


def test_the_journey_shows_the_alias_and_is_delivered_when_its_members_are(box):
    send(box, "both@beta.test")
    [message] = box.messages("ann@beta.test")
    box.wait_for(to="carl@alpha.test")
    journey = box.journey(message)
    assert journey.state == "delivered"
    hop = journey.hops[0]
    assert {one.address: one.members for one in hop.expansions} == {
        "both@beta.test": ["team@beta.test", "ann@beta.test", "carl@alpha.test"],
        "team@beta.test": ["ann@beta.test", "Ben@beta.test"],
    }
