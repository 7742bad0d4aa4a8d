"""POP3, polled: the maildrop is a snapshot of the login (RFC 1939 §3), so every look is a connection of its own."""

import asyncio
import time
from typing import Final

from mailsandbox.errors import PeerViolation
from mailsandbox.lab.counting import Wire
from mailsandbox.lab.watcher import Model, Target, Watcher

MODEL: Final = Model("pop3", "POP3 pull", "reader", "pull", "RFC 1939")


class Pop3Watcher(Watcher):
    """UIDL is the cursor (RFC 1939 §7)."""

    model = MODEL

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._known: set[bytes] = set()
        self._due = 0.0

    async def connect(self) -> None:
        await self._poll(fetch=False)

    async def look(self) -> None:
        await asyncio.sleep(max(0.0, self._due - asyncio.get_running_loop().time()))
        await self._poll(fetch=True)

    async def leave(self) -> None:
        """Nothing stays open between two looks."""

    async def _poll(self, *, fetch: bool) -> None:
        self._due = asyncio.get_running_loop().time() + self.target.interval
        wire = await Wire.open(self.target.services["pop3"], self.counters)
        try:
            _check(await wire.line())
            await self._ask(wire, f"USER {self.target.account}")
            await self._ask(wire, f"PASS {self.target.password}")
            await self._ask(wire, "UIDL")
            listed = [line.split(b" ", 1) for line in (await self._block(wire)).split(b"\r\n") if b" " in line]
            notified = time.monotonic_ns()
            new = [(number, unique) for number, unique in listed if unique not in self._known]
            self._known = {unique for _, unique in listed}
            if fetch:
                self.counters.empty_answers += not new
                for number, _ in new:
                    await self._ask(wire, f"RETR {number.decode()}")
                    self.found(await self._block(wire), notified)
            await self._ask(wire, "QUIT")
        finally:
            await wire.aclose()

    async def _ask(self, wire: Wire, command: str) -> None:
        self.counters.requests += 1
        await wire.write(command.encode() + b"\r\n")
        _check(await wire.line())

    async def _block(self, wire: Wire) -> bytes:
        """The lines of a multi-line answer, each with its CRLF, dots unstuffed (RFC 1939 §3)."""
        lines: list[bytes] = []
        while (line := await wire.line()) != b".":
            lines.append(line.removeprefix(b".") if line.startswith(b".") else line)
        return b"".join(line + b"\r\n" for line in lines)


def _check(line: bytes) -> None:
    if not line.startswith(b"+OK"):
        raise PeerViolation(f"POP3: {line.decode('utf-8', 'replace')}")
