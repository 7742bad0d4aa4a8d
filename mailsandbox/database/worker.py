"""One thread that runs jobs in order and reports each to the loop. Knows nothing of what the jobs do.

A thread that wants the GIL asks for it once nobody has given it up for a whole switch interval. The loop gives it up
for an instant before each wait and takes it again before the thread is awake, so a job that was merely queued begins
when the loop happens to rest: half a millisecond later. `begin` waits for the thread instead.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

Report = Callable[[object], None]  # gets the result, or the exception

_LATE: Final = 0.002  # seconds; a thread that is not running by then has no core, and the loop had better go on


class Worker:
    """A thread of its own, started with its first job. Jobs run in the order they were given."""

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self._name = name
        self._loop = loop
        self._jobs: queue.SimpleQueue[tuple[Callable[[], object], Report] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, job: Callable[[], object], report: Report) -> None:
        """Run `job` in the thread, then `report` on the loop's thread."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._main, name=self._name, daemon=True)
            self._thread.start()
        self._jobs.put((job, report))

    def begin(self, job: Callable[[], object], report: Report) -> None:
        """`submit`, and return when the thread runs `job`, if it was idle: for a job that soon gives up the GIL."""
        begun = threading.Lock()
        begun.acquire()

        def announced() -> object:
            begun.release()
            return job()

        self.submit(announced, report)
        begun.acquire(timeout=_LATE)

    async def run(self, job: Callable[[], T]) -> T:
        """`job()` in the thread."""
        waiting: asyncio.Future[T] = self._loop.create_future()

        def report(outcome: object) -> None:
            if waiting.done():
                return
            if isinstance(outcome, BaseException):
                waiting.set_exception(outcome)
            else:
                waiting.set_result(outcome)  # type: ignore[arg-type]  # what job() returned

        self.submit(job, report)
        return await waiting

    async def aclose(self) -> None:
        """Let the jobs given so far end, then end the thread."""
        if self._thread is not None:
            await self.run(_nothing)
            self._jobs.put(None)
            self._thread.join(timeout=5)
            self._thread = None

    def _main(self) -> None:
        while (item := self._jobs.get()) is not None:
            if not self._run(*item):
                return
            del item  # what it holds is not kept until the next comes

    def _run(self, job: Callable[[], object], report: Report) -> bool:
        """False when the loop was closed under us: nobody waits any more."""
        try:
            outcome = job()
        except BaseException as error:
            outcome = error
        try:
            self._loop.call_soon_threadsafe(report, outcome)
        except RuntimeError:
            return False
        return True


def _nothing() -> None:
    return None
