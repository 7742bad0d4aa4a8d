"""What happened to a message, hop by hop."""

from starlette.requests import Request
from starlette.responses import Response

from mailsandbox.access.http import shapes
from mailsandbox.access.http.context import HttpContext
from mailsandbox.access.http.endpoints import Endpoint
from mailsandbox.access.http.messages import stored_message
from mailsandbox.access.http.problems import Problem
from mailsandbox.access.http.typed import Json
from mailsandbox.journey.assemble import assemble
from mailsandbox.journey.model import JourneyId


async def journey(context: HttpContext, request: Request) -> Response:
    """GET /v1/journeys/{id}: by the id of the submission, of a queue, or of a delivered message."""
    return await _answer(context, request.path_params["id"])


async def journey_of_message(context: HttpContext, request: Request) -> Response:
    """GET /v1/messages/{id}/journey."""
    stored = await stored_message(context, request)
    if not stored.journey_id:
        raise Problem(404, f"message {stored.message_id} was put into its mailbox, it came no way", "no-such-journey")
    return await _answer(context, stored.journey_id)


async def _answer(context: HttpContext, any_id: str) -> Response:
    found: JourneyId | None = await context.ledger.find(any_id)
    if found is None:
        raise Problem(404, f"no journey has the id {any_id!r}", "no-such-journey")
    view = assemble(found, await context.ledger.events(found))
    return Json(shapes.JourneyView(id=view.id, state=view.state, findings=view.findings, hops=view.hops))


ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/journeys/{id}",
        journey,
        "The journey: every hop with transcript, envelope, octets, findings, edits, attempts, delivery, first reads",
        gives=shapes.JourneyView,
        also=(404,),
    ),
    Endpoint(
        "GET",
        "/v1/messages/{id}/journey",
        journey_of_message,
        "The journey of a delivered message",
        gives=shapes.JourneyView,
        also=(404,),
    ),
)
