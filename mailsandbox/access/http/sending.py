"""POST /v1/send: a message from its pieces, or as it is with its envelope in the query.

It goes through the site's receive gate like any other; the answer is 202, as the way to the mailbox may be long
(RFC 9110 §15.3.3). A refusal carries the SMTP reply that a client of port 25 would have seen.
"""

import secrets
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, field
from starlette.requests import Request
from starlette.responses import Response

from mailsandbox.access.http import shapes
from mailsandbox.access.http.context import HttpContext
from mailsandbox.access.http.endpoints import Endpoint
from mailsandbox.access.http.problems import Problem, invalid
from mailsandbox.access.http.typed import Json, body, query, read_body
from mailsandbox.message.addresses import mailboxes, valid_path
from mailsandbox.message.compose import Attached, BodyEncoding, compose
from mailsandbox.message.envelope import Envelope, Recipient, domain_of
from mailsandbox.message.spans import scan, unfold
from mailsandbox.smtp.parameters import MAX_ENVID
from mailsandbox.smtp.replies import Reply
from mailsandbox.smtp.xtext import encode_xtext

_BODIES: Final = {
    "7bit": (BodyEncoding.SEVEN_BIT, "7BIT"),
    "8bitmime": (BodyEncoding.EIGHT_BIT, "8BITMIME"),
    "binarymime": (BodyEncoding.BINARY, "BINARYMIME"),
}


class SendQuery(Struct, kw_only=True, forbid_unknown_fields=True):
    """The envelope of a message/rfc822 body, with the ESMTP parameters (RFC 6152, RFC 6531, RFC 3461)."""

    sender: Annotated[str | None, Meta(description="reverse-path; empty for <>; required")] = field(
        default=None, name="from"
    )
    to: Annotated[list[str], Meta(description="forward-paths, repeated")] = []
    body: Literal["", "7bit", "8bitmime", "binarymime"] = ""
    smtputf8: bool = False
    ret: Literal["", "FULL", "HDRS"] = ""
    # RFC 3461 §4.4: printable US-ASCII before it is xtext, 100 characters at most.
    envid: Annotated[
        str, Meta(pattern="^(?!.*[^ -~])", max_length=100, description="as it is meant; goes on as xtext")
    ] = ""
    notify: Annotated[list[str], Meta(description="NEVER, or SUCCESS, FAILURE, DELAY; repeated")] = []
    site: str = ""


class NoQuery(Struct, forbid_unknown_fields=True):
    """A route without parameters."""


