"""Notifications as octets."""

import email
import email.policy
import re

import pytest
from flufl.bounce import all_failures, scan_message
from hypothesis import given
from hypothesis import strategies as st

from mailsandbox.deliver.notifications import Original, Reporter, compose_notification
from mailsandbox.mailqueue.model import Action, RecipientReport
from mailsandbox.message.envelope import Envelope, Recipient
from mailsandbox.smtp.replies import Reply, reply

NOW = 1_790_000_000.0
PLAIN = b"From: a@alpha.test\r\nSubject: x\r\n\r\nHello\r\n"
REPORTER = Reporter("mx.alpha.test", "D1", NOW)


def told(address="b@beta.test", action=Action.FAILED, *, answer=None, remote="mx.beta.test", **recipient):
    answer = answer or reply(550, "5.1.1", "unknown")
    retry_until = NOW + 86_400 if action is Action.DELAYED else None
    status = {"failed": "5.1.1", "delayed": "4.7.1"}.get(action, "2.0.0")
    return RecipientReport(Recipient(address, **recipient), action, status, answer, remote, NOW, retry_until)


def composed(*reports, octets=PLAIN, sender="a@alpha.test", **envelope) -> tuple[Envelope, bytes]:
    original = Original(Envelope(sender, (Recipient("b@beta.test"),), **envelope), octets, NOW - 60)
    return compose_notification(reports or [told()], original=original, reporter=REPORTER)


def assert_seven_bit(octets: bytes) -> None:
    assert octets.isascii()
    assert b"\x00" not in octets
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", octets)
    assert max(len(line) for line in octets.split(b"\r\n")) <= 998


def status_of(octets: bytes) -> list:
    message = email.message_from_bytes(octets)
    return message.get_payload(1).get_payload()


@pytest.mark.rfc(3461, "6.2")
def test_it_travels_with_the_null_path_and_asks_for_no_notification():
    envelope, _ = composed(ret="FULL", envid="X1")
    assert envelope.reverse_path == ""
    assert envelope.recipients == (Recipient("a@alpha.test", frozenset({"NEVER"})),)
    assert (envelope.ret, envelope.envid, envelope.smtputf8) == ("", "", False)


@pytest.mark.rfc(5321, "4.5.5")
def test_null_path_is_never_told():
    with pytest.raises(AssertionError):
        composed(sender="")


@pytest.mark.rfc(3464, "2.1.1")
def test_its_header_says_what_it_is():
    header = email.message_from_bytes(composed()[1])
    assert header.get_content_type() == "multipart/report"
    assert header.get_param("report-type") == "delivery-status"
    assert header["From"] == "Mail Delivery System <MAILER-DAEMON@mx.alpha.test>"
    assert header["To"] == "<a@alpha.test>"
    assert header["Auto-Submitted"] == "auto-replied"
    assert header["Message-ID"] == "<D1.dsn@mx.alpha.test>"
    assert header["Received"].startswith("by mx.alpha.test id D1;")
    assert [part.get_content_type() for part in header.get_payload()] == [
        "text/plain",
        "message/delivery-status",
        "message/rfc822",
    ]


@pytest.mark.rfc(3464, "2.2")
@pytest.mark.parametrize("action", Action)
def test_fields_of_each_action(action):
    message, recipient = status_of(composed(told(action=action))[1])
    assert message["Reporting-MTA"] == "dns; mx.alpha.test"
    assert message["Arrival-Date"] == "Mon, 21 Sep 2026 14:12:20 +0000"
    assert recipient["Final-Recipient"] == "rfc822; b@beta.test"
    assert recipient["Action"] == action.value
    assert recipient["Remote-MTA"] == "dns; mx.beta.test"
    assert recipient["Diagnostic-Code"] == "smtp; 550 5.1.1 unknown"
    assert recipient["Last-Attempt-Date"] == "Mon, 21 Sep 2026 14:13:20 +0000"
    assert ("Will-Retry-Until" in recipient) is (action is Action.DELAYED)


def test_what_we_found_out_ourselves_is_no_smtp_diagnostic():
    _, recipient = status_of(composed(told(remote="", answer=reply(451, "4.4.1", "refused")))[1])
    assert recipient["Diagnostic-Code"] == "X-Mailsandbox; 451 4.4.1 refused"
    assert "Remote-MTA" not in recipient


@pytest.mark.rfc(3461, "4.3")
@pytest.mark.parametrize("action", [Action.DELAYED, Action.RELAYED, Action.DELIVERED])
def test_ret_full_is_for_failures_only(action):
    whole = email.message_from_bytes(composed(told(action=action), ret="FULL")[1])
    assert whole.get_payload(2).get_content_type() == "text/rfc822-headers"


@pytest.mark.rfc(6533, "3")
def test_sender_with_a_non_ascii_domain_is_written_to_in_a_labels():
    envelope, octets = composed(sender="a@bücher.test")
    assert envelope.addresses == ["a@xn--bcher-kva.test"]
    assert not envelope.smtputf8
    assert_seven_bit(octets)


