"""Work that takes long: one JSON answer at its end, or lines of JSON that say how far it is.

A client that asks for `application/x-ndjson` gets `{"done": N, "total": N}` as it goes, and at last what others get, or
the problem document, under "problem". A client that leaves ends the work, between two of its transactions.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Final

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from mailsandbox.access.http.context import HttpContext
from mailsandbox.access.http.leaving import unless_left
from mailsandbox.access.http.problems import problem_of
from mailsandbox.access.http.streams import Stream
from mailsandbox.access.http.typed import Json, encode

MEDIA_TYPE: Final = "application/x-ndjson"
_EVERY: Final = 0.1  # seconds between two lines, at least

Progress = Callable[[int, int], None]
Work = Callable[[Progress], Coroutine[object, object, Struct]]


async def answer(
    context: HttpContext, request: Request, work: Work, *, name: str, held: contextlib.AsyncExitStack | None = None
) -> Response:
    """Do it, and tell as the client asked to be told. `held` is closed when it is over."""
    stack = held or contextlib.AsyncExitStack()
    if MEDIA_TYPE in request.headers.get("accept", ""):
        return Stream(context, name, _lines(context, work, name, stack.pop_all()), MEDIA_TYPE)
    async with stack:
        result = await unless_left(context, request, work(lambda done, total: None))
    # Nobody reads the answer where there is no result: the client left, or the server stops.
    return Response(status_code=503) if result is None else Json(result)


async def _lines(
    context: HttpContext, work: Work, name: str, held: contextlib.AsyncExitStack
) -> AsyncGenerator[bytes, None]:
    latest: tuple[int, int] | None = None

    def note(done: int, total: int) -> None:
        nonlocal latest
        latest = (done, total)

    async with held:
        task = context.tasks.spawn(work(note), name=f"http {name}")
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=_EVERY)
                if latest is not None and not task.done():
                    yield encode({"done": latest[0], "total": latest[1]}) + b"\n"
                    latest = None
            try:
                yield encode(task.result()) + b"\n"
            except Exception as error:
                yield encode({"problem": problem_of(error).document()}) + b"\n"
        finally:
            task.cancel()
            await asyncio.wait({task})
