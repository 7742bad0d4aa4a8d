"""What a transcript cannot show: records of sessions, faults, stores that fail, limits on what is kept."""

import asyncio
import contextlib
import logging
import random
import socket
import struct

import pytest
from smtp_services import Transport

from mailsandbox.errors import NoSuchQueueItem, StartError, StoreFull
from mailsandbox.faults import Delay, Drop, Fault, Respond
from mailsandbox.smtp.extensions import Offers
from mailsandbox.smtp.replies import reply
from mailsandbox.submit.connection import SmtpConnection
from mailsandbox.submit.model import Authentication, Kind, Limits

DEADLINE = 10.0


class Wire:
    """A client that says exactly what it is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, service) -> "Wire":
        """Connect, and do not wait for the greeting. Closed with the service."""
        if service.spec.socket:
            wire = cls(*await asyncio.open_unix_connection(service.spec.socket))
        else:
            wire = cls(*await asyncio.open_connection("127.0.0.1", service.port))
        service.clients.append(wire)
        return wire

    @classmethod
    async def connect(cls, service) -> "Wire":
        """Connect and be greeted."""
        wire = await cls.open(service)
        await wire.answer()
        return wire

    async def answer(self) -> str:
        """One reply, its lines joined."""
        lines = []
        while True:
            line = (await asyncio.wait_for(self.reader.readline(), DEADLINE)).decode()
            lines.append(line)
            if line[3:4] != "-":
                return "".join(lines)

    async def ask(self, text: str | bytes) -> str:
        self.writer.write(text if isinstance(text, bytes) else text.encode() + b"\r\n")
        return await self.answer()

    async def begin(self) -> None:
        """EHLO, MAIL, RCPT, DATA."""
        await self.ask("EHLO client.test")
        await self.ask("MAIL FROM:<alice@alpha.test>")
        await self.ask("RCPT TO:<bob@beta.test>")
        assert (await self.ask("DATA")).startswith("354")

    async def send(self, octets: bytes = b"Subject: x\r\n\r\nbody\r\n") -> str:
        await self.begin()
        return await self.ask(octets + b".\r\n")

    async def closed(self) -> bytes:
        """What comes until the server closes."""
        try:
            return await asyncio.wait_for(self.reader.read(), DEADLINE)
        except ConnectionResetError:
            return b"reset"

    def close(self) -> None:
        self.writer.close()


async def ended(record) -> None:
    """Wait until a session's record is closed."""
    async with asyncio.timeout(DEADLINE):
        while record.ended_at is None:
            await asyncio.sleep(0.001)


def said(record, side: str = "") -> list[str]:
    return [line.text for line in record.transcript if side in ("", line.side)]


# -- what is remembered ----------------------------------------------------------------------------------------------


async def test_a_session_is_remembered_both_ways_with_times(serve):
    service = await serve()
    wire = await Wire.connect(service)
    await wire.send()
    await wire.ask("QUIT")
    record = service.session()
    await ended(record)
    assert record.outcome == "closed"
    assert record.helo == "client.test"
    assert said(record, "C") == [
        "EHLO client.test",
        "MAIL FROM:<alice@alpha.test>",
        "RCPT TO:<bob@beta.test>",
        "DATA",
        "[20 octets of message data]",
        ".",
        "QUIT",
    ]
    assert said(record, "S")[-2:] == ["250 2.0.0 Ok: queued as Q1", "221 2.0.0 Bye"]
    times = [line.at for line in record.transcript]
    assert times == sorted(times)


async def test_the_message_carries_its_envelope_its_facts_and_its_transcript(serve):
    service = await serve()
    wire = await Wire.connect(service)
    await wire.ask("EHLO client.test")
    await wire.ask("MAIL FROM:<alice@alpha.test> SIZE=20 RET=HDRS ENVID=QQ+2B7 BODY=8BITMIME")
    await wire.ask("RCPT TO:<bob@beta.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;bob+2Bx@beta.test")
    await wire.ask("DATA")
    await wire.ask(b"Subject: x\r\n\r\nbody\r\n.\r\n")
    incoming = service.accepted[0]
    accepted = incoming.accepted
    assert incoming.envelope.recipients[0].notify == {"SUCCESS", "FAILURE"}
    assert (incoming.envelope.ret, incoming.envelope.envid, incoming.envelope.body) == ("HDRS", "QQ+2B7", "8BITMIME")
    assert accepted.envelope.mail_parameters == {"SIZE": "20", "RET": "HDRS", "ENVID": "QQ+2B7", "BODY": "8BITMIME"}
    assert accepted.envelope.recipient_parameters["bob@beta.test"]["ORCPT"] == "rfc822;bob+2Bx@beta.test"
    assert (accepted.site, accepted.queue_id, accepted.protocol, accepted.octets) == ("alpha", "Q1", "ESMTP", 20)
    assert accepted.session_id == service.session().id
    assert accepted.transcript[-1].text == str(incoming.reply) == "250 2.0.0 Ok: queued as Q1"
    assert accepted.transcript[0].text.startswith("220 ")


