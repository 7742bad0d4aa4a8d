"""WebSocket (RFC 6455), driven through wsproto. The fetches go over a second connection."""

import time
from collections.abc import Sequence
from typing import Final

import msgspec
import wsproto
from wsproto.events import AcceptConnection, CloseConnection, Event, Ping, RejectConnection, Request, TextMessage

from mailsandbox.errors import PeerViolation
from mailsandbox.lab.counting import Wire
from mailsandbox.lab.models.http import HttpWatcher, entry_of
from mailsandbox.lab.watcher import Model, Target

MODEL: Final = Model("websocket", "WebSocket push", "reader", "push", "RFC 6455")
SUBPROTOCOL: Final = "mailsandbox.v1+json"


class WebSocketWatcher(HttpWatcher):
    """Full duplex; `since` in the query subscribes."""

    model = MODEL

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._wire: Wire | None = None
        self._state = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        self._text = ""  # of a message in fragments

    async def connect(self) -> None:
        await self.catch_up()
        self._wire = await Wire.open(self.address, self.counters)
        target = f"{self.log}/ws?since={self.cursor}"
        request = Request(host=self.address, target=target, subprotocols=[SUBPROTOCOL])
        self.counters.requests += 1
        await self._wire.write(self._state.send(request))
        while True:
            match await self._events():
                case []:
                    continue
                case [AcceptConnection(), *early]:
                    await self._take(early)
                    return
                case [RejectConnection(status_code=status), *_]:
                    raise PeerViolation(f"WebSocket: refused with {status}")
                case [other, *_]:
                    raise PeerViolation(f"WebSocket: {type(other).__name__} instead of a handshake")

    async def look(self) -> None:
        await self._take(await self._events())

    async def _take(self, events: Sequence[Event]) -> None:
        for event in events:
            match event:
                case TextMessage(data=data, message_finished=finished):
                    self._text += data
                    if finished:
                        text, self._text = self._text, ""
                        await self._told(text)
                case Ping():
                    await self._send(event.response())
                case CloseConnection(code=code, reason=reason):
                    raise PeerViolation(f"WebSocket: closed with {code} {reason or ''}".rstrip())
                case _:
                    pass

    async def _told(self, text: str) -> None:
        notified = time.monotonic_ns()
        try:
            await self.heard(entry_of(text.encode()), notified)
        except msgspec.DecodeError as error:
            raise PeerViolation(f"WebSocket: {error}") from None

    async def _events(self) -> list[Event]:
        """What the octets that come next bring; nothing is kept back."""
        if self._wire is None:
            raise PeerViolation("WebSocket: not connected")
        octets = await self._wire.some()
        try:
            self._state.receive_data(octets or None)
            return list(self._state.events())
        except wsproto.utilities.RemoteProtocolError as error:
            raise PeerViolation(f"WebSocket: {error}") from None

    async def _send(self, event: Event) -> None:
        if self._wire is not None:
            await self._wire.write(self._state.send(event))

    async def leave(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            try:
                if self._state.state is wsproto.connection.ConnectionState.OPEN:
                    await wire.write(self._state.send(CloseConnection(code=1000)))
            finally:
                await wire.aclose()
        await super().leave()
