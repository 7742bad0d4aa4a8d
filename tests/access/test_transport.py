"""The transport carries Twisted protocols on asyncio and uvloop: nothing is lost, nothing grows without bound."""

import asyncio
import socket
import subprocess
import sys
import zlib

import pytest

from mailsandbox.access.transport import TlsFailed, listen
from mailsandbox.access.transport.connection import HARD_LIMIT
from mailsandbox.access.transport.layers import PIECE
from mailsandbox.errors import StartError


async def until(condition):
    """Let the loop turn until `condition()`; the scenario's deadline bounds it."""
    while not condition():
        await asyncio.sleep(0)


async def hang_up(*writers):
    """Close and see it done: uvloop's close() of a loop waits for ever for a TLS client that is half closed."""
    for writer in writers:
        writer.close()
        try:
            await writer.wait_closed()
        except OSError:
            pass


async def connect(listener, **tls):
    return await asyncio.open_connection(listener.host, listener.port, **tls)


async def test_no_reactor_is_imported():
    code = (
        "import mailsandbox.access.transport, mailsandbox.access.login, sys\n"
        "assert 'twisted.internet.reactor' not in sys.modules"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stderr=subprocess.PIPE)
    _, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b"")


def test_what_was_written_before_loseconnection_reaches_a_slow_reader(run, source, recorder):
    octets = bytes(range(256)) * 20_000

    class Talker(recorder):
        def connectionMade(self):
            self.transport.write(octets)
            self.transport.loseConnection()
            self.transport.write(b"never sent")

    async def scenario():
        listener = await listen(source(Talker), "127.0.0.1", 0)
        reader, writer = await connect(listener)
        heard = b""
        while piece := await reader.read(10_000):
            heard += piece
            await asyncio.sleep(0)
        await hang_up(writer)
        await listener.aclose()
        return heard

    assert run(scenario()) == octets


@pytest.mark.rfc(1122, "4.2.2.13")
def test_last_words_arrive_although_the_client_sent_more_than_was_read(run, source, recorder):
    class Weary(recorder):
        def dataReceived(self, octets):
            self.transport.write(b"-ERR enough\r\n")
            self.transport.loseConnection()

    async def scenario():
        listener = await listen(source(Weary), "127.0.0.1", 0)
        reader, writer = await connect(listener)
        for _ in range(40):
            writer.write(b"NOOP\r\n" * 1000)
            await asyncio.sleep(0)
        heard = await reader.read()
        await hang_up(writer)
        await listener.aclose()
        return heard

    assert run(scenario()) == b"-ERR enough\r\n"


def test_peer_and_host_are_the_socket_s_addresses(run, source):
    async def scenario():
        protocols = source()
        listener = await listen(protocols, "127.0.0.1", 0)
        _, writer = await connect(listener)
        await until(lambda: protocols)
        transport = protocols[0].transport
        await protocols[0].made.wait()
        peer, host = transport.getPeer(), transport.getHost()
        assert (peer.host, peer.port) == writer.get_extra_info("sockname")
        assert (host.host, host.port) == (listener.host, listener.port)
        await hang_up(writer)
        await protocols[0].lost.wait()
        await listener.aclose()

    run(scenario())


def test_a_writer_that_waits_is_held_up_by_a_reader_that_does_not_read(run, source):
    async def scenario():
        protocols = source()
        listener = await listen(protocols, "127.0.0.1", 0)
        reader, writer = await connect(listener)
        await until(lambda: protocols and protocols[0].made.is_set())
        transport, sent = protocols[0].transport, 0

        async def pour():
            nonlocal sent
            for _ in range(500):
                transport.write(b"x" * 100_000)
                sent += 100_000
                await transport.drained()

        pouring = asyncio.ensure_future(pour())
        await asyncio.sleep(0.05)
        held_at = sent
        assert held_at < 30_000_000
        total = 0
        while total < 50_000_000:
            total += len(await reader.read(1 << 20))
        await pouring
        await hang_up(writer)
        await listener.aclose()

    run(scenario())