async def test_the_transcript_of_a_second_message_begins_after_the_first(serve):
    service = await serve()
    wire = await Wire.connect(service)
    await wire.send()
    await wire.send()
    assert service.accepted[1].accepted.transcript[0].text == "EHLO client.test"


@pytest.mark.parametrize(
    ("mechanism", "responses"),
    [
        ("AUTH PLAIN AGJvYgBzZWNyZXQ=", []),
        ("AUTH PLAIN", ["AGJvYgBzZWNyZXQ="]),
        ("AUTH LOGIN", ["Ym9i", "c2VjcmV0"]),
    ],
)
async def test_no_password_is_remembered(serve, mechanism, responses):
    service = await serve()
    wire = await Wire.connect(service)
    await wire.ask("EHLO client.test")
    answer = await wire.ask(mechanism)
    for response in responses:
        answer = await wire.ask(response)
    assert answer.startswith("235 ")
    everything = "\n".join(said(service.session()))
    assert "c2VjcmV0" not in everything
    assert "AGJvYgBzZWNyZXQ=" not in everything
    assert service.session().account == "bob"


@pytest.mark.rfc(4954, "4")
@pytest.mark.parametrize("tail", [1, 100, 5_000, 13_000])
async def test_the_rest_of_an_overlong_response_is_no_command_and_not_remembered(serve, tail):
    service = await serve()
    wire = await Wire.connect(service)
    await wire.ask("EHLO client.test")
    await wire.ask("AUTH LOGIN")
    wire.writer.write(b"s" * 13_000)
    await wire.writer.drain()
    record = service.session()
    async with asyncio.timeout(DEADLINE):
        while "***" not in said(record, "C"):
            await asyncio.sleep(0.001)
    assert (await wire.ask(b"s" * tail + b"\r\n")).startswith("500 5.5.6 Authentication")
    assert (await wire.ask("NOOP")).startswith("250 ")
    assert "s" * min(tail, 50) not in "".join(text for text in said(record, "C") if text.startswith("s"))


async def test_a_client_that_hangs_up_in_data_is_remembered_and_leaves_nothing(serve):
    service = await serve()
    wire = await Wire.connect(service)
    await wire.begin()
    wire.writer.write(b"Subject: never ended\r\n" * 100)
    await wire.writer.drain()
    wire.close()
    await ended(service.session())
    assert service.session().outcome == "aborted"
    assert service.accepted == []
    assert service.context.memory.held == 0


async def test_a_session_whose_every_message_was_refused_is_rejected(serve):
    service = await serve(mode="strict", offers=Offers.parse(["PIPELINING"]))
    wire = await Wire.connect(service)
    assert (await wire.send(b"Subject: x\r\n\r\n\xff\r\n")).startswith("554 5.6.1 ")
    await wire.ask("QUIT")
    await ended(service.session())
    assert service.session().outcome == "rejected"
    assert service.session().findings[0].rule == "undeclared-8bit"


@pytest.mark.parametrize(
    ("changes", "sender"),
    [({}, "MAIL FROM:<no path"), ({"authentication": Authentication.REQUIRED}, "MAIL FROM:<a@alpha.test>")],
)
async def test_a_session_whose_every_message_was_refused_at_mail_is_rejected(serve, changes, sender):
    service = await serve(**changes)
    wire = await Wire.connect(service)
    await wire.ask("EHLO client.test")
    assert (await wire.ask(sender)).startswith("5")
    await wire.ask("QUIT")
    await ended(service.session())
    assert service.session().outcome == "rejected"


async def test_a_session_with_another_command_refused_is_closed(serve):
    service = await serve()
    wire = await Wire.connect(service)
    await wire.ask("EHLO client.test")
    assert (await wire.ask("RCPT TO:<b@beta.test>")).startswith("503 ")
    await wire.ask("QUIT")
    await ended(service.session())
    assert service.session().outcome == "closed"


async def test_a_failed_tls_handshake_is_remembered(serve):
    service = await serve()
    wire = await Wire.connect(service)
    await wire.ask("EHLO client.test")
    await wire.ask("STARTTLS")
    wire.writer.write(b"MAIL FROM:<in@clear.test>\r\n" * 20)
    await wire.closed()
    await ended(service.session())
    assert service.session().outcome == "tls failed"
    assert any(text.startswith("TLS handshake failed") for text in said(service.session(), "!"))


