"""The table of routes joined to one ASGI application."""

from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from mailsandbox.access.http import (
    accounts,
    archives,
    changes,
    content,
    control,
    health,
    home,
    journeys,
    messages,
    queue,
    sending,
    sessions,
    streams,
    waits,
)
from mailsandbox.access.http.context import HttpContext
from mailsandbox.access.http.endpoints import Endpoint, Handler
from mailsandbox.access.http.gate import Gate
from mailsandbox.access.http.openapi import document
from mailsandbox.access.http.problems import Problem, refuse
from mailsandbox.access.http.typed import Json
from mailsandbox.access.http.websocket import changes_socket
from mailsandbox.errors import MailsandboxError

SOCKET: Final = "/v1/accounts/{address}/changes/ws"


async def show_openapi(_: HttpContext, __: Request) -> Response:
    """GET /openapi.json. Made when asked for: nobody pays for it at the start."""
    return Json(document(ENDPOINTS))


ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    *accounts.ENDPOINTS,
    *messages.ENDPOINTS,
    *content.ENDPOINTS,
    *sending.ENDPOINTS,
    *journeys.ENDPOINTS,
    *changes.ENDPOINTS,
    *streams.ENDPOINTS,
    *waits.ENDPOINTS,
    *sessions.ENDPOINTS,
    *queue.ENDPOINTS,
    *control.ENDPOINTS,
    *archives.ENDPOINTS,
    *health.ENDPOINTS,
    Endpoint("GET", "/openapi.json", show_openapi, "This document", gives="application/json"),
    Endpoint("GET", "/", home.show_home, "The latest messages and these routes, for people", gives="text/html"),
)


def application(context: HttpContext) -> ASGIApp:
    """The routes behind the gate."""
    refusals = dict.fromkeys((Problem, HTTPException, MailsandboxError, Exception), refuse)
    app = Starlette(routes=_routes(context), exception_handlers={**refusals, ClientDisconnect: _unheard})
    app.router.redirect_slashes = False  # /v1/messages/ is nothing; a redirect would hide the caller's mistake
    return Gate(app, context)


async def _unheard(_: HTTPConnection, __: Exception) -> Response:
    """The client hung up in the middle of its body: nobody reads this, and nothing was done."""
    return Response(status_code=400)


def _routes(context: HttpContext) -> list[BaseRoute]:
    """One Starlette route for each path, so that a wrong method is 405 with all methods in Allow."""
    by_path: dict[str, dict[str, Handler]] = {}
    for endpoint in ENDPOINTS:
        by_path.setdefault(endpoint.path, {})[endpoint.method] = endpoint.handler
    routes: list[BaseRoute] = [_route(context, path, handlers) for path, handlers in by_path.items()]

    async def socket(websocket: WebSocket) -> None:
        websocket.scope["mailsandbox.route"] = SOCKET
        await changes_socket(context, websocket)

    return [*routes, WebSocketRoute(SOCKET, socket)]


def _route(context: HttpContext, path: str, handlers: dict[str, Handler]) -> Route:
    async def handle(request: Request) -> Response:
        request.scope["mailsandbox.route"] = path
        method = "GET" if request.method == "HEAD" else request.method
        return await handlers[method](context, request)

    return Route(path, handle, methods=list(handlers))
