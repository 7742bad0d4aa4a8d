"""HTTP polling with a conditional GET, and long polling: one route, asked with and without patience."""

import asyncio
from typing import Final

from mailsandbox.lab.models.http import HttpWatcher, Page
from mailsandbox.lab.watcher import Model, Target

POLL: Final = Model("http-poll", "HTTP poll", "reader", "pull", "RFC 9110 §13")
LONG_POLL: Final = Model("long-poll", "HTTP long poll", "reader", "pull", "RFC 7240 §4.3")


class HttpPollWatcher(HttpWatcher):
    """`since` is the cursor and its ETag the condition: 304 while there is nothing (RFC 9110 §15.4.5)."""

    model = POLL

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._due = 0.0

    async def connect(self) -> None:
        await self.catch_up()
        self._due = asyncio.get_running_loop().time() + self.target.interval

    async def look(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._due - loop.time()))
        self._due = loop.time() + self.target.interval
        await self.take(await self.poll([("If-None-Match", f'"{self.cursor}"')]))

    async def take(self, page: Page | None) -> None:
        """Fetch what a page tells of."""
        notified = self.exchange.heard_ns
        if page is None or not page.changes:
            self.counters.empty_answers += 1
            return
        for entry in page.changes:
            await self.heard(entry, notified)


class LongPollWatcher(HttpPollWatcher):
    """The answer is kept back until there is something: a request is always under way (RFC 6202 §2)."""

    model = LONG_POLL

    async def look(self) -> None:
        await self.take(await self.poll([("Prefer", f"wait={self.target.patience:.0f}")]))
