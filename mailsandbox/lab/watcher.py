"""What every delivery model looks like from outside: it is started, gives notices one by one, and has counted.

Invariant: `start` returns when everything that is there has been noted; what `next` gives came later. A message is
notified once. Knows no protocol.
"""

import asyncio
import hashlib
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mailsandbox.errors import MailsandboxError
from mailsandbox.lab.counting import Counters
from mailsandbox.message.spans import scan, unfold
from mailsandbox.message.words import decode_header_text
from mailsandbox.tasks import Tasks

LEAVE: Final = 1.0  # seconds for a polite goodbye


@dataclass(frozen=True, slots=True)
class Model:
    """One delivery model. `opened_by`: "reader" or "sender"; `kind`: "push" or "pull"."""

    name: str
    title: str
    opened_by: str
    kind: str
    standard: str


@dataclass(frozen=True, slots=True)
class Notice:
    """One new message. Times are CLOCK_MONOTONIC in nanoseconds, comparable with a change's `committed_ns`.

    `notified_ns`: the reader heard that there is something; `at_ns`: it holds the whole message.
    """

    subject: str
    sender: str
    message_id: str  # Message-ID field
    uid: int | None
    seq: int | None
    notified_ns: int
    at_ns: int
    octets: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Target:
    """Whose mail, and where the daemon listens. `interval`: seconds between two polls."""

    services: Mapping[str, str]
    account: str
    password: str = "any"
    interval: float = 1.0
    patience: float = 30.0  # seconds a long poll asks the server to wait
    listen: tuple[str, int] = ("127.0.0.1", 0)  # where SMTP push comes to; port 0 takes a free one


class Watcher(ABC):
    """One reader by one model. It goes on looking between two calls of `next`, as a real reader does."""

    model: Model

    def __init__(self, target: Target) -> None:
        self.target = target
        self.counters = Counters()
        self._ready: deque[Notice] = deque()
        self._news = asyncio.Event()
        self._tasks = Tasks()
        self._ended: Exception | None = None

    @abstractmethod
    async def connect(self) -> None:
        """Connect and catch up. Raises OSError, TimeoutError, PeerViolation."""

    @abstractmethod
    async def look(self) -> None:
        """Ask once, or wait for one push; calls `found` for each new message."""

    @abstractmethod
    async def leave(self) -> None:
        """Close what is open."""

    async def start(self) -> None:
        """Connected and caught up when it returns. Raises OSError, TimeoutError, PeerViolation."""
        try:
            await self.connect()
        except BaseException:
            await self.aclose()
            raise
        self._tasks.spawn(self._look_on(), name=f"watch {self.model.name}")

    async def next(self, timeout: float | None = None) -> Notice | None:
        """The next new message; None when none came within `timeout` seconds.

        Raises what ended the watch: OSError, TimeoutError, PeerViolation.
        """
        try:
            async with asyncio.timeout(timeout):
                while not self._ready:
                    self._news.clear()
                    if self._ended is not None:
                        break
                    await self._news.wait()
        except TimeoutError:
            return None
        if not self._ready and self._ended is not None:
            raise self._ended
        return self._ready.popleft()

    async def aclose(self) -> None:
        """Leave. May be called again, and before `start`."""
        await self._tasks.aclose()
        try:
            async with asyncio.timeout(LEAVE):
                await self.leave()
        except (OSError, TimeoutError, MailsandboxError):
            pass  # the daemon went first

    async def _look_on(self) -> None:
        try:
            while True:
                await self.look()
        except (OSError, TimeoutError, MailsandboxError) as error:
            self._ended = error
        finally:
            self._news.set()

    def found(self, octets: bytes, notified_ns: int, *, uid: int | None = None, seq: int | None = None) -> None:
        """Called by a model when it holds a new message."""
        self.counters.bodies += len(octets)
        self._ready.append(
            Notice(
                subject=_field(octets, "subject"),
                sender=_field(octets, "from"),
                message_id=_field(octets, "message-id"),
                uid=uid,
                seq=seq,
                notified_ns=notified_ns,
                at_ns=time.monotonic_ns(),
                octets=len(octets),
                sha256=hashlib.sha256(octets).hexdigest(),
            )
        )
        self._news.set()


def _field(octets: bytes, key: str) -> str:
    field = scan(octets).field(key)
    return decode_header_text(unfold(octets, field)).strip() if field else ""
