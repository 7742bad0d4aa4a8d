"""What the client sends, pulled by the session's worker: commands, or bare lines in SASL and IDLE.

Invariant: at most HIGH_WATER octets are held that the worker has not taken, plus what the framer's limits allow; beyond
that the connection is asked to stop reading. Knows no transport: it is fed, and calls `pause`.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mailsandbox.access.imap.framing import CommandOctets, Framer, LiteralAsked, Refused

HIGH_WATER: Final = 262_144  # octets of pipelined commands held before reading stops


@dataclass(frozen=True, slots=True)
class Ended:
    """The client will send no more."""


@dataclass(frozen=True, slots=True)
class Poked:
    """`poke` was called: the session has something to do of its own."""


class Input:
    """`pause(True)` stops the connection's reading, `pause(False)` lets it go on."""

    __slots__ = ("_ended", "_pause", "_paused", "_poked", "_waiter", "framer", "received")

    def __init__(self, framer: Framer, pause: Callable[[bool], None]) -> None:
        self.framer = framer
        self.received = 0  # octets since the connection began
        self._pause = pause
        self._paused = False
        self._ended = False
        self._poked = False
        self._waiter: asyncio.Future[None] | None = None

    def feed(self, octets: bytes) -> None:
        """The connection received these."""
        self.received += len(octets)
        self.framer.feed(octets)
        self._wake()
        if not self._paused and self.framer.buffered > HIGH_WATER:
            self._paused = True
            self._pause(True)

    def end(self) -> None:
        """The connection will receive no more."""
        self._ended = True
        self._wake()

    def poke(self) -> None:
        """Make the worker's waiting, or its next waiting, return Poked."""
        self._poked = True
        self._wake()

    @property
    def waiting(self) -> bool:
        """Whether the worker waits for the client."""
        return self._waiter is not None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _taken(self) -> None:
        if self._paused and self.framer.buffered <= HIGH_WATER // 2:
            self._paused = False
            self._pause(False)

    async def _more(self) -> None:
        self._taken()
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def command(self) -> CommandOctets | LiteralAsked | Refused | Ended | Poked:
        """The next command, in order."""
        while True:
            found = self.framer.next_command()
            if found is not None:
                if self._paused:
                    self._taken()
                return found
            if self._poked:
                self._poked = False
                return Poked()
            if self._ended:
                return Ended()
            await self._more()

    async def line(self) -> bytes | Refused | Ended | Poked:
        """The next line as it is."""
        while True:
            found = self.framer.next_line()
            if found is not None:
                return found
            if self._poked:
                self._poked = False
                return Poked()
            if self._ended:
                return Ended()
            await self._more()