async def test_implicit_tls_refuses_clear_text_and_remembers_it(serve):
    service = await serve(kind=Kind.SUBMISSIONS)
    wire = await Wire.open(service)
    reader, writer = wire.reader, wire.writer
    writer.write(b"EHLO client.test\r\n" * 20)
    assert b"220" not in await asyncio.wait_for(reader.read(), DEADLINE)
    writer.close()
    await ended(service.session())
    assert service.session().outcome == "tls failed"


async def test_tls_facts_are_in_the_record_and_in_the_received_field(serve, client_tls):
    service = await serve()
    wire = await Wire.connect(service)
    await wire.ask("EHLO client.test")
    await wire.ask("STARTTLS")
    await wire.writer.start_tls(client_tls, server_hostname="localhost")
    await wire.send()
    assert service.session().tls.startswith("TLSv1.3 ")
    assert service.accepted[0].accepted.protocol == "ESMTPS"
    assert b"using TLSv1.3" in service.accepted[0].trace


# -- the trace field -------------------------------------------------------------------------------------------------


@pytest.mark.rfc(5321, "4.4")
@pytest.mark.rfc(3848, "1")
@pytest.mark.parametrize(
    ("hello", "parameters", "word"),
    [
        ("HELO client.test", "", b"with SMTP "),
        ("EHLO client.test", "", b"with ESMTP "),
        ("EHLO client.test", " SMTPUTF8", b"with UTF8SMTP "),
    ],
)
async def test_received_says_by_which_protocol(serve, hello, parameters, word):
    service = await serve()
    wire = await Wire.connect(service)
    await wire.ask(hello)
    await wire.ask(f"MAIL FROM:<a@alpha.test>{parameters}")
    await wire.ask("RCPT TO:<b@beta.test>")
    await wire.ask("DATA")
    await wire.ask(b".\r\n")
    trace = service.accepted[0].trace
    assert trace.startswith(b"Received: from client.test ([127.0.0.1])\r\n")
    assert word in trace
    assert b"by mx.alpha.test" in trace
    assert b"id Q1" in trace
    assert trace.count(b"Received:") == 1


@pytest.mark.rfc(5321, "7.2")
async def test_received_names_the_recipient_only_where_there_is_one(serve):
    service = await serve()
    wire = await Wire.connect(service)
    await wire.send()
    await wire.ask("MAIL FROM:<a@alpha.test>")
    await wire.ask("RCPT TO:<b@beta.test>")
    await wire.ask("RCPT TO:<c@beta.test>")
    await wire.ask("DATA")
    await wire.ask(b".\r\n")
    assert b"for <bob@beta.test>" in service.accepted[0].trace
    assert b"for <" not in service.accepted[1].trace


# -- submission ------------------------------------------------------------------------------------------------------


@pytest.mark.rfc(6409, "8")
async def test_submission_adds_what_is_missing_and_takes_bcc_away(serve):
    service = await serve(kind=Kind.SUBMISSION)
    wire = await Wire.connect(service)
    await wire.send(
        b"Subject: x\r\nBCC: secret@beta.test,\r\n more@beta.test\r\n"
        b"Resent-Bcc: s@beta.test\r\nTo: bob@beta.test\r\n\r\nBcc: body\r\n"
    )
    incoming = service.accepted[0]
    assert incoming.octets == b"Subject: x\r\nTo: bob@beta.test\r\n\r\nBcc: body\r\n"
    added = incoming.trace.partition(b"Received:")[2].split(b"\r\n")
    assert any(line.startswith(b"Date: ") for line in added)
    assert b"Message-ID: <Q1@mx.alpha.test>" in added
    assert b"From: <alice@alpha.test>" in added
    assert {finding.rule for finding in incoming.accepted.findings} >= {"completed", "bcc-removed"}


@pytest.mark.rfc(6409, "8")
async def test_submission_leaves_what_is_there(serve):
    service = await serve(kind=Kind.SUBMISSION)
    wire = await Wire.connect(service)
    octets = b"date: x\r\nMESSAGE-ID: <a@b>\r\nFrom: a@b.test\r\n\r\nDate: no\r\n"
    await wire.send(octets)
    assert service.accepted[0].octets == octets
    assert service.accepted[0].trace.count(b"\r\nDate: ") == 0


async def test_a_body_without_header_gets_a_header_of_its_own_on_submission(serve):
    service = await serve(kind=Kind.SUBMISSION)
    wire = await Wire.connect(service)
    await wire.send(b"just a line\r\n")
    whole = service.accepted[0].trace + service.accepted[0].octets
    assert whole.endswith(b"\r\n\r\njust a line\r\n")