async def send(context: HttpContext, request: Request) -> Response:
    """Either form, told apart by the media type."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type in ("message/rfc822", "message/global"):
        return await _send_octets(context, request)
    if media_type not in ("application/json", ""):
        raise Problem(415, f"send application/json or message/rfc822, not {media_type}", "wrong-media-type")
    return await _send_composed(context, request)


async def _send_composed(context: HttpContext, request: Request) -> Response:
    query(request, NoQuery)
    wanted = await body(request, shapes.Compose, limit=context.options.max_body)
    sender = _address(wanted.sender, "/from")
    recipients = [
        _address(written, f"/{name}/{at}")
        for name, row in (("to", wanted.to), ("cc", wanted.cc), ("bcc", wanted.bcc))
        for at, written in enumerate(row)
    ]
    if not recipients:
        raise invalid("there is no recipient in to, cc or bcc", where="/to")
    body_encoding, declared = _BODIES[wanted.body]
    try:
        octets = compose(
            sender=wanted.sender,
            to=wanted.to,
            cc=wanted.cc,
            reply_to=wanted.reply_to,
            subject=wanted.subject,
            text=wanted.text,
            html=wanted.html,
            attachments=[
                Attached(each.filename, each.content_type, each.content, each.content_id) for each in wanted.attachments
            ],
            headers=wanted.headers,
            date=context.clock.now(),
            message_id=f"<{secrets.token_hex(12)}@{domain_of(sender) or 'localhost'}>",
            body_encoding=body_encoding,
        )
    except ValueError as error:
        raise invalid(str(error)) from None
    international = any(not address.isascii() for address in (sender, *recipients))
    envelope = Envelope(sender, tuple(map(Recipient, recipients)), body=declared, smtputf8=international)
    return await _hand_over(context, request, envelope, octets, wanted.site)


async def _send_octets(context: HttpContext, request: Request) -> Response:
    wanted = query(request, SendQuery)
    octets = await read_body(request, limit=context.options.max_body)
    if wanted.sender is None:
        raise invalid("the reverse-path is missing: ?from= (empty for <>)", where="?from")
    if not wanted.to:
        raise invalid("there is no recipient: ?to=, repeated for several", where="?to")
    if not octets:
        raise invalid("the body is empty; it has to be the message")
    notify = frozenset(word.strip().upper() for row in wanted.notify for word in row.split(",") if word.strip())
    # RFC 3461 §4.1: NEVER stands alone.
    if notify - {"NEVER", "SUCCESS", "FAILURE", "DELAY"} or ("NEVER" in notify and len(notify) > 1):
        raise invalid("notify is NEVER alone, or any of SUCCESS, FAILURE, DELAY", where="?notify")
    recipients = tuple(Recipient(_address(written, "?to"), notify=notify) for written in wanted.to)
    sender = _address(wanted.sender, "?from") if wanted.sender else ""
    envid = encode_xtext(wanted.envid)
    if len(envid) > MAX_ENVID:
        raise invalid(f"envid is {len(envid)} characters of xtext, of at most {MAX_ENVID}", where="?envid")
    envelope = Envelope(
        sender,
        recipients,
        body=wanted.body.upper(),
        smtputf8=wanted.smtputf8,
        ret=wanted.ret,
        envid=envid,
    )
    return await _hand_over(context, request, envelope, octets, wanted.site)


async def _hand_over(context: HttpContext, request: Request, envelope: Envelope, octets: bytes, site: str) -> Response:
    if site and context.queues and site not in context.queues:
        raise invalid(f"there is no site {site!r}; there are {', '.join(context.queues)}", where="site")
    client = request.client.host if request.client else ""
    submission = await context.submit(envelope, octets, site=site, client=client)
    if not submission.reply.positive:
        raise _refusal(submission.reply)
    sent = shapes.Sent(
        id=submission.journey_id,
        queue_id=submission.queue_id,
        message_id=_message_id(octets),
        site=site or next(iter(context.queues), ""),
        reply=str(submission.reply),
    )
    return Json(sent, 202, headers={"Location": f"/v1/journeys/{submission.journey_id}"})


def _refusal(reply: Reply) -> Problem:
    extra: dict[str, object] = {"reply": {"code": reply.code, "enhanced": reply.enhanced, "lines": list(reply.lines)}}
    if reply.transient:
        return Problem(503, f"the site said {reply}", "refused-for-now", extra, {"Retry-After": "5"})
    return Problem(422, f"the site said {reply}", "refused", extra)


def _address(written: str, where: str) -> str:
    """The bare address of "local@domain" or "Name <local@domain>"."""
    found = mailboxes(written.encode("utf-8", "replace")) if "<" in written else []
    address = found[0].address if len(found) == 1 else written.strip()
    if not valid_path(address):
        raise invalid(f"{written!r} is not an address", where=where)
    return address


def _message_id(octets: bytes) -> str:
    root = scan(octets)
    found = root.field("message-id")
    return unfold(octets, found).strip().decode("utf-8", "replace") if found else ""


ENDPOINTS = (
    Endpoint(
        "POST",
        "/v1/send",
        send,
        "Send a message: composed from JSON, or as it is with its envelope in the query",
        query=SendQuery,
        takes=(shapes.Compose, "message/rfc822"),
        gives=shapes.Sent,
        status=202,
        also=(413, 415, 422, 503),
    ),
)
