"""Coroutines started at once, as Python 3.12's eager tasks are: only one that really waits becomes a task.

aiosmtpd's commands are coroutines, though nearly all of them never wait. Stepping them where the line is read saves a
task and a turn of the event loop for each command.
"""

import types
from collections.abc import Coroutine, Generator
from typing import Any


class Waiting:
    """What is left of a coroutine that has begun to wait. `rest()` is to be run as a task."""

    __slots__ = ("_for", "_running")

    def __init__(self, running: Coroutine[Any, Any, None], waiting_for: object) -> None:  # Any: asyncio's own protocol
        self._running = running
        self._for = waiting_for

    async def rest(self) -> None:
        """Go on from where it waits."""
        await _resumed(self._running, self._for)


def start(running: Coroutine[Any, Any, None]) -> Waiting | None:  # Any: see above
    """Run until it ends (None) or waits. What it raises is raised here. It has no current task before it waits."""
    try:
        return Waiting(running, running.send(None))
    except StopIteration:
        return None


@types.coroutine
def within_task() -> Generator[None, None, None]:
    """Awaited: what follows runs within a task, as code that sets time-outs needs it."""
    yield


@types.coroutine
def _resumed(
    running: Coroutine[Any, Any, None],
    waiting_for: object,  # Any: see above
) -> Generator[object, Any, None]:
    while True:
        failure: BaseException | None = None
        sent: Any = None
        try:
            # A bare yield only asked for a task, and here it is: no need to give the loop another turn.
            if waiting_for is not None:
                sent = yield waiting_for
        except GeneratorExit:
            running.close()
            raise
        except BaseException as error:
            failure = error
        try:
            waiting_for = running.send(sent) if failure is None else running.throw(failure)
        except StopIteration:
            return