async def test_a_relay_adds_nothing_but_its_trace(serve):
    service = await serve()
    wire = await Wire.connect(service)
    await wire.send(b"Bcc: x@beta.test\r\n\r\nbody\r\n")
    assert service.accepted[0].octets == b"Bcc: x@beta.test\r\n\r\nbody\r\n"
    assert b"Date:" not in service.accepted[0].trace


# -- what fails behind us --------------------------------------------------------------------------------------------


@pytest.mark.rfc(1870, "6.1")
@pytest.mark.parametrize("error", [StoreFull("no room"), NoSuchQueueItem("gone")])
async def test_a_store_that_cannot_take_it_is_answered_452(serve, error):
    async def accept(_incoming):
        raise error

    service = await serve(context={"accept": accept})
    wire = await Wire.connect(service)
    assert (await wire.send()).startswith("452 4.3.1 ")
    assert await wire.ask("NOOP") == "250 2.0.0 OK\r\n"


async def test_a_bug_of_ours_is_answered_451_and_logged(serve, caplog):
    async def accept(_incoming):
        raise ZeroDivisionError

    service = await serve(context={"accept": accept})
    wire = await Wire.connect(service)
    with caplog.at_level(logging.ERROR):
        assert (await wire.send()).startswith("451 4.3.0 ")
    assert "ZeroDivisionError" in caplog.text
    assert await wire.ask("NOOP") == "250 2.0.0 OK\r\n"


@pytest.mark.rfc(5321, "4.1.1.4")
async def test_a_bug_of_ours_at_the_end_of_data_ends_the_transaction_too(serve, caplog):
    async def accept(_incoming):
        raise ZeroDivisionError

    service = await serve(context={"accept": accept})
    wire = await Wire.connect(service)
    assert (await wire.send()).startswith("451 4.3.0 ")
    assert (await wire.ask("MAIL FROM:<alice@alpha.test>")).startswith("250 ")


async def test_a_bug_of_ours_before_the_store_is_asked_is_answered_too(serve, caplog):
    def new_id():
        raise ZeroDivisionError

    service = await serve(context={"new_id": new_id})
    wire = await Wire.connect(service)
    assert (await wire.send()).startswith("451 4.3.0 ")
    assert (await wire.ask("MAIL FROM:<alice@alpha.test>")).startswith("250 ")


async def test_a_message_that_is_being_stored_is_stored_though_the_client_hangs_up(serve):
    begun, go_on, stored = asyncio.Event(), asyncio.Event(), []

    async def accept(incoming):
        begun.set()
        await go_on.wait()
        stored.append(incoming)
        return incoming.reply

    service = await serve(context={"accept": accept})
    wire = await Wire.connect(service)
    await wire.begin()
    wire.writer.write(b".\r\n")
    await asyncio.wait_for(begun.wait(), DEADLINE)
    raw = wire.writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.writer.transport.abort()
    await ended(service.session())
    go_on.set()
    async with asyncio.timeout(DEADLINE):
        while not stored:
            await asyncio.sleep(0)


async def test_commands_sent_ahead_while_a_message_is_stored_are_answered_in_order(serve):
    go_on = asyncio.Event()

    async def accept(incoming):
        await go_on.wait()
        return incoming.reply

    service = await serve(context={"accept": accept})
    wire = await Wire.connect(service)
    await wire.begin()
    wire.writer.write(b".\r\nNOOP\r\nVRFY bob\r\nQUIT\r\n")
    asyncio.get_running_loop().call_later(0.01, go_on.set)
    assert (await wire.answer()).startswith("250 2.0.0 Ok: queued")
    assert (await wire.answer()).startswith("250 2.0.0 OK")
    assert (await wire.answer()).startswith("252 ")
    assert (await wire.answer()).startswith("221 ")


@pytest.mark.rfc(3030, "4.2")
async def test_messages_pipelined_as_chunks_are_stored_one_after_the_other(serve):
    accepted = []

    async def accept(incoming):
        await asyncio.sleep(0)
        accepted.append(incoming.octets)
        return incoming.reply

    service = await serve(context={"accept": accept})
    wire = await Wire.connect(service)
    await wire.ask("EHLO client.test")
    one = b"MAIL FROM:<a@alpha.test>\r\nRCPT TO:<b@beta.test>\r\nBDAT 1 LAST\r\n"
    wire.writer.write(one + b"1" + one + b"2" + one + b"3" + b"VRFY bob\r\n")
    codes = [(await wire.answer())[:9] for _ in range(10)]
    assert codes == ["250 2.1.0", "250 2.1.5", "250 2.0.0"] * 3 + ["252 2.0.0"]
    assert accepted == [b"1", b"2", b"3"]


