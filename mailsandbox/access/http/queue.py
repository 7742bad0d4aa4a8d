"""The relay queues of all sites, and what an operator does with them (Postfix's postqueue and postsuper)."""

from collections.abc import Awaitable, Callable

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from mailsandbox.access.http import shapes
from mailsandbox.access.http.context import HttpContext, QueueView
from mailsandbox.access.http.endpoints import Endpoint, Handler
from mailsandbox.access.http.problems import invalid
from mailsandbox.access.http.times import rfc3339
from mailsandbox.access.http.typed import Json, query
from mailsandbox.errors import NoSuchQueueItem
from mailsandbox.mailqueue.model import QueuedItem


class QueueQuery(Struct, kw_only=True, forbid_unknown_fields=True):
    """One site's queue; every site's by default."""

    site: str = ""


async def list_queue(context: HttpContext, request: Request) -> Response:
    """GET /v1/queue."""
    items = [item for queue in _queues(context, request) for item in await queue.items()]
    items.sort(key=lambda item: (item.received_at, item.queue_id))
    return Json(shapes.QueueItems([_view(item) for item in items]))


async def run_queue(context: HttpContext, request: Request) -> Response:
    """POST /v1/queue/run: everything that waits and is not held is tried now; 202, as attempts take their time."""
    tried = [await queue.run() for queue in _queues(context, request)]
    return Json(shapes.QueueRun(sum(tried)), 202)


def _act(act: Callable[[QueueView, str], Awaitable[object]], *, gone: bool = False) -> Handler:
    """A route that does one thing to one item and shows it after (204 where it is `gone`)."""

    async def handler(context: HttpContext, request: Request) -> Response:
        queue_id = request.path_params["id"]
        queue = await _queue_of(context, queue_id)
        await act(queue, queue_id)
        if gone:
            return Response(status_code=204)
        try:
            return Json(_view(await queue.item(queue_id)))
        except NoSuchQueueItem:
            return Response(status_code=204)  # tried, and done already

    return handler


def _queues(context: HttpContext, request: Request) -> list[QueueView]:
    wanted = query(request, QueueQuery)
    if not wanted.site:
        return list(context.queues.values())
    if wanted.site not in context.queues:
        raise invalid(f"there is no site {wanted.site!r}; there are {', '.join(context.queues)}", where="?site")
    return [context.queues[wanted.site]]


async def _queue_of(context: HttpContext, queue_id: str) -> QueueView:
    for queue in context.queues.values():
        try:
            await queue.item(queue_id)
        except NoSuchQueueItem:
            continue
        return queue
    raise NoSuchQueueItem(f"no queue holds {queue_id!r}")


def _view(item: QueuedItem) -> shapes.QueueItemView:
    return shapes.QueueItemView(
        id=item.queue_id,
        site=item.site,
        journey_id=item.journey_id,
        sender=item.envelope.reverse_path,
        received_at=rfc3339(item.received_at),
        octets=item.octets,
        held=item.held,
        recipients=[
            shapes.QueueRecipientView(
                address=row.recipient.address,
                status=row.status.value,
                attempts=row.attempts,
                next_attempt=rfc3339(row.next_attempt),
                reply=str(row.reply),
                remote=row.remote,
            )
            for row in item.recipients
        ],
    )


ENDPOINTS = (
    Endpoint("GET", "/v1/queue", list_queue, "What waits to be relayed", query=QueueQuery, gives=shapes.QueueItems),
    Endpoint(
        "POST", "/v1/queue/run", run_queue, "Try everything now", query=QueueQuery, gives=shapes.QueueRun, status=202
    ),
    Endpoint(
        "POST",
        "/v1/queue/{id}/retry",
        _act(lambda queue, queue_id: queue.retry(queue_id)),
        "Try one message now",
        gives=shapes.QueueItemView,
        also=(204, 404),
    ),
    Endpoint(
        "POST",
        "/v1/queue/{id}/hold",
        _act(lambda queue, queue_id: queue.hold(queue_id)),
        "Keep one message back",
        gives=shapes.QueueItemView,
        also=(204, 404),
    ),
    Endpoint(
        "POST",
        "/v1/queue/{id}/release",
        _act(lambda queue, queue_id: queue.release(queue_id)),
        "Let a held message go",
        gives=shapes.QueueItemView,
        also=(204, 404),
    ),
    Endpoint(
        "POST",
        "/v1/queue/{id}/bounce",
        _act(lambda queue, queue_id: queue.bounce(queue_id), gone=True),
        "Return one message to its sender now",
        status=204,
        also=(404, 409),
    ),
    Endpoint(
        "DELETE",
        "/v1/queue/{id}",
        _act(lambda queue, queue_id: queue.remove(queue_id), gone=True),
        "Drop one message; nobody is told",
        status=204,
        also=(404,),
    ),
)
