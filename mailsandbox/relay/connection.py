"""One connection to a next hop that is ready for MAIL: runs transactions on its transport.

Invariants: every wait has a deadline; what is said is in the transcript, message data are not; a connection that is
out of step with its server is never used again. Knows nothing of how the connection came about (`opening`).
"""

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mailsandbox.errors import PeerViolation
from mailsandbox.journey.sessions import SessionRecord
from mailsandbox.relay.routes import Hop
from mailsandbox.relay.transaction import Sent, Stage, Transaction
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
        self.offered = [f"{word} {rest}".rstrip() for word, rest in offers.keywords.items()]  # as shown
        self.most = offers.limit("MAILMAX")  # transactions (RFC 9422 §4.1)
        self.most_recipients = offers.limit("RCPTMAX")  # of one (RFC 9422 §4.2)
        self.transactions = 0
        self.usable = True
        self._transport: asyncio.Transport | None = None
        self._reader = ReplyReader()
        self._replies: deque[Reply] = deque()
        self._heeded: Transaction | None = None  # goes on by itself when replies come, while `run` waits
        self._timeouts = Timeouts()
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False
        self._why = ""  # why it ended
        self.loop = asyncio.get_running_loop()
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
        self._timeouts = timeouts
        # All that will be said is little: it needs no slices, and no other turn of the loop.
        little = not cut_at_end and len(transaction.load.octets) < SLICE // 2
        try:
            while True:
                if not little:
                    self._hear(transaction)
                if not (little and self._go_on(transaction)) and not transaction.over:
                    await self._write(transaction)
                if transaction.done:
                    break
                if cut_at_end and transaction.octets_sent and transaction.stage == "END":
                    self.session.note("fault: connection broken off after the end of data")
                    self.abort()
                    raise ConnectionResetError("connection broken off by a scripted fault")
                if not self._replies:
                    if self._why:
                        raise ConnectionResetError(self._why)
                    self._heeded = transaction if little else None
                    await self._sleep(_limit(transaction.stage, timeouts))
        except TimeoutError:
            transaction.lost(f"{self.hop.host}: no reply in time while waiting for {transaction.stage}")
            self.session.note("no reply in time")
        except (ConnectionError, PeerViolation) as error:
            transaction.lost(f"{self.hop.host}: {cause_of(error)}")
            self.session.note(cause_of(error))
        finally:
            if not transaction.reusable or self._replies:
                self.abort()

    def _hear(self, transaction: Transaction) -> None:
        """Give the transaction the replies that have come."""
        replies, session = self._replies, self.session
        while replies and not transaction.done:
            answer = replies.popleft()
            note_reply(session, answer)
            transaction.feed(answer)

    def _go_on(self, transaction: Transaction) -> bool:
        """Say at once what is to be said, and what the replies lead to. False where that ends or has to wait."""
        self._hear(transaction)
        transport = self._transport
        if transaction.done or transport is None or transport.is_closing():
            return False
        if pieces := transaction.drain():
            self._say(transport, pieces)
        return not self._paused

    def _say(self, transport: asyncio.Transport, pieces: Sequence[Sent]) -> None:
        """One system call for all of them."""
        for piece in pieces:
            self.session.client(piece.shown)
        transport.write(b"".join([piece.octets for piece in pieces]))

    async def _write(self, transaction: Transaction) -> None:
        pieces = transaction.drain()
        if not pieces and not self._paused:
            return
        transport = self._transport
        if transport is None or transport.is_closing():
            transaction.octets_sent = False
            raise ConnectionResetError(self._why or "connection lost")
        try:
            # Large octets go as they are, without a copy.
            small: list[Sent] = []
            for piece in pieces:
                if len(piece.octets) < SLICE:
                    small.append(piece)
                    continue
                if small:
                    self._say(transport, small)
                    small = []
                self.session.client(piece.shown)
                # In slices: a transport copies what it cannot send at once, and each block has its own deadline.
                view = memoryview(piece.octets)
                for start in range(0, len(view), SLICE):
                    transport.write(view[start : start + SLICE])
                    await self._written()
            if small:
                self._say(transport, small)
            if self._paused:
                await self._written()
        except (TimeoutError, ConnectionError):
            transaction.octets_sent = False  # its end has not left this machine
            raise

    async def _written(self) -> None:
        while self._paused:
            if self._why:
                raise ConnectionResetError(self._why)
            await self._sleep(self._timeouts.block)

    async def _wait(self, limit: float) -> None:
        while not self._replies:
            if self._why:
                raise ConnectionResetError(self._why)
            await self._sleep(limit)

    async def _sleep(self, limit: float) -> None:
        self._waiter = self.loop.create_future()
        self._deadline_in(limit)
        try:
            await self._waiter
        finally:
            self._waiter = self._heeded = None

    def _deadline_in(self, limit: float) -> None:
        self._deadline = self.loop.time() + limit
        if self._deadline < self._alarm_at:
            self._set_alarm(self._deadline)

    def _awake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _set_alarm(self, at: float) -> None:
        """One timer for many waits: minutes long, they nearly always end in milliseconds."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm, self._alarm_at = self.loop.call_at(at, self._ring), at

    def _ring(self) -> None:
        self._alarm, self._alarm_at = None, math.inf
        if self._waiter is None or self._waiter.done():
            return
        if self._deadline > self.loop.time():
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
            self._replies += replies
            if self._waiter is None:
                self.usable = False  # nothing was asked: mostly 421, going away
            elif self._heeded is not None and self._go_on(self._heeded):
                self._deadline_in(_limit(self._heeded.stage, self._timeouts))  # without a turn of `run`
            else:
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
    *before, last = answer.lines
    for line in before:
        session.server(f"{answer.code}-{prefix}{line}")
    session.server(f"{answer.code} {prefix}{last}")


def printable(answer: Reply) -> Reply:
    """Octets that are no UTF-8 shown as \\xNN: replies are stored, and end up in notifications."""
    if all(map(str.isascii, answer.lines)):
        return answer
    lines = (line.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for line in answer.lines)
    return Reply(answer.code, answer.enhanced, tuple(lines))
