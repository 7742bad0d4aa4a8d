"""Next hops that answer oddly: it is told in plain ASCII, and breaks neither the queue nor the notification."""

import asyncio
import email

import pytest
from flufl.bounce import scan_message
from reports import read_report


class Raw:
    """A server that answers octets: the greeting, then one answer for each line that comes."""

    def __init__(self, *answers: bytes) -> None:
        self._answers = answers

    async def __aenter__(self) -> "Raw":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in self._answers:
            writer.write(answer)
            await writer.drain()
            if not await reader.readline():
                break
        writer.close()


HELLO = (b"220 hop\r\n", b"250 hop\r\n", b"250 ok\r\n")


@pytest.mark.rfc(3464, "2.3.6")
@pytest.mark.parametrize(
    ("reply", "status", "shown"),
    [
        (b"550 5.1.1 caf\xe9 d\xe9j\xe0\r\n", "5.1.1", "550 5.1.1 caf\\xe9 d\\xe9j\\xe0"),
        ("550 5.1.1 Zoë\r\n".encode(), "5.1.1", "550 5.1.1 Zo\\xeb"),
        (b"550 \x00\x07bell\x1b[31m\r\n", "5.0.0", "550"),
        (b"550-first\r\n550-\r\n550 last\r\n", "5.0.0", "550 first  last"),
        (b"550\r\n", "5.0.0", "550"),
        (b"550 4.2.1 which of them\r\n", "5.0.0", "550 4.2.1 which of them"),
        (b"550 5.1.1 " + b"x" * 480 + b"\r\n", "5.1.1", "550 5.1.1 xxx"),
        (b"550 line\r\n".replace(b" ", b"-") * 90 + b"550 5.9.9 end\r\n", "5.0.0", "550 line line"),
    ],
)
async def test_whatever_a_server_says_is_told_in_ascii(make_rig, reply, status, shown):
    async with Raw(*HELLO, reply, b"250 ok\r\n", b"221 bye\r\n") as hop:
        rig = await make_rig()
        rig.route("beta.test", hop)
        await rig.send("b@beta.test")
    [home] = rig.home
    [fields] = read_report(home.octets).recipients
    assert (fields["Action"], fields["Status"]) == ("failed", status)
    assert fields["Diagnostic-Code"].startswith(f"smtp; {shown}")
    assert set(scan_message(email.message_from_bytes(home.octets))) == {b"b@beta.test"}


@pytest.mark.rfc(5321, "4.2.1")
@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\n",
        b"\r\n",
        b"99 no\r\n",
        b"250-one\r\n550 two\r\n",
        b"x" * 100_000 + b"\r\n",
        b"1234 hm\r\n",
    ],
)
async def test_what_is_no_reply_is_transient(make_rig, reply):
    async with Raw(*HELLO, reply) as hop:
        rig = await make_rig()
        rig.route("beta.test", hop)
        queue_id = await rig.send("b@beta.test")
    [attempt] = rig.attempts(queue_id)
    assert (attempt.outcomes[0].outcome, attempt.outcomes[0].enhanced[:1]) == ("deferred", "4")
    assert await rig.queue.count() == 1
