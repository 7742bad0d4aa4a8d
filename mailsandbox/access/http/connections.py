"""The transport below a request, for the one thing ASGI has no word for: breaking it off."""

import asyncio

from starlette.types import Scope

KEY = "mailsandbox.protocol"  # in the ASGI scope's state; set by the server for each connection


def transport_of(scope: Scope) -> asyncio.Transport | None:
    """The asyncio transport that carries this request."""
    transport = getattr(scope.get("state", {}).get(KEY), "transport", None)
    return transport if isinstance(transport, asyncio.Transport) or hasattr(transport, "abort") else None


def abort(scope: Scope) -> None:
    """Close the connection at once, dropping what is not sent."""
    transport = transport_of(scope)
    if transport is not None:
        transport.abort()
