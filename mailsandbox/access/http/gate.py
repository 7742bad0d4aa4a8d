"""What every request passes first: is it for us, may its origin ask, shall it fail. And last: it is counted and dated.

* Host (DNS rebinding): a page of a stranger whose name now resolves to 127.0.0.1 sends its own name as Host. Addresses
  and localhost cannot be rebound; other names have to be configured. Else 421 (RFC 9110 §15.5.20).
* Origin (cross-site WebSocket hijacking, and POST from anywhere): browsers send it with WebSocket handshakes, with
  EventSource across origins and with every POST. Only our own origin and loopback origins may ask. Else 403.
"""

import ipaddress
import time
from email.utils import formatdate
from typing import Final
from urllib.parse import urlsplit

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mailsandbox.access.http.connections import abort
from mailsandbox.access.http.context import HttpContext
from mailsandbox.access.http.problems import Problem
from mailsandbox.faults import Delay, Drop, Respond

UNFAILING: Final = ("/v1/faults", "/livez", "/readyz", "/metrics", "/v1/reset")  # or a fault could not be taken back
_METHODS: Final = "GET, POST, DELETE, OPTIONS"


class Gate:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, context: HttpContext) -> None:
        self._app = app
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        origin = headers.get(b"origin", "")
        outgoing = self._outgoing(scope, send, origin)
        refusal = self._refusal(headers, origin)
        if refusal is None and scope["type"] == "http" and scope["method"] == "OPTIONS":
            await _preflight(headers)(scope, receive, outgoing)
            return
        if refusal is None and len(self._context.faults) and not scope["path"].startswith(UNFAILING):
            try:
                await self._fail(scope, receive)
            except _BrokenOff:
                return
            except Problem as problem:
                refusal = problem
        if refusal is None:
            await self._app(scope, receive, outgoing)
            return
        if scope["type"] == "websocket":
            await receive()  # websocket.connect; the answer to the handshake is then an HTTP one
        await refusal.response()(scope, receive, outgoing)

    def _refusal(self, headers: dict[bytes, str], origin: str) -> Problem | None:
        host = headers.get(b"host", "")
        if not self._is_ours(host):
            return Problem(
                421, f"Host: {host!r} is not a name of this sandbox; use 127.0.0.1 or localhost", "wrong-host"
            )
        if origin and not may_ask(origin, host):
            return Problem(403, f"pages of {origin} may not ask this sandbox", "wrong-origin")
        return None

    def _is_ours(self, host: str) -> bool:
        name = host_name(host)
        return name is not None and (_is_local_name(name) or _is_address(name) or name in self._context.options.hosts)

    async def _fail(self, scope: Scope, receive: Receive) -> None:
        """Ask the scripted faults; raises Problem or _BrokenOff where one strikes."""
        path: str = scope["path"]
        action = self._context.faults.match("http", stage=stage_of(path), account=account_of(path), text=path)
        match action:
            case Respond(code, text):
                status = code if 400 <= code <= 599 else 503
                raise Problem(status, text or "a scripted fault", "scripted-fault")
            case Drop(reset):
                abort(scope, reset=reset)
                while (await receive())["type"] not in ("http.disconnect", "websocket.disconnect"):
                    pass
                raise _BrokenOff
            case Delay(seconds):
                await self._context.clock.sleep_until(self._context.clock.now() + seconds)
            case None:
                pass

    def _outgoing(self, scope: Scope, send: Send, origin: str) -> Send:
        counted = self._context.counts.requests

        async def outgoing(message: Message) -> None:
            kind = message["type"]
            if kind in ("http.response.start", "websocket.http.response.start"):
                # RFC 9110 §6.6.1: an origin server with a clock dates its answers. The machine's time, not the
                # sandbox's: caches reckon an answer's age with it by their own clocks (RFC 9111 §4.2.3).
                extra = [(b"date", formatdate(time.time(), usegmt=True).encode("latin-1"))]
                if origin and message["status"] not in (403, 421):
                    extra += [(b"access-control-allow-origin", origin.encode("latin-1")), (b"vary", b"Origin")]
                    extra.append((b"access-control-expose-headers", b"ETag, Preference-Applied, Location"))
                message = {**message, "headers": [*message["headers"], *extra]}
                counted[scope.get("method", "GET"), route_of(scope), message["status"]] += 1
            elif kind == "websocket.accept":
                counted["GET", route_of(scope), 101] += 1
            await send(message)

        return outgoing


class _BrokenOff(Exception):
    """The connection is gone; there is nobody to answer."""


def route_of(scope: Scope) -> str:
    """The route's template: bounded in number, so that a scan of paths does not fill the counters."""
    return str(scope.get("mailsandbox.route", "unknown"))


def stage_of(path: str) -> str:
    """The resource that a path is about: "messages", "changes", "send" ... ("" outside /v1)."""
    parts = path.split("/")
    if len(parts) > 4 and parts[2] == "accounts":
        return parts[4]
    return parts[2] if len(parts) > 2 and parts[1] == "v1" else ""


def account_of(path: str) -> str:
    """The address in the path, "" where there is none."""
    parts = path.split("/")
    return parts[3] if len(parts) > 3 and parts[2] == "accounts" else ""


def host_name(host: str) -> str | None:
    """The name or address of a Host field, in lower case, without port; None if malformed."""
    try:
        parsed = urlsplit(f"//{host}")
        _ = parsed.port  # raises ValueError where it is none
    except ValueError:
        return None
    if parsed.username is not None or parsed.path or parsed.query or parsed.fragment or not parsed.hostname:
        return None
    return parsed.hostname.rstrip(".")


def may_ask(origin: str, host: str) -> bool:
    """Whether a page of `origin` may use us: it is ours, or it is served on this machine."""
    try:
        parsed = urlsplit(origin)
        name = parsed.hostname
    except ValueError:
        return False
    if parsed.scheme not in ("http", "https") or not name:
        return False  # "null" (sandboxed documents, our own /html among them), file:, extensions
    if parsed.netloc.lower() == host.lower():
        return True
    return _is_local_name(name) or (_is_address(name) and ipaddress.ip_address(name).is_loopback)


def _is_local_name(name: str) -> bool:
    return name == "localhost" or name.endswith(".localhost")  # RFC 6761 §6.3


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _preflight(headers: dict[bytes, str]) -> Response:
    """The answer to a browser that asks first (Fetch §4.8); the origin was judged already."""
    fields = {"Allow": _METHODS}
    if b"access-control-request-method" in headers:
        wanted = headers.get(b"access-control-request-headers", "")
        fields |= {"Access-Control-Allow-Methods": _METHODS, "Access-Control-Max-Age": "600"}
        if wanted:
            fields["Access-Control-Allow-Headers"] = wanted
    return Response(status_code=204, headers=fields)
