"""The box for synchronous users: the sandbox runs in a background thread, and every call waits for its answer there."""

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from mailsandbox.clock import ManualClock
from mailsandbox.runtime.box import AsyncBox, BoxFaults
from mailsandbox.sandbox import Service

P = ParamSpec("P")
T = TypeVar("T")


class BackgroundLoop:
    """An event loop of its own in a thread of its own."""

    def __init__(self, loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self._loop = loop_factory()
        self._thread = threading.Thread(target=self._loop.run_forever, name="mailsandbox", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:  # Any: the send and yield types of a coroutine, never used
        """Run on the loop and wait for the result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        """Stop the loop and join the thread."""
        self.run(_finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _finish() -> None:
    loop = asyncio.get_running_loop()
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()


# Any: see BackgroundLoop.run
def _synchronous(
    method: Callable[Concatenate[AsyncBox, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate["Box", P], T]:
    @functools.wraps(method)
    def call(self: "Box", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._background.run(method(self._box, *args, **kwargs))

    return call


class BoxClock:
    """The manual clock, moved from another thread."""

    def __init__(self, clock: ManualClock, background: BackgroundLoop) -> None:
        self._clock = clock
        self._background = background

    def now(self) -> float:
        """POSIX seconds."""
        return self._clock.now()

    def advance(self, seconds: float) -> float:
        """Move forward; returns when everything that became due has been done."""
        return self._background.run(self._clock.advance(seconds))


class Box:
    """A running sandbox; the methods are those of AsyncBox."""

    def __init__(self, box: AsyncBox, background: BackgroundLoop) -> None:
        self._box = box
        self._background = background

    send = _synchronous(AsyncBox.send)
    wait_for = _synchronous(AsyncBox.wait_for)
    wait_for_all = _synchronous(AsyncBox.wait_for_all)
    messages = _synchronous(AsyncBox.messages)
    journey = _synchronous(AsyncBox.journey)
    reset = _synchronous(AsyncBox.reset)
    export_zip = _synchronous(AsyncBox.export_zip)
    import_zip = _synchronous(AsyncBox.import_zip)
    run_queue = _synchronous(AsyncBox.run_queue)

    @property
    def services(self) -> dict[str, Service]:
        """Host and port by service name."""
        return self._box.services

    @property
    def url(self) -> str:
        """Where the HTTP API is."""
        return self._box.url

    @property
    def ca_file(self) -> Path | None:
        """The PEM file of the authority that signed the sandbox's certificate."""
        return self._box.ca_file

    @property
    def faults(self) -> BoxFaults:
        """The faults in force."""
        return self._box.faults

    @property
    def clock(self) -> BoxClock:
        """The manual clock. Raises MailsandboxError on a sandbox that runs on the system's time."""
        return BoxClock(self._box.clock, self._background)
