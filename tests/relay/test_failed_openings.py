"""Servers with which no transaction comes about: each failure is told as what it is, with the code of its kind."""

import asyncio
import re
import socket
import ssl
import struct

import pytest
from reports import read_report

from mailsandbox.mailqueue.schedule import RetryPolicy
from mailsandbox.relay.connection import Timeouts
from mailsandbox.relay.routes import Login
from mailsandbox.relay.tls import TlsPolicy
from mailsandbox.runtime.certificates import local_identity

HEAR, RESET, HANG = "hear", "reset", "hang"
SHORT = Timeouts(connect=0.3, greeting=0.3, command=5, end=5)
PEER = "127.0.0.1:PORT"
HELLO = b"220 hop ESMTP\r\n"
STARTTLS = (HELLO, HEAR, b"250-hop\r\n250 STARTTLS\r\n", HEAR)
RECORD = b"\x15\x03\x03\x00\x02\x02\x28"  # TLS: a fatal alert, handshake_failure


class Scripted:
    """Says octets, hears what comes, hangs or breaks off, in the order that the test gives; then it closes."""

    def __init__(self, *steps: bytes | str) -> None:
        self.steps = steps
        self.heard = b""
        self._over = asyncio.Event()

    async def __aenter__(self) -> "Scripted":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._over.set()
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for step in self.steps:
            match step:
                case bytes():
                    writer.write(step)
                case "hear":
                    self.heard += await reader.read(65_536)
                case "hang":
                    await self._over.wait()
                case "reset":
                    writer.get_extra_info("socket").setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                    )
        writer.close()


async def outcome_at(make_rig, *steps, tls="off", **options) -> tuple[str, str]:
    """The enhanced status and the text of the only attempt, without the port; nothing of a message was said."""
    async with Scripted(*steps) as hop:
        rig = await make_rig(tls=TlsPolicy(tls), timeouts=SHORT)
        rig.route("beta.test", hop, **options)
        queue_id = await rig.send("b@beta.test")
        [attempt] = rig.attempts(queue_id)
        [outcome] = attempt.outcomes
    assert outcome.outcome == "deferred"
    assert b"MAIL" not in hop.heard
    code, enhanced, text = outcome.reply.replace(str(hop.port), "PORT").split(" ", 2)
    assert (code[0], enhanced) == ("4", outcome.enhanced)
    notes = [line.text.replace(str(hop.port), "PORT") for line in attempt.transcript if line.side not in "CS"]
    assert text in notes or text.startswith(f"{PEER}: it greeted with 2")
    return enhanced, text


@pytest.mark.rfc(3463, "3.5")
@pytest.mark.parametrize(
    ("steps", "enhanced", "text"),
    [
        ((HANG,), "4.4.2", f"{PEER} said nothing within 0.3 seconds"),
        ((), "4.4.2", f"{PEER} closed the connection before its greeting"),
        ((b"+OK POP3 ready\r\n",), "4.5.0", f"{PEER}: it greeted with '+OK POP3 ready', which is no SMTP reply"),
        ((b"\x1b[2Jhi\r\n",), "4.5.0", f"{PEER}: it greeted with '\\x1b[2Jhi', which is no SMTP reply"),
        (
            (b"SSH-" + b"x" * 200 + b"\r\n",),
            "4.5.0",
            f"{PEER}: it greeted with 'SSH-{'x' * 96}...', which is no SMTP reply",
        ),
        ((b"220 " + b"x" * 20_000 + b"\r\n",), "4.5.0", f"{PEER}: it greeted with more than a reply may have"),
        ((HELLO, HEAR, HANG), "4.4.2", f"{PEER} said nothing within 0.3 seconds"),
        ((HELLO, HEAR), "4.4.2", f"{PEER} closed the connection before its answer to EHLO"),
        ((HELLO, HEAR, RESET), "4.4.2", f"{PEER}: Connection reset by peer"),
        (
            (HELLO, HEAR, b"* OK\r\n"),
            "4.5.0",
            f"{PEER}: it answered EHLO with '* OK', which is no SMTP reply",
        ),
    ],
)
async def test_a_server_that_does_not_speak_smtp_is_told_by_what_it_did(make_rig, steps, enhanced, text):
    assert await outcome_at(make_rig, *steps) == (enhanced, text)


@pytest.mark.rfc(3463, "3.8")
@pytest.mark.parametrize(
    ("steps", "enhanced", "text"),
    [
        ((HELLO, HANG), "4.7.4", f"{PEER} does not speak TLS (wrong version number)"),
        ((b"* OK IMAP4rev2 ready\r\n", HANG), "4.7.4", f"{PEER} does not speak TLS (wrong version number)"),
        ((HEAR, b"HTTP/1.1 400 Bad Request\r\n\r\n", HANG), "4.7.4", f"{PEER} does not speak TLS ("),
        ((HEAR, RECORD), "4.7.5", f"{PEER}: TLS failed: "),
        ((HEAR,), "4.7.5", f"{PEER} closed the connection during the TLS handshake"),
        ((HEAR, RESET), "4.7.5", f"{PEER}: Connection reset by peer during the TLS handshake"),
        ((HANG,), "4.4.1", f"{PEER}: no TLS connection within 0.3 seconds"),
    ],
)
async def test_implicit_tls_with_a_server_that_has_none_is_told_as_that(make_rig, steps, enhanced, text):
    told = await outcome_at(make_rig, *steps, implicit_tls=True)
    assert told[0] == enhanced
    assert told[1].startswith(text)