@pytest.mark.rfc(6533, "3")
def test_sender_with_a_non_ascii_local_part_needs_smtputf8_and_only_its_address_is_not_ascii():
    envelope, octets = composed(sender="jörg@alpha.test")
    assert envelope.smtputf8
    assert envelope.addresses == ["jörg@alpha.test"]
    assert_seven_bit(octets.replace("jörg".encode(), b""))


@pytest.mark.rfc(6533, "3")
@pytest.mark.parametrize(
    ("orcpt", "expected"),
    [
        ("rfc822;Bob+2Blists@gamma.test", "rfc822; Bob+lists@gamma.test"),
        ("utf-8;j\\x{F6}rg@gamma.test", "utf-8; j\\x{F6}rg@gamma.test"),
        ("utf-8;jörg@gamma.test", "utf-8; j\\x{F6}rg@gamma.test"),
        ("rfc822;j+C3+B6rg@gamma.test", "utf-8; j\\x{F6}rg@gamma.test"),
        ("x400;+2FC+3DDE+3B", "x400; /C=DE;"),
        ("rfc822;not+xtext", "rfc822; not+xtext"),
        ("utf-8;\\x{FFFFFF}", "utf-8; \\x{5C}x{FFFFFF}"),
        ("rfc822;evil+0D+0AInjected:+20yes", "rfc822; evil Injected: yes"),
    ],
)
def test_original_recipient_is_decoded_or_kept_in_ascii(orcpt, expected):
    _, recipient = status_of(composed(told(orcpt=orcpt))[1])
    assert re.sub(r"\s+", " ", recipient["Original-Recipient"]) == expected


@pytest.mark.rfc(5322, "2.1.1")
def test_long_and_many_line_replies_are_folded():
    answer = Reply(550, "5.7.1", (*(f"line {number} {'word ' * 30}" for number in range(20)), "x" * 3000))
    _, octets = composed(told(answer=answer))
    assert_seven_bit(octets)
    _, recipient = status_of(octets)
    assert "line 19 word" in re.sub(r"\s+", " ", recipient["Diagnostic-Code"])


def test_message_id_that_could_break_the_header_is_not_repeated():
    for bad in (b"<a b@c>", b"<\xfc@c>", b"no brackets", b"<" + b"x" * 2000 + b">", b"<a>\r\n <b>"):
        _, octets = composed(octets=b"Message-ID: " + bad + b"\r\n\r\nx\r\n")
        assert b"In-Reply-To" not in octets.partition(b"\r\n\r\n")[0]
        assert_seven_bit(octets.partition(b"\r\n\r\n")[0])


def test_several_recipients_are_told_in_one_notification():
    _, octets = composed(told("one@beta.test"), told("two@beta.test"), told("three@beta.test"))
    assert [group["Final-Recipient"] for group in status_of(octets)[1:]] == [
        "rfc822; one@beta.test",
        "rfc822; two@beta.test",
        "rfc822; three@beta.test",
    ]


@pytest.mark.parametrize(
    ("action", "answer", "temporary", "permanent"),
    [
        (Action.FAILED, reply(550, "5.1.1", "unknown"), set(), {b"b@beta.test", b"c@beta.test"}),
        (Action.DELAYED, reply(451, "4.7.1", "later"), {b"b@beta.test", b"c@beta.test"}, set()),
        # No failures: mailing list managers would count them against the member otherwise.
        (Action.DELIVERED, reply(250, "2.1.5", "delivered"), set(), set()),
        (Action.RELAYED, reply(250, "2.0.0", "queued"), set(), set()),
        (Action.EXPANDED, reply(250, "2.1.5", "expanded"), set(), set()),
    ],
)
@pytest.mark.parametrize("ret", ["", "FULL", "HDRS"])
def test_flufl_bounce_takes_failures_and_delays_for_what_they_are_and_successes_for_none(
    action, answer, temporary, permanent, ret
):
    # Its API has two sets, of temporary and of permanent failures; what is in neither has not failed.
    returned = b"From: a@alpha.test\r\nTo: b@beta.test\r\nSubject: x\r\n\r\nHello\r\n"
    reports = [told(address, action, answer=answer) for address in ("b@beta.test", "c@beta.test")]
    _, octets = composed(*reports, ret=ret, octets=returned)
    message = email.message_from_bytes(octets)
    assert all_failures(message) == (temporary, permanent)
    assert scan_message(message) == permanent


