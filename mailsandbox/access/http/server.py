"""The HTTP server: uvicorn's protocols on the running loop, without uvicorn's Server.

Server installs signal handlers, polls every 0.1 s and takes 0.2 s to stop. Its protocols (h11, wsproto) need none of
that: a socket of our own, and a set of open connections that we close ourselves.
Invariant: after `aclose` no connection, task or socket of this server is left; it may be called again.
"""

import asyncio
import logging
import sys
from typing import Any, Final

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from mailsandbox.access.http.app import application
from mailsandbox.access.http.connections import KEY
from mailsandbox.access.http.context import HttpContext
from mailsandbox.access.http.problems import MEDIA_TYPE, Problem
from mailsandbox.access.http.typed import encode
from mailsandbox.errors import StartError
from mailsandbox.wording import cause_of

KEEP_ALIVE: Final = 75  # seconds an idle connection stays open, as nginx; pollers come every few seconds
FIRST_OCTET: Final = 30.0  # seconds until a new connection has to say something
MAX_HEAD: Final = 65_536  # octets of request line and fields; RFC 9110 §5.4 leaves the limit to us
MAX_WEBSOCKET_MESSAGE: Final = 65_536  # octets; clients send small JSON
BACKLOG: Final = 1024
DRAIN: Final = 0.5  # seconds for answers under way to end at the stop


class _Connection(H11Protocol):
    """uvicorn's connection, with a deadline for its first octet too."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(FIRST_OCTET, self.timeout_keep_alive_handler)

    def send_400_response(self, msg: str) -> None:
        """Called where h11 could not make sense of what came: a problem document, as every other refusal."""
        error = sys.exc_info()[1]  # h11's, which says what is wrong; uvicorn's `msg` does not
        status = getattr(error, "error_status_hint", 400)  # 431 for a head that is too long (RFC 6585 §5)
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            document = encode(Problem(status, f"this is no HTTP request: {error or msg}").document())
            headers = [("Content-Type", MEDIA_TYPE), ("Content-Length", str(len(document))), ("Connection", "close")]
            events = (h11.Response(status_code=status, headers=headers), h11.Data(data=document), h11.EndOfMessage())
            self.transport.write(b"".join(self.conn.send(event) or b"" for event in events))
        self.transport.close()


def _websocket(**options: Any) -> asyncio.Protocol:  # Any: uvicorn's own, handed through
    """uvicorn's WebSocket, imported when the first client asks for one: it takes 9 ms of the way to ready."""
    from uvicorn.protocols.websockets.wsproto_impl import WSProtocol

    return WSProtocol(**options)


class HttpServer:
    """One listening socket. `port` 0 takes a free one, which `port` then tells."""

    def __init__(self, context: HttpContext, host: str, port: int) -> None:
        self.context = context
        self.host = host
        self.port = port
        self._state = ServerState()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen. Raises StartError."""
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # it warns of every malformed request
        config = Config(
            application(self.context),
            http=H11Protocol,
            ws=_websocket,  # type: ignore[arg-type]  # a class is asked for; it is only ever called
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=KEEP_ALIVE,
            h11_max_incomplete_event_size=MAX_HEAD,
            ws_max_size=MAX_WEBSOCKET_MESSAGE,
            ws_ping_interval=20.0,
            ws_ping_timeout=20.0,
        )
        config.load()
        state = self._state

        def connection() -> _Connection:
            shared: dict[str, object] = {}
            protocol = _Connection(config=config, server_state=state, app_state=shared)
            shared[KEY] = protocol
            return protocol

        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(connection, self.host, self.port, backlog=BACKLOG)
        except OSError as error:
            raise StartError(f"http: cannot listen on {self.host}:{self.port}: {cause_of(error)}") from None
        self.port = self._server.sockets[0].getsockname()[1]

    async def aclose(self) -> None:
        """Stop listening, end the streams, close every connection: a few milliseconds."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        self.context.stopping.set()
        for connection in list(self._state.connections):
            connection.shutdown()
        tasks = {task for task in self._state.tasks if task is not asyncio.current_task()}
        if tasks:
            _, left = await asyncio.wait(tasks, timeout=DRAIN)
            for task in left:
                task.cancel()
        for connection in list(self._state.connections):
            connection.transport.abort()
        await self.context.tasks.aclose()
        # The transports tell their protocols in the loop's next turns; then nothing of ours is scheduled any more.
        for _ in range(3):
            await asyncio.sleep(0)