@pytest.mark.rfc(3207, "4")
@pytest.mark.parametrize(
    ("steps", "text"),
    [
        ((b"220 go\r\n", HEAR, HELLO), f"{PEER} offers STARTTLS, but does not speak TLS then (wrong version number)"),
        ((b"220 go\r\n", HEAR), f"{PEER} closed the connection during the TLS handshake"),
        ((), f"{PEER} closed the connection during STARTTLS"),
        ((b"220 go\r\n", HANG), f"{PEER} did not finish the TLS handshake within 0.3 seconds"),
    ],
)
async def test_starttls_that_comes_to_nothing_is_told_as_that(make_rig, steps, text):
    assert await outcome_at(make_rig, *STARTTLS, *steps, tls="required") == ("4.7.5", text)


async def test_a_starttls_without_an_answer_is_silence_and_not_a_broken_handshake(make_rig):
    told = await outcome_at(make_rig, *STARTTLS, HANG, tls="required")
    assert told == ("4.4.2", f"{PEER} said nothing within 0.3 seconds")


@pytest.mark.rfc(5321, "4.3.2")
async def test_a_greeting_with_250_is_no_yes_to_the_message(make_rig):
    told = await outcome_at(make_rig, b"250 hop\r\n")
    assert told == ("4.5.0", f"{PEER}: it greeted with 250, which is no greeting")


@pytest.mark.rfc(3207, "4")
@pytest.mark.parametrize("answer", ["250 2.0.0 ok", "221 bye", "354 go on"])
@pytest.mark.parametrize(
    ("level", "outcome"), [("required", "deferred"), ("verified", "deferred"), ("opportunistic", "relayed")]
)
async def test_only_220_to_starttls_is_taken_for_tls(make_rig, make_hop, answer, level, outcome):
    hop = await make_hop(offers=("STARTTLS",), script={"STARTTLS": [answer]})
    rig = await make_rig(tls=TlsPolicy(level))
    rig.route("beta.test", hop)
    queue_id = await rig.send("b@beta.test")
    [attempt] = rig.attempts(queue_id)
    assert (attempt.outcomes[0].outcome, attempt.tls) == (outcome, "")
    assert any(line.startswith("MAIL") for line in hop.lines) == (outcome == "relayed")


async def test_nobody_there_is_told_in_the_systems_words(make_rig):
    rig = await make_rig()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and not listening
        rig.route("beta.test", type("Hop", (), {"port": taken.getsockname()[1]}))
        queue_id = await rig.send("b@beta.test")
    assert re.fullmatch(
        r"451 4\.4\.1 127\.0\.0\.1:\d+: Connection refused", rig.attempts(queue_id)[0].outcomes[0].reply
    )


async def test_a_certificate_that_is_not_trusted_is_told_with_why(make_rig, make_hop, tmp_path):
    hop = await make_hop(offers=("STARTTLS",), tls=local_identity(tmp_path, ["other.test"]).context)
    rig = await make_rig(tls=TlsPolicy("verified", ssl.create_default_context()))
    rig.route("beta.test", hop)
    queue_id = await rig.send("b@beta.test")
    outcome = rig.attempts(queue_id)[0].outcomes[0]
    assert outcome.enhanced == "4.7.5"
    assert re.fullmatch(r"451 4\.7\.5 127\.0\.0\.1:\d+: its certificate is not trusted: [\w ]+", outcome.reply)


async def _answer_to_a_login(make_rig, hop) -> str:
    rig = await make_rig()
    rig.route("beta.test", hop, login=Login("me", "secret"))
    queue_id = await rig.send("b@beta.test")
    return rig.attempts(queue_id)[0].outcomes[0].reply


async def test_a_login_where_none_is_offered_speaks_of_no_route(make_rig, make_hop):
    reply = await _answer_to_a_login(make_rig, await make_hop(offers=("STARTTLS",)))
    assert reply == "454 4.7.0 127.0.0.1 does not offer AUTH in clear text, which a login needs"


async def test_the_bounce_tells_the_cause_as_the_relays_own_words(make_rig):
    async with Scripted(HELLO, HANG) as hop:
        rig = await make_rig(retry=RetryPolicy(jitter=0.0, warn=0))
        rig.route("beta.test", hop, implicit_tls=True)
        await rig.send("b@beta.test")
        await rig.clock.advance(5 * 86_400)
    [home] = rig.home
    [fields] = read_report(home.octets).recipients
    expected = f"X-Mailsandbox; 451 4.7.4 127.0.0.1:{hop.port} does not speak TLS (wrong version number)"
    assert " ".join(fields["Diagnostic-Code"].split()) == expected


@pytest.mark.rfc(3463, "3.8")
async def test_a_login_by_mechanisms_that_nobody_here_knows_is_no_fault_of_the_network(make_rig, make_hop):
    hop = await make_hop(offers=("AUTH GSSAPI",))
    reply = await _answer_to_a_login(make_rig, hop)
    assert reply.replace(str(hop.port), "PORT") == f"451 4.7.0 {PEER}: No suitable authentication method found."
