"""The transport below a request, for the one thing ASGI has no word for: breaking it off."""

import asyncio
import socket
import struct

from starlette.types import Scope

KEY = "mailsandbox.protocol"  # in the ASGI scope's state; set by the server for each connection


def transport_of(scope: Scope) -> asyncio.Transport | None:
    """The asyncio transport that carries this request."""
    transport = getattr(scope.get("state", {}).get(KEY), "transport", None)
    return transport if isinstance(transport, asyncio.Transport) or hasattr(transport, "abort") else None


def abort(scope: Scope, *, reset: bool = False) -> None:
    """Close the connection at once, dropping what is not sent; `reset`: by RST instead of FIN."""
    transport = transport_of(scope)
    if transport is None:
        return
    handle = transport.get_extra_info("socket")
    if reset and handle is not None:
        # socket(7): a linger time of zero makes close() send RST.
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
