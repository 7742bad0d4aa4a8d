"""The wire of one SMTP session: replies out, the session's record, time, faults, and commands stepped.

Invariant: whatever goes out is in the record first, and a session has one outcome, the first that is found. Base of
`receiving` and `connection`; reads nothing itself.
"""

import abc
import asyncio
import socket
import struct
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from aiosmtpd.smtp import TLSSetupException

from mailsandbox.faults import Action, Delay, Drop, Respond
from mailsandbox.journey.sessions import SessionRecord
from mailsandbox.smtp.replies import Reply, reply
from mailsandbox.submit.commands import SmtpCommands, reply_of
from mailsandbox.submit.conversation import Hang
from mailsandbox.submit.eager import Waiting, start, within_task
from mailsandbox.submit.legible import Legible
from mailsandbox.submit.model import Authentication
from mailsandbox.submit.spool import Spool

if TYPE_CHECKING:
    from mailsandbox.submit.listener import Shared

MAX_AHEAD: Final = 65_536  # octets a client may send ahead while we work; then reading pauses

_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER on with 0 seconds: close() sends RST
_BEGIN_ANEW: Final = ("MAIL", "RSET")
_FLUSHED: Final = (220, 221, 334, 421)  # replies after which something other than a reply happens on the wire

# What the next octets are. Words and no enum: Python 3.11 looks up an enum's member in the time of three calls.
Reading = Literal[
    "early",  # nothing: the client waits for the greeting
    "response",  # read by aiosmtpd: a PROXY header, the answer to a challenge
    "command",  # command lines
    "overlong",  # the rest of a line that is too long
    "data",  # message data up to CRLF.CRLF
    "chunk",  # a BDAT chunk
    "waiting",  # kept until what we do is done
    "closed",  # not wanted any more
]


