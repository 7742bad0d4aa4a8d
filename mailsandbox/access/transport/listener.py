"""One listening socket and the connections it accepted.

Invariant: after `aclose` nothing of it is open. Knows no mail protocol.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Final

from twisted.internet import protocol as twisted_protocol

from mailsandbox.access.transport.connection import Connection
from mailsandbox.errors import StartError
from mailsandbox.wording import cause_of

BACKLOG: Final = 1024  # connections the kernel holds for us; a burst of 2,000 clients fits with somaxconn 4096


Source = Callable[[], twisted_protocol.Protocol]  # makes the protocol of one connection


class Listener:
    """One listening socket and the connections it accepted."""

    def __init__(self, source: Source, *, tls: ssl.SSLContext | None, limit: int) -> None:
        self._source = source
        self._tls = tls
        self._limit = limit
        self._server: asyncio.Server | None = None
        self._open: set[Connection] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self.stopping = False
        self.host = ""
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Bind and listen. Raises StartError where the address is in use or not ours."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(self._accept, host, port, backlog=BACKLOG)
        except OSError as error:
            raise StartError(f"cannot listen on {host}:{port}: {cause_of(error)}") from None
        self.host, self.port = self._server.sockets[0].getsockname()[:2]

    @property
    def connections(self) -> int:
        """How many are open now."""
        return len(self._open)

    def _accept(self) -> asyncio.Protocol:
        if len(self._open) >= self._limit or self.stopping:
            return _Refusal(getattr(self._source, "refusal", b"") if self._tls is None else b"")
        return Connection(self._source(), owner=self, tls=self._tls)

    def opened(self, connection: Connection) -> None:
        """Called by the connection."""
        self._open.add(connection)
        self._empty.clear()

    def closed(self, connection: Connection) -> None:
        """Called by the connection."""
        self._open.discard(connection)
        if not self._open:
            self._empty.set()

    async def aclose(self, timeout: float = 1.0) -> None:
        """Accept no more, let each protocol say goodbye (`shutdown()` if it has one), abort what remains.

        Returns within `timeout` seconds. May be called again.
        """
        self.stopping = True
        if self._server is not None:
            self._server.close()
        for connection in list(self._open):
            shutdown = getattr(connection.protocol, "shutdown", None)
            (shutdown or connection.loseConnection)()
        try:
            await asyncio.wait_for(self._empty.wait(), timeout)
        except TimeoutError:
            for connection in list(self._open):
                connection.abortConnection()
            await asyncio.sleep(0)


class _Refusal(asyncio.Protocol):
    """A connection over the limit: told so, and closed."""

    def __init__(self, words: bytes) -> None:
        self._words = words

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(self._words)  # type: ignore[attr-defined]  # asyncio declares the base class only
        transport.close()


async def listen(
    source: Source,
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None = None,
    limit: int = 10_000,
) -> Listener:
    """Serve a protocol of `source` to each connection of host:port (0: any free port); `tls` from its first octet on.

    More than `limit` connections are told `source.refusal` (if it has that attribute) and closed.
    """
    listener = Listener(source, tls=tls, limit=limit)
    await listener.start(host, port)
    return listener
