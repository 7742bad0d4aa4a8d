"""IMAP, polled: one connection, NOOP now and then (RFC 9051 §6.1.2), and a fetch of what is new by UID."""

import asyncio
import re
import time
from typing import Final

from mailsandbox.errors import PeerViolation
from mailsandbox.lab.counting import Wire
from mailsandbox.lab.watcher import Model, Target, Watcher

MODEL: Final = Model("imap-poll", "IMAP poll", "reader", "pull", "RFC 9051")

_LITERAL: Final = re.compile(rb"~?\{(\d+)\}$")
_UID: Final = re.compile(rb"\bUID (\d+)\b")

Answer = list[tuple[bytes, bytes | None]]  # untagged lines, each with the literal that follows its first part


class ImapPollWatcher(Watcher):
    """UIDNEXT is the cursor. Any answer may tell of a new message (RFC 9051 §5.2), also that of the fetch itself."""

    model = MODEL

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._wire: Wire | None = None
        self._tag = 0
        self._uid_next = 1
        self._due = 0.0
        self._exists_told = False

    async def connect(self) -> None:
        wire = self._wire = await Wire.open(self.target.services["imap"], self.counters)
        await _line(wire)
        await self._ask(f"LOGIN {quoted(self.target.account)} {quoted(self.target.password)}")
        for line, _ in await self._ask("SELECT INBOX"):
            if (match := re.search(rb"\[UIDNEXT (\d+)\]", line)) is not None:
                self._uid_next = int(match[1])
        self._exists_told = False  # what EXISTS told of is below UIDNEXT
        self._due = asyncio.get_running_loop().time() + self.target.interval

    async def look(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._due - loop.time()))
        self._due = loop.time() + self.target.interval
        await self._ask("NOOP")
        if not self._exists_told:
            self.counters.empty_answers += 1
            return
        self._exists_told = False
        notified = time.monotonic_ns()
        for line, octets in await self._ask(f"UID FETCH {self._uid_next}:* (UID BODY.PEEK[])"):
            uid = _UID.search(line)
            # RFC 9051 §9 (seq-range): n:* holds the last message even where its UID is below n.
            if octets is not None and uid is not None and int(uid[1]) >= self._uid_next:
                self._uid_next = int(uid[1]) + 1
                self.found(octets, notified, uid=int(uid[1]))

    async def leave(self) -> None:
        wire, self._wire = self._wire, None
        if wire is None:
            return
        try:
            await wire.write(b"Z LOGOUT\r\n")
            while await wire.some():
                pass  # BYE and OK; then the server closes (RFC 9051 §6.1.3)
        finally:
            await wire.aclose()

    async def _ask(self, command: str) -> Answer:
        if self._wire is None:
            raise PeerViolation("IMAP: not connected")
        self._tag += 1
        tag = b"A%d" % self._tag
        self.counters.requests += 1
        await self._wire.write(tag + b" " + command.encode() + b"\r\n")
        answer: Answer = []
        while True:
            line, literal = await _line(self._wire)
            if line.startswith(tag + b" "):
                if not line.startswith(tag + b" OK"):
                    raise PeerViolation(f"IMAP: {line.decode('utf-8', 'replace')}")
                return answer
            if line.endswith(b" EXISTS"):
                self._exists_told = True
            answer.append((line, literal))


async def _line(wire: Wire) -> tuple[bytes, bytes | None]:
    """One answer line with what follows its literals, and the last literal."""
    line = await wire.line()
    literal: bytes | None = None
    while (match := _LITERAL.search(line)) is not None:
        literal = await wire.exactly(int(match[1]))
        line = line[: match.start()] + await wire.line()
    return line, literal


def quoted(text: str) -> str:
    """An IMAP quoted string (RFC 9051 §4.3)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
