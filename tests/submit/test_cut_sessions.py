"""A session of pipelined commands and chunks, cut anywhere and with a store as slow as it likes: the same replies."""

import asyncio
import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from smtp_services import ALL_OFFERS, Transport

from mailsandbox.clock import ManualClock
from mailsandbox.smtp.extensions import Offers
from mailsandbox.submit.connection import SmtpConnection
from mailsandbox.submit.listener import Shared
from mailsandbox.submit.model import Kind, Limits, ListenerSpec, SubmitContext

SAID = [
    b"EHLO client.test\r\n",
    b"HELO client.test\r\n",
    b"MAIL FROM:<a@alpha.test>\r\n",
    b"MAIL FROM:<a@alpha.test> BODY=BINARYMIME\r\n",
    b"MAIL FROM:<a@alpha.test> SIZE=999999\r\n",
    b"RCPT TO:<b@beta.test>\r\n",
    b"RCPT TO:<c@beta.test>\r\n",
    b"RCPT TO:<>\r\n",
    b"BDAT 5\r\nab\r\nc",
    b"BDAT 3 LAST\r\n.\r\n",
    b"BDAT 7 LAST\r\nQUIT\r\n\x00",
    b"BDAT 0\r\n",
    b"BDAT 0 LAST\r\n",
    b"RSET\r\n",
    b"NOOP\r\n",
    b"NOOP\n",
    b"NOOP \x00\r\n",
    b"\r\n",
    b"\r",
    b"\xff\xfe\r\n",
    b"X" * 700 + b"\r\n",
    b"VRFY bob\r\n",
    b"HELP\r\n",
    b"ETRN beta.test\r\n",
    b"AUTH PLAIN AGEAYg==\r\n",
    b"AUTH LOGIN\r\nYQ==\r\nYg==\r\n",
    b"AUTH LOGIN\r\n*\r\n",
    b"AUTH LOGIN\r\n" + b"B" * 1_300 + b"\r\n",
]
MESSAGE = b"MAIL FROM:<a@alpha.test>\r\nRCPT TO:<b@beta.test>\r\nBDAT 5\r\nab\r\ncBDAT 3 LAST\r\n.\r\n"


async def talk(segments: list[bytes], *, slowness: int, mode: str, kind: Kind) -> tuple:
    """All that the client is told, whether it is hung up on, and what was stored."""
    accepted, numbers = [], itertools.count(1)

    async def accept(incoming):
        for _ in range(slowness):
            await asyncio.sleep(0)
        accepted.append((incoming.envelope.reverse_path, incoming.octets))
        return incoming.reply

    context = SubmitContext(accept=accept, new_id=lambda: f"Q{next(numbers)}", clock=ManualClock())
    limits = Limits(unknown_commands=1_000, auth_line=1_000)
    shared = Shared(ListenerSpec("x", kind=kind, offers=Offers.parse(ALL_OFFERS), mode=mode, limits=limits), context)
    connection, transport = SmtpConnection(shared), Transport()
    connection.connection_made(transport)
    while not transport.written:
        await asyncio.sleep(0)
    for segment in segments:
        if not transport.closing:
            connection.data_received(segment)
            await asyncio.sleep(0)
    connection.data_received(b"\r\nQUIT\r\n" if not transport.closing else b"")
    for _ in range(300):
        if transport.closing:
            break
        await asyncio.sleep(0)
    assert transport.closing
    transport.hang_up(connection)
    assert context.memory.held == 0
    return transport.written, accepted


@pytest.mark.rfc(2920, "3.2")
@pytest.mark.rfc(3030, "2")
@given(
    said=st.lists(st.sampled_from([*SAID, MESSAGE, MESSAGE]), max_size=20),
    cuts=st.lists(st.integers(1, 3_000), max_size=8),
    slowness=st.integers(0, 3),
    mode=st.sampled_from(["strict", "lenient", "normalize"]),
    kind=st.sampled_from([Kind.SMTP, Kind.SUBMISSION, Kind.LMTP]),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_session_is_the_same_however_it_is_cut_and_however_slow_the_store_is(said, cuts, slowness, mode, kind):
    hello = b"LHLO client.test\r\n" if kind is Kind.LMTP else b"EHLO client.test\r\n"
    stream = hello + b"".join(said)
    places = sorted({0, *(cut for cut in cuts if cut < len(stream)), len(stream)})
    pieces = [stream[start:end] for start, end in itertools.pairwise(places)]

    async def both() -> None:
        whole = await talk([stream], slowness=0, mode=mode, kind=kind)
        assert await talk(pieces, slowness=slowness, mode=mode, kind=kind) == whole
        assert await talk([stream], slowness=slowness, mode=mode, kind=kind) == whole

    asyncio.run(both())
