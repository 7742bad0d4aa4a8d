"""SMTP smuggling (CVE-2023-51764/5/6): nothing but CRLF.CRLF ends a message, however its octets are cut."""

import asyncio

import pytest
from smtp_services import Transport

from mailsandbox.submit.connection import SmtpConnection
from mailsandbox.submit.listener import Shared

BEGIN = b"EHLO client.test\r\nMAIL FROM:<a@alpha.test>\r\nRCPT TO:<b@beta.test>\r\nDATA\r\n"
SMUGGLED = b"MAIL FROM:<evil@alpha.test>\r\nRCPT TO:<b@beta.test>\r\nDATA\r\nsmuggled"

IMPOSTORS = {
    "LF . LF": b"\n.\n",
    "LF . CRLF": b"\n.\r\n",
    "CRLF . LF": b"\r\n.\n",
    "CR . CR": b"\r.\r",
    "CR . CRLF": b"\r.\r\n",
    "CRLF . CR": b"\r\n.\r",
    "CR CRLF . CR CRLF": b"\r\r\n.\r\r\n",
    "CRLF NUL . CRLF": b"\r\n\x00.\r\n",
    "CRLF . NUL CRLF": b"\r\n.\x00\r\n",
    "CRLF . SP CRLF": b"\r\n. \r\n",
    "LF CR . CRLF": b"\n\r.\r\n",
    "CRLF . CR NUL LF": b"\r\n.\r\x00\n",
    "CRLF . LF CR": b"\r\n.\n\r",
}


async def settle() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


async def connect(shared: Shared) -> tuple[SmtpConnection, Transport]:
    connection, transport = SmtpConnection(shared), Transport()
    connection.connection_made(transport)
    await settle()
    connection.data_received(BEGIN)
    assert transport.written.endswith(b"354 End data with <CR><LF>.<CR><LF>\r\n")
    return connection, transport


@pytest.mark.rfc(5321, "4.1.1.4")
@pytest.mark.parametrize("mode", ["lenient", "strict", "normalize"])
@pytest.mark.parametrize("impostor", IMPOSTORS.values(), ids=IMPOSTORS.keys())
async def test_an_impostor_ends_nothing_at_whatever_octet_it_is_cut(serve, impostor, mode):
    service = await serve(mode=mode)
    shared = service.listener._shared
    stream = b"Subject: x\r\n\r\nbody" + impostor + SMUGGLED
    begin = len(b"Subject: x\r\n\r\nbody") - 1
    cuts = range(begin, begin + len(impostor) + 3)
    for cut in cuts:
        connection, transport = await connect(shared)
        before = transport.written
        connection.data_received(stream[:cut])
        await settle()
        connection.data_received(stream[cut:])
        await settle()
        assert transport.written == before, "the message ended early"
        connection.data_received(b"\r\n.\r\nQUIT\r\n")
        await settle()
        replies = transport.written.removeprefix(before).splitlines()
        assert len(replies) == 2
        assert replies[1].startswith(b"221 ")
        transport.hang_up(connection)
    assert {incoming.envelope.reverse_path for incoming in service.accepted} <= {"a@alpha.test"}
    if mode == "strict":
        # Only the one without bare CR, bare LF and NUL is content that may be had.
        assert bool(service.accepted) == (impostor == b"\r\n. \r\n")


@pytest.mark.rfc(3030, "2")
@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
async def test_chunks_are_counted_however_they_are_cut(serve, step):
    service = await serve()
    connection, transport = await connect(service.listener._shared)
    connection.data_received(b".\r\n")
    await settle()
    stream = (
        b"MAIL FROM:<a@alpha.test>\r\nRCPT TO:<b@beta.test>\r\nBDAT 9\r\n.\r\nQUIT\r\nBDAT 5 LAST\r\n\r\n.\r\nNOOP\r\n"
    )
    before = transport.written
    for at in range(0, len(stream), step):
        connection.data_received(stream[at : at + step])
        await settle()
    codes = [line[:3] for line in transport.written.removeprefix(before).splitlines()]
    assert codes == [b"250"] * 5
    assert service.accepted[-1].octets == b".\r\nQUIT\r\n\r\n.\r\n"
    transport.hang_up(connection)


@pytest.mark.rfc(5321, "4.5.2")
async def test_octet_by_octet_is_the_same_as_whole(serve):
    service = await serve()
    stream = b"Subject: x\r\n\r\n..a\r\n...\r\nb\r\n.\r\nNOOP\r\n"
    for pieces in ([stream], [stream[at : at + 1] for at in range(len(stream))]):
        connection, transport = await connect(service.listener._shared)
        for piece in pieces:
            connection.data_received(piece)
            await settle()
        assert transport.written.endswith(b"250 2.0.0 OK\r\n")
        transport.hang_up(connection)
    assert [incoming.octets for incoming in service.accepted] == [b"Subject: x\r\n\r\n.a\r\n..\r\nb\r\n"] * 2
