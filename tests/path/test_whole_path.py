"""One message across two mail servers, seen by every reader: what arrives is what was sent, in 7-bit form."""

import asyncio
import email
import email.policy
import hashlib
import imaplib
import poplib
import re
import smtplib
import socket
import subprocess
import sys
import threading

import httpx
import pytest

from mailsandbox import Sandbox
from mailsandbox.errors import ConfigError
from mailsandbox.store.store import Store
from tests.path.conftest import HTML, SUBJECT, TEXT, french_message, png

BOB = "bob@beta.test"


def send(box, octets, recipients=(BOB,), **options):
    with smtplib.SMTP(*box.services["alpha.smtp"]) as smtp:
        return smtp.sendmail("alice@alpha.test", list(recipients), octets, **options)


@pytest.fixture
def delivered(box):
    """The French message in bob's mailbox."""
    send(box, french_message(BOB), mail_options=["BODY=8BITMIME"])
    return box, box.wait_for(to=BOB)


@pytest.mark.rfc(6152, "3")
def test_eight_bit_text_and_a_binary_attachment_arrive_as_seven_bit_mime_with_the_same_content(delivered):
    _, message = delivered
    assert message.octets.isascii()
    assert max(map(len, message.octets.split(b"\r\n"))) <= 998
    assert message.subject == SUBJECT
    assert message.text == TEXT
    assert message.html == HTML
    assert [(one.filename, one.octets) for one in message.attachments] == [("plage d'été.png", png())]
    assert "Zoë Müller" in message.header("From")


def test_what_needed_no_conversion_is_the_same_to_the_octet(box):
    octets = b"From: a@alpha.test\r\nSubject:x\r\nX-Odd:   y  \r\n\tfolded\r\n\r\n.\r\n..\r\nbody \r\n"
    send(box, octets)
    assert box.wait_for(to=BOB).octets.endswith(octets)


def test_what_one_site_queues_for_another_is_expected_there_and_what_it_keeps_is_not(box, monkeypatch):
    expected, asked = {}, []
    expect, prepared = Store.expect, Store.prepared

    def note_expected(store, octets, sha256):
        expected[sha256] = octets
        expect(store, octets, sha256)

    def note_asked(store, octets, *, sha256=None):
        asked.append(sha256)
        return prepared(store, octets, sha256=sha256)

    monkeypatch.setattr(Store, "expect", note_expected)
    monkeypatch.setattr(Store, "prepared", note_asked)
    octets = b"From: a@alpha.test\r\nSubject: expected\r\n\r\nbody\r\n"
    send(box, octets.replace(b"expected", b"kept"), recipients=["carol@alpha.test"])
    send(box, octets)
    box.wait_for(to=BOB)
    assert expected == {hashlib.sha256(octets).digest(): octets}
    assert asked[-1:] == list(expected)


