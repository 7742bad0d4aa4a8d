"""GET /v1/wait: a test asks once and gets its message, or learns what came instead."""

import re
from typing import Annotated, Final

from msgspec import Meta, Struct, field
from starlette.requests import Request
from starlette.responses import Response

from mailsandbox.access.http import shapes
from mailsandbox.access.http.context import HttpContext
from mailsandbox.access.http.endpoints import Endpoint
from mailsandbox.access.http.leaving import unless_left
from mailsandbox.access.http.messages import summary_of
from mailsandbox.access.http.problems import Problem, invalid
from mailsandbox.access.http.times import instant
from mailsandbox.access.http.typed import Json, query
from mailsandbox.access.http.waiting import Arrived, Wanted, wait_for
from mailsandbox.errors import NoSuchMessage

MAX_PATTERN: Final = 200  # characters of a regular expression


class WaitQuery(Struct, kw_only=True, forbid_unknown_fields=True):
    """Texts are parts, in any case; written /like this/ they are regular expressions."""

    to: Annotated[str, Meta(description="an address, or part of one")] = ""
    sender: str = field(default="", name="from")
    subject: str = ""
    text: str = ""
    after: Annotated[str, Meta(description="RFC 3339 time, POSIX seconds, or the id of a message")] = ""
    count: shapes.Count = 1
    timeout: Annotated[float, Meta(ge=0, description="seconds")] = 10.0


async def wait(context: HttpContext, request: Request) -> Response:
    """200 with the messages, oldest first; 408 with the near misses."""
    wanted = query(request, WaitQuery)
    since, beyond = await _after(context, wanted.after)
    sought = wait_for(
        context.store,
        context.hub,
        to=wanted.to,
        sender=_wanted(wanted.sender, "?from"),
        subject=_wanted(wanted.subject, "?subject"),
        text=_wanted(wanted.text, "?text"),
        since=since,
        beyond=beyond,
        count=wanted.count,
        timeout=min(wanted.timeout, context.options.longest_wait),
    )
    with context.reading("wait"):
        found = await unless_left(context, request, sought)
    if found is None:
        raise Problem(503, "the sandbox stops", headers={"Connection": "close"})
    context.ledger.first_shown([stored.message_id for stored in found.messages], "http")
    summaries = [summary_of(stored) for stored in found.messages]
    if isinstance(found, Arrived):
        return Json(shapes.Found(messages=summaries))
    misses = [_miss(miss.differs, summary_of(miss.message)) for miss in found.near_misses]
    extra: dict[str, object] = {"messages": summaries, "near_misses": misses}
    # RFC 9110 §15.5.9 has 408 for a request that did not come in time; here it is the message that did not.
    raise Problem(408, found.describe(), "no-such-message-in-time", extra)


def _miss(differs: list[str], summary: shapes.MessageSummary) -> shapes.NearMiss:
    return shapes.NearMiss(**{name: getattr(summary, name) for name in summary.__struct_fields__}, differs=differs)


def _wanted(text: str, where: str) -> Wanted:
    if len(text) < 3 or not (text.startswith("/") and text.endswith("/")):
        return text
    if len(text) > MAX_PATTERN:
        raise invalid(f"the regular expression is longer than {MAX_PATTERN} characters", where=where)
    try:
        return re.compile(text[1:-1], re.IGNORECASE)
    except re.error as error:
        raise invalid(f"{text} is not a regular expression: {error}", where=where) from None


async def _after(context: HttpContext, text: str) -> tuple[float | None, list[str]]:
    """The moment, and the message of that moment which is not wanted again."""
    if not text:
        return None, []
    if re.fullmatch(r"\d+-\d+", text):
        try:
            stored = await context.store.message(text)
        except NoSuchMessage:
            raise invalid(f"there is no message {text!r}", where="?after") from None
        return stored.received_at, [stored.message_id]
    return instant(text, where="?after"), []


ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/wait",
        wait,
        "Wait for messages; 408 names the near misses",
        query=WaitQuery,
        gives=shapes.Found,
        also=(408,),
    ),
)
