"""SMTP smuggling (CVE-2023-51764/5/6): nothing but CRLF.CRLF ends a message, however its octets are cut."""

import asyncio
import itertools

import pytest
from smtp_services import Transport

from mailsandbox.submit.connection import SmtpConnection
from mailsandbox.submit.listener import Shared

BEGIN = b"EHLO client.test\r\nMAIL FROM:<a@alpha.test>\r\nRCPT TO:<b@beta.test>\r\nDATA\r\n"
SMUGGLED = b"MAIL FROM:<evil@alpha.test>\r\nRCPT TO:<b@beta.test>\r\nDATA\r\nsmuggled"
HEADER = b"Subject: x\r\n\r\n"

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

# -- the oracle: what the RFC says, line by line and octet by octet ----------------------------------------------------


def as_read(wire: bytes) -> tuple[bytes, bytes]:
    """RFC 5321 §4.1.1.4, §4.5.2: the content of what follows the 354, and what follows its end."""
    content = b""
    while True:
        line, end_of_line, wire = wire.partition(b"\r\n")  # §2.3.8: nothing else ends a line
        assert end_of_line, "the message has no end"
        if line == b".":
            return content, wire
        if line.startswith(b"."):
            line = line[1:]
        content += line + b"\r\n"


def is_bare(content: bytes, at: int) -> bool:
    """Whether there is a CR without its LF or an LF without its CR."""
    octet, before, behind = content[at : at + 1], content[at - 1 : at] if at else b"", content[at + 1 : at + 2]
    return (octet == b"\r" and behind != b"\n") or (octet == b"\n" and before != b"\r")


def as_taken(content: bytes, mode: str) -> tuple[bytes, bytes]:
    """The first four octets of the answer to this content, and what is handed over of it."""
    bare = [at for at in range(len(content)) if is_bare(content, at)]
    if mode == "strict" and bare:
        return b"550 ", b""  # RFC 5321 §2.3.8
    if mode == "strict" and b"\0" in content:
        return b"554 ", b""  # RFC 5322 §3.5
    if mode == "normalize":
        octets = [content[at : at + 1] for at in range(len(content))]
        content = b"".join(b"\r\n" if octet == b"\n" and at in bare else octet for at, octet in enumerate(octets))
    return b"250 ", content


# -- the server --------------------------------------------------------------------------------------------------------


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


async def converse(service, *pieces: bytes) -> tuple[list[bytes], list[bytes], list[str]]:
    """What is answered behind the 354, what is handed over, and what was heard as commands from DATA on."""
    service.accepted.clear()
    connection, transport = await connect(service.listener._shared)
    before = transport.written
    for piece in pieces:
        connection.data_received(piece)
    await settle()
    transport.hang_up(connection)
    heard = [line.text for line in service.session().transcript if line.side == "C"]
    replies = transport.written.removeprefix(before).splitlines()
    return replies, [incoming.octets for incoming in service.accepted], heard[4:]


@pytest.mark.rfc(5321, "4.1.1.4")
@pytest.mark.parametrize("mode", ["lenient", "strict", "normalize"])
@pytest.mark.parametrize("impostor", IMPOSTORS.values(), ids=IMPOSTORS.keys())
async def test_an_impostor_ends_nothing_at_whatever_octet_it_is_cut(serve, impostor, mode):
    service = await serve(mode=mode)
    stream = HEADER + b"body" + impostor + SMUGGLED + b"\r\n.\r\nQUIT\r\n"
    content, rest = as_read(stream)
    assert rest == b"QUIT\r\n"
    code, taken = as_taken(content, mode)
    cuts = [(stream[:cut], stream[cut:]) for cut in range(len(stream))]
    for pieces in [*cuts, [stream[at : at + 1] for at in range(len(stream))]]:
        (answer, bye), accepted, heard = await converse(service, *pieces)
        assert (answer[:4], bye[:4]) == (code, b"221 ")
        assert accepted == ([taken] if code == b"250 " else [])
        assert heard == [f"[{len(content)} octets of message data]", ".", "QUIT"]


@pytest.mark.rfc(5321, "4.1.1.4")
@pytest.mark.rfc(5321, "4.5.2")
@pytest.mark.parametrize(
    ("mode", "before"),
    [
        ("lenient", b""),
        ("lenient", HEADER),
        ("lenient", HEADER + b"b"),
        ("strict", HEADER + b"b"),
        ("normalize", HEADER + b"b"),
    ],
)
async def test_every_order_of_cr_lf_and_dots_is_read_as_the_rfc_says(serve, mode, before):
    service = await serve(mode=mode)
    for *octets, behind in itertools.product(*[[b"\r", b"\n", b"."]] * 5, [b"", b".a"]):
        stream = before + b"".join(octets) + behind + b"\r\n.\r\nNOOP\r\n"
        content, rest = as_read(stream)
        code, taken = as_taken(content, mode)
        for pieces in ([stream], [stream[at : at + 1] for at in range(len(stream))]):
            (answer, *others), accepted, _ = await converse(service, *pieces)
            assert answer[:4] == code, (stream, answer)
            assert accepted == ([taken] if code == b"250 " else []), stream
            # What stands behind the end, and only that, is commands, whatever they are.
            assert len(others) == rest.count(b"\n"), (stream, others)
            assert others[-1] == b"250 2.0.0 OK"


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
