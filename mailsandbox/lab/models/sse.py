"""Server-sent events (WHATWG HTML §9.2): one answer that does not end. The fetches go over a second connection."""

from collections.abc import AsyncIterator
from typing import Final

import msgspec

from mailsandbox.errors import PeerViolation
from mailsandbox.lab.models.http import Exchange, HttpWatcher, entry_of
from mailsandbox.lab.watcher import Model, Target

SSE: Final = Model("sse", "SSE push", "reader", "push", "WHATWG HTML §9.2")
STREAM: Final = Model("stream", "NDJSON stream push", "reader", "push", "RFC 9112 §7.1")


class StreamWatcher(HttpWatcher):
    """Lines of JSON over a chunked answer; an empty line is a heartbeat."""

    model = STREAM
    path = "stream"

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._pushed = Exchange(self.address, self.counters)
        self._lines: AsyncIterator[bytes] | None = None

    async def connect(self) -> None:
        await self.catch_up()
        status, _ = await self._pushed.begin(f"{self.log}/{self.path}?since={self.cursor}")
        if status != 200:
            raise PeerViolation(f"HTTP: {status}")
        self._lines = self._split()

    async def look(self) -> None:
        if self._lines is None:
            raise PeerViolation("HTTP: not connected")
        try:
            line = await anext(self._lines)
        except StopAsyncIteration:
            raise PeerViolation("HTTP: the stream ended") from None
        if (octets := self.entry_in(line)) is None:
            return
        notified = self._pushed.heard_ns
        try:
            await self.heard(entry_of(octets), notified)
        except msgspec.DecodeError as error:
            raise PeerViolation(f"HTTP: {error}") from None

    def entry_in(self, line: bytes) -> bytes | None:
        """The JSON that a line carries."""
        return line or None

    async def _split(self) -> AsyncIterator[bytes]:
        rest = b""
        async for octets in self._pushed.body():
            *lines, rest = (rest + octets).split(b"\n")
            for line in lines:
                yield line.removesuffix(b"\r")

    async def leave(self) -> None:
        await self._pushed.aclose()
        await super().leave()


class SseWatcher(StreamWatcher):
    """Every event of this server has one data line, which holds its id and type as well."""

    model = SSE
    path = "sse"

    def entry_in(self, line: bytes) -> bytes | None:
        return line.removeprefix(b"data:").strip() if line.startswith(b"data:") else None
