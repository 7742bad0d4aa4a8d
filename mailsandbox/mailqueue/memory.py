"""Messages of the queue that are in memory: fresh octets that need not be read back, and a budget for large ones.

Invariant: kept octets stay below the limit; a large message starts only when the budget has room for it or nobody
else uses it. Small messages never wait for large ones.
"""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from mailsandbox.mailqueue.model import QueuedItem

SMALL: Final = 1 << 20  # octets; messages below do not count against the budget


class Load(msgspec.Struct, eq=False):
    """An item in memory, shared by its jobs: one for each destination."""

    item: QueuedItem
    content: int
    trace: bytes  # before the octets
    octets: bytes | None
    digest: bytes | None = None  # sha256 of the octets, where it is known
    clean: bool = False  # as in NewItem
    sha256: str = ""  # of the trace and the octets, once an attempt has needed it
    jobs: int = 0  # not settled yet
    started: int = 0  # being attempted
    leased_until: float = math.inf  # POSIX seconds; nothing is begun later: another daemon may have taken over
    cancelled: bool = False  # held, removed or bounced meanwhile: jobs that have not started do not start


class Loads:
    """All loads. An item that was claimed again while an old job of it is still being settled has two."""

    def __init__(self, *, kept_octets: int) -> None:
        self._limit = kept_octets
        self._kept = 0
        self._loads: dict[int, Load] = {}
        self.recipients = 0

    def __len__(self) -> int:
        return len(self._loads)

    def add(self, load: Load) -> None:
        """Remember a load; its octets are kept only while there is room."""
        self._loads[id(load)] = load
        self.recipients += len(load.item.recipients)
        if load.octets is not None:
            if self._kept + len(load.octets) > self._limit:
                load.octets = None
            else:
                self._kept += len(load.octets)

    def forget(self, load: Load) -> None:
        """Its last job is settled."""
        if self._loads.pop(id(load), None) is not None:
            self.recipients -= len(load.item.recipients)
            if load.octets is not None:
                self._kept -= len(load.octets)

    def of(self, queue_id: str) -> list[Load]:
        """The loads of one item."""
        return [load for load in self._loads.values() if load.item.queue_id == queue_id]

    def all(self) -> list[Load]:
        """All of them, as they are now."""
        return list(self._loads.values())


class OctetBudget:
    """How many octets of large messages are carried at once."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @contextlib.asynccontextmanager
    async def share(self, octets: int) -> AsyncIterator[None]:
        """Hold `octets` of the budget; waits until there is room, in order of arrival. Small ones need none."""
        if octets < SMALL:
            yield
            return
        if self._waiting or not self._fits(octets):
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append((octets, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._give_back(octets)
                elif (octets, turn) in self._waiting:  # not passed over yet by who gave octets back
                    self._waiting.remove((octets, turn))
                raise
        else:
            self._used += octets
        try:
            yield
        finally:
            self._give_back(octets)

    def _fits(self, octets: int) -> bool:
        return not self._used or self._used + octets <= self._limit

    def _give_back(self, octets: int) -> None:
        self._used -= octets
        while self._waiting and self._fits(self._waiting[0][0]):
            size, turn = self._waiting.popleft()
            if not turn.done():
                self._used += size
                turn.set_result(None)
