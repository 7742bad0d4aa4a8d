"""Coroutines started at once, as Python 3.12's eager tasks are: only one that really waits becomes a task.

aiosmtpd's commands are coroutines, though nearly all of them never wait. Stepping them where the line is read saves a
task and a turn of the event loop for each command. What waits for one future, as a message does for its commit, may go
on where that is done, and needs no task either.
"""

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any


class Waiting:
    """What is left of a coroutine that has begun to wait. `rest()` is to be run as a task; or, where it waits for a
    future, `when_done()` and then `ends()`.
    """

    __slots__ = ("_for", "_running")

    def __init__(self, running: Coroutine[Any, Any, None], waiting_for: object) -> None:  # Any: asyncio's own protocol
        self._running = running
        self._for = waiting_for

    def when_done(self, resume: Callable[["Waiting"], None]) -> bool:
        """Have `resume` called when the future is done that it waits for; False where it is no future."""
        future = self._for
        if not isinstance(future, asyncio.Future):
            return False
        future._asyncio_future_blocking = False  # as a task does: it was awaited, and somebody sees to it
        future.add_done_callback(lambda _: resume(self))
        return True

    def ends(self) -> bool:
        """Go on from there, within no task, until it ends or waits again."""
        try:
            self._for = self._running.send(None)
        except StopIteration:
            return True
        return False

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
