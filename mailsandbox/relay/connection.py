"""One connection to a next hop that is ready for MAIL: runs transactions on its transport.

Invariants: every wait has a deadline; what is said is in the transcript, message data are not; a connection that is
out of step with its server is never used again. Knows nothing of how the connection came about (`opening`).
"""

import asyncio
import math
from collections import deque
from dataclasses import dataclass
from typing import Final

from mailsandbox.errors import PeerViolation
from mailsandbox.journey.sessions import SessionRecord
from mailsandbox.relay.routes import Hop
from mailsandbox.relay.transaction import Stage, Transaction
from mailsandbox.smtp.extensions import Offers
from mailsandbox.smtp.replies import Reply
from mailsandbox.smtp.reply_reader import ReplyReader
from mailsandbox.wording import cause_of

SLICE: Final = 262_144  # octets written at once; the socket's own buffer holds about as much


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds of real time: a socket is slow by its own clock (RFC 5321 §4.5.3.2)."""

    connect: float = 30.0  # Postfix's smtp_connect_timeout; the kernel's own is minutes
    greeting: float = 300.0  # and EHLO, STARTTLS, AUTH
    command: float = 300.0  # MAIL, RCPT
    data: float = 120.0  # the 354
    block: float = 180.0  # for the peer to take what was written
    end: float = 600.0  # the reply to the end of data
    quit: float = 0.5


class Connection(asyncio.Protocol):
    """A connection that is ready for MAIL."""

    def __init__(self, hop: Hop, offers: Offers, session: SessionRecord, *, tls: str) -> None:
        self.hop = hop
        self.offers = offers
        self.tls = tls  # "" or version and cipher
        self.session = session
        self.transactions = 0
        self.usable = True
        self._transport: asyncio.Transport | None = None
        self._reader = ReplyReader()
        self._replies: deque[Reply] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False
        self._why = ""  # why it ended
        self._loop = asyncio.get_running_loop()
        self._deadline = 0.0  # of the present wait, in the loop's time
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = math.inf

    def take_over(self, transport: asyncio.Transport) -> None:
        """Put ourselves in place of the protocol that opened the connection."""
        self._transport = transport
        transport.set_protocol(self)
        # Paused exactly while octets wait here: only what has left is known to have been sent.
        transport.set_write_buffer_limits(high=0)

    async def run(self, transaction: Transaction, timeouts: Timeouts, *, cut_at_end: bool = False) -> None:
        """Have the conversation. `cut_at_end`: break off when the message's last octet has been sent (a fault)."""
        self.transactions += 1
        try:
            while True:
                await self._write(transaction, timeouts)
                if transaction.done:
                    break
                if cut_at_end and transaction.octets_sent and transaction.stage == "END":
                    self.session.note("fault: connection broken off after the end of data")
                    self.abort()
                    raise ConnectionResetError("connection broken off by a scripted fault")
                await self._wait(_limit(transaction.stage, timeouts))
                while self._replies and not transaction.done:
                    answer = self._replies.popleft()
                    note_reply(self.session, answer)
                    transaction.feed(answer)
        except TimeoutError:
            transaction.lost(f"{self.hop.host}: no reply in time while waiting for {transaction.stage}")
            self.session.note("no reply in time")
        except (ConnectionError, PeerViolation) as error:
            transaction.lost(f"{self.hop.host}: {cause_of(error)}")
            self.session.note(cause_of(error))
        finally:
            if not transaction.reusable or self._replies:
                self.abort()

    async def _write(self, transaction: Transaction, timeouts: Timeouts) -> None:
        pieces = transaction.drain()
        if not pieces:
            return
        transport = self._transport
        if transport is None or transport.is_closing():
            transaction.octets_sent = False
            raise ConnectionResetError(self._why or "connection lost")
        try:
            # One system call for the commands; large octets go as they are, without a copy.
            batch = bytearray()
            for octets, shown in pieces:
                self.session.client(shown)
                if len(octets) < SLICE:
                    batch += octets
                    continue
                if batch:
                    transport.write(bytes(batch))
                    batch.clear()
                # In slices: a transport copies what it cannot send at once, and each block has its own deadline.
                view = memoryview(octets)
                for start in range(0, len(view), SLICE):
                    transport.write(view[start : start + SLICE])
                    await self._written(timeouts.block)
            if batch:
                transport.write(bytes(batch))
            await self._written(timeouts.block)
        except (TimeoutError, ConnectionError):
            transaction.octets_sent = False  # its end has not left this machine
            raise

    async def _written(self, limit: float) -> None:
        while self._paused:
            if self._why:
                raise ConnectionResetError(self._why)
            await self._sleep(limit)

    async def _wait(self, limit: float) -> None:
        while not self._replies:
            if self._why:
                raise ConnectionResetError(self._why)
            await self._sleep(limit)

    async def _sleep(self, limit: float) -> None:
        self._waiter = self._loop.create_future()
        self._deadline = self._loop.time() + limit
        if self._deadline < self._alarm_at:
            self._set_alarm(self._deadline)
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _awake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _set_alarm(self, at: float) -> None:
        """One timer for many waits: minutes long, they nearly always end in milliseconds."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm, self._alarm_at = self._loop.call_at(at, self._ring), at

    def _ring(self) -> None:
        self._alarm, self._alarm_at = None, math.inf
        if self._waiter is None or self._waiter.done():
            return
        if self._deadline > self._loop.time():
            self._set_alarm(self._deadline)
        else:
            self._waiter.set_exception(TimeoutError())

    async def quit(self, limit: float) -> None:
        """Say good-bye (RFC 5321 §4.1.1.10) and close."""
        transport = self._transport
        if transport is not None and not self._why:
            self.usable = False
            self.session.client("QUIT")
            transport.write(b"QUIT\r\n")
            try:
                await self._wait(limit)
                note_reply(self.session, self._replies.popleft())
            except (TimeoutError, ConnectionError, PeerViolation):
                pass
            transport.close()
        self.session.close()

    def abort(self) -> None:
        """Break off."""
        self.usable = False
        self.session.close("aborted")
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        try:
            replies = self._reader.feed(data)
        except PeerViolation as error:
            self._end(str(error))
            self.abort()
            return
        if replies:
            self._replies.extend(printable(answer) for answer in replies)
            if self._waiter is None:
                self.usable = False  # nothing was asked: mostly 421, going away
            self._awake()

    def eof_received(self) -> None:
        self._end("connection closed by the server")

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(f"connection lost: {cause_of(exc)}" if exc else "connection closed by the server")
        self.session.close()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._awake()

    def _end(self, why: str) -> None:
        self.usable = False
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm, self._alarm_at = None, math.inf
        self._why = self._why or why
        self._awake()


def _limit(stage: Stage, timeouts: Timeouts) -> float:
    match stage:
        case "DATA":
            return timeouts.data
        case "END" | "CHUNK":
            return timeouts.end
        case _:
            return timeouts.command


def note_reply(session: SessionRecord, answer: Reply) -> None:
    """A server's reply in the transcript, line by line as it was on the wire."""
    prefix = f"{answer.enhanced} " if answer.enhanced else ""
    last = len(answer.lines) - 1
    for number, line in enumerate(answer.lines):
        session.server(f"{answer.code}{' ' if number == last else '-'}{prefix}{line}")


def printable(answer: Reply) -> Reply:
    """Octets that are no UTF-8 shown as \\xNN: replies are stored, and end up in notifications."""
    if all(line.isascii() for line in answer.lines):
        return answer
    lines = (line.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for line in answer.lines)
    return Reply(answer.code, answer.enhanced, tuple(lines))
