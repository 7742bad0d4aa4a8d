"""The PROXY header, versions 1 and 2, by which a load balancer tells who the client is.

The specification is HAProxy's proxy-protocol.txt; the parser is aiosmtpd's, given a reader over octets already here,
so that nothing waits: an incomplete header is tried again with more octets.
"""

from collections.abc import Coroutine
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final

from aiosmtpd.proxy_protocol import ProxyData, get_proxy

MAX_HEADER: Final = 4_096  # octets; version 1 has 107 at most, version 2 its type-length-values besides


@dataclass(frozen=True, slots=True)
class ProxiedClient:
    """What the header says. `address` is "" where it names none (UNKNOWN, LOCAL, UNIX): then the peer itself counts."""

    address: str
    port: int
    octets: int  # length of the header


@dataclass(frozen=True, slots=True)
class BadProxyHeader:
    """Why it is no PROXY header."""

    reason: str


class _Incomplete(BaseException):
    """More octets are needed. Not an Exception: the parser turns those into "malformed"."""


class _Reader:
    """What aiosmtpd's parser reads from."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self.at = 0

    async def readexactly(self, n: int) -> bytes:
        return self._take(n)

    async def read(self, n: int = -1) -> bytes:
        return self._take(n)

    async def readuntil(self, separator: bytes = b"\n") -> bytes:
        end = self._octets.find(separator, self.at)
        return self._take(end + len(separator) - self.at if end >= 0 else len(self._octets) + 1)

    def _take(self, n: int) -> bytes:
        if self.at + n > len(self._octets):
            raise _Incomplete
        self.at += n
        return self._octets[self.at - n : self.at]


def read_proxy_header(octets: bytes) -> ProxiedClient | BadProxyHeader | None:
    """The client behind the proxy; None while the header is incomplete."""
    reader = _Reader(octets)
    try:
        found = _finished(get_proxy(reader))
    except _Incomplete:
        return BadProxyHeader("longer than any PROXY header") if len(octets) > MAX_HEADER else None
    if not found.valid:
        return BadProxyHeader(found.error or "malformed")
    # Version 2, command LOCAL: the proxy's own connection, such as a health check; its addresses do not count.
    if found.command == 0 or not isinstance(found.src_addr, IPv4Address | IPv6Address):
        return ProxiedClient("", 0, reader.at)
    return ProxiedClient(str(found.src_addr), found.src_port or 0, reader.at)


def _finished(parsing: Coroutine[Any, Any, ProxyData]) -> ProxyData:  # Any: what a coroutine yields, here nothing
    try:
        parsing.send(None)
    except StopIteration as done:
        found: ProxyData = done.value
        return found
    raise AssertionError("the parser waited for something")
