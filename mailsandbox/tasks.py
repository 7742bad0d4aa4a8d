"""Asyncio tasks that cannot be lost: the only place that makes them.

Invariant: a task is referenced until it ends (the event loop itself keeps weak references only, and tasks have been
seen to be collected in mid-flight, losing mail), and a failure is logged with its traceback.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Tasks:
    """A set of running tasks with one owner, who closes it."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()  # Any: results of unrelated coroutines, never read here

    def __len__(self) -> int:
        return len(self._running)

    def spawn(self, work: Coroutine[object, object, T], *, name: str) -> asyncio.Task[T]:
        """Start `work` now; `name` appears in the log if it fails."""
        # As create_task does, which asks for the running loop twice and names the task by another call.
        task = asyncio.Task(work, loop=asyncio.get_running_loop(), name=name)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:  # Any: see _running
        self._running.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            _log.error("task %s failed", task.get_name(), exc_info=failure)

    async def aclose(self, timeout: float = 1.0) -> None:
        """Cancel what still runs and wait up to `timeout` seconds for it. May be called again."""
        running = [task for task in self._running if task is not asyncio.current_task()]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=timeout)
