"""Everything as one zip, out and in; and every stored message rendered again."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from mailsandbox.access.http import longwork, shapes
from mailsandbox.access.http.context import HttpContext
from mailsandbox.access.http.endpoints import Endpoint
from mailsandbox.access.http.problems import Problem
from mailsandbox.access.http.streams import Stream
from mailsandbox.access.http.typed import body_pieces, query
from mailsandbox.errors import StoreFull
from mailsandbox.store.archive.exporting import Export
from mailsandbox.store.archive.importing import import_zip

ZIP = "application/zip"


class ExportQuery(Struct, kw_only=True, forbid_unknown_fields=True):
    """What to export; nothing said: everything."""

    account: list[shapes.Address] = []
    mailbox: str = ""


class ImportedMailbox(Struct, kw_only=True):
    """`uids_kept`: UIDVALIDITY and UIDs are those of the archive; else its messages were appended."""

    account: str
    mailbox: str
    messages: int
    uids_kept: bool


class ImportDone(Struct, kw_only=True):
    """What an import did; `journeys` counts those that were not here yet."""

    messages: int
    journeys: int
    mailboxes: list[ImportedMailbox]


class Reindexed(Struct):
    """How many distinct contents were rendered again."""

    contents: int


class NoQuery(Struct, kw_only=True, forbid_unknown_fields=True):
    """Takes no parameters."""


async def export_archive(context: HttpContext, request: Request) -> Response:
    """GET /v1/export."""
    wanted = query(request, ExportQuery)
    export = await Export.begin(context.store, context.ledger, accounts=wanted.account, mailbox=wanted.mailbox)
    response = Stream(context, "export", export.octets(), ZIP)
    response.headers["Content-Disposition"] = 'attachment; filename="mailsandbox.zip"'
    return response


async def import_archive(context: HttpContext, request: Request) -> Response:
    """POST /v1/import: the archive is judged whole before anything of it is stored."""
    query(request, NoQuery)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in (ZIP, "application/octet-stream", ""):
        raise Problem(415, f"a zip that GET /v1/export wrote is expected here, not {media_type}", "wrong-media-type")
    async with contextlib.AsyncExitStack() as stack:
        # A zip is read from its end, so it has to be whole before it can be looked at.
        file = stack.enter_context(tempfile.NamedTemporaryFile(prefix="mailsandbox-import-"))  # noqa: SIM115  # the stack closes it
        await _spool(body_pieces(request, limit=context.options.max_archive), file)

        async def work(progress: longwork.Progress) -> Struct:
            done = await import_zip(
                context.store,
                context.ledger,
                Path(file.name),
                name="the archive",
                may_exist=context.credentials.may_exist,
                progress=progress,
            )
            return ImportDone(
                messages=done.messages,
                journeys=done.journeys,
                mailboxes=[
                    ImportedMailbox(
                        account=each.account, mailbox=each.mailbox, messages=each.messages, uids_kept=each.kept
                    )
                    for each in done.mailboxes
                ],
            )

        return await longwork.answer(context, request, work, name="import", held=stack.pop_all())


async def _spool(pieces: AsyncGenerator[bytes, None], file: "tempfile._TemporaryFileWrapper[bytes]") -> None:
    try:
        async for piece in pieces:
            await asyncio.to_thread(file.write, piece)
        await asyncio.to_thread(file.flush)
    except OSError as error:
        raise StoreFull(f"no room for the archive in {Path(file.name).parent}: {error.strerror or error}") from None


async def reindex(context: HttpContext, request: Request) -> Response:
    """POST /v1/reindex."""
    query(request, NoQuery)

    async def work(progress: longwork.Progress) -> Struct:
        return Reindexed(contents=await context.store.reindex(progress))

    return await longwork.answer(context, request, work, name="reindex")


ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/export",
        export_archive,
        "Everything, or some accounts, as one zip",
        query=ExportQuery,
        gives=ZIP,
        also=(404,),
    ),
    Endpoint(
        "POST",
        "/v1/import",
        import_archive,
        "Bring such a zip back; `Accept: application/x-ndjson` tells the progress",
        takes=(ZIP,),
        gives=ImportDone,
        also=(413, 415, 507),
    ),
    Endpoint(
        "POST",
        "/v1/reindex",
        reindex,
        "Render every stored message again; `Accept: application/x-ndjson` tells the progress",
        gives=Reindexed,
    ),
)