class SmtpWire(SmtpCommands):
    """Replies, record, time and faults of one client."""

    transport: asyncio.Transport | None
    _record: SessionRecord

    def __init__(self, shared: "Shared") -> None:
        self._shared = shared
        self.spec = spec = shared.spec
        self._context = context = shared.context
        if shared.prototype is None:
            # aiosmtpd's own __init__, with all it looks up; once for each listener.
            super().__init__(
                shared.handler,
                data_size_limit=spec.max_octets,
                enable_SMTPUTF8="SMTPUTF8" in spec.offers,
                hostname=spec.hostname,
                ident="mailsandbox",
                tls_context=context.tls,
                require_starttls=spec.tls_required,
                timeout=spec.limits.command_seconds,
                auth_require_tls=spec.auth_needs_tls,
                command_call_limit=spec.limits.calls or None,
                loop=shared.loop,
            )
            self._auth_required = spec.authentication is Authentication.REQUIRED
            return
        # A connection begins with what was found then, and with a reader of its own.
        self.__dict__.update(shared.prototype.__dict__)
        reader = asyncio.StreamReader(limit=spec.limits.auth_line, loop=shared.loop)
        asyncio.StreamReaderProtocol.__init__(
            self, reader, client_connected_cb=self._cb_client_connected, loop=shared.loop
        )
        self._faults = context.faults
        self._reading: Reading = "early"
        self._input = bytearray()
        self._out: list[bytes] = []
        self._spool: Spool | None = None
        self._heard = self._receiving_since = 0.0
        self._line_since = 0.0  # when the line began that has not ended yet; 0: there is none
        self._eof = self._stopped_reading = self._stopped_writing = self._muted = False
        self._before_response: Reading = "early"
        self._waited_for: Waiting | None = None
        self._handing_over = self._stopping = False
        self._line_ended = False  # of what aiosmtpd's reader was given last
        self._errors = self._auth_failures = self._accepted = self._refused = 0
        self._outcome = ""
        self._verb = ""  # of the command that is answered
        self._may_quote = ""  # the word in a command's place, where its line is not shown in the record
        self._legible = Legible(shared.methods)

    @abc.abstractmethod
    def _run(self) -> None:
        """Answer the lines that are here."""

    # -- commands, stepped -------------------------------------------------------------------------------------------

    def _step(
        self,
        command: Coroutine[Any, Any, None],  # Any: asyncio's own protocol between task and future
        *,
        once: bool = False,
    ) -> None:
        """Run a command as far as it goes without waiting; its rest becomes a task.

        `once`: it waits for one future mostly, and goes on where that is done; a task only if it waits again.
        """
        try:
            waiting = start(command)
        except Exception as error:
            self._failed(error)
            return
        if waiting is not None:
            if self._reading == "command":
                self._reading = "waiting"
            self._flush()
            self._waited_for = waiting
            if not (once and waiting.when_done(self._resume)):
                self._shared.spawn(self._wait(waiting), "command")

    def _resume(self, waiting: Waiting) -> None:
        try:
            if not waiting.ends():
                self._shared.spawn(self._wait(waiting), "command")
                return
        except (ConnectionError, asyncio.CancelledError):
            self._end("")
        except Exception as error:
            self._failed(error)
        self._waited(waiting)

    async def _wait(self, waiting: Waiting) -> None:
        try:
            await waiting.rest()
        except ConnectionError:
            self._end("")
        except asyncio.CancelledError:
            self._end("")
            raise
        except Exception as error:
            self._failed(error)
        self._waited(waiting)

    def _waited(self, waiting: Waiting) -> None:
        # It may have begun the next that waits: the end of a message goes on with the commands behind it.
        if self._waited_for is waiting:
            self._waited_for = None  # and with it what it waited for, which may hold the message
            if self._reading == "waiting":
                self._reading = "command"
        self._heard = self.loop.time()
        self._run()

    def _failed(self, error: Exception) -> None:
        if isinstance(error, TLSSetupException):
            self._tls_failed(error)
        else:
            self.say(self._local_error(error))

    def _local_error(self, error: Exception) -> Reply:
        """What the client is told of a failure of ours: aiosmtpd's hook says it, and does not wait."""
        try:
            self.handle_exception(error).send(None)
        except StopIteration as done:
            return reply_of(done.value)
        raise AssertionError("handle_exception() waits")

    def _tls_failed(self, error: TLSSetupException) -> None:
        cause = error.__cause__
        self._record.note(f"TLS handshake failed: {str(cause) or type(cause).__name__}")
        self._outcome = "tls failed"
        if self._original_transport is not None:
            self._original_transport.close()
        self.connection_lost(None)

    # -- scripted faults ---------------------------------------------------------------------------------------------

    async def _suffer(self, action: Action, *, hang: bool = False) -> bool:
        """Carry out a scripted fault; whether what would have happened shall happen."""
        self._record.note(f"fault: {action}")
        match action:
            case Respond(code=code, text=text, enhanced=enhanced):
                said = reply(code, enhanced, text)
                if hang or code == 421:
                    self.hang(Hang(said, "fault"))
                else:
                    self.say(said)
                return False
            case Drop(reset=reset):
                self._outcome = "fault"
                self._break(reset=reset)
                return False
            case Delay(seconds=seconds):
                self._reading = "waiting"
                clock = self._context.clock
                await within_task()
                with clock.resting():  # a relay of this sandbox may be the client, and its clock waits for it
                    await clock.sleep_until(clock.now() + seconds)
                return self._reading == "waiting"

    # -- replies and the end -----------------------------------------------------------------------------------------

    def say(self, answer: Reply, *, utf8: bool = False) -> None:
        """Reply; sent with those before it when no more commands are here."""
        if self._muted:
            return
        code = answer.code
        if code >= 400:
            answer = self._count(answer)
        if answer.enhanced and not self.spec.enhanced_codes:
            answer = Reply(answer.code, "", answer.lines)
        line, octets = answer.in_one_line() or ("", answer.encode(utf8=utf8))
        self._out.append(octets)
        if self._may_quote:
            # What was not shown of the command may stand in the reply to it.
            text = (
                answer.text.replace(f" {self._may_quote} ", " *** ")
                if self._verb not in self._shared.methods
                else "***"
            )
            self._record.server(str(Reply(answer.code, answer.enhanced, (text,))))
            self._may_quote = ""
        elif line:
            self._record.server(line)
        elif len(answer.lines) == 1:
            self._record.server(octets[:-2].decode())
        else:
            for one in octets.decode().splitlines():
                self._record.server(one)
        if self._legible.in_doubt and code == 250 and self._verb in _BEGIN_ANEW:
            self._legible.in_doubt = False
        if code in _FLUSHED:
            self._flush()
        if answer.code == 421 and self._reading != "closed":
            self._end("closed" if self._accepted else "rejected")

    def _count(self, answer: Reply) -> Reply:
        """Refusals and errors are counted; too many end the session, by 421 in their place."""
        if self.envelope.open or self._verb == "MAIL":  # a message that MAIL does not let begin is refused too
            self._refused += 1
        if answer.code == 535:
            self._auth_failures += 1
            if self._auth_failures >= self.spec.limits.auth_failures:
                return reply(421, "4.7.0", "Too many failed authentications")
        if answer.permanent:
            self._errors += 1
            if self._errors > self.spec.limits.errors:
                return reply(421, "4.7.0", "Too many errors")
        return answer

    def say_line(self, line: str) -> None:
        """One line of a longer reply."""
        octets = line.encode("ascii", "backslashreplace")
        self._out.append(octets + b"\r\n")
        self._record.server("334 ***" if line.startswith("334") else octets.decode("ascii"))
        if line.startswith("334"):
            self._flush()

    def take_response(self, *, expected: bool) -> None:
        """Lines go to aiosmtpd's reader, or come back from there."""
        held = self._reader._buffer  # type: ignore[attr-defined]  # aiosmtpd empties it in the same way
        if expected:
            self._before_response, self._reading = self._reading, "response"
            self._line_since = self.loop.time()
            if self._input:
                self._line_ended = self._input.endswith(b"\n")
                self._reader.feed_data(bytes(self._input))
                self._input.clear()
            return
        self._line_since = 0.0
        if self._reading == "response":
            self._reading = self._before_response
        self._input += held
        held.clear()

    def hide_response(self) -> None:
        """For the answer to a challenge."""
        self._record.client("***")

    def has_more_input(self) -> bool:
        """Whether the client has sent more than has been read."""
        return bool(self._input)

    def identify(self) -> None:
        """The client's address, name or login changed: note it."""
        client = self.conversation.client
        self._record.helo = client.helo
        self._record.account = client.login
        if self._record.peer != client.where:
            self._record.peer = client.where
            self._record.note(f"the client is {client.where}")

    def _flush(self) -> None:
        out = self._out
        if out:
            if self.transport is not None:
                self.transport.write(out[0] if len(out) == 1 else b"".join(out))
            out.clear()

    def hang(self, answer: Hang) -> None:
        """Reply and close; what the client sent besides is counted, not answered."""
        for line in self._legible.unasked(bytes(self._input)):
            self._record.client(line)
        # A server may end any session by 421 (RFC 5321 §3.8): what it has taken before is taken.
        ended_well = self._accepted and answer.reply.code == 421 and answer.outcome == "rejected"
        self._outcome = self._outcome or ("closed" if ended_well else answer.outcome)
        self._reading = "closed"
        self.say(answer.reply)
        self._end(answer.outcome)

    def finish(self, outcome: str) -> None:
        """The session ends in order; a session whose every message was refused was rejected."""
        self._outcome = self._outcome or ("rejected" if self._refused and not self._accepted else outcome)
        self._reading = "closed"
        self._input.clear()

    def _end(self, outcome: str) -> None:
        """Send what is left, then close. May be called again. "" leaves the outcome to be found."""
        self._outcome = self._outcome or outcome
        self._flush()
        if self._outcome:
            self._reading = "closed"
        self._input.clear()
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()

    def _break(self, *, reset: bool) -> None:
        self._out.clear()
        self._reading = "closed"
        # Under TLS, the connection itself. (uvloop's transports are no asyncio.Transport by type.)
        below = cast(asyncio.Transport | None, self._original_transport or self.transport)
        if below is None:
            return
        raw = below.get_extra_info("socket")
        if reset and raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        below.abort()

    def abort(self) -> None:
        """Break off without a word."""
        self._outcome = self._outcome or "aborted"
        self._break(reset=False)

    def stop(self) -> None:
        """The listener stops (RFC 5321 §3.8: 421)."""
        if self._handing_over:
            self._stopping = True  # the message will be stored: were its sender not told, it would come again
        elif self._reading in ("waiting", "response"):
            self._end("closed")
        elif self._reading != "closed":
            self.hang(Hang(reply(421, "4.3.2", f"{self.spec.hostname} shutting down"), "closed"))

    # -- time --------------------------------------------------------------------------------------------------------

    def _reset_timeout(self, duration: float | None = None) -> None:
        """aiosmtpd makes a timer for each command; one that looks when the client was last heard does for all."""
        self._heard = self.loop.time()
        if self._timeout_handle is None or duration is not None:
            if self._timeout_handle is not None:
                self._timeout_handle.cancel()
            self._timeout_handle = self.loop.call_later(duration or self._timeout_duration, self._timeout_cb)

    def _timeout_cb(self) -> None:
        limits, now = self.spec.limits, self.loop.time()
        if self._reading == "waiting":
            self._heard = now
        # A line that comes octet by octet has no more time than one that does not come.
        left = (self._line_since or self._heard) + limits.command_seconds - now
        if self._reading in ("data", "chunk"):
            left = min(left, self._receiving_since + limits.message_seconds - now)
        if left > 0 and not (self._reading == "response" and not self.session.helo):
            self._timeout_handle = self.loop.call_later(left, self._timeout_cb)
        elif self._reading != "closed":
            self._record.note("the client took too long")
            # RFC 5321 §4.5.3.2: 421 before closing; RFC 3463 §3.5: X.4.2 bad connection.
            self.hang(Hang(reply(421, "4.4.2", f"{self.spec.hostname} timeout exceeded"), "timed out"))

    def _pause(self) -> None:
        if not self._stopped_reading and self.transport is not None:
            self._stopped_reading = True
            self.transport.pause_reading()
