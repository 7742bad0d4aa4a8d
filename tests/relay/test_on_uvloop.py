"""The daemon's event loop is uvloop: its transports are not asyncio's, so what hangs on them is proved there again."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable

import pytest
import uvloop
from next_hop import DROP, NextHop
from rig import PLAIN, Rig

from mailsandbox.relay.connection import Timeouts
from mailsandbox.relay.routes import Route
from mailsandbox.relay.tls import TlsPolicy
from mailsandbox.runtime.certificates import local_identity


def on_uvloop(scene: Callable[[Rig, NextHop], Awaitable[None]], hop: NextHop, **options) -> None:
    async def run() -> None:
        rig = await Rig(**options).start()
        await hop.start()
        rig.zone({"beta.test": {"MX": "10 mx.beta.test"}, "mx.beta.test": {"A": "127.0.0.1", "port": hop.port}})
        try:
            await scene(rig, hop)
        finally:
            await rig.aclose()
            await hop.aclose()

    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(run())
    finally:
        loop.close()


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_messages_arrive_to_the_octet_over_one_connection(size):
    async def scene(rig: Rig, hop: NextHop) -> None:
        octets = PLAIN + b"x" * size + b"\r\n.\r\n"
        for _ in range(3):
            await rig.send("b@beta.test", octets=octets)
        assert [got.octets for got in hop.messages] == [octets] * 3
        assert hop.connections == 1

    on_uvloop(scene, NextHop(offers=("PIPELINING",)))


def test_lost_reply_is_a_possible_duplicate():
    async def scene(rig: Rig, hop: NextHop) -> None:
        queue_id = await rig.send("b@beta.test")
        assert rig.attempts(queue_id)[0].possible_duplicate
        await rig.clock.advance(60)
        assert len(hop.messages) == 1

    on_uvloop(scene, NextHop(script={".": [DROP]}))


def test_peer_that_stops_reading_is_no_possible_duplicate():
    async def scene(rig: Rig, hop: NextHop) -> None:
        writers = []

        async def deaf(reader, writer):
            writers.append(writer)
            writer.write(b"220 x\r\n")
            for answer in (b"250 x\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
                await reader.readline()
                writer.write(answer)
            writer.transport.pause_reading()

        server = await asyncio.start_server(deaf, "127.0.0.1", 0)
        rig.routes.static.append(Route("deaf.test", "127.0.0.1", server.sockets[0].getsockname()[1]))
        queue_id = await rig.send("b@deaf.test", octets=b"x" * 50_000_000 + b"\r\n")
        [attempt] = rig.attempts(queue_id)
        assert attempt.outcomes[0].outcome == "deferred"
        assert not attempt.possible_duplicate
        for writer in writers:
            writer.transport.abort()
        server.close()
        await server.wait_closed()

    on_uvloop(scene, NextHop(), timeouts=Timeouts(block=0.1))


def test_tls_works_and_its_breaking_falls_back(tmp_path):
    identity = local_identity(tmp_path, ["mx.beta.test"])
    trusting = ssl.create_default_context(cafile=str(identity.authority))

    async def secure(rig: Rig, hop: NextHop) -> None:
        queue_id = await rig.send("b@beta.test")
        assert rig.attempts(queue_id)[0].tls.startswith("TLSv1.")
        assert len(hop.messages) == 1

    async def in_clear(rig: Rig, hop: NextHop) -> None:
        await rig.send("b@beta.test")
        assert [got.tls for got in hop.messages] == [False]

    offers = ("PIPELINING", "STARTTLS")
    on_uvloop(secure, NextHop(offers=offers, tls=identity.context), tls=TlsPolicy("verified", trusting))
    on_uvloop(in_clear, NextHop(offers=offers, broken_tls=True), tls=TlsPolicy("opportunistic"))
