"""Closes connections that show no sign of life: one sleeping task for all of them, by the sandbox's clock.

Invariant: a connection is told to expire soon after its deadline; thousands of idle connections cost one timer.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from mailsandbox.clock import Clock
from mailsandbox.tasks import Tasks


class Watched(Protocol):
    """A connection. `deadline` is read, and moves with every sign of life."""

    deadline: float  # POSIX seconds

    def expire(self) -> None:
        """Say goodbye and close."""
        ...


class Deadlines:
    """All connections of one service."""

    def __init__(self, clock: Clock, tasks: Tasks) -> None:
        self._clock = clock
        self._tasks = tasks
        self._watched: dict[int, Watched] = {}
        self._sleeper: asyncio.Task[None] | None = None
        self._until = float("inf")

    def watch(self, connection: Watched) -> Callable[[], None]:
        """Watch a connection; returns what ends that."""
        key = id(connection)
        self._watched[key] = connection
        self._sleep(connection.deadline)

        def unwatch() -> None:
            self._watched.pop(key, None)
            if not self._watched and self._sleeper is not None:
                self._sleeper.cancel()
                self._sleeper = None
                self._until = float("inf")

        return unwatch

    def _sleep(self, until: float) -> None:
        """Make sure that somebody wakes by `until`. Deadlines that move back need nothing: the sleeper looks again."""
        if self._sleeper is not None and self._until <= until:
            return
        if self._sleeper is not None:
            self._sleeper.cancel()
        self._until = until
        self._sleeper = self._tasks.spawn(self._run(until), name="imap deadlines")

    async def _run(self, until: float) -> None:
        while True:
            await self._clock.sleep_until(until)
            now = self._clock.now()
            for connection in [each for each in self._watched.values() if each.deadline <= now]:
                connection.expire()
            left = [each.deadline for each in self._watched.values() if each.deadline > now]
            # At least a second on, so that connections that are slow to close do not keep this spinning.
            until = self._until = min(left, default=now + 1.0)
