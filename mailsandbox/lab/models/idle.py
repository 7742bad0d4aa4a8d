"""IMAP IDLE (RFC 2177), seen through aioimaplib, a client nobody here wrote; its transport is counted."""

import asyncio
import re
import time
from typing import Any, Final

import aioimaplib

from mailsandbox.errors import PeerViolation
from mailsandbox.lab.counting import Counters, split_address
from mailsandbox.lab.watcher import Model, Target, Watcher

MODEL: Final = Model("idle", "IMAP IDLE push", "reader", "push", "RFC 2177")
RENEW: Final = 25 * 60.0  # seconds; RFC 2177 §3: at least every 29 minutes

_UID: Final = re.compile(rb"\bUID (\d+)\b")


class _CountingTransport:
    """An asyncio transport whose writes are counted."""

    def __init__(self, transport: asyncio.BaseTransport, counters: Counters) -> None:
        self._transport = transport
        self._counters = counters

    def write(self, octets: bytes) -> None:
        if self._transport.is_closing():
            raise ConnectionResetError("the connection is closed")  # uvloop raises RuntimeError, asyncio nothing
        self._counters.octets_out += len(octets)
        self._transport.write(octets)  # type: ignore[attr-defined]  # asyncio types it by its base; uvloop has its own class

    def __getattr__(self, name: str) -> Any:  # Any: whatever the transport has
        return getattr(self._transport, name)


class _CountingProtocol(aioimaplib.IMAP4ClientProtocol):  # type: ignore[misc]  # aioimaplib ships no types
    """aioimaplib's protocol, counted; remembers when the last octets came."""

    def __init__(self, loop: asyncio.AbstractEventLoop, counters: Counters) -> None:
        super().__init__(loop)
        self.counters = counters
        self.heard_ns = 0
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.counters.connections += 1
        super().connection_made(_CountingTransport(transport, self.counters))

    def data_received(self, octets: bytes) -> None:
        self.heard_ns = time.monotonic_ns()
        self.counters.octets_in += len(octets)
        super().data_received(octets)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        super().connection_lost(error)
        self.idle_queue.put_nowait(aioimaplib.STOP_WAIT_SERVER_PUSH)  # wakes who waits for a push

    def send(self, line: str, scrub: str | None = None) -> None:
        self.counters.requests += line != "DONE"  # DONE ends a command, it is none
        super().send(line, scrub)


class _Client(aioimaplib.IMAP4):  # type: ignore[misc]  # aioimaplib ships no types
    """aioimaplib's client over that protocol."""

    def __init__(self, host: str, port: int, counters: Counters) -> None:
        self._counters = counters
        super().__init__(host, port)

    def create_client(
        self,
        host: str,
        port: int,
        loop: asyncio.AbstractEventLoop | None,
        conn_lost_cb: object,
        ssl_context: object = None,
    ) -> None:
        running = loop or asyncio.get_running_loop()
        self.protocol = _CountingProtocol(running, self._counters)
        # aioimaplib awaits this itself, in wait_hello_from_server.
        self._client_task = asyncio.ensure_future(running.create_connection(lambda: self.protocol, host, port))


class IdleWatcher(Watcher):
    """EXISTS is pushed; the fetch interrupts IDLE and resumes it."""

    model = MODEL

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._client: _Client | None = None
        self._idling: asyncio.Future[object] | None = None
        self._uid_next = 1

    async def connect(self) -> None:
        client = self._client = _Client(*split_address(self.target.services["imap"]), self.counters)
        await client.wait_hello_from_server()
        _check(await client.login(self.target.account, self.target.password))
        selected = await client.select("INBOX")
        _check(selected)
        for line in selected.lines:
            if (match := re.search(rb"\[UIDNEXT (\d+)\]", bytes(line))) is not None:
                self._uid_next = int(match[1])
        await self._idle()

    async def look(self) -> None:
        client = self._connected()
        try:
            lines = await client.wait_server_push(RENEW)
        except TimeoutError:
            # `next` cancels when its own time is over; this is the one that the standard sets.
            await self._done()
            await self._idle()
            return
        if client.protocol.lost:
            raise PeerViolation("IMAP: the server closed the connection")
        if lines is aioimaplib.STOP_WAIT_SERVER_PUSH or not any(bytes(line).endswith(b"EXISTS") for line in lines):
            return
        notified = client.protocol.heard_ns
        await self._done()
        await self._fetch(notified)
        await self._idle()

    async def leave(self) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        transport = client.protocol.transport
        try:
            if not client.protocol.lost:
                # Not by `_idling`: the watch may have been ended while IDLE was being resumed.
                if client.has_pending_idle():
                    client.idle_done()
                await client.logout()
        except aioimaplib.AioImapException:
            pass  # the server went first
        finally:
            if transport is not None:
                transport.close()

    def _connected(self) -> _Client:
        if self._client is None:
            raise PeerViolation("IMAP: not connected")
        return self._client

    async def _idle(self) -> None:
        self._idling = await self._connected().idle_start(timeout=RENEW + 60)

    async def _done(self) -> None:
        self._connected().idle_done()
        if self._idling is not None:
            await self._idling
            self._idling = None

    async def _fetch(self, notified: int) -> None:
        answer = await self._connected().uid("fetch", f"{self._uid_next}:*", "(UID BODY.PEEK[])")
        _check(answer)
        uid = 0
        for line in answer.lines:
            if isinstance(line, bytearray):  # a literal, in aioimaplib's manner
                if uid >= self._uid_next:
                    self._uid_next = uid + 1
                    self.found(bytes(line), notified, uid=uid)
            elif (match := _UID.search(line)) is not None:
                uid = int(match[1])


def _check(answer: Any) -> None:  # Any: aioimaplib's Response
    if answer.result != "OK":
        raise PeerViolation(f"IMAP: {answer.result} {b' '.join(map(bytes, answer.lines)).decode('utf-8', 'replace')}")