@pytest.mark.parametrize("line", [b"a line of text.\r\n", b".\r\n", b"\xe9\r\n", b"bare\n"])
def test_a_large_message_is_the_same_to_the_octet_and_its_digests_are_its_own(box, line):
    octets = b"From: a@alpha.test\r\nSubject: large\r\n\r\n" + line * (1_500_000 // len(line)) + b"end\r\n"
    send(box, octets)
    message = box.wait_for(to=BOB)
    alpha, beta = box.journey(message).hops
    (attempt,) = alpha.attempts
    assert alpha.accepted.sha256 == hashlib.sha256(octets).hexdigest()
    assert attempt.sha256_out == beta.accepted.sha256
    came = b"Received:" + message.octets.split(b"\r\nReceived:", 2)[2]  # as beta got it
    assert beta.accepted.sha256 == hashlib.sha256(came).hexdigest()
    if line.isascii() and line != b"bare\n":
        assert came.endswith(b"\r\n" + octets)
        assert attempt.sha256_in == attempt.sha256_out


def test_every_reader_is_served_the_same_octets(delivered):
    box, message = delivered
    pop3 = poplib.POP3(*box.services["pop3"])
    pop3.user(BOB)
    pop3.pass_("x")
    lines = pop3.retr(1)[1]
    pop3.quit()
    imap = imaplib.IMAP4(*box.services["imap"])
    imap.login(BOB, "x")
    imap.select("INBOX")
    body = imap.fetch("1", "(BODY.PEEK[])")[1][0][1]
    imap.logout()
    raw = httpx.get(f"{box.url}/v1/messages/{message.id}/raw").content
    assert b"\r\n".join(lines) + b"\r\n" == body == raw == message.octets


def test_the_journey_tells_every_hop_and_what_was_converted(delivered):
    box, message = delivered
    journey = box.journey(message)
    assert [hop.site for hop in journey.hops] == ["alpha", "beta"]
    alpha, beta = journey.hops
    assert alpha.accepted.envelope.mail_parameters["BODY"] == "8BITMIME"
    assert beta.accepted.envelope.mail_parameters.get("BODY") is None
    (attempt,) = alpha.attempts
    assert attempt.sha256_in != attempt.sha256_out == beta.accepted.sha256
    assert attempt.octets_out == beta.accepted.octets
    assert {edit.rule for edit in attempt.edits}
    assert any(line.text.startswith("MAIL FROM:<alice@alpha.test>") for line in attempt.transcript)
    assert any(line.side == "S" and line.text.startswith("250") for line in attempt.transcript)
    (shown,) = beta.deliveries
    assert (shown.delivery.account, shown.delivery.message_id) == (BOB, message.id)
    assert journey.state == "delivered"


def test_the_journey_says_when_each_protocol_first_showed_the_message(delivered):
    box, message = delivered
    pop3 = poplib.POP3(*box.services["pop3"])
    pop3.user(BOB)
    pop3.pass_("x")
    pop3.retr(1)
    pop3.quit()
    httpx.get(f"{box.url}/v1/messages/{message.id}/raw")
    journey = httpx.get(f"{box.url}/v1/messages/{message.id}/journey").json()
    shown = journey["hops"][1]["deliveries"][0]["first_shown"]
    assert {one["protocol"] for one in shown} >= {"pop3", "http"}
    assert all(one["after_ms"] >= 0 for one in shown)


def test_a_message_to_the_first_site_itself_does_not_travel(box):
    send(box, b"Subject: here\r\n\r\nhello\r\n", ["carol@alpha.test"])
    message = box.wait_for(to="carol@alpha.test")
    assert [hop.site for hop in box.journey(message).hops] == ["alpha"]


def test_any_domain_can_be_written_to(box):
    send(box, b"Subject: anywhere\r\n\r\nhello\r\n", ["someone@example.com"])
    assert box.wait_for(to="someone@example.com").subject == "anywhere"


def test_several_recipients_at_several_sites_each_get_their_copy(box):
    everyone = ["a@alpha.test", "b@beta.test", "c@example.org"]
    send(box, b"Subject: all\r\n\r\nhello\r\n", everyone)
    for address in everyone:
        assert box.wait_for(to=address).subject == "all"


@pytest.mark.rfc(5321, "6.1")
def test_what_no_server_takes_comes_back_as_a_delivery_status_notification(box):
    box.faults.add("smtp", site="beta", stage="rcpt", reply="550 5.1.1 no such user")
    sent = box.send("nobody@beta.test", subject="lost")
    bounce = box.wait_for(to="alice@alpha.test")
    assert bounce.email.get_content_type() == "multipart/report"
    assert "5.1.1" in str(bounce.email)
    assert box.journey(sent).state == "failed"


def test_a_client_that_hangs_up_in_data_leaves_nothing_and_the_next_one_is_served(box):
    with socket.create_connection(box.services["alpha.smtp"], timeout=10) as client:
        file = client.makefile("rb")
        assert file.readline().startswith(b"220")
        client.sendall(b"EHLO x\r\nMAIL FROM:<a@alpha.test>\r\nRCPT TO:<bob@beta.test>\r\n")
        while not file.readline().startswith(b"250 2.1.5"):
            pass
        client.sendall(b"DATA\r\n")
        assert file.readline().startswith(b"354")
        client.sendall(b"Subject: half\r\n\r\nhal")
    send(box, b"Subject: whole\r\n\r\nhello\r\n")
    assert box.wait_for(to=BOB).subject == "whole"
    assert len(box.messages(BOB)) == 1


@pytest.mark.rfc(1870, "6.1")
def test_a_message_over_the_limit_is_refused_by_name_and_the_connection_lives_on(box):
    with smtplib.SMTP(*box.services["alpha.smtp"]) as smtp:
        smtp.ehlo()
        smtp.mail("a@alpha.test")
        smtp.rcpt(BOB)
        code, text = smtp.data(b"Subject: big\r\n\r\n" + b"x" * 78 + b"\r\n" * 1 + (b"y" * 78 + b"\r\n") * 330_000)
        assert (code, b"5.3.4" in text) == (552, True)
        assert smtp.sendmail("a@alpha.test", [BOB], b"Subject: small\r\n\r\nhello\r\n") == {}
    assert box.wait_for(to=BOB).subject == "small"


@pytest.mark.parametrize("path", ["<bob@@beta.test>", "<bob beta.test>", "bob@", "<>"])
def test_an_address_that_cannot_be_parsed_is_refused_with_the_reason(box, path):
    with smtplib.SMTP(*box.services["alpha.smtp"]) as smtp:
        smtp.ehlo()
        smtp.mail("a@alpha.test")
        code, text = smtp.docmd("RCPT", f"TO:{path}")
        assert 500 <= code < 600
        assert b"5.1." in text or b"5.5." in text
        assert smtp.rcpt(BOB)[0] == 250


@pytest.mark.parametrize(
    ("service", "garbage"),
    [
        ("pop3", b"\x00\xff garbage\r\n" * 3 + b"A" * 100_000 + b"\r\n"),
        ("imap", b"\x00\xff garbage\r\n" * 3 + b"a " + b"A" * 200_000 + b"\r\n"),
        ("imap", b"a LOGIN {99999999999}\r\n"),
    ],
)
def test_garbage_and_overlong_lines_are_answered_and_the_server_goes_on(box, service, garbage):
    with socket.create_connection(box.services[service]) as client:
        client.settimeout(10)
        client.sendall(garbage)
        file = client.makefile("rb")
        file.readline()
        answer = file.readline()
        assert b"-ERR" in answer or b"BAD" in answer or b"NO" in answer or b"BYE" in answer
    if service == "pop3":
        pop3 = poplib.POP3(*box.services["pop3"])
        assert pop3.user(BOB).startswith(b"+OK")
        pop3.quit()
    else:
        with imaplib.IMAP4(*box.services["imap"]) as imap:
            assert imap.login(BOB, "x")[0] == "OK"


async def test_a_sandbox_lives_on_the_callers_event_loop():
    async with Sandbox() as box:
        sent = await box.send(BOB, subject=SUBJECT, text=TEXT, html=HTML)
        message = await box.wait_for(to=BOB, subject="plage")
        assert message.text.strip() == TEXT.strip()
        assert message.octets.isascii()
        assert (await box.journey(sent)).state == "delivered"


def test_several_live_at_once_and_each_has_its_own_mail():
    with Sandbox() as one, Sandbox() as two:
        one.send(BOB, subject="one")
        two.send(BOB, subject="two")
        assert [box.wait_for(to=BOB).subject for box in (one, two)] == ["one", "two"]
        assert len(one.messages()) == len(two.messages()) == 1


def test_each_event_loop_may_have_its_own_one_after_the_other():
    async def once():
        async with Sandbox() as box:
            await box.send(BOB, subject="again")
            return (await box.wait_for(to=BOB)).subject

    assert [asyncio.run(once()) for _ in range(3)] == ["again"] * 3


def test_nothing_is_left_behind(box):
    before = set(threading.enumerate())
    with Sandbox() as other:
        services = dict(other.services)
    assert set(threading.enumerate()) == before
    for service in services.values():
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(service, timeout=5)


def test_no_twisted_reactor_is_installed():
    program = (
        "import sys; from mailsandbox import Sandbox\n"
        "with Sandbox() as box: box.send('b@beta.test'); box.wait_for(to='b@beta.test')\n"
        "sys.exit('twisted.internet.reactor' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_waiting_in_vain_tells_the_nearest_misses(box):
    box.send(BOB, subject="Welcome")
    box.wait_for(to=BOB)
    with pytest.raises(AssertionError, match="Welcome"):
        box.wait_for(to=BOB, subject="Goodbye", timeout=0.05)


def test_five_days_of_retries_run_on_the_manual_clock():
    with Sandbox(clock="manual") as box:
        fault = box.faults.add("smtp", site="beta", stage="rcpt", reply="451 4.2.2 mailbox busy")
        sent = box.send(BOB, subject="never arrives")
        box.clock.advance(6 * 86400)
        assert box.journey(sent).state == "failed"
        assert fault.hits > 20
        subjects = [message.subject for message in box.messages("alice@alpha.test")]
        assert len(subjects) == 2  # the delay warning, then the failure


def test_the_fixtures_of_the_plugin_give_a_running_sandbox_and_a_fresh_address(mailsandbox, mailbox):
    host, port = mailsandbox.services["alpha.smtp"]
    with smtplib.SMTP(host, port) as smtp:
        smtp.sendmail("shop@alpha.test", mailbox.address, "Subject: Welcome\r\n\r\nHello!")
    message = mailbox.wait_for(subject="Welcome")
    assert message.text.strip() == "Hello!"
    assert email.message_from_bytes(message.octets, policy=email.policy.default)["Subject"] == "Welcome"


def test_a_fresh_address_has_no_mail_and_no_faults(mailbox):
    assert mailbox.messages() == []
    assert len(mailbox.faults) == 0


def test_everything_goes_from_one_sandbox_to_another_in_one_zip(delivered, tmp_path):
    box, message = delivered
    assert box.export_zip(tmp_path / "all.zip") == 1
    with Sandbox() as other:
        done = other.import_zip(tmp_path / "all.zip")
        assert done.describe() == "1 message"
        (back,) = other.messages(BOB)
        assert (back.uid, back.octets, back.received_at) == (message.uid, message.octets, message.received_at)
        assert [hop.site for hop in other.journey(back).hops] == ["alpha", "beta"]


@pytest.mark.rfc(5321, "4.4")
async def test_a_message_that_crosses_both_sites_is_stored_once_and_arrives_with_both_traces():
    octets = b"From: a@alpha.test\r\nSubject: once\r\n\r\n" + b"body\r\n" * 10
    async with Sandbox() as box:
        await asyncio.to_thread(send, box, octets)
        message = await box.wait_for(to=BOB)
        trace, _, content = message.octets.partition(b"From: ")
        assert b"From: " + content == octets
        ids = re.findall(rb"(?m)^Received: .*\r\n(?:\t.*\r\n)*?\tby (\S+) ", trace)
        assert ids == [b"beta.test", b"alpha.test"]
        database = box._system.database
        await box._system.sites["alpha"].queue.quiet()
        rows = await database.read(lambda tx: tx.execute("SELECT refs, size FROM blobs").fetchall())
        assert rows == [(1, len(octets))]


@pytest.mark.parametrize("size", [10, 50_000])  # above 256 KiB nothing is prepared
async def test_what_is_stored_bears_its_own_digest_whatever_was_taken_off_it(size):
    async with Sandbox() as box:
        for before in (b"", b"Return-Path: <old@alpha.test>\r\n", b"Received: by old.test; Sat, 21 Nov 2026\r\n"):
            octets = before + b"From: a@alpha.test\r\nSubject: digest\r\n\r\n" + b"body\r\n" * size
            await asyncio.to_thread(send, box, octets, recipients=(BOB, "alice@alpha.test"))
        await box.wait_for_all(to=BOB, count=3)
        database = box._system.database
        sql = "SELECT b.sha256, o.octets FROM blobs b JOIN blob_octets o ON o.id = b.id"
        rows = await database.read(lambda tx: tx.execute(sql).fetchall())
        assert rows
        assert [bytes(digest) for digest, _ in rows] == [hashlib.sha256(octets).digest() for _, octets in rows]


def test_a_client_that_looks_on_is_told_what_retention_removes_and_the_queue_is_left_alone(tmp_path):
    config = tmp_path / "box.toml"
    config.write_text(
        """
        [clock]
        mode = "manual"
        [store]
        max_messages = 2
        max_age = "10m"
        total_octets = "1 KB"
        [[routes]]
        domain = "stuck.test"
        host = "127.0.0.1"
        port = 9
        """
    )
    with Sandbox(config) as box:
        waiting = box.send("ann@stuck.test", subject="waits", text="x" * 2000)
        box.send(BOB, subject="one")
        box.wait_for(subject="one")
        imap = imaplib.IMAP4(*box.services["imap"])
        imap.login(BOB, "x")
        assert imap.select()[1] == [b"1"]
        for subject in ("two", "three"):
            box.send(BOB, subject=subject)
            box.wait_for(subject=subject)
        box.clock.advance(1)
        imap.noop()
        assert b"1" in imap.response("EXPUNGE")[1]
        assert "one" not in [message.subject for message in box.messages(BOB)]
        box.clock.advance(700)
        imap.noop()
        assert imap.search(None, "ALL") == ("OK", [b""])
        assert box.messages() == []
        assert box.journey(waiting).state == "queued"
        imap.logout()


def test_a_fault_that_could_never_strike_is_refused():
    with Sandbox() as box:
        for wrong in ({"site": "gamma"}, {"protocol": "smpt"}, {"protocol": "smtp", "stage": "rctp"}):
            with pytest.raises(ConfigError, match="fault: "):
                box.faults.add(**wrong, drop=True)
        assert len(box.faults) == 0
