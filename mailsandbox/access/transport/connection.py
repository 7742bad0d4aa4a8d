"""One accepted connection: an asyncio protocol below, a Twisted transport (ITransport, IConsumer, IPushProducer) above.

Layers between them (TLS, DEFLATE) can be put in while it is open.
Invariants: what was written before `loseConnection` reaches a peer that reads; a peer that does not read costs at most
HARD_LIMIT octets plus one write, and is cut off after STALL seconds. Knows no mail protocol.
"""

import asyncio
import contextlib
import socket
import ssl
import zlib
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from twisted.internet import protocol as twisted_protocol
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IPushProducer, ITransport
from twisted.python.failure import Failure
from zope.interface import implementer

from mailsandbox.access.transport.layers import DeflateLayer, Layer, TlsFailed, TlsLayer

HIGH_WATER: Final = 262_144  # octets unsent before `drained` waits and producers pause; asyncio's own is 64 KiB
LOW_WATER: Final = 65_536
HARD_LIMIT: Final = 33_554_432  # octets unsent before a writer that does not wait loses its connection
STALL: Final = 300.0  # seconds a peer may read nothing while we have something for it; RFC 5321 §4.5.3.2 has 5 minutes
HANDSHAKE: Final = 60.0  # seconds for a TLS handshake, as asyncio's own
LINGER: Final = 2.0  # seconds to let the peer read our last words and close; nginx's lingering_timeout is 5

PeerAddress = IPv4Address | IPv6Address | UNIXAddress


class Owner(Protocol):
    """Who counts the connections: the listener."""

    @property
    def stopping(self) -> bool: ...
    def opened(self, connection: "Connection") -> None: ...
    def closed(self, connection: "Connection") -> None: ...


class Producer(Protocol):
    """Twisted's IPushProducer; one that is registered with `streaming=False` is never paused (IPullProducer)."""

    def pauseProducing(self) -> None: ...  # noqa: N802  # Twisted's name
    def resumeProducing(self) -> None: ...  # noqa: N802  # Twisted's name
    def stopProducing(self) -> None: ...  # noqa: N802  # Twisted's name