async def test_a_recipient_that_the_site_refuses_is_refused(serve):
    service = await serve(context={"check_recipient": lambda address: reply(550, "5.1.1", "Unknown")})
    wire = await Wire.connect(service)
    await wire.ask("EHLO client.test")
    await wire.ask("MAIL FROM:<a@alpha.test>")
    assert (await wire.ask("RCPT TO:<b@beta.test>")).startswith("550 5.1.1 ")
    assert (await wire.ask("VRFY <b@beta.test>")).startswith("550 5.1.1 ")
    assert (await wire.ask("DATA")).startswith("554 5.5.1 ")


@pytest.mark.rfc(1985, "5.3")
@pytest.mark.parametrize(("waiting", "said"), [(3, "253 2.0.0 3 pending"), (0, "251 2.0.0 ")])
async def test_etrn_starts_the_queue(serve, waiting, said):
    asked = []

    async def run_queue(domain, *, below):
        asked.append((domain, below))
        return waiting

    service = await serve(context={"run_queue": run_queue})
    wire = await Wire.connect(service)
    await wire.ask("EHLO client.test")
    assert (await wire.ask("ETRN @Beta.test")).startswith(said)
    assert (await wire.ask("ETRN beta.test")).startswith(said)
    assert (await wire.ask("ETRN #beta.test")).startswith("459 4.7.1 ")
    assert asked == [("beta.test", True), ("beta.test", False)]


@pytest.mark.rfc(5321, "4.1.1.8")
async def test_help_names_what_is_offered(serve):
    def named(text: str) -> set[str]:
        return set(text.splitlines()[0].split(": ")[1].split())

    everything = await Wire.connect(await serve())
    assert {"BDAT", "STARTTLS", "AUTH", "ETRN", "VRFY", "EXPN"} < named(await everything.ask("HELP"))
    off = {"offers": Offers(), "authentication": Authentication.OFF, "verify": False, "expand": False}
    nothing = await Wire.connect(await serve(**off))
    assert named(await nothing.ask("HELP")) == {"DATA", "EHLO", "HELO", "HELP", "MAIL", "NOOP", "QUIT", "RCPT", "RSET"}


@pytest.mark.rfc(7505, "4.2")
async def test_a_sender_that_is_refused_begins_no_transaction(serve):
    refusal = reply(550, "5.7.27", "null MX")
    service = await serve(context={"check_sender": lambda address: refusal if "null" in address else None})
    wire = await Wire.connect(service)
    await wire.ask("EHLO client.test")
    assert (await wire.ask("MAIL FROM:<a@null.test>")).startswith("550 5.7.27 ")
    assert (await wire.ask("RCPT TO:<b@beta.test>")).startswith("503 ")
    assert (await wire.ask("MAIL FROM:<>")).startswith("250 ")


# -- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "commands", "which"),
    [
        ("ehlo", ["EHLO client.test"], 0),
        ("mail", ["EHLO client.test", "MAIL FROM:<a@alpha.test>"], 1),
        ("rcpt", ["EHLO client.test", "MAIL FROM:<a@alpha.test>", "RCPT TO:<b@beta.test>"], 2),
        ("data", ["EHLO client.test", "MAIL FROM:<a@alpha.test>", "RCPT TO:<b@beta.test>", "DATA"], 3),
        ("auth", ["EHLO client.test", "AUTH LOGIN"], 1),
        ("starttls", ["EHLO client.test", "STARTTLS"], 1),
        ("quit", ["QUIT"], 0),
    ],
)
async def test_a_scripted_reply_takes_a_commands_place_once(serve, stage, commands, which):
    service = await serve()
    service.context.faults.add(Fault(Respond(450, "not now", "4.2.0"), protocol="smtp", stage=stage, times=1))
    wire = await Wire.connect(service)
    answers = [await wire.ask(command) for command in commands]
    assert answers[which] == "450 4.2.0 not now\r\n"
    again = await wire.ask(commands[which])
    assert not again.startswith("450")


async def test_a_scripted_reply_at_the_end_of_data_drops_the_message(serve):
    service = await serve()
    service.context.faults.add(Fault(Respond(554, "no", "5.7.1"), stage="message", account="bob@", times=1))
    wire = await Wire.connect(service)
    assert await wire.send() == "554 5.7.1 no\r\n"
    assert service.accepted == []
    assert (await wire.send()).startswith("250 ")


