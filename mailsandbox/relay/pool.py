"""Connections kept for the next message (RFC 5321 §4.5.4.1 leaves it open; Postfix: connection cache).

Invariant: a kept connection is idle and in step; it is given to one user at a time, and closed after `idle` seconds
without use or `uses` transactions, so that no server is held up by us. Knows nothing of messages.
"""

import asyncio
from typing import Final

import msgspec

from mailsandbox.relay.connection import Connection, Timeouts
from mailsandbox.relay.routes import Hop
from mailsandbox.tasks import Tasks

USES: Final = 100  # transactions on one connection; Postfix limits the time instead (300 s)
IDLE: Final = 5.0  # seconds of real time; Postfix keeps them for 2


class _Kept(msgspec.Struct, eq=False):
    connection: Connection
    until: float  # in the loop's time


class Pool:
    """Idle connections by hop and TLS level."""

    def __init__(self, timeouts: Timeouts, *, idle: float = IDLE, uses: int = USES) -> None:
        self._timeouts = timeouts
        self._idle = idle
        self._uses = uses
        self._kept: dict[tuple[Hop, str], list[_Kept]] = {}
        self._tasks = Tasks()
        self._leaving: set[asyncio.Task[None]] = set()
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None  # one for all: most connections are taken long before

    def take(self, hop: Hop, level: str) -> Connection | None:
        """The idle connection that was used last, if there is one that still works."""
        kept = self._kept.get((hop, level), [])
        while kept:
            one = kept.pop()
            if one.connection.usable:
                return one.connection
            one.connection.abort()
        return None

    def give(self, connection: Connection, level: str) -> None:
        """Keep a connection, or close it where it has been used enough."""
        if not connection.usable:
            connection.abort()
        elif self._closed or connection.transactions >= min(self._uses, connection.most or self._uses):
            self._quit(connection)
        else:
            loop = connection.loop
            until = loop.time() + self._idle
            self._kept.setdefault((connection.hop, level), []).append(_Kept(connection, until))
            if self._timer is None:
                self._timer = loop.call_at(until, self._expire)

    def __len__(self) -> int:
        return sum(len(kept) for kept in self._kept.values())

    def _expire(self) -> None:
        """Close what has been idle long enough; look again when the next will have been."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for key, kept in list(self._kept.items()):
            for one in kept:
                if one.until <= now:
                    self._quit(one.connection)
            self._kept[key] = [one for one in kept if one.until > now]
            if not self._kept[key]:
                del self._kept[key]
        left = [one.until for kept in self._kept.values() for one in kept]
        self._timer = loop.call_at(min(left), self._expire) if left else None

    def _quit(self, connection: Connection) -> None:
        if connection.usable:
            leaving = self._tasks.spawn(connection.quit(self._timeouts.quit), name=f"QUIT to {connection.hop.place}")
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)
        else:
            connection.abort()

    async def aclose(self) -> None:
        """Close all. May be called again."""
        self._closed = True
        kept = [one for group in self._kept.values() for one in group]
        self._kept.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for one in kept:
            self._quit(one.connection)
        if self._leaving:
            await asyncio.wait(self._leaving)  # each ends after `quit` seconds at the latest
        await self._tasks.aclose()
