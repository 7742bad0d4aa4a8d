"""Changes pushed over one long answer: server-sent events (WHATWG HTML §9.2) and lines of JSON.

Both are readers of the log: what a slow client has not taken yet stays in the log, never in memory; only one page at a
time is on its way. A client that takes nothing for `options.stall` seconds is cut off, and resumes where it was.

sse-starlette is not used: it replaces a method of uvicorn's Server for the whole process, so the shutdown of a user's
own uvicorn would end our streams for good, and it leaves a polling task behind on the loop of who embeds a sandbox.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mailsandbox.access.http.accounts import may_exist
from mailsandbox.access.http.connections import abort
from mailsandbox.access.http.context import HttpContext
from mailsandbox.access.http.endpoints import Endpoint
from mailsandbox.access.http.feed import ChangesQuery, Selection, new_messages, view_of
from mailsandbox.access.http.problems import invalid
from mailsandbox.access.http.typed import encode, query
from mailsandbox.store.model import Change, Seq

RETRY: Final = 1000  # milliseconds until a browser connects again; Firefox's own is 5000, Chromium's 3000
FRAME: Final = 65_536  # octets handed to the transport at once, its own high-water mark
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # nginx would hold the events back

# How a model writes: a change, a reset with its cursor, a heartbeat.
Writer = tuple[Callable[[Change], bytes], Callable[[Seq], bytes], bytes]


class Stream(Response):
    """A long answer that ends when its frames end, the client leaves, stalls, or the server stops."""

    def __init__(self, context: HttpContext, model: str, frames: AsyncGenerator[bytes, None], media_type: str) -> None:
        self._context = context
        self._model = model
        self._frames = frames
        self.status_code = 200
        self.media_type = media_type
        self.background = None
        self.init_headers(_HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        context = self._context
        pump = context.tasks.spawn(self._pump(scope, send), name=f"http {self._model}")
        leaving = context.tasks.spawn(_left(receive), name=f"http {self._model} leaving")
        stopping = context.tasks.spawn(context.stopping.wait(), name=f"http {self._model} stopping")
        try:
            with context.reading(self._model):
                await asyncio.wait({pump, leaving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (pump, leaving, stopping):
                task.cancel()
        await asyncio.wait({pump})
        if not leaving.done() or leaving.cancelled():
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pump(self, scope: Scope, send: Send) -> None:
        async with contextlib.aclosing(self._frames) as frames:
            async for frame in frames:
                for start in range(0, len(frame), FRAME):
                    body = frame[start : start + FRAME]
                    try:
                        async with asyncio.timeout(self._context.options.stall):
                            await send({"type": "http.response.body", "body": body, "more_body": True})
                    except TimeoutError:
                        abort(scope)
                        return


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def frames(
    context: HttpContext, account: str, since: Seq | None, selection: Selection, model: str, writer: Writer
) -> AsyncGenerator[bytes, None]:
    """What the log has after `since` (None: from now on), as it comes; a heartbeat where nothing comes."""
    write_change, write_reset, heartbeat = writer
    async with context.hub.reader(account, since) as reader:
        if model == "sse":
            yield b"retry: %d\n" % RETRY  # becomes part of the first event
        while not context.hub.stopped:
            page = await reader.next(context.options.heartbeat)
            shown = selection.of_page(page)
            if page.reset:
                yield write_reset(page.cursor)
            elif shown:
                context.ledger.first_shown(new_messages(shown), model)
                yield b"".join(map(write_change, shown))
            elif not page.changes:
                yield heartbeat


def sse_event(change: Change) -> bytes:
    """One event; msgspec's JSON has no line break, so one data line holds it (WHATWG HTML §9.2.6)."""
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (change.seq, change.type.value.encode(), encode(view_of(change)))


def sse_reset(cursor: Seq) -> bytes:
    """The client's cursor is worth nothing any more: it has to read a listing, and goes on from `cursor`."""
    return b'id: %d\nevent: reset\ndata: {"type":"reset","cursor":%d}\n\n' % (cursor, cursor)


# A comment line, without the blank line that would end an event: some clients take that for an empty event.
SSE: Final[Writer] = (sse_event, sse_reset, b":\n")
NDJSON: Final[Writer] = (
    lambda change: encode(view_of(change)) + b"\n",
    lambda cursor: b'{"type":"reset","cursor":%d}\n' % cursor,
    b"\n",
)


async def sse(context: HttpContext, request: Request) -> Response:
    """GET /v1/accounts/{address}/changes/sse."""
    account = may_exist(context, request)
    wanted = query(request, ChangesQuery)
    since = last_event_id(request, wanted)
    events = frames(context, account, since, Selection.of(wanted.types, wanted.mailbox), "sse", SSE)
    # WHATWG HTML §9.2.6: always UTF-8.
    return Stream(context, "sse", events, "text/event-stream")


def last_event_id(request: Request, wanted: ChangesQuery) -> Seq | None:
    """`Last-Event-ID`, which a reconnecting browser sends, goes before `since`, which its URL still says."""
    given = request.headers.get("last-event-id", "").strip()
    if not given:
        return None if wanted.since is None else Seq(wanted.since)
    if not given.isascii() or not given.isdigit() or len(given) > 18:
        raise invalid(f"Last-Event-ID: {given!r} is none that this stream gave", where="Last-Event-ID")
    return Seq(int(given))


async def ndjson(context: HttpContext, request: Request) -> Response:
    """GET /v1/accounts/{address}/changes/stream: a line of JSON for each change, an empty one as heartbeat."""
    account = may_exist(context, request)
    wanted = query(request, ChangesQuery)
    since = last_event_id(request, wanted)
    selection = Selection.of(wanted.types, wanted.mailbox)
    lines = frames(context, account, since, selection, "stream", NDJSON)
    return Stream(context, "stream", lines, "application/x-ndjson")


ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/accounts/{address}/changes/sse",
        sse,
        "Changes as server-sent events; `Last-Event-ID` or `since` resumes",
        query=ChangesQuery,
        gives="text/event-stream",
        also=(404,),
    ),
    Endpoint(
        "GET",
        "/v1/accounts/{address}/changes/stream",
        ndjson,
        "Changes as lines of JSON; `since` resumes",
        query=ChangesQuery,
        gives="application/x-ndjson",
        also=(404,),
    ),
)