@pytest.mark.rfc(6522, "4")
@pytest.mark.parametrize(
    ("octets", "header"),
    [
        (b"A: 1\r\n folded\r\n\r\nbody: x\r\n\r\nmore", b"A: 1\r\n folded\r\n"),
        (b"A: 1\r\nno field\r\nbody: x\r\n\r\nmore", b"A: 1\r\n"),
        (b"\r\nSecret: x\r\n\r\nmore", b""),
        (b"only a body\r\n\r\nmore", b""),
        (b"A: 1\r\nB: 2", b"A: 1\r\nB: 2"),
        (b"A: 1\n\nSecret: x\r\n\r\n", b"A: 1\n"),
        (b"", b""),
    ],
)
def test_the_header_comes_back_and_nothing_of_the_body(octets, header):
    _, notification = composed(octets=octets, ret="HDRS")
    returned = email.message_from_bytes(notification).get_payload(2)
    assert returned.get_content_type() == "text/rfc822-headers"
    assert returned.get_payload(decode=True).rstrip(b"\r\n") == header.rstrip(b"\r\n")
    assert_seven_bit(notification)


@pytest.mark.rfc(3461, "4.3")
@pytest.mark.parametrize("octets", [b"A: 1\r\n\r\n" + b"x" * 78 * 140_000, b"A: 1\r\n\r\n" + b"\xff" * 8_000_000])
def test_a_message_too_large_to_be_returned_comes_back_as_its_header_whatever_ret_says(octets):
    _, notification = composed(octets=octets, ret="FULL")
    assert len(notification) < 5_000
    assert b"\r\nA: 1\r\n" in notification


@pytest.mark.rfc(8689, "5")
@pytest.mark.parametrize("ret", ["", "FULL"])
def test_a_message_that_was_to_travel_in_tls_only_comes_back_as_its_header(ret):
    _, notification = composed(ret=ret, require_tls=True)
    assert b"Subject: x" in notification
    assert b"Hello" not in notification


def test_a_header_without_end_is_cut():
    _, notification = composed(octets=b"A: 1\r\n" * 1_000_000, ret="HDRS")
    assert len(notification) < 110_000
    assert_seven_bit(notification)


def test_five_thousand_recipients_fit_into_one_notification_with_a_text_that_can_be_read():
    reports = [told(f"recipient-{number}@beta.test", answer=reply(550, "5.1.1", "x" * 300)) for number in range(5_000)]
    _, notification = composed(*reports)
    assert len(notification) < 5_000_000
    groups = status_of(notification)
    assert len(groups) == 5_001
    text = email.message_from_bytes(notification).get_payload(0).get_payload()
    assert text.count("<recipient-") == 100
    assert "and 4900 more" in text


@pytest.mark.rfc(6533, "3")
@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("b@b\u00fccher.test", "rfc822; b@xn--bcher-kva.test"),
        ("zo\u00eb@beta.test", "utf-8; zo\\x{EB}@beta.test"),
        ('"a b"@beta.test', 'rfc822; "a b"@beta.test'),
    ],
)
def test_the_final_recipient_is_ascii_where_it_can_be_and_utf_8_in_ascii_otherwise(address, shown):
    _, notification = composed(told(address))
    assert status_of(notification)[1]["Final-Recipient"] == shown


@pytest.mark.rfc(3464, "2.3.5")
@pytest.mark.parametrize(
    ("remote", "shown"),
    [("mx.beta.test", "mx.beta.test"), ("127.0.0.1", "[127.0.0.1]"), ("::1", "[IPv6:::1]"), ("[::1]", "[IPv6:::1]")],
)
def test_a_server_without_name_is_told_by_an_address_literal(remote, shown):
    _, notification = composed(told(remote=remote))
    assert status_of(notification)[1]["Remote-MTA"] == f"dns; {shown}"


TEXT = st.text(max_size=60)


@given(
    octets=st.binary(max_size=300),
    address=TEXT,
    lines=st.lists(TEXT, min_size=1, max_size=4),
    remote=TEXT,
    orcpt=TEXT,
    envid=TEXT,
    ret=st.sampled_from(["", "FULL", "HDRS"]),
    action=st.sampled_from(Action),
    smtputf8=st.booleans(),
)
def test_whatever_it_is_made_of_it_is_valid_seven_bit_with_three_parts(
    octets, address, lines, remote, orcpt, envid, ret, action, smtputf8
):
    report = told(address, action, answer=Reply(550, "5.1.1", tuple(lines)), remote=remote, orcpt=orcpt)
    _, notification = composed(report, octets=octets, envid=envid, ret=ret, smtputf8=smtputf8)
    assert_seven_bit(notification)
    boundary = email.message_from_bytes(notification).get_boundary().encode()
    assert notification.count(b"\r\n--" + boundary + b"\r\n") == 3
    assert notification.endswith(b"\r\n--" + boundary + b"--\r\n")
    status = notification.split(b"\r\n--" + boundary + b"\r\n")[2]
    fields = status.partition(b"\r\n\r\n")[2]
    assert len([group for group in fields.split(b"\r\n\r\n") if group.strip()]) == 2
    assert all(re.match(rb"[A-Za-z-]+: |[ \t]", line) for line in fields.split(b"\r\n") if line)
