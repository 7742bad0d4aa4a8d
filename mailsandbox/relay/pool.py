"""Connections kept for the next message (RFC 5321 §4.5.4.1 leaves it open; Postfix: connection cache).

Invariant: a kept connection is idle and in step; it is given to one user at a time, and closed after `idle` seconds
without use or `uses` transactions, so that no server is held up by us. Knows nothing of messages.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from mailsandbox.relay.connection import Connection, Timeouts
from mailsandbox.relay.routes import Hop
from mailsandbox.tasks import Tasks

USES: Final = 100  # transactions on one connection; Postfix limits the time instead (300 s)
IDLE: Final = 5.0  # seconds of real time; Postfix keeps them for 2


@dataclass(slots=True)
class _Kept:
    connection: Connection
    timer: asyncio.TimerHandle


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

    def take(self, hop: Hop, level: str) -> Connection | None:
        """The idle connection that was used last, if there is one that still works."""
        kept = self._kept.get((hop, level), [])
        while kept:
            one = kept.pop()
            one.timer.cancel()
            if one.connection.usable:
                return one.connection
            one.connection.abort()
        return None

    def give(self, connection: Connection, level: str) -> None:
        """Keep a connection, or close it where it has been used enough."""
        if not connection.usable:
            connection.abort()
        elif self._closed or connection.transactions >= self._uses:
            self._quit(connection)
        else:
            key = (connection.hop, level)
            timer = asyncio.get_running_loop().call_later(self._idle, self._expire, key, connection)
            self._kept.setdefault(key, []).append(_Kept(connection, timer))

    def __len__(self) -> int:
        return sum(len(kept) for kept in self._kept.values())

    def _expire(self, key: tuple[Hop, str], connection: Connection) -> None:
        left = [one for one in self._kept.get(key, []) if one.connection is not connection]
        if left:
            self._kept[key] = left
        else:
            self._kept.pop(key, None)
        self._quit(connection)

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
        for one in kept:
            one.timer.cancel()
            self._quit(one.connection)
        if self._leaving:
            await asyncio.wait(self._leaving)  # each ends after `quit` seconds at the latest
        await self._tasks.aclose()
