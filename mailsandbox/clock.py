"""Time as a value that is handed in: the system's, or a manual clock that a test advances.

Invariant: a manual clock moves only in `advance`, and `advance` returns when everything that became due has been
done, retries that became due meanwhile included. Knows nothing of mail.
"""

import asyncio
import contextlib
import heapq
import itertools
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, Protocol


class Clock(Protocol):
    """What every station asks for the time."""

    def now(self) -> float:
        """Wall time in POSIX seconds."""
        ...

    async def sleep_until(self, when: float) -> None:
        """Return when `now() >= when` (POSIX seconds)."""
        ...

    def working(self) -> contextlib.AbstractContextManager[None]:
        """Mark work in progress that a manual clock must let end before it moves on."""
        ...

    def resting(self) -> contextlib.AbstractContextManager[None]:
        """Mark work that itself waits for this clock (a scripted delay): a manual clock does not wait for it."""
        ...


_UNMARKED: Final = contextlib.nullcontext()
_PERIOD: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)", re.ASCII)
_UNITS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def period(text: str) -> float:
    """Seconds of a time with its unit, as configuration, HTTP and commands write it: "30s", "1.5m", "4h", "5d", "2w".

    Raises ValueError, which says what may be written.
    """
    match = _PERIOD.fullmatch(text.strip().lower())
    if not match:
        raise ValueError(f'{text!r} is not a time: write "30s", "1m", "4h" or "5d"')
    return float(match[1]) * _UNITS[match[2]]


def commit_time_ns() -> int:
    """CLOCK_MONOTONIC in nanoseconds: comparable between processes of one machine, never adjusted."""
    return time.monotonic_ns()


class SystemClock:
    """The machine's own time."""

    now = staticmethod(time.time)  # itself: it is asked a dozen times for each message

    async def sleep_until(self, when: float) -> None:
        while (left := when - time.time()) > 0:
            # Long sleeps are cut so that a wall clock set forward is noticed within a minute.
            await asyncio.sleep(min(left, 60.0))

    def working(self) -> contextlib.AbstractContextManager[None]:
        return _UNMARKED

    def resting(self) -> contextlib.AbstractContextManager[None]:
        return _UNMARKED


MANUAL_START: Final = 1_790_000_000.0  # 2026-09-21 14:13:20 UTC: the same in every run, so that a test can name dates


class ManualClock:
    """Stands still until `advance`. Belongs to one event loop."""

    def __init__(self, start: float = MANUAL_START) -> None:
        self._now = start
        self._keep: Callable[[float], Awaitable[None]] | None = None
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._busy = 0
        self._resting = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def now(self) -> float:
        return self._now

    async def sleep_until(self, when: float) -> None:
        if when <= self._now:
            return
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (when, next(self._order), woken))
        await woken

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        self._busy += 1
        self._weigh()
        try:
            yield
        finally:
            self._busy -= 1
            self._weigh()

    @contextlib.contextmanager
    def resting(self) -> Iterator[None]:
        self._resting += 1
        self._weigh()
        try:
            yield
        finally:
            self._resting -= 1
            self._weigh()

    def _weigh(self) -> None:
        """Idle, when all that is in progress rests: whoever waits for a delay waits for us."""
        if self._busy > self._resting:
            self._idle.clear()
        else:
            self._idle.set()

    def go_on(self, since: float, *, keep: Callable[[float], Awaitable[None]]) -> None:
        """Begin at `since` where that is later; `keep` is given each time to which the clock is about to move."""
        self._now = max(self._now, since)
        self._keep = keep

    async def advance(self, seconds: float) -> float:
        """Move forward by `seconds`, stopping at every deadline on the way; returns the new wall time.

        Raises ValueError for a negative number: time does not run back. What `keep` raises leaves the clock as it is.
        """
        if seconds < 0:
            raise ValueError(f"the clock cannot go back: {seconds} seconds")
        target = self._now + seconds
        if self._keep is not None and seconds:
            await self._keep(target)
        await self._settle()
        while self._sleepers and self._sleepers[0][0] <= target:
            when, _, woken = heapq.heappop(self._sleepers)
            if woken.done():
                continue
            self._now = max(self._now, when)
            woken.set_result(None)
            await self._settle()
        self._now = max(self._now, target)  # somebody else may have moved it further meanwhile
        await self._settle()
        return self._now

    async def _settle(self) -> None:
        """Wait until nobody works. Several turns of the loop, as what was woken may hand work on by callbacks."""
        for _ in range(8):
            await asyncio.sleep(0)
            await self._idle.wait()
