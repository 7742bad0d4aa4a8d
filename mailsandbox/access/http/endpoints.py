"""One route as a value: its name, what it takes and gives. The routes and the OpenAPI document are made of these."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from mailsandbox.access.http.context import HttpContext

Handler = Callable[[HttpContext, Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A route. `gives` is a struct (JSON), a media type, or None for 204; `takes` likewise for the body."""

    method: str
    path: str
    handler: Handler
    summary: str
    query: type[Struct] | None = None
    takes: tuple[type[Struct] | str, ...] = ()
    gives: type[Struct] | str | None = None
    status: int = 200
    also: tuple[int, ...] = ()  # other answers worth naming: 304, 204, 404, 408 ...
