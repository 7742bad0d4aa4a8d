"""GET changes: polling, polling with ETag, and long polling. All three are the same request (RFC 6202, RFC 7240).

    since=N                                what there is after N, now
    since=N, If-None-Match: "N"            304 while there is nothing after N (RFC 9110 §13.1.2)
    since=N, Prefer: wait=S                the answer is kept back until there is something, at most S seconds; then 204

Without `since` the log is read from its beginning.
"""

import asyncio
import re
from collections.abc import Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from mailsandbox.access.http import shapes
from mailsandbox.access.http.accounts import may_exist
from mailsandbox.access.http.context import HttpContext
from mailsandbox.access.http.endpoints import Endpoint
from mailsandbox.access.http.feed import ChangesQuery, Selection, new_messages, read, view_of
from mailsandbox.access.http.leaving import unless_left
from mailsandbox.access.http.typed import Json, query
from mailsandbox.store.model import Change, ChangePage, Seq

_WAIT: Final = re.compile(r"wait\s*=\s*\"?(\d{1,6})\"?", re.IGNORECASE)
_HEADERS: Final = {"Cache-Control": "no-cache", "Vary": "Prefer"}


def preferred_wait(fields: Sequence[str], longest: float) -> int | None:
    """Seconds of `Prefer: wait=S`, at most `longest`; None where it is absent or malformed.

    RFC 7240 §2: the first of several counts, what is malformed is ignored. §4.3: wait is in seconds.
    """
    for preference in ",".join(fields).split(","):
        name_and_value = preference.partition(";")[0].strip()
        if (match := _WAIT.fullmatch(name_and_value)) is not None:
            return min(int(match[1]), int(longest))
    return None


async def changes(context: HttpContext, request: Request) -> Response:
    """GET /v1/accounts/{address}/changes."""
    account = may_exist(context, request)
    wanted = query(request, ChangesQuery)
    selection = Selection.of(wanted.types, wanted.mailbox)
    wait = preferred_wait(request.headers.getlist("prefer"), context.options.longest_wait)
    headers = dict(_HEADERS)
    if wait is not None:
        headers["Preference-Applied"] = f"wait={wait}"  # RFC 7240 §3
    since = Seq(wanted.since or 0)
    page = await read(context.store, account, since, wanted.limit)
    shown = selection.of_page(page)
    if not page.reset and _has(request, page.cursor):
        # The client has this very answer; what it wants to hear of comes after it.
        since, page, shown = page.cursor, ChangePage([], page.cursor), []
        if wait is None:
            return Response(status_code=304, headers=headers | {"ETag": _tag(page.cursor)})
    if wait and not shown and not page.reset:
        page, shown = await _await_changes(context, request, account, Seq(max(since, page.cursor)), selection, wait)
    if wait is not None and not shown and not page.reset:
        return Response(status_code=204, headers=headers | {"ETag": _tag(page.cursor)})
    context.ledger.first_shown(new_messages(shown), "http" if wait is None else "long-poll")
    views = shapes.Changes(changes=[view_of(change) for change in shown], cursor=page.cursor, reset=page.reset)
    return Json(views, headers=headers | {"ETag": _tag(page.cursor)})


async def _await_changes(
    context: HttpContext, request: Request, account: str, since: Seq, selection: Selection, wait: float
) -> tuple[ChangePage, list[Change]]:
    """The first page after `since` with anything wanted; an empty one when the time is over or the client has left."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    page = ChangePage([], since)
    async with context.hub.reader(account, since) as reader:
        while (left := deadline - loop.time()) > 0 and not context.hub.stopped:
            with context.reading("long-poll"):
                found = await unless_left(context, request, reader.next(left))
            if found is None:
                break
            page = found
            shown = selection.of_page(page)
            if shown or page.reset:
                return page, shown
    return ChangePage([], page.cursor), []


def _tag(cursor: Seq) -> str:
    return f'"{cursor}"'


def _has(request: Request, cursor: Seq) -> bool:
    given = request.headers.get("if-none-match", "")
    return _tag(cursor) in (tag.strip().removeprefix("W/") for tag in given.split(","))


ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/accounts/{address}/changes",
        changes,
        "The log of changes: poll, conditional poll, or long poll with `Prefer: wait=S`",
        query=ChangesQuery,
        gives=shapes.Changes,
        also=(204, 304, 404),
    ),
)