@implementer(ITransport, IConsumer, IPushProducer)
class Connection(asyncio.Protocol):
    """One accepted connection."""

    __slots__ = (
        "_close_wanted",
        "_closing",
        "_done",
        "_eof",
        "_input_ended",
        "_layers",
        "_loop",
        "_owner",
        "_paused_reading",
        "_producer",
        "_pumping",
        "_reason",
        "_streaming",
        "_timer",
        "_waiters",
        "_wire",
        "_writing_paused",
        "protocol",
        "tls",
    )

    _wire: asyncio.Transport

    def __init__(self, protocol: twisted_protocol.Protocol, *, owner: Owner, tls: ssl.SSLContext | None) -> None:
        self.protocol = protocol
        self.tls: TlsLayer | None = None
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._layers: list[Layer] = []
        self._closing = False  # loseConnection was called: what the peer still says is not heard
        self._done = False
        self._close_wanted = False  # as soon as the producer is done
        self._eof = False
        self._input_ended = False
        self._pumping = False
        self._paused_reading = False
        self._writing_paused = False
        self._producer: Producer | None = None
        self._streaming = True
        self._reason: Exception | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiters: list[asyncio.Future[None]] = []
        if tls is not None:
            self._put_tls(tls)

    # -- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")  # uvloop's is no subclass
        self._wire = transport  # type: ignore[assignment]  # asyncio declares the base class only
        self._wire.set_write_buffer_limits(high=HIGH_WATER, low=LOW_WATER)
        handle = transport.get_extra_info("socket")
        if handle is not None and handle.family in (socket.AF_INET, socket.AF_INET6):
            with contextlib.suppress(OSError):  # replies are small: each is wanted at once
                handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls is not None:
            self._timer = self._loop.call_later(HANDSHAKE, self._handshake_late)
        self._owner.opened(self)
        self.protocol.makeConnection(self)  # type: ignore[no-untyped-call]  # Twisted's

    def data_received(self, octets: bytes) -> None:
        if self._closing:
            return
        if not self._layers:
            self.protocol.dataReceived(octets)
            return
        if self._layers[0] is self.tls:
            self._feed_tls(octets)
        else:
            self._layers[0].feed(octets)
        self._pump()

    def eof_received(self) -> bool:
        """True keeps our direction open: what was asked before the end is still answered."""
        if self._closing:
            self._wire.close()
            return False
        self._eof = True
        if self._layers:
            self._pump()
        else:
            self._end_input()
        return not self._wire.is_closing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._done = self._closing = True
        self._stop_timer()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(ConnectionResetError("the peer is gone"))
        self._waiters.clear()
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        if self._reason is None and self.tls is not None and not self.tls.established:
            self._reason = TlsFailed("the client hung up in the TLS handshake; it may not trust the certificate")
        reason = self._reason or (ConnectionLost(str(exc)) if exc is not None else ConnectionDone())
        self._owner.closed(self)
        self.protocol.connectionLost(Failure(reason))  # type: ignore[no-untyped-call]  # Twisted's

    def pause_writing(self) -> None:
        self._writing_paused = True
        if self._timer is None:
            self._timer = self._loop.call_later(STALL, self._fail, ConnectionLost("the peer does not read"))
        if self._producer is not None and self._streaming:
            self._producer.pauseProducing()

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._stop_timer()
        if self._closing:
            self._timer = self._loop.call_later(LINGER, self._linger_over)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        if self._streaming and self._producer is not None:
            self._producer.resumeProducing()
        self._pull()

    # -- layers

    def _put_tls(self, context: ssl.SSLContext) -> None:
        self.tls = TlsLayer(context)
        self._layers.append(self.tls)

    def _feed_tls(self, octets: bytes) -> None:
        """TLS has a beginning that the protocol is told of, and failures that deserve a reason."""
        assert self.tls is not None
        before = self.tls.established
        try:
            self.tls.feed(octets)
        except TlsFailed as failed:
            self._flush_layers()  # the alert that tells the peer why
            self._fail(failed, abort=False)
            return
        self._flush_layers()
        if self.tls.established and not before:
            self._stop_timer()
            completed = getattr(self.protocol, "handshakeCompleted", None)  # IHandshakeListener
            if completed is not None:
                completed()

    def _pump(self) -> None:
        """Hand up what the layers have, as long as the protocol takes it."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while not (self._closing or self._paused_reading):
                octets = self._read_layer(len(self._layers) - 1)
                if not octets:
                    break
                self.protocol.dataReceived(octets)
        except (TlsFailed, zlib.error) as failed:
            self._fail(failed)
        finally:
            self._pumping = False
        if not self._paused_reading and (self._eof or any(layer.ended for layer in self._layers)):
            self._end_input()

    def _read_layer(self, index: int) -> bytes:
        layer = self._layers[index]
        while True:
            octets = layer.read()
            self._flush_layers()  # TLS answers key updates by itself
            if octets or index == 0:
                return octets
            below = self._read_layer(index - 1)
            if not below:
                return b""
            layer.feed(below)

    def _flush_layers(self) -> None:
        """Pass what each layer has for the wire through those below it."""
        octets = b""
        for layer in reversed(self._layers):
            if octets:
                layer.send(octets)
            octets = layer.pending()
        if octets:
            self._wire.write(octets)

    def _end_input(self) -> None:
        """The peer says no more. The protocol may want to answer what it has heard already."""
        if self._input_ended or self._closing:
            return
        self._input_ended = True
        half_close = getattr(self.protocol, "readConnectionLost", None)  # IHalfCloseableProtocol
        if half_close is not None:
            half_close()
            return
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        self.loseConnection()

    # -- the protocol's side: ITransport

    def write(self, octets: bytes | memoryview) -> None:
        """Send, or keep until the peer reads; nothing after `loseConnection`."""
        if self._closing:
            return
        if self._writing_paused and self._wire.get_write_buffer_size() > HARD_LIMIT:
            self._fail(ConnectionLost("too much unsent: the writer does not wait for the reader"))
            return
        if not self._layers:
            self._wire.write(octets)
            return
        try:
            self._layers[-1].send(octets)
            self._flush_layers()
        except TlsFailed as failed:
            self._fail(failed)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:  # noqa: N802  # Twisted's name
        """One write of the pieces joined."""
        self.write(b"".join(iovec))

    def loseConnection(self) -> None:  # noqa: N802  # Twisted's name
        """Close when everything written has been sent. A registered producer is waited for."""
        if self._producer is not None:
            self._close_wanted = True
            return
        if self._closing:
            return
        self._closing = True
        try:
            for layer in reversed(self._layers):
                layer.close()
                self._flush_layers()
        except (TlsFailed, zlib.error):
            pass
        self._stop_timer()
        if self._eof or self._owner.stopping or not self._wire.can_write_eof():
            self._wire.close()
            self._timer = self._loop.call_later(STALL, self._wire.abort)
            return
        # Closing with unread octets in the socket resets the connection and may lose our last words (RFC 1122
        # §4.2.2.13): end our direction, let the peer close, and do not wait for it long.
        self._wire.write_eof()
        if self._paused_reading:
            self._wire.resume_reading()
        self._timer = self._loop.call_later(LINGER, self._linger_over)

    def abortConnection(self) -> None:  # noqa: N802  # Twisted's name
        """Close at once; what is unsent is lost."""
        if not self._done:
            self._reason = self._reason or ConnectionAborted()
            self._closing = True
            self._wire.abort()

    def reset(self) -> None:
        """Break off with a TCP reset, as a crashed host would."""
        handle = self._wire.get_extra_info("socket")
        if handle is not None:
            linger_zero = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # struct linger { on = 1, seconds = 0 }
            with contextlib.suppress(OSError):
                handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_zero)
        self.abortConnection()

    def getPeer(self) -> PeerAddress:  # noqa: N802  # Twisted's name
        return _address(self._wire.get_extra_info("peername"))

    def getHost(self) -> PeerAddress:  # noqa: N802  # Twisted's name
        return _address(self._wire.get_extra_info("sockname"))

    def startTLS(self, context: ssl.SSLContext) -> None:  # noqa: N802  # Twisted's name
        """Become the server of a TLS handshake now. What was written before goes out in clear.

        The protocol must forget what it has received and not handled: it came in clear (RFC 3207 §6, RFC 2595 §4).
        """
        assert self.tls is None, "TLS is on already"
        assert not self._layers, "TLS goes below compression"
        self._put_tls(context)
        self._stop_timer()
        self._timer = self._loop.call_later(HANDSHAKE, self._handshake_late)

    def startCompression(self) -> None:  # noqa: N802  # in line with startTLS
        """DEFLATE both ways from the next octet on (RFC 4978), on top of TLS if there is any."""
        self._layers.append(DeflateLayer())

    # -- IPushProducer towards the protocol: it may stop the peer

    def pauseProducing(self) -> None:  # noqa: N802  # Twisted's name
        """Read no more from the peer."""
        if not self._paused_reading and not self._closing:
            self._paused_reading = True
            if not self._eof:
                self._wire.pause_reading()

    def resumeProducing(self) -> None:  # noqa: N802  # Twisted's name
        """Read on."""
        if self._paused_reading:
            self._paused_reading = False
            if not self._eof and not self._wire.is_closing():
                self._wire.resume_reading()
            if self._layers:
                self._loop.call_soon(self._pump)

    def stopProducing(self) -> None:  # noqa: N802  # Twisted's name
        self.loseConnection()

    # -- IConsumer: back-pressure towards the protocol

    def registerProducer(self, producer: Producer, streaming: bool) -> None:  # noqa: N802  # Twisted's name
        """Call `producer` when the peer can take more: pause and resume (`streaming`), or resume for each piece."""
        if self._producer is not None:
            raise RuntimeError("a producer is registered already")
        if self._done:
            producer.stopProducing()
            return
        self._producer, self._streaming = producer, streaming
        if not streaming:
            self._pull()
        elif self._writing_paused:
            producer.pauseProducing()

    def _pull(self) -> None:
        """Ask a pull producer for its next piece as long as the peer takes them."""
        if not (self._streaming or self._producer is None or self._writing_paused):
            self._producer.resumeProducing()
            self._loop.call_soon(self._pull)

    def unregisterProducer(self) -> None:  # noqa: N802  # Twisted's name
        self._producer = None
        if self._close_wanted:
            self.loseConnection()

    async def drained(self) -> None:
        """Return when less than HIGH_WATER octets are unsent. Raises ConnectionResetError when the peer is gone."""
        if self._done or self._closing:
            raise ConnectionResetError("the connection is closed")
        if self._writing_paused:
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            await waiter

    # -- for servers

    def callLater(self, delay: float, call: Callable[..., object], *args: object) -> asyncio.TimerHandle:  # noqa: N802
        """Call in `delay` seconds of the loop's time; the handle has `cancel()`."""
        return self._loop.call_later(delay, call, *args)

    @property
    def secure(self) -> bool:
        """Whether TLS is established."""
        return self.tls is not None and self.tls.established

    @property
    def congested(self) -> bool:
        """Whether a writer should wait for `drained`."""
        return self._writing_paused

    @property
    def compressed(self) -> bool:
        """Whether DEFLATE is on."""
        return any(isinstance(layer, DeflateLayer) for layer in self._layers)

    @property
    def tls_version(self) -> str:
        """Version and cipher, "" without TLS."""
        return self.tls.version if self.tls is not None else ""

    @property
    def connected(self) -> bool:
        """Whether what is written now can still arrive."""
        return not self._closing

    # -- ends

    def _fail(self, reason: Exception, *, abort: bool = True) -> None:
        self._reason = self._reason or reason
        self._producer = None
        if abort:
            self.abortConnection()
        else:
            self._layers.clear()
            self.loseConnection()

    def _handshake_late(self) -> None:
        self._fail(TlsFailed(f"no TLS handshake within {HANDSHAKE:.0f} seconds"))

    def _linger_over(self) -> None:
        if self._wire.get_write_buffer_size():  # the peer still reads, or STALL will end it
            self._timer = self._loop.call_later(STALL, self._wire.abort)
            return
        self._wire.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _address(name: object) -> PeerAddress:
    match name:
        case (str(host), int(port), int(flow), int(scope)):
            return IPv6Address("TCP", host, port, flow, scope)
        case (str(host), int(port)):
            return IPv4Address("TCP", host, port)
        case _:
            return UNIXAddress(None)


def shown(address: PeerAddress) -> str:
    """An address as "127.0.0.1:41234", "[::1]:41234" or "unix"."""
    match address:
        case IPv6Address():
            return f"[{address.host}]:{address.port}"
        case IPv4Address():
            return f"{address.host}:{address.port}"
        case _:
            return "unix"