async def test_a_message_that_a_fault_refuses_leaves_nothing_in_memory(serve):
    service = await serve()
    service.context.faults.add(Fault(Respond(554, "no", "5.7.1"), stage="message", times=1))
    wire = await Wire.connect(service)
    assert (await wire.send()).startswith("554 ")
    assert service.context.memory.held == 0


async def test_a_scripted_reply_to_bdat_leaves_the_session_in_step(serve):
    service = await serve()
    service.context.faults.add(Fault(Respond(451, "no", "4.3.0"), stage="bdat", times=1))
    wire = await Wire.connect(service)
    await wire.ask("EHLO client.test")
    await wire.ask("MAIL FROM:<a@alpha.test>")
    await wire.ask("RCPT TO:<b@beta.test>")
    assert await wire.ask(b"BDAT 6 LAST\r\nQUIT\r\n") == "451 4.3.0 no\r\n"
    assert (await wire.ask(b"BDAT 6 LAST\r\nQUIT\r\n")).startswith("503 ")
    assert await wire.ask("NOOP") == "250 2.0.0 OK\r\n"


async def test_a_fault_is_for_the_recipients_it_names(serve):
    service = await serve()
    service.context.faults.add(Fault(Respond(550, "gone", "5.1.1"), stage="rcpt", account="^carol@"))
    wire = await Wire.connect(service)
    await wire.ask("EHLO client.test")
    await wire.ask("MAIL FROM:<a@alpha.test>")
    assert (await wire.ask("RCPT TO:<bob@beta.test>")).startswith("250 ")
    assert (await wire.ask("RCPT TO:<carol@beta.test>")).startswith("550 ")


async def test_a_scripted_greeting_closes(serve):
    service = await serve()
    service.context.faults.add(Fault(Respond(421, "busy", "4.3.2"), stage="connect"))
    wire = await Wire.open(service)
    reader, writer = wire.reader, wire.writer
    assert await asyncio.wait_for(reader.read(), DEADLINE) == b"421 4.3.2 busy\r\n"
    writer.close()
    await ended(service.session())
    assert service.session().outcome == "fault"


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("stage", ["rcpt", "message"])
async def test_a_scripted_drop_breaks_off_without_an_answer(serve, stage, reset):
    service = await serve()
    service.context.faults.add(Fault(Drop(reset=reset), stage=stage))
    wire = await Wire.connect(service)
    await wire.ask("EHLO client.test")
    await wire.ask("MAIL FROM:<a@alpha.test>")
    wire.writer.write(b"RCPT TO:<b@beta.test>\r\n")
    if stage == "message":
        await wire.answer()
        await wire.ask("DATA")
        wire.writer.write(b".\r\n")
    assert await wire.closed() == (b"reset" if reset else b"")
    await ended(service.session())
    assert service.session().outcome == "fault"
    assert service.accepted == []


@pytest.mark.parametrize("stage", ["connect", "mail", "message"])
async def test_a_scripted_delay_waits_by_the_sandboxs_clock(serve, stage):
    service = await serve()
    service.context.faults.add(Fault(Delay(60.0), stage=stage, times=1))
    wire = await Wire.open(service)

    async def talk() -> str:
        await wire.answer()
        return await wire.send()

    talking = asyncio.ensure_future(talk())
    async with asyncio.timeout(DEADLINE):
        while not any("Delay" in text for record in service.context.sessions for text in said(record, "!")):
            await asyncio.sleep(0.001)
    assert not talking.done()
    await service.context.clock.advance(60.0)
    assert (await talking).startswith("250 ")


# -- limits ----------------------------------------------------------------------------------------------------------


async def test_a_peer_has_only_so_many_connections(serve):
    service = await serve(limits=Limits(connections_per_peer=1))
    first = await Wire.connect(service)
    wire = await Wire.open(service)
    reader, writer = wire.reader, wire.writer
    assert (await asyncio.wait_for(reader.read(), DEADLINE)).startswith(
        b"421 4.7.0 Too many connections from 127.0.0.1"
    )
    writer.close()
    first.close()
    async with asyncio.timeout(DEADLINE):
        while service.listener.connections:
            await asyncio.sleep(0.001)
    assert (await (await Wire.connect(service)).ask("NOOP")).startswith("250")


@pytest.mark.rfc(2920, "3.2")
async def test_a_client_that_reads_no_replies_is_not_read_either(serve):
    service = await serve()
    connection, transport = SmtpConnection(service.listener._shared), Transport()
    connection.connection_made(transport)
    while not transport.written:
        await asyncio.sleep(0)
    connection.pause_writing()  # what asyncio says when the client's window is full
    before = transport.written
    connection.data_received(b"NOOP\r\n" * 20_000)
    assert transport.written == before
    assert not transport.reading
    connection.resume_writing()
    assert transport.written.count(b"250 2.0.0 OK\r\n") == 20_000
    assert transport.reading
    transport.hang_up(connection)


