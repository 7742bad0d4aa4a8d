"""Waiting on behalf of a client that may leave meanwhile, or while the server stops."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from starlette.requests import Request

from mailsandbox.access.http.context import HttpContext

T = TypeVar("T")


async def unless_left(context: HttpContext, request: Request, work: Coroutine[object, object, T]) -> T | None:
    """What `work` returns; None where the client hung up or the server stops first (then `work` is cancelled)."""
    working = context.tasks.spawn(work, name="http wait")
    leaving = context.tasks.spawn(_left(request), name="http client leaving")
    stopping = context.tasks.spawn(_stopped(context), name="http stopping")
    try:
        await asyncio.wait({working, leaving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, leaving, stopping):
            task.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _stopped(context: HttpContext) -> None:
    await context.stopping.wait()
