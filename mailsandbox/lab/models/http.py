"""What the HTTP models share: one keep-alive connection driven through h11, with its octets counted."""

import time
from collections.abc import AsyncIterator, Sequence
from typing import Final
from urllib.parse import quote

import h11
import msgspec
from msgspec import Struct

from mailsandbox.errors import PeerViolation
from mailsandbox.lab.counting import Counters, Wire
from mailsandbox.lab.watcher import Target, Watcher

NEW: Final = frozenset(("MessageNew", "MessageAppend"))

Headers = Sequence[tuple[str, str]]


class Entry(Struct):
    """An entry of the log, as far as a reader needs it."""

    type: str
    seq: int = 0
    cursor: int = 0  # of a reset
    uid: int | None = None
    message_id: str | None = None


class Page(Struct):
    """An answer to a poll."""

    changes: list[Entry]
    cursor: int
    reset: bool = False


_page: Final = msgspec.json.Decoder(Page).decode
entry_of: Final = msgspec.json.Decoder(Entry).decode


class Exchange:
    """A connection to the HTTP service: requests one after the other."""

    def __init__(self, address: str, counters: Counters) -> None:
        self._address = address
        self._counters = counters
        self._wire: Wire | None = None
        self._state = h11.Connection(h11.CLIENT)
        self.heard_ns = 0  # when the last octets came

    async def get(self, path: str, headers: Headers = ()) -> tuple[int, dict[str, str], bytes]:
        """Status, fields and body. Raises PeerViolation, OSError."""
        status, fields = await self.begin(path, headers)
        body = b"".join([octets async for octets in self.body()])
        return status, fields, body

    async def begin(self, path: str, headers: Headers = ()) -> tuple[int, dict[str, str]]:
        """Ask, and return when the answer's head is here; the body comes from `body`."""
        if self._wire is None or self._state.our_state is not h11.IDLE:
            await self.aclose()
            self._state = h11.Connection(h11.CLIENT)
            self._wire = await Wire.open(self._address, self._counters)
        self._counters.requests += 1
        request = h11.Request(method="GET", target=path, headers=[("Host", self._address), *headers])
        await self._wire.write((self._state.send(request) or b"") + (self._state.send(h11.EndOfMessage()) or b""))
        event = await self._event()
        if not isinstance(event, h11.Response):
            raise PeerViolation("HTTP: no answer")
        return event.status_code, {name.decode(): value.decode("latin-1") for name, value in event.headers}

    async def body(self) -> AsyncIterator[bytes]:
        """The body's octets as they come."""
        while True:
            event = await self._event()
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                if self._state.our_state is h11.DONE and self._state.their_state is h11.DONE:
                    self._state.start_next_cycle()
                return
            else:
                raise PeerViolation("HTTP: the answer ends too early")

    async def _event(self) -> h11.Event:
        if self._wire is None:
            raise PeerViolation("HTTP: not connected")
        try:
            while (event := self._state.next_event()) is h11.NEED_DATA:
                octets = await self._wire.some()
                self.heard_ns = time.monotonic_ns()
                self._state.receive_data(octets)
        except h11.RemoteProtocolError as error:
            raise PeerViolation(f"HTTP: {error}") from None
        if not isinstance(event, h11.Event):
            raise PeerViolation("HTTP: the connection cannot go on")
        return event

    async def aclose(self) -> None:
        """Close the connection."""
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.aclose()


class HttpWatcher(Watcher):
    """The log's cursor, and the fetch of a message that the log tells of."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self.address = target.services["http"]
        self.log = f"/v1/accounts/{quote(target.account, safe='@')}/changes"
        self.exchange = Exchange(self.address, self.counters)  # for polls and fetches
        self.cursor = 0

    async def catch_up(self) -> None:
        """Read the log to its end."""
        while True:
            page = await self.poll(())
            if page is None or not page.changes:
                return

    async def poll(self, headers: Headers) -> Page | None:
        """The entries after the cursor, which moves; None for 204 and 304."""
        status, _, body = await self.exchange.get(f"{self.log}?since={self.cursor}", headers)
        if status in (204, 304):
            return None
        if status != 200:
            raise PeerViolation(f"HTTP: {status} {body.decode('utf-8', 'replace')}")
        try:
            page = _page(body)
        except msgspec.DecodeError as error:
            raise PeerViolation(f"HTTP: {error}") from None
        self.cursor = page.cursor
        return page

    async def heard(self, entry: Entry, notified_ns: int) -> None:
        """Fetch the message of an entry, if it tells of a new one."""
        self.cursor = max(self.cursor, entry.seq) if entry.type != "reset" else entry.cursor
        if entry.type not in NEW or entry.message_id is None:
            return
        status, _, octets = await self.exchange.get(f"/v1/messages/{entry.message_id}/raw")
        if status == 200:
            self.found(octets, notified_ns, uid=entry.uid, seq=entry.seq)

    async def leave(self) -> None:
        await self.exchange.aclose()
