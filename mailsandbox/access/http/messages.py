"""Lists of messages, one message with its header and MIME tree, deletes."""

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import quote

from msgspec import Meta, Struct, field
from starlette.requests import Request
from starlette.responses import Response

from mailsandbox.access.http import shapes
from mailsandbox.access.http.accounts import existing
from mailsandbox.access.http.context import HttpContext
from mailsandbox.access.http.endpoints import Endpoint
from mailsandbox.access.http.problems import Problem, invalid
from mailsandbox.access.http.times import rfc3339
from mailsandbox.access.http.typed import Json, query
from mailsandbox.errors import NoSuchMessage
from mailsandbox.message.rendering import PartEntry, unpack_parts
from mailsandbox.message.spans import scan, unfold
from mailsandbox.message.words import decode_header_text
from mailsandbox.store.model import MessageId, Uid
from mailsandbox.store.views import MessageQuery, StoredMessage


class ListQuery(Struct, kw_only=True, forbid_unknown_fields=True):
    """Selects messages; what is left out selects all."""

    account: Annotated[str, Meta(description="exact address")] = ""
    mailbox: str = ""
    to: Annotated[str, Meta(description="part of the envelope's recipient, To or Cc")] = ""
    sender: Annotated[str, Meta(description="part of From")] = field(default="", name="from")
    subject: Annotated[str, Meta(description="part of the decoded Subject")] = ""
    text: Annotated[str, Meta(description="part of the decoded header or body")] = ""
    after: Annotated[str, Meta(description="`next` of the page before")] = ""
    limit: shapes.Limit = 100


class DeleteQuery(Struct, kw_only=True, forbid_unknown_fields=True):
    """Whose messages."""

    account: shapes.Address
    mailbox: str = ""


def summary_of(stored: StoredMessage) -> shapes.MessageSummary:
    """A message as lists show it."""
    return shapes.MessageSummary(
        id=stored.message_id,
        account=stored.account,
        mailbox=stored.mailbox,
        uid=stored.row.uid,
        subject=stored.subject,
        sender=stored.sender,
        to=stored.to,
        received_at=rfc3339(stored.received_at),
        octets=stored.row.octets,
        flags=sorted(stored.row.flags.names),
        attachments=stored.attachments,
    )


async def list_messages(context: HttpContext, request: Request) -> Response:
    """GET /v1/messages."""
    wanted = query(request, ListQuery)
    try:
        page = await context.store.list_messages(
            MessageQuery(
                account=wanted.account,
                mailbox=wanted.mailbox,
                to=wanted.to,
                sender=wanted.sender,
                subject=wanted.subject,
                text=wanted.text,
                before=wanted.after,
                limit=wanted.limit,
            )
        )
    except ValueError:
        raise invalid(f"{wanted.after!r} is no cursor of this list", where="?after") from None
    context.ledger.first_shown([stored.message_id for stored in page.messages], "http")
    return Json(shapes.Messages(messages=[summary_of(stored) for stored in page.messages], next=page.next))


async def stored_message(context: HttpContext, request: Request) -> StoredMessage:
    """The message of the path. Raises NoSuchMessage."""
    return await context.store.message(MessageId(request.path_params["id"]))


async def show_message(context: HttpContext, request: Request) -> Response:
    """GET /v1/messages/{id}."""
    stored = await stored_message(context, request)
    columns = ("parts", "header", "in_reply_to", "references", "date")
    (found,) = await context.store.rendered([stored.row], columns)
    if found is None:
        raise NoSuchMessage(f"message {stored.message_id} has just been deleted")
    packed, header, in_reply_to, references, date = found
    context.ledger.first_shown([stored.message_id], "http")
    summary = summary_of(stored)
    return Json(
        shapes.MessageView(
            **{name: getattr(summary, name) for name in summary.__struct_fields__},
            cc=stored.cc,
            date=None if date is None else rfc3339(date),
            message_id=stored.header_message_id,
            in_reply_to=in_reply_to,
            references=list(references),
            preview=stored.preview,
            mod_seq=stored.row.mod_seq,
            email_id=stored.row.email_id,
            thread_id=stored.row.thread_id,
            journey_id=stored.journey_id,
            headers=header_fields(bytes(header)),
            mime=mime_tree(unpack_parts(packed), f"/v1/messages/{quote(stored.message_id)}/parts"),
        )
    )


def header_fields(octets: bytes) -> list[shapes.HeaderField]:
    """The header's fields in order, decoded for display."""
    root = scan(octets)
    return [
        shapes.HeaderField(found.name.decode("ascii", "replace"), decode_header_text(unfold(octets, found)).strip())
        for found in root.fields
    ]


def mime_tree(index: Sequence[PartEntry], base: str) -> shapes.PartView:
    """The flat index as a tree. `base` is the URL below which the parts are served."""
    views = {entry.number: _part_view(entry, base) for entry in index}
    root = views.pop("")
    if list(views) == ["1"]:
        # A message that is no multipart: its only part is section 1 (RFC 9051 §6.4.5.1).
        return views["1"]
    for number, view in views.items():
        parent = number.rpartition(".")[0]
        while parent and parent not in views:
            parent = parent.rpartition(".")[0]
        above = views[parent] if parent else root
        above.parts = [*above.parts, view]
    return root


def _part_view(entry: PartEntry, base: str) -> shapes.PartView:
    multipart = entry.content_type.startswith("multipart/")
    return shapes.PartView(
        number=entry.number,
        content_type=entry.content_type,
        octets=entry.body_end - entry.body_start,
        encoding=entry.encoding,
        charset=entry.charset,
        disposition=entry.disposition,
        filename=entry.filename,
        content_id=entry.content_id,
        url="" if multipart or not entry.number else f"{base}/{entry.number}",
    )


async def delete_message(context: HttpContext, request: Request) -> Response:
    """DELETE /v1/messages/{id}."""
    stored = await stored_message(context, request)
    if not await context.store.remove(stored.account, stored.mailbox, [stored.row.uid]):
        raise NoSuchMessage(f"message {stored.message_id} has just been deleted")
    return Response(status_code=204)


async def delete_messages(context: HttpContext, request: Request) -> Response:
    """DELETE /v1/messages?account=: every message of the account, or of one mailbox of it."""
    if "account" not in request.query_params:
        raise Problem(422, "say whose messages: ?account=; POST /v1/reset empties everything", "wrong-value")
    wanted = query(request, DeleteQuery)
    address = await existing(context, wanted.account)
    names = [wanted.mailbox] if wanted.mailbox else [status.name for status in await context.store.mailboxes(address)]
    for name in names:
        state = await context.store.open_mailbox(address, name)
        try:
            uids: list[Uid] = list(state.uids)
        finally:
            state.release()
        if uids:
            await context.store.remove(address, name, uids)
    return Response(status_code=204)


ENDPOINTS = (
    Endpoint("GET", "/v1/messages", list_messages, "Messages, newest first", query=ListQuery, gives=shapes.Messages),
    Endpoint(
        "DELETE",
        "/v1/messages",
        delete_messages,
        "Delete every message of an account",
        query=DeleteQuery,
        status=204,
        also=(404,),
    ),
    Endpoint(
        "GET",
        "/v1/messages/{id}",
        show_message,
        "One message: summary, header, MIME tree",
        gives=shapes.MessageView,
        also=(404,),
    ),
    Endpoint("DELETE", "/v1/messages/{id}", delete_message, "Delete one message", status=204, also=(404,)),
)
