"""The octets of a message, each object its own answer: the message as it is, one part decoded, the HTML, the text.

What a stranger wrote is never given a chance: no answer here runs scripts, loads anything from outside, or is taken
for another type than it says (`sandbox`, `default-src 'none'`, `nosniff`).
"""

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final
from urllib.parse import quote, unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mailsandbox.access.http.context import HttpContext
from mailsandbox.access.http.endpoints import Endpoint
from mailsandbox.access.http.messages import stored_message
from mailsandbox.access.http.problems import Problem
from mailsandbox.errors import NoSuchMessage
from mailsandbox.message.charset import decode_text
from mailsandbox.message.plain_text import html_text
from mailsandbox.message.rendering import PartEntry, unpack_parts
from mailsandbox.message.transfer import decode_transfer
from mailsandbox.store.views import StoredMessage

# Content Security Policy Level 3 §6.4.2: without allow-*, no scripts, forms, popups, plugins, nor our origin.
POLICY: Final = "sandbox; default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; font-src data:"
_GUARDS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # A message never changes under its id, but the next daemon on this port may give the id to another one.
    "Cache-Control": "private, no-cache",
}
SLICE: Final = 262_144  # octets
_CID: Final = re.compile(r"\bcid:([^\s\"'<>()\\]+)", re.IGNORECASE)  # RFC 2392 §2
_MEDIA_TYPE: Final = re.compile(r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+")


async def raw(context: HttpContext, request: Request) -> Response:
    """GET /v1/messages/{id}/raw: exactly the octets that IMAP and POP3 serve."""
    stored = await stored_message(context, request)
    octets = await _octets(context, stored)
    context.ledger.first_shown([stored.message_id], "http")
    return _answer(request, octets, "message/rfc822")


async def part(context: HttpContext, request: Request) -> Response:
    """GET /v1/messages/{id}/parts/{n}: one part, its transfer encoding taken off."""
    stored = await stored_message(context, request)
    number = request.path_params["n"]
    index, offset = await _index(context, stored)
    entry = next((entry for entry in index if entry.number == number and number), None)
    if entry is None:
        numbers = ", ".join(each.number for each in index if each.number)
        raise Problem(404, f"message {stored.message_id} has no part {number}; it has {numbers}", "no-such-part")
    octets = decode_transfer(_body(await _octets(context, stored), entry, offset), entry.encoding)
    context.ledger.first_shown([stored.message_id], "http")
    kind = "attachment" if entry.disposition == "attachment" else "inline"
    disposition = kind + _filename(entry.filename)
    media_type = entry.content_type if _MEDIA_TYPE.fullmatch(entry.content_type) else "application/octet-stream"
    charset = f"; charset={entry.charset}" if entry.charset and re.fullmatch(r"[\w.:+-]+", entry.charset) else ""
    return _answer(request, octets, media_type + charset, {"Content-Disposition": disposition})


async def html(context: HttpContext, request: Request) -> Response:
    """GET /v1/messages/{id}/html: the HTML in UTF-8, its `cid:` references leading to the parts."""
    stored, index, whole, offset = await _opened(context, request)
    entry = _first(index, "text/html")
    if entry is None:
        raise Problem(404, f"message {stored.message_id} has no HTML part", "no-such-part")
    source = decode_text(decode_transfer(_body(whole, entry, offset), entry.encoding), entry.charset)
    by_id = {each.content_id.strip("<>"): each.number for each in index if each.content_id}

    def resolved(match: re.Match[str]) -> str:
        number = by_id.get(unquote(match[1]))
        return match[0] if number is None else f"parts/{number}"

    source = _CID.sub(resolved, source)
    return _answer(request, source.encode("utf-8", "replace"), "text/html; charset=utf-8")


async def text(context: HttpContext, request: Request) -> Response:
    """GET /v1/messages/{id}/text: the plain text in UTF-8; what is visible of the HTML where there is none."""
    stored, index, whole, offset = await _opened(context, request)
    entry = _first(index, "text/plain") or _first(index, "text/html") or _first(index, "text/")
    if entry is None:
        raise Problem(404, f"message {stored.message_id} has no text part", "no-such-part")
    shown = decode_text(decode_transfer(_body(whole, entry, offset), entry.encoding), entry.charset)
    if entry.content_type == "text/html":
        shown = html_text(shown)
    return _answer(request, shown.encode("utf-8", "replace"), "text/plain; charset=utf-8")


async def _opened(context: HttpContext, request: Request) -> tuple[StoredMessage, list[PartEntry], bytes, int]:
    stored = await stored_message(context, request)
    index, offset = await _index(context, stored)
    whole = await _octets(context, stored)
    context.ledger.first_shown([stored.message_id], "http")
    return stored, index, whole, offset


async def _octets(context: HttpContext, stored: StoredMessage) -> bytes:
    (octets,) = await context.store.contents([stored.row])
    if octets is None:
        raise NoSuchMessage(f"message {stored.message_id} has just been deleted")
    return octets


async def _index(context: HttpContext, stored: StoredMessage) -> tuple[list[PartEntry], int]:
    """The parts, and by how much the trace fields move their offsets."""
    (found,) = await context.store.rendered([stored.row], ("parts",))
    if found is None:
        raise NoSuchMessage(f"message {stored.message_id} has just been deleted")
    return unpack_parts(found[0]), stored.trace_octets


def _body(whole: bytes, entry: PartEntry, offset: int) -> bytes:
    return whole[entry.body_start + offset : entry.body_end + offset]


def _first(index: Sequence[PartEntry], content_type: str) -> PartEntry | None:
    """The first part of that type that is meant to be read, not kept as a file."""
    for entry in index:
        if entry.number and entry.content_type.startswith(content_type) and entry.disposition != "attachment":
            return entry
    return None


class Octets(Response):
    """A body handed to the transport slice by slice: a slow reader of a large message does not double its memory."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for start in range(0, len(self.body), SLICE):
            body = bytes(self.body[start : start + SLICE])
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _answer(request: Request, octets: bytes, content_type: str, headers: dict[str, str] | None = None) -> Response:
    """The octets, or 304 where the client has them (RFC 9110 §13.1.2)."""
    tag = f'"{blake2b(octets, digest_size=12).hexdigest()}"'
    # Content-Type is given whole: Starlette would add "charset=utf-8" to text/* of its own accord.
    fields = _GUARDS | (headers or {}) | {"ETag": tag}
    given = request.headers.get("if-none-match", "")
    if given.strip() == "*" or tag in (each.strip().removeprefix("W/") for each in given.split(",")):
        return Response(status_code=304, headers=fields)
    return Octets(octets, headers=fields | {"Content-Type": content_type})


def _filename(name: str) -> str:
    """RFC 6266 §4.1, RFC 8187: the name for old clients and the name as it is; never a path or a control character."""
    name = re.sub(r"[\x00-\x1f\x7f/\\]", "_", name)
    if not name:
        return ""
    plain = name.encode("ascii", "replace").decode().replace('"', "'").replace("?", "_")
    return f"; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='', errors='replace')}"


ENDPOINTS = (
    Endpoint(
        "GET", "/v1/messages/{id}/raw", raw, "The message, octet for octet", gives="message/rfc822", also=(304, 404)
    ),
    Endpoint(
        "GET",
        "/v1/messages/{id}/parts/{n}",
        part,
        "One part, decoded",
        gives="application/octet-stream",
        also=(304, 404),
    ),
    Endpoint("GET", "/v1/messages/{id}/html", html, "The HTML, safe to look at", gives="text/html", also=(404,)),
    Endpoint("GET", "/v1/messages/{id}/text", text, "The plain text in UTF-8", gives="text/plain", also=(404,)),
)
