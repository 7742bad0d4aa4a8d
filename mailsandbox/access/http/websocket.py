"""Changes over a WebSocket (RFC 6455), subprotocol `mailsandbox.v1+json`: one JSON text message each way per event.

    client   {"subscribe": {"since": 3, "types": [...], "mailboxes": [...], "window": 100}}     all members optional
             {"ack": 7}                                                                         opens the window again
             {"ping": "any"}
    server   {"seq": 7, "type": "MessageNew", ...}
             {"type": "subscribed", "cursor": 3}
             {"type": "reset", "cursor": 9}
             {"type": "pong", "ping": "any"}
             {"type": "error", "detail": ...}, then it closes with 1008

The connection is subscribed from its beginning: from `since` in the query, else from now on; `subscribe` replaces that.
With a `window`, at most so many changes are under way unacknowledged. Ping frames go out every 20 s (uvicorn's).
"""

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from mailsandbox.access.http import shapes
from mailsandbox.access.http.accounts import may_exist
from mailsandbox.access.http.connections import abort
from mailsandbox.access.http.context import HttpContext
from mailsandbox.access.http.feed import ChangesQuery, Selection, new_messages, view_of
from mailsandbox.access.http.problems import Problem, problem_of
from mailsandbox.access.http.typed import encode, query
from mailsandbox.errors import MailsandboxError
from mailsandbox.store.model import Seq

SUBPROTOCOL: Final = "mailsandbox.v1+json"
POLICY_VIOLATION: Final = 1008  # RFC 6455 §7.4.1
INTERNAL_ERROR: Final = 1011


class Subscribe(Struct, kw_only=True, forbid_unknown_fields=True):
    """What to push."""

    since: shapes.Cursor | None = None
    types: list[str] = []
    mailboxes: list[str] = []
    window: Annotated[int, Meta(ge=1, le=100_000)] | None = None


class ClientMessage(Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Exactly one of these."""

    subscribe: Subscribe | None = None
    ack: Annotated[int, Meta(ge=0)] | None = None
    ping: Annotated[str, Meta(max_length=125)] | None = None


_decode: Final = msgspec.json.Decoder(ClientMessage).decode


class Session:
    """One WebSocket: a pump that pushes, replaced by each subscription, and the loop that hears the client."""

    def __init__(self, context: HttpContext, socket: WebSocket, account: str) -> None:
        self._context = context
        self._socket = socket
        self._account = account
        self._pump: asyncio.Task[None] | None = None
        self._window: int | None = None
        self._unacknowledged: list[int] = []
        self._room = asyncio.Event()
        self._sending = asyncio.Lock()

    async def run(self, first: Subscribe) -> None:
        """Until the client leaves or the server stops."""
        context = self._context
        await self._subscribe(first, confirm=False)
        hearing = context.tasks.spawn(self._hear(), name="http websocket hearing")
        stopping = context.tasks.spawn(context.stopping.wait(), name="http websocket stopping")
        try:
            await asyncio.wait({hearing, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (hearing, stopping, self._pump):
                if task is not None:
                    task.cancel()

    async def _hear(self) -> None:
        while True:
            try:
                message = await self._socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                if message.get("text") is None:
                    raise Problem(400, "text messages only: JSON")
                await self._heard(_decode(message["text"]))
            except (msgspec.DecodeError, Problem) as error:
                detail = error.detail if isinstance(error, Problem) else str(error)
                await self._send(encode({"type": "error", "detail": detail}))
                await self._close(POLICY_VIOLATION, "that message is none of the protocol")
                return

    async def _heard(self, message: ClientMessage) -> None:
        if (message.subscribe, message.ack, message.ping).count(None) != 2:
            raise Problem(400, "give exactly one of subscribe, ack and ping")
        if message.subscribe is not None:
            await self._subscribe(message.subscribe, confirm=True)
        elif message.ack is not None:
            acknowledged = message.ack
            self._unacknowledged = [seq for seq in self._unacknowledged if seq > acknowledged]
            self._room.set()
        else:
            await self._send(encode({"type": "pong", "ping": message.ping}))

    async def _subscribe(self, wanted: Subscribe, *, confirm: bool) -> None:
        selection = Selection.of(wanted.types, wanted.mailboxes, where="/subscribe/types")
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.wait({self._pump})
        self._window = wanted.window
        self._unacknowledged.clear()
        since = None if wanted.since is None else Seq(wanted.since)
        entered = asyncio.Event()
        pump = self._push(since, selection, entered, confirm=confirm)
        self._pump = self._context.tasks.spawn(self._or_close(pump), name="http websocket pushing")
        entering = self._context.tasks.spawn(entered.wait(), name="http websocket entering")
        await asyncio.wait({self._pump, entering}, return_when=asyncio.FIRST_COMPLETED)
        entering.cancel()

    async def _or_close(self, pushing: Coroutine[object, object, None]) -> None:
        try:
            await pushing
        except MailsandboxError as error:
            await self._send(encode({"type": "error", "detail": str(error)}))
            await self._close(INTERNAL_ERROR, "the log cannot be read")

    async def _push(self, since: Seq | None, selection: Selection, entered: asyncio.Event, *, confirm: bool) -> None:
        context = self._context
        async with context.hub.reader(self._account, since) as reader:
            entered.set()
            if confirm:
                await self._send(encode({"type": "subscribed", "cursor": reader.cursor}))
            while not context.hub.stopped:
                page = await reader.next(context.options.longest_wait)
                if page.reset:
                    await self._send(encode({"type": "reset", "cursor": page.cursor}))
                    continue
                shown = selection.of_page(page)
                context.ledger.first_shown(new_messages(shown), "websocket")
                for change in shown:
                    await self._wait_for_room()
                    await self._send(encode(view_of(change)))
                    if self._window is not None:
                        self._unacknowledged.append(change.seq)

    async def _wait_for_room(self) -> None:
        while self._window is not None and len(self._unacknowledged) >= self._window:
            self._room.clear()
            await self._room.wait()

    async def _send(self, octets: bytes) -> None:
        """One message; a client that takes none for `stall` seconds is cut off."""
        try:
            async with self._sending, asyncio.timeout(self._context.options.stall):
                await self._socket.send_text(octets.decode())
        except TimeoutError:
            abort(self._socket.scope)
        except (WebSocketDisconnect, RuntimeError):
            pass  # it has left meanwhile; the hearing loop ends the session

    async def _close(self, code: int, reason: str) -> None:
        if self._socket.application_state is WebSocketState.CONNECTED:
            try:
                await self._socket.close(code, reason)
            except (WebSocketDisconnect, RuntimeError):
                pass  # it has left meanwhile


async def changes_socket(context: HttpContext, socket: WebSocket) -> None:
    """/v1/accounts/{address}/changes/ws. A refusal before the handshake is a problem document."""
    try:
        account = may_exist(context, socket)
        wanted = query(socket, ChangesQuery)
        Selection.of(wanted.types, wanted.mailbox)
    except (Problem, MailsandboxError) as error:
        await socket.send_denial_response(problem_of(error).response())
        return
    offered = socket.scope.get("subprotocols", [])
    await socket.accept(subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None)
    first = Subscribe(since=wanted.since, types=wanted.types, mailboxes=wanted.mailbox)
    with context.reading("websocket"):
        await Session(context, socket, account).run(first)
