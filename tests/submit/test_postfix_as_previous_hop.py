"""A real Postfix hands its mail to our listener: TLS, pipelining, 8BITMIME, SMTPUTF8, DSN, dots, many at once."""

import asyncio
import importlib.util
import os
import smtplib
from pathlib import Path

import pytest

from mailsandbox.clock import SystemClock
from mailsandbox.faults import Drop, Fault, Respond
from mailsandbox.smtp.extensions import Offers
from mailsandbox.smtp.replies import reply
from mailsandbox.submit.model import Limits

DEADLINE = 30.0
TEXT = (
    "From: zoé <zoe@alpha.test>\r\nDate: Sat, 21 Nov 2026 04:38:04 +0000\r\nMessage-ID: <1@alpha.test>\r\n"
    "To: bob@beta.test\r\nSubject: x\r\nMIME-Version: 1.0\r\n"
    "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n.\r\n..\r\ndéjà vu\r\n"
).encode()


def _postfix_class():
    """The private instance that the relay's tests use."""
    path = Path(__file__).parents[1] / "relay/postfix.py"
    spec = importlib.util.spec_from_file_location("relay_postfix", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Postfix


@pytest.fixture
async def before(serve, program):
    """`await before(settings, **listener)`: a listener, and a Postfix that relays everything to it."""
    if os.geteuid() != 0:
        program("postfix-needs-root")
    program("postfix")
    started = []

    async def start(settings: str = "", **listener):
        service = await serve(**listener)
        postfix = _postfix_class()(service.port, settings=settings)
        started.append(postfix)
        await postfix.start()
        return service, postfix

    yield start
    for postfix in started:
        await postfix.aclose()


async def send(port: int, *messages: bytes, options=(), recipients=("bob@beta.test",)) -> None:
    def talk() -> None:
        with smtplib.SMTP("127.0.0.1", port) as client:
            for octets in messages:
                client.sendmail("zoe@alpha.test", list(recipients), octets, list(options))

    await asyncio.to_thread(talk)


async def arrived(service, count: int) -> None:
    async with asyncio.timeout(DEADLINE):
        while len(service.accepted) < count:
            await asyncio.sleep(0.01)


@pytest.mark.client("postfix")
async def test_postfix_delivers_eight_bit_over_tls_to_the_octet_with_its_dsn_parameters(before):
    service, postfix = await before("smtp_tls_security_level = may\n")
    await send(postfix.port, TEXT, options=["BODY=8BITMIME", "SMTPUTF8", "RET=HDRS", "ENVID=a+2Bb"])
    await arrived(service, 1)
    incoming = service.accepted[0]
    assert incoming.octets.endswith(TEXT.partition(b"\r\n")[2])
    assert incoming.accepted.protocol == "UTF8SMTPS"
    assert incoming.accepted.tls.startswith("TLSv1.3")
    assert (incoming.envelope.ret, incoming.envelope.envid) == ("HDRS", "a+2Bb")
    assert incoming.envelope.recipients[0].orcpt.endswith(";bob@beta.test")


@pytest.mark.client("postfix")
async def test_postfix_bounces_what_a_strict_listener_refuses_with_our_words(before):
    refused = reply(550, "5.1.1", "No such mailbox here")

    def check(address: str):
        return refused if address.startswith("nobody") else None

    service, postfix = await before(
        context={"check_recipient": check}, mode="strict", offers=Offers.parse(["PIPELINING"])
    )
    await send(postfix.port, b"Subject: x\r\n\r\nx\r\n", recipients=("bob@beta.test", "nobody@beta.test"))
    await arrived(service, 2)  # the message for bob, and the notification to its sender
    whole = b"".join(incoming.octets for incoming in service.accepted)
    assert b"550 5.1.1 No such mailbox here" in whole
    assert sorted(incoming.envelope.reverse_path for incoming in service.accepted) == ["", "zoe@alpha.test"]


@pytest.mark.client("postfix")
async def test_postfix_sends_forty_messages_over_few_connections(before):
    service, postfix = await before()
    bodies = [b"Subject: %d\r\n\r\n" % number + b"x" * 70 + b"\r\n" for number in range(40)]
    await send(postfix.port, *bodies)
    await arrived(service, 40)
    subjects = {incoming.octets.partition(b"Subject: ")[2].partition(b"\r\n")[0] for incoming in service.accepted}
    assert len(subjects) == 40


RETRIES = "queue_run_delay = 1s\nminimal_backoff_time = 1s\nmaximal_backoff_time = 2s\n"


@pytest.mark.client("postfix")
@pytest.mark.rfc(5321, "4.5.4.1")
@pytest.mark.parametrize(
    ("stage", "action"),
    [
        ("connect", Respond(421, "going away", "4.3.2")),
        ("mail", Respond(421, "going away", "4.3.2")),
        ("rcpt", Drop()),
        ("message", Respond(421, "going away", "4.3.2")),
        ("message", Drop()),
    ],
)
async def test_postfix_comes_again_after_421_and_after_a_broken_connection_and_delivers_once(before, stage, action):
    service, postfix = await before(RETRIES)
    service.context.faults.add(Fault(action, protocol="smtp", stage=stage, times=1))
    await send(postfix.port, b"Subject: x\r\n\r\nx\r\n")
    await arrived(service, 1)
    [fault] = service.context.faults
    assert fault.hits == 1
    assert len(service.accepted) == 1


@pytest.mark.client("postfix")
@pytest.mark.rfc(6647, "2.4")
async def test_postfix_comes_again_to_a_greylist(before):
    clock = SystemClock()
    service, postfix = await before(RETRIES, greylist=0.5, context={"clock": clock})
    await send(postfix.port, b"Subject: x\r\n\r\nx\r\n")
    await arrived(service, 1)
    refused = [
        line.text for session in service.context.sessions for line in session.transcript if " 4.7.1 " in line.text
    ]
    assert refused


@pytest.mark.client("postfix")
@pytest.mark.rfc(5321, "3.8")
async def test_postfix_delivers_everything_to_a_listener_that_takes_two_connections_at_once(before):
    service, postfix = await before(RETRIES, limits=Limits(connections=2, messages=3))
    await send(postfix.port, *(b"Subject: %d\r\n\r\nx\r\n" % number for number in range(20)))
    await arrived(service, 20)
    subjects = {incoming.octets.partition(b"Subject: ")[2].partition(b"\r\n")[0] for incoming in service.accepted}
    assert len(subjects) == 20
