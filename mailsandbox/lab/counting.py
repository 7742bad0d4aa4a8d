"""Connections that count: what a watcher asked, what came back, how many octets went either way.

Octets are those of the protocol, as read from and written to the socket; TCP's and IP's own are not in them.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from mailsandbox.errors import PeerViolation

CONNECT: Final = 5.0  # seconds
MAX_LINE: Final = 65_536  # octets
MAX_BLOCK: Final = 268_435_456  # octets of one message or literal


@dataclass(slots=True)
class Counters:
    """`requests`: what the reader asked; `empty_answers`: those that brought nothing new.

    `bodies`: octets of whole messages, as far as they are part of `octets_in`.
    """

    connections: int = 0
    requests: int = 0
    empty_answers: int = 0
    octets_out: int = 0
    octets_in: int = 0
    bodies: int = 0


class Wire:
    """One TCP connection, either end, with its octets counted."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, counters: Counters) -> None:
        self._reader = reader
        self._writer = writer
        self._counters = counters
        counters.connections += 1

    @classmethod
    async def open(cls, address: str, counters: Counters) -> "Wire":
        """Connect to "host:port". Raises OSError, TimeoutError."""
        host, port = split_address(address)
        async with asyncio.timeout(CONNECT):
            reader, writer = await asyncio.open_connection(host, port, limit=MAX_LINE)
        return cls(reader, writer, counters)

    async def write(self, octets: bytes) -> None:
        """Send, and wait while the peer takes nothing."""
        if self._writer.is_closing():
            raise ConnectionResetError("the connection is closed")  # uvloop raises RuntimeError, asyncio nothing
        self._counters.octets_out += len(octets)
        self._writer.write(octets)
        await self._writer.drain()

    async def line(self) -> bytes:
        """One line without its CRLF. Raises PeerViolation for an end in mid-line or an overlong one."""
        try:
            octets = await self._reader.readuntil(b"\n")
        except asyncio.IncompleteReadError as error:
            self._counters.octets_in += len(error.partial)
            raise PeerViolation("the peer closed the connection") from None
        except asyncio.LimitOverrunError:
            raise PeerViolation(f"the peer sent a line of more than {MAX_LINE} octets") from None
        self._counters.octets_in += len(octets)
        return octets.rstrip(b"\r\n")

    async def exactly(self, size: int) -> bytes:
        """So many octets. Raises PeerViolation."""
        if size > MAX_BLOCK:
            raise PeerViolation(f"the peer announces {size} octets")
        try:
            octets = await self._reader.readexactly(size)
        except asyncio.IncompleteReadError:
            raise PeerViolation("the peer closed the connection within a message") from None
        self._counters.octets_in += size
        return octets

    async def some(self) -> bytes:
        """What has come, at least one octet; b"" at the end."""
        octets = await self._reader.read(65_536)
        self._counters.octets_in += len(octets)
        return octets

    async def aclose(self) -> None:
        """Close, without waiting for a peer that does not."""
        self._writer.close()
        try:
            async with asyncio.timeout(1.0):
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            pass  # it is closed as far as we can close it


def split_address(address: str) -> tuple[str, int]:
    """Host and port of "127.0.0.1:25" or "[::1]:25"."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