def test_a_writer_that_never_waits_loses_its_connection_instead_of_the_memory(run, source):
    async def scenario():
        protocols = source()
        listener = await listen(protocols, "127.0.0.1", 0)
        _, writer = await connect(listener)
        await until(lambda: protocols and protocols[0].made.is_set())
        for _ in range(HARD_LIMIT // 1_000_000 + 30):
            protocols[0].transport.write(b"x" * 1_000_000)
        await protocols[0].lost.wait()
        assert "does not wait" in str(protocols[0].reason)
        await hang_up(writer)
        await listener.aclose()

    run(scenario())


def test_drained_tells_a_waiting_writer_that_the_peer_is_gone(run, source):
    async def scenario():
        protocols = source()
        listener = await listen(protocols, "127.0.0.1", 0)
        _, writer = await connect(listener)
        await until(lambda: protocols and protocols[0].made.is_set())
        protocols[0].transport.write(b"x" * 20_000_000)
        waiting = asyncio.ensure_future(protocols[0].transport.drained())
        await asyncio.sleep(0)
        writer.transport.abort()
        with pytest.raises(ConnectionResetError):
            await waiting
        with pytest.raises(ConnectionResetError):
            await protocols[0].transport.drained()
        await listener.aclose()

    run(scenario())


class PieceWise:
    """Writes 100 pieces when told to go on; notes whether it was told to stop."""

    def __init__(self, transport, *, streaming):
        self.transport, self.streaming = transport, streaming
        self.left, self.running, self.pauses = 100, False, 0

    def resumeProducing(self):
        self.running = True
        while self.running and self.left:
            self.left -= 1
            self.transport.write(b"y" * 100_000)
            if not self.streaming:
                break
        if not self.left:
            self.transport.unregisterProducer()

    def pauseProducing(self):
        self.running = False
        self.pauses += 1

    def stopProducing(self):
        self.running, self.left = False, -1


@pytest.mark.parametrize("streaming", [True, False])
def test_a_registered_producer_is_paced_and_waited_for_by_loseconnection(run, source, streaming):
    async def scenario():
        protocols = source()
        listener = await listen(protocols, "127.0.0.1", 0)
        reader, writer = await connect(listener)
        await until(lambda: protocols and protocols[0].made.is_set())
        transport = protocols[0].transport
        producer = PieceWise(transport, streaming=streaming)
        transport.registerProducer(producer, streaming)
        if streaming:
            producer.resumeProducing()
        transport.loseConnection()
        heard = await reader.read()
        assert len(heard) == 100 * 100_000
        assert producer.pauses > 0 or not streaming
        await hang_up(writer)
        await listener.aclose()

    run(scenario())


def test_a_producer_is_told_to_stop_when_the_peer_goes(run, source):
    async def scenario():
        protocols = source()
        listener = await listen(protocols, "127.0.0.1", 0)
        _, writer = await connect(listener)
        await until(lambda: protocols and protocols[0].made.is_set())
        producer = PieceWise(protocols[0].transport, streaming=True)
        protocols[0].transport.registerProducer(producer, True)
        writer.transport.abort()
        await protocols[0].lost.wait()
        assert producer.left == -1
        await listener.aclose()

    run(scenario())


def test_reading_stops_while_paused(run, source):
    async def scenario():
        protocols = source()
        listener = await listen(protocols, "127.0.0.1", 0)
        _, writer = await connect(listener)
        await until(lambda: protocols and protocols[0].made.is_set())
        protocols[0].transport.pauseProducing()
        writer.write(b"later\r\n")
        await asyncio.sleep(0.02)
        assert protocols[0].heard == b""
        protocols[0].transport.resumeProducing()
        await until(lambda: protocols[0].heard)
        assert protocols[0].heard == b"later\r\n"
        await hang_up(writer)
        await listener.aclose()

    run(scenario())


@pytest.mark.rfc(8314, "3")
def test_implicit_tls_carries_both_ways_and_tells_version_and_cipher(run, source, server_tls, client_tls):
    async def scenario():
        protocols = source(greeting=b"+OK early\r\n")
        listener = await listen(protocols, "127.0.0.1", 0, tls=server_tls)
        reader, writer = await connect(listener, ssl=client_tls, server_hostname="localhost")
        assert await reader.readline() == b"+OK early\r\n"
        writer.write(b"z" * 1_000_000)
        await until(lambda: len(protocols[0].heard) == 1_000_000)
        protocols[0].transport.write(b"w" * 3_000_000)
        # uvloop's own TLS client loses what it has not handed on when the end arrives: read first, then close.
        assert len(await reader.readexactly(3_000_000)) == 3_000_000
        protocols[0].transport.loseConnection()
        assert await reader.read() == b""
        assert protocols[0].events[:2] == ["made", "secure TLSv1.3"]
        await hang_up(writer)
        await protocols[0].lost.wait()
        await listener.aclose()

    run(scenario())


@pytest.mark.rfc(2595, "4")
def test_starttls_upgrades_in_place(run, source, recorder, server_tls, client_tls):
    class Upgrading(recorder):
        def dataReceived(self, octets):
            super().dataReceived(octets)
            if octets == b"STLS\r\n":
                self.transport.write(b"+OK\r\n")
                self.transport.startTLS(server_tls)

    async def scenario():
        protocols = source(Upgrading)
        listener = await listen(protocols, "127.0.0.1", 0)
        reader, writer = await connect(listener)
        writer.write(b"STLS\r\n")
        assert await reader.readline() == b"+OK\r\n"
        assert not protocols[0].transport.secure
        await writer.start_tls(client_tls, server_hostname="localhost")
        writer.write(b"secret\r\n")
        await until(lambda: protocols[0].heard == b"STLS\r\nsecret\r\n")
        assert protocols[0].transport.secure
        protocols[0].transport.write(b"+OK hidden\r\n")
        assert await reader.readline() == b"+OK hidden\r\n"
        await hang_up(writer)
        await listener.aclose()

    run(scenario())


@pytest.mark.parametrize(
    ("said", "reason"), [(b"USER bob\r\nPASS x\r\n", "did not speak TLS"), (b"GET / HTTP/1.1\r\n\r\n", "spoke HTTP")]
)
def test_a_client_without_tls_on_a_tls_port_is_closed_with_a_reason_in_words(run, source, server_tls, said, reason):
    async def scenario():
        protocols = source()
        listener = await listen(protocols, "127.0.0.1", 0, tls=server_tls)
        reader, writer = await connect(listener)
        writer.write(said)
        await reader.read()
        await hang_up(writer)
        await protocols[0].lost.wait()
        assert isinstance(protocols[0].reason, TlsFailed)
        assert reason in str(protocols[0].reason)
        assert protocols[0].heard == b""
        await listener.aclose()

    run(scenario())


@pytest.mark.rfc(4978, "3")
def test_compression_is_bounded_however_far_one_octet_expands(run, source, recorder):
    class Compressing(recorder):
        def connectionMade(self):
            super().connectionMade()
            self.transport.startCompression()

        def dataReceived(self, octets):
            super().dataReceived(octets)
            self.transport.pauseProducing()
            self.transport.callLater(0, self.transport.resumeProducing)

    async def scenario():
        protocols = source(Compressing)
        listener = await listen(protocols, "127.0.0.1", 0)
        reader, writer = await connect(listener)
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        writer.write(deflate.compress(b"a" * 10_000_000) + deflate.flush(zlib.Z_SYNC_FLUSH))
        await until(lambda: protocols and len(protocols[0].heard) == 10_000_000)
        assert protocols[0].largest <= PIECE
        protocols[0].transport.write(b"* OK\r\n" * 1000)
        inflate, heard = zlib.decompressobj(-15), b""
        while len(heard) < 6000:
            heard += inflate.decompress(await reader.read(1000))
        assert heard == b"* OK\r\n" * 1000
        protocols[0].transport.loseConnection()
        assert inflate.decompress(await reader.read()) == b""
        assert inflate.eof
        await hang_up(writer)
        await listener.aclose()

    run(scenario())


def test_octets_that_are_not_deflated_end_the_connection(run, source, recorder):
    class Compressing(recorder):
        def connectionMade(self):
            super().connectionMade()
            self.transport.startCompression()

    async def scenario():
        protocols = source(Compressing)
        listener = await listen(protocols, "127.0.0.1", 0)
        reader, writer = await connect(listener)
        writer.write(b"\xff" * 100)
        assert await reader.read() == b""
        await protocols[0].lost.wait()
        assert isinstance(protocols[0].reason, zlib.error)
        await hang_up(writer)
        await listener.aclose()

    run(scenario())


def test_a_client_that_ends_its_direction_is_still_answered(run, source, recorder):
    class Patient(recorder):
        def readConnectionLost(self):
            self.transport.callLater(0, self.answer)

        def answer(self):
            self.transport.write(b"late answer\r\n")
            self.transport.loseConnection()

    async def scenario(**tls):
        listener = await listen(source(Patient), "127.0.0.1", 0)
        reader, writer = await connect(listener)
        writer.write(b"QUIT\r\n")
        writer.write_eof()
        assert await reader.read() == b"late answer\r\n"
        await hang_up(writer)
        await listener.aclose()

    run(scenario())


def test_connections_over_the_limit_are_told_so(run, source):
    async def scenario():
        protocols = source()
        listener = await listen(protocols, "127.0.0.1", 0, limit=1)
        _, first = await connect(listener)
        await until(lambda: listener.connections == 1)
        reader, second = await connect(listener)
        assert await reader.read() == b"-ERR too many\r\n"
        await hang_up(first, second)
        await protocols[0].lost.wait()
        assert listener.connections == 0
        await listener.aclose()

    run(scenario())


def test_aclose_says_goodbye_and_keeps_its_deadline_with_a_peer_that_reads_nothing(run, source, recorder):
    class Polite(recorder):
        def shutdown(self):
            self.transport.write(b"bye\r\n")
            self.transport.loseConnection()

    async def scenario():
        protocols = source(Polite)
        listener = await listen(protocols, "127.0.0.1", 0)
        reader, good = await connect(listener)
        _, stuck = await connect(listener)
        await until(lambda: len(protocols) == 2 and protocols[1].made.is_set())
        protocols[1].transport.write(b"x" * 20_000_000)
        await listener.aclose(timeout=0.2)
        assert await reader.read() == b"bye\r\n"
        assert listener.connections == 0
        await listener.aclose()
        await hang_up(good, stuck)

    run(scenario())


def test_a_port_in_use_is_a_start_error_that_names_it(run, source):
    async def scenario():
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(StartError, match=f"127.0.0.1:{port}: Address already in use"):
                await listen(source(), "127.0.0.1", port)

    run(scenario())


def test_reset_breaks_off_as_a_crashed_host_would(run, source):
    async def scenario():
        protocols = source()
        listener = await listen(protocols, "127.0.0.1", 0)
        reader, writer = await connect(listener)
        await until(lambda: protocols and protocols[0].made.is_set())
        protocols[0].transport.reset()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        await hang_up(writer)
        await listener.aclose()

    run(scenario())