class HandSetLoop:
    """The running loop, but for its time, which the test sets; timers are only kept."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self.now, self.timers = loop, 1_000.0, []

    def __getattr__(self, name):
        return getattr(self._loop, name)

    def time(self) -> float:
        return self.now

    def call_later(self, delay, callback):
        self.timers.append((self.now + delay, callback))
        return self._loop.call_soon(lambda: None)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        due = [timer for timer in self.timers if timer[0] <= self.now]
        self.timers = [timer for timer in self.timers if timer[0] > self.now]
        for _, callback in due:
            callback()


@pytest.mark.rfc(5321, "4.5.3.2")
@pytest.mark.parametrize(
    ("before", "octet", "limit"),
    [
        (b"", b"N", 300),
        (b"NOOP " + b"x" * 600, b"x", 300),
        (b"AUTH LOGIN\r\n", b"A", 300),
        (b"MAIL FROM:<a@alpha.test>\r\nRCPT TO:<b@beta.test>\r\nDATA\r\n", b"x", 3_600),
        (b"MAIL FROM:<a@alpha.test>\r\nRCPT TO:<b@beta.test>\r\nBDAT 9999\r\n", b"x", 3_600),
    ],
)
async def test_who_sends_octet_by_octet_is_not_waited_for_without_end(serve, before, octet, limit):
    service = await serve()
    shared = service.listener._shared
    loop = shared.loop = HandSetLoop(shared.loop)
    connection, transport = SmtpConnection(shared), Transport()
    connection.loop = loop
    connection.connection_made(transport)
    while not transport.written:
        await asyncio.sleep(0)
    connection.data_received(b"EHLO client.test\r\n" + before)
    for _ in range(5):
        await asyncio.sleep(0)
    began = loop.now
    while not transport.closing and loop.now < began + 2 * limit:
        connection.data_received(octet)
        loop.pass_time(100)
    assert transport.closing
    assert loop.now <= began + limit + 200
    assert b"421 4.4.2 " in transport.written
    transport.hang_up(connection)


@pytest.mark.rfc(5321, "4.5.3.2.7")
async def test_who_sends_whole_lines_now_and_then_may_stay(serve):
    service = await serve()
    shared = service.listener._shared
    loop = shared.loop = HandSetLoop(shared.loop)
    connection, transport = SmtpConnection(shared), Transport()
    connection.loop = loop
    connection.connection_made(transport)
    while not transport.written:
        await asyncio.sleep(0)
    connection.data_received(b"EHLO client.test\r\n")
    for _ in range(20):
        connection.data_received(b"NO")
        loop.pass_time(140)
        connection.data_received(b"OP\r\n")
        loop.pass_time(140)
    assert not transport.closing
    loop.pass_time(200)
    assert transport.closing
    transport.hang_up(connection)


async def test_a_thousand_pipelined_commands_get_a_thousand_replies_in_order(serve):
    service = await serve()
    wire = await Wire.connect(service)
    wire.writer.write(b"NOOP\r\nVRFY bob\r\n" * 500)
    for _ in range(500):
        assert (await wire.answer()).startswith("250")
        assert (await wire.answer()).startswith("252")


@pytest.mark.rfc(3030, "2")
@pytest.mark.parametrize("unit", [b"BDAT 1\r\nx", b"BDAT 1 LAST\r\nx", b"BDAT 0\r\n"])
async def test_a_thousand_chunks_in_one_segment_get_a_thousand_replies(serve, unit):
    service = await serve(limits=Limits(errors=5_000))
    wire = await Wire.connect(service)
    await wire.ask("EHLO client.test")
    await wire.ask("MAIL FROM:<a@alpha.test>")
    await wire.ask("RCPT TO:<b@beta.test>")
    wire.writer.write(unit * 1_000 + b"NOOP\r\n")
    codes = [(await wire.answer())[:3] for _ in range(1_000)]
    assert codes == (["250"] + ["503"] * 999 if b"LAST" in unit else ["250"] * 1_000)
    assert (await wire.answer()).startswith("250 2.0.0 OK")


async def test_messages_in_the_making_go_to_disk_beyond_the_bound_and_come_out_whole(serve):
    from mailsandbox.submit.spool import Memory

    memory = Memory(held=100_000, whole=200_000)
    service = await serve(context={"memory": memory}, offers=Offers.parse(["PIPELINING", "SIZE 10000000"]))
    bodies = [bytes([65 + index]) * 76 + b"\r\n" for index in range(8)]
    wires = [await Wire.connect(service) for _ in bodies]
    for wire in wires:
        await wire.begin()
        wire.writer.write(b"\r\n")
    for _ in range(20):
        for wire, body in zip(wires, bodies, strict=True):
            wire.writer.write(body * 1000)
            await wire.writer.drain()
        assert memory.held <= 100_000
    answers = await asyncio.gather(*(wire.ask(b".\r\n") for wire in wires))
    assert [answer[:3] for answer in answers] == ["250"] * 8, answers
    assert sorted(incoming.octets for incoming in service.accepted) == [b"\r\n" + body * 20_000 for body in bodies]
    assert (memory.held, memory.whole) == (0, 0)


# -- garbage ---------------------------------------------------------------------------------------------------------


async def test_garbage_never_raises_and_never_stops_the_listener(serve, caplog):
    service = await serve(limits=Limits(errors=20, greeting_delay=0.0))
    rng = random.Random(5321)
    words = [b"EHLO a", b"MAIL FROM:<a@b.c>", b"RCPT TO:<b@c.d>", b"DATA", b"\r\n.\r\n", b"BDAT 5 LAST", b"RSET"]
    words += [
        b"AUTH LOGIN",
        b"*",
        b"HELP",
        b"VRFY <",
        b"\x00\xff",
        b"\r",
        b"\n",
        b"\r\n",
        b" ",
        b"XCLIENT A=B",
        b"QUIT",
    ]
    for _ in range(60):
        wire = await Wire.open(service)
        reader, writer = wire.reader, wire.writer
        await reader.readline()
        for _ in range(40):
            writer.write(rng.choice(words) + rng.choice([b"\r\n", b"\n", b"", b"\r\n"]))
        writer.write_eof()
        await asyncio.wait_for(_drained(reader), DEADLINE)
        writer.close()
    assert (await (await Wire.connect(service)).ask("NOOP")).startswith("250")
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def _drained(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionResetError):
        while await reader.read(65_536):
            pass


# -- listeners -------------------------------------------------------------------------------------------------------


async def test_a_unix_socket_serves_as_well(serve, tmp_path):
    path = str(tmp_path / "lmtp")
    service = await serve(kind=Kind.LMTP, socket=path)
    wire = await Wire.open(service)
    assert (await wire.answer()).startswith("220 ")
    assert (await wire.ask("LHLO client.test")).startswith("250")
    assert service.session().peer == "unix"
    wire.close()
    await service.listener.aclose()
    assert not (tmp_path / "lmtp").exists()


async def test_a_port_in_use_is_a_start_error_that_names_it(serve):
    service = await serve()
    with pytest.raises(StartError, match=f"127.0.0.1:{service.port}"):
        await serve(port=service.port)


async def test_implicit_tls_without_a_certificate_is_a_start_error(serve):
    with pytest.raises(StartError, match="certificate"):
        await serve(kind=Kind.SUBMISSIONS, context={"tls": None})


@pytest.mark.rfc(5321, "3.8")
async def test_who_waits_for_the_answer_to_a_message_gets_it_before_the_listener_closes(serve):
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def accept(incoming):
        begun.set()
        await go_on.wait()
        return incoming.reply

    service = await serve(context={"accept": accept})
    wire = await Wire.connect(service)
    await wire.begin()
    wire.writer.write(b".\r\nNOOP\r\n")
    await asyncio.wait_for(begun.wait(), DEADLINE)
    closing = asyncio.ensure_future(service.listener.aclose())
    await asyncio.sleep(0)
    go_on.set()
    first, second, *rest = (await wire.closed()).splitlines()
    assert first.startswith(b"250 2.0.0 Ok: queued")
    assert second.startswith(b"421 4.3.2 ")
    assert rest == []
    await closing


async def test_a_store_that_hangs_does_not_keep_the_listener_from_closing(serve):
    async def accept(_incoming):
        await asyncio.Event().wait()

    service = await serve(context={"accept": accept})
    wire = await Wire.connect(service)
    await wire.begin()
    wire.writer.write(b".\r\n")
    async with asyncio.timeout(DEADLINE):
        while not any(connection.handing_over for connection in service.listener._shared.connections):
            await asyncio.sleep(0.001)
    await service.listener.aclose(0.02)
    assert await wire.closed() == b""
    assert service.listener.connections == 0


@pytest.mark.rfc(5321, "3.8")
async def test_closing_says_421_to_who_is_there(serve):
    service = await serve()
    wire = await Wire.connect(service)
    await service.listener.aclose()
    assert (await wire.closed()).startswith(b"421 4.3.2 ")
    await service.listener.aclose()
