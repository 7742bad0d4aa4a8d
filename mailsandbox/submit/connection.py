"""One connection of the SMTP server: aiosmtpd's protocol with the conversation, the data path and the timers replaced.

    octets ──▶ data_received ──▶ lines ──▶ Conversation ──▶ answer ──▶ replies, grouped (RFC 2920 §3.2)
                       └──▶ DataReader or BDAT count ──▶ Spool ──▶ Gate ──▶ context.accept ──▶ 250

Commands are answered within `data_received`; a task is made only for what waits: delivery, TLS, a delay. Every line,
reply and event goes to the session's record, so that refused and broken-off sessions are remembered as well.

Of aiosmtpd.smtp.SMTP stays its place in asyncio and every check it makes; replaced are the reader that goes line by
line, the parser over email._header_value_parser, and what it looks up by introspection for each connection.
"""

import asyncio
import enum
import logging
import socket
import ssl
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from aiosmtpd.smtp import SMTP

from mailsandbox.errors import QueueError, StoreError
from mailsandbox.faults import Action, Delay, Drop, Respond
from mailsandbox.journey.sessions import SessionRecord
from mailsandbox.message.findings import Finding
from mailsandbox.smtp.data import DataReader
from mailsandbox.smtp.replies import Reply, reply
from mailsandbox.submit.answers import Answer, Hang, Renew, StartTls, TakeChunk, TakeData
from mailsandbox.submit.conversation import Conversation
from mailsandbox.submit.gate import add_transcript
from mailsandbox.submit.model import Incoming, Kind
from mailsandbox.submit.proxy import BadProxyHeader, read_proxy_header
from mailsandbox.submit.spool import Spool
from mailsandbox.submit.transaction import Client, Transaction

if TYPE_CHECKING:
    from mailsandbox.submit.listener import Shared

_log = logging.getLogger(__name__)

MAX_AHEAD: Final = 65_536  # octets a client may send ahead while we work; then reading pauses
TLS_HANDSHAKE_SECONDS: Final = 30.0

_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER on with 0 seconds: close() sends RST


class Reading(enum.Enum):
    """What the next octets are."""

    PROXY = "the PROXY header"
    EARLY = "nothing: the client waits for the greeting"
    COMMAND = "command lines"
    OVERLONG = "the rest of a line that is too long"
    DATA = "message data up to CRLF.CRLF"
    CHUNK = "a BDAT chunk"
    WAITING = "kept until what we do is done"
    CLOSED = "not wanted any more"


class SmtpConnection(SMTP):
    """One client."""

    # aiosmtpd's attributes that keep their meaning; typed here as it assigns them in an __init__ we do not run: it
    # looks up hooks, commands and mechanisms by introspection, which costs more than a whole message.
    transport: asyncio.Transport | None
    _record: SessionRecord
    _conversation: Conversation

    def __init__(self, shared: "Shared") -> None:
        self.loop = shared.loop
        self.transport = None
        self._shared = shared
        self._spec = shared.spec
        self._context = shared.context
        self._faults = shared.context.faults
        self._reading = Reading.EARLY
        self._input = bytearray()
        self._out: list[bytes] = []
        self._data = DataReader()
        self._spool: Spool | None = None
        self._chunk = TakeChunk(0, last=False)
        self._chunk_left = 0
        self._timer: asyncio.TimerHandle | None = None
        self._heard = self._receiving_since = 0.0
        self._eof = self._stopped_reading = self._stopped_writing = False
        self._accepted = self._refused = 0
        self._mark = 0  # where in the transcript the last transaction ended
        self._outcome = ""

    # -- asyncio -----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came; called once, STARTTLS does not call it again."""
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.transport = transport  # type: ignore[assignment]  # a stream transport, see above
        peer = transport.get_extra_info("peername")
        local = transport.get_extra_info("sockname")
        client = Client(peer[0], peer[1]) if isinstance(peer, tuple) else Client("")
        where = f"{local[0]}:{local[1]}" if isinstance(local, tuple) else str(local)
        protocol = "lmtp" if self._spec.kind is Kind.LMTP else "smtp"
        self._record = self._context.sessions.open(protocol, self._spec.service, peer=client.peer, local=where)
        self._conversation = self._shared.converse(client)
        self._heard = self.loop.time()
        self._timer = self.loop.call_later(self._spec.limits.command_seconds, self._check_time)
        if (refusal := self._shared.enter(self, client.address)) is not None:
            self._hang(Hang(refusal, "rejected"))
        elif client.address in self._shared.proxies:
            self._reading = Reading.PROXY
        else:
            self._welcome()

    def data_received(self, data: bytes) -> None:
        """Octets of whatever is being read."""
        reading = self._reading
        self._heard = self.loop.time()
        if reading is Reading.COMMAND or reading is Reading.OVERLONG:
            self._input += data
            self._run()
        elif reading is Reading.DATA:
            self._take_data(data)
        elif reading is Reading.CHUNK:
            self._input += data
            self._take_chunk()
        elif reading is not Reading.CLOSED:
            self._input += data
            if reading is Reading.PROXY:
                self._take_proxy_header()
            elif len(self._input) > MAX_AHEAD:
                self._pause()

    def eof_received(self) -> bool | None:
        """The client sends no more. What it sent is answered still, where the transport allows it."""
        self._eof = True
        if self._reading is Reading.WAITING and not self._conversation.client.tls:
            return True
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, from either side."""
        reading, self._reading = self._reading, Reading.CLOSED
        self.transport = None
        if self._timer is not None:
            self._timer.cancel()
        if self._spool is not None and reading is not Reading.WAITING:
            self._spool.discard()
        self._shared.leave(self)
        inside = reading in (Reading.DATA, Reading.CHUNK) or self._conversation.transaction is not None
        if not self._outcome:
            self._outcome = "aborted" if inside else "hung up"
            self._record.note(f"connection lost{f': {exc}' if exc else ''}")
        self._record.close(self._outcome)

    def pause_writing(self) -> None:
        """The client does not read its replies: answer nothing more until it does."""
        self._stopped_writing = True

    def resume_writing(self) -> None:
        self._stopped_writing = False
        self._run()

    # -- beginning ---------------------------------------------------------------------------------------------------

    def _welcome(self) -> None:
        """Greet, after TLS where it comes first (RFC 8314 §3.3), after a fault where one is scripted."""
        self._reading = Reading.WAITING
        if self._spec.kind is Kind.SUBMISSIONS and not self._conversation.client.tls:
            self._start_tls()
            return
        action = self._faults.match("smtp", site=self._spec.site, stage="connect")
        if action is not None:
            self._act(action, self._await_silence, hang=True)
        else:
            self._await_silence()

    def _await_silence(self) -> None:
        self._reading = Reading.EARLY
        delay = self._spec.limits.greeting_delay
        if delay:
            self.loop.call_later(delay, self._greet)
        else:
            # Two turns of the loop: what lay in the socket when the client was accepted has been read by then.
            self.loop.call_soon(self.loop.call_soon, self._greet)

    def _greet(self) -> None:
        if self._reading is not Reading.EARLY:
            return
        if self._input:
            # RFC 5321 §3.1, §4.3.1: the client waits for the greeting.
            self._show_input()
            self._hang(Hang(reply(554, "5.5.0", "You spoke before the greeting (RFC 5321 §4.3.1)"), "rejected"))
            return
        self._say(self._conversation.greeting())
        self._reading = Reading.COMMAND
        self._run()

    def _take_proxy_header(self) -> None:
        found = read_proxy_header(bytes(self._input))
        if found is None:
            return
        if isinstance(found, BadProxyHeader):
            self._record.note(f"bad PROXY header: {found.reason}")
            self._outcome = "rejected"
            self._close()
            return
        del self._input[: found.octets]
        if found.address:
            client = Client(found.address, found.port)
            self._record.note(f"PROXY: the client is {client.peer}")
            self._record.peer = client.peer
            self._conversation = self._shared.converse(client)
        self._welcome()

    # -- commands ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        """Answer the lines that are here."""
        while self._input and not self._stopped_writing:
            if self._reading is Reading.OVERLONG:
                self._skip_overlong()
            elif self._reading is not Reading.COMMAND or not self._next_line():
                break
        self._flush()
        if self._eof and self._reading is Reading.COMMAND and not self._stopped_writing:
            self._close()
        elif len(self._input) > MAX_AHEAD:
            self._pause()
        elif self._stopped_reading and self._reading not in (Reading.WAITING, Reading.CLOSED):
            self._stopped_reading = False
            if self.transport is not None:
                self.transport.resume_reading()

    def _next_line(self) -> bool:
        end = self._input.find(b"\n") + 1
        if not end:
            limit = self._conversation.line_limit(self._input[:8].partition(b" ")[0].decode("latin-1").upper())
            if len(self._input) > limit:
                self._input.clear()
                self._reading = Reading.OVERLONG
            return False
        line = bytes(self._input[:end])
        del self._input[:end]
        self._line(line)
        return True

    def _skip_overlong(self) -> None:
        end = self._input.find(b"\n") + 1
        if not end:
            self._input.clear()
            return
        del self._input[:end]
        self._reading = Reading.COMMAND
        self._record.client("[a line that is too long]")
        self._carry_out(self._conversation.refused(_TOO_LONG))

    def _line(self, line: bytes) -> None:
        text = line.decode("utf-8", "surrogateescape").rstrip("\n").removesuffix("\r")
        conversation = self._conversation
        secret = conversation.reads_secret
        verb = "" if secret else text.partition(" ")[0].upper()
        self._record.client(_shown(text, verb, secret=secret))
        limits = self._spec.limits
        if len(line) > limits.command_line and len(line) > conversation.line_limit(verb):
            self._carry_out(conversation.refused(_TOO_LONG))
            return
        if not line.endswith(b"\r\n"):
            # RFC 5321 §2.3.8: lines end with CRLF and nothing else.
            if not self._spec.tolerant:
                self._carry_out(conversation.refused(_BARE_LF))
                return
            self._remark("command line ends with a bare LF", "RFC 5321 §2.3.8")
        if self._input and "PIPELINING" not in conversation.offers and verb not in ("BDAT", ""):
            # RFC 2920 §3.1: only where the server offers it may a client send on before the reply. LMTP needs it.
            self._show_input()
            self._hang(Hang(reply(503, "5.5.0", "PIPELINING is not offered here (RFC 2920 §3.1)"), "rejected"))
            return
        if self._faults and not secret:
            stage = _STAGES.get(verb, verb.lower())
            account = text.partition("<")[2].partition(">")[0]
            action = self._faults.match("smtp", site=self._spec.site, stage=stage, account=account, text=text)
            if action is not None:
                if verb == "BDAT" and isinstance(action, Respond):
                    self._refuse_chunk(text, action)
                else:
                    self._act(action, lambda: self._command(text))
                return
        self._command(text)

    def _command(self, text: str) -> None:
        answer = self._conversation.command(text)
        if self._spool is not None and self._conversation.transaction is None and not isinstance(answer, TakeChunk):
            self._spool.discard()  # chunks of a transaction that RSET or EHLO ended
            self._spool = None
        self._carry_out(answer)

    def _carry_out(self, answer: Answer) -> None:
        match answer:
            case Reply():
                if answer.code >= 400 and self._conversation.transaction is not None:
                    self._refused += 1
                self._say(answer)
            case TakeData():
                self._begin_data(answer)
            case TakeChunk():
                self._begin_chunk(answer)
            case StartTls():
                if self._input:
                    # RFC 3207 §6, CVE-2011-0411: what was sent in clear after STARTTLS must not count as protected.
                    self._show_input()
                    refusal = reply(554, "5.5.0", "Octets in clear after STARTTLS (RFC 3207 §6)")
                    self._hang(Hang(refusal, "rejected"))
                else:
                    self._say(answer.reply)
                    self._start_tls()
            case Renew():
                client = self._conversation.client
                self._record.note(f"XCLIENT: the client is {client.peer}")
                self._record.peer = client.peer
                self._say(self._conversation.greeting())
            case Hang():
                self._hang(answer)

    # -- message data ------------------------------------------------------------------------------------------------

    def _begin_data(self, answer: TakeData) -> None:
        if self._input:
            # RFC 2920 §3.1: DATA is the last command of a group; what follows it unasked may be smuggled commands.
            self._show_input()
            self._hang(Hang(reply(554, "5.5.0", "Message data before the 354 (RFC 2920 §3.1)"), "rejected"))
            return
        self._say(answer.reply)
        self._spool = self._shared.spool()
        self._data = DataReader()
        self._receiving_since = self._heard
        self._reading = Reading.DATA

    def _take_data(self, octets: bytes) -> None:
        assert self._spool is not None
        reader = self._data
        if content := reader.feed(octets):
            self._spool.append(content)
        if reader.ended:
            self._input += reader.rest
            self._record.client(f"[{self._spool.size} octets of message data]")
            self._record.client(".")
            self._end_of_message()

    def _begin_chunk(self, answer: TakeChunk) -> None:
        transaction = self._conversation.transaction
        if answer.refusal is None and transaction is not None:
            transaction.chunks += 1
            if self._spool is None:
                self._spool = self._shared.spool()
                self._receiving_since = self._heard
        elif transaction is not None:
            transaction.broken = True
        self._chunk, self._chunk_left = answer, answer.octets
        self._reading = Reading.CHUNK
        self._take_chunk()

    def _take_chunk(self) -> None:
        octets = bytes(self._input[: self._chunk_left])
        del self._input[: len(octets)]
        self._chunk_left -= len(octets)
        if self._spool is not None and self._chunk.refusal is None:
            self._spool.append(octets)
        if not self._chunk_left:
            self._end_of_chunk()

    def _end_of_chunk(self) -> None:
        chunk, transaction = self._chunk, self._conversation.transaction
        if chunk.octets:
            self._record.client(f"[{chunk.octets} octets of message data]")
        if chunk.refusal is not None:
            self._proceed(chunk.refusal)
        elif chunk.last:
            self._end_of_message()
        elif self._spool is not None and self._spool.too_large and transaction is not None:
            transaction.broken = True
            self._proceed(self._too_large(self._spool.size))
        else:
            self._proceed(reply(250, "2.0.0", f"{chunk.octets} octets received"))

    def _end_of_message(self) -> None:
        """Everything is here; judge it and hand it over."""
        self._reading = Reading.WAITING
        spool, self._spool = self._spool, None
        transaction = self._conversation.take_transaction()
        assert spool is not None
        if spool.too_large:
            refusal = self._too_large(spool.size)
            spool.discard()
            self._settle(transaction, refusal)
            return
        recipients = ",".join(transaction.recipients)
        action = self._faults.match("smtp", site=self._spec.site, stage="message", account=recipients)
        if action is not None:
            self._act(
                action, lambda: self._judge(spool, transaction), refuse=lambda said: self._settle(transaction, said)
            )
        elif self._shared.memory.try_grant(spool.size):
            self._judge(spool, transaction, granted=True)
        else:
            self._judge(spool, transaction)

    def _judge(self, spool: Spool, transaction: Transaction, *, granted: bool = False) -> None:
        size = spool.size
        if not granted and not self._shared.memory.try_grant(size):
            self._shared.spawn(self._judge_later(spool, transaction), "wait for memory")
            return
        try:
            outcome = self._examine(spool.whole(), transaction)
        except Exception:
            self._shared.memory.give_back(size)
            _log.exception("the gate failed on a message of session %s", self._record.id)
            self._settle(transaction, _LOCAL_ERROR)
            return
        if isinstance(outcome, Reply):
            self._shared.memory.give_back(size)
            self._settle(transaction, outcome)
        else:
            self._shared.spawn(self._hand_over(outcome, transaction, size), "hand over")

    async def _judge_later(self, spool: Spool, transaction: Transaction) -> None:
        await self._shared.memory.grant(spool.size)
        self._judge(spool, transaction, granted=True)

    def _examine(self, octets: bytes, transaction: Transaction) -> Incoming | Reply:
        gate, conversation = self._shared.gate, self._conversation
        outcome, findings = gate.judge(octets, transaction, offers=conversation.offers)
        for finding in findings:
            self._record.finding(finding)
        if isinstance(outcome, Reply):
            return outcome
        incoming = gate.admit(
            outcome,
            findings,
            transaction,
            client=conversation.client,
            queue_id=self._context.new_id(),
            session_id=self._record.id,
            now=self._context.clock.now(),
        )
        add_transcript(incoming, self._record.since(self._mark))
        return incoming

    async def _hand_over(self, incoming: Incoming, transaction: Transaction, size: int) -> None:
        try:
            with self._context.clock.working():
                answer = await self._context.accept(incoming)
        except (StoreError, QueueError) as error:
            self._record.note(f"not stored: {error}")
            # RFC 3463 §3.4: X.3.1 mail system full, for now.
            answer = reply(452, "4.3.1", f"Cannot store the message now: {_one_line(str(error))}")
        except Exception:
            _log.exception("the message of session %s was not handed over", self._record.id)
            answer = _LOCAL_ERROR
        finally:
            self._shared.memory.give_back(size)
        self._settle(transaction, answer)

    def _settle(self, transaction: Transaction, answer: Reply) -> None:
        """The last word on a transaction. RFC 2033 §4.2: LMTP has one reply for each recipient."""
        if answer.positive:
            self._accepted += 1
        else:
            self._refused += 1
        times = len(transaction.recipients) if self._spec.kind is Kind.LMTP else 1
        for _ in range(times - 1):
            self._say(answer)
        self._mark = self._record.mark + 1
        self._proceed(answer)

    def _proceed(self, answer: Reply) -> None:
        """Answer, and go on reading commands."""
        if self._reading is Reading.CLOSED:
            self._record.note(f"too late to be told: {answer}")
            return
        self._say(answer)
        self._reading = Reading.COMMAND
        self._heard = self.loop.time()
        self._run()

    def _too_large(self, size: int) -> Reply:
        return reply(552, "5.3.4", f"Message of {size} octets, the limit is {self._spec.max_octets} (RFC 1870 §6.1)")

    # -- TLS ---------------------------------------------------------------------------------------------------------

    def _start_tls(self) -> None:
        self._flush()
        self._reading = Reading.WAITING
        assert self.transport is not None
        self.transport.pause_reading()  # the handshake is not ours to read; start_tls resumes
        self._shared.spawn(self._upgrade(), "TLS handshake")

    async def _upgrade(self) -> None:
        context = self._context.tls
        if context is None or self.transport is None:
            self._close()
            return
        try:
            upgraded = await self.loop.start_tls(
                self.transport, self, context, server_side=True, ssl_handshake_timeout=TLS_HANDSHAKE_SECONDS
            )
        except (OSError, EOFError) as error:
            self._record.note(f"TLS handshake failed: {str(error) or type(error).__name__}")
            self._outcome = "tls failed"
            self._close()
            return
        if upgraded is None or self._reading is Reading.CLOSED:
            return
        self.transport = upgraded
        established: ssl.SSLObject = upgraded.get_extra_info("ssl_object")
        cipher = established.cipher()
        facts = f"{established.version()} {cipher[0] if cipher else ''}".strip()
        self._record.note(f"TLS established: {facts}")
        self._record.tls = facts
        self._conversation.tls_started(facts)
        if self._spec.kind is Kind.SUBMISSIONS:
            self._welcome()
        else:
            self._reading = Reading.COMMAND
            self._run()

    # -- faults ------------------------------------------------------------------------------------------------------

    def _act(
        self,
        action: Action,
        then: Callable[[], None],
        *,
        hang: bool = False,
        refuse: Callable[[Reply], None] | None = None,
    ) -> None:
        """Carry out a scripted fault; `then` is what would have happened."""
        self._record.note(f"fault: {action}")
        match action:
            case Respond(code=code, text=text, enhanced=enhanced):
                said = reply(code, enhanced, text)
                if hang:
                    self._hang(Hang(said, "fault"))
                elif refuse is not None:
                    refuse(said)
                elif code == 421:
                    self._hang(Hang(said, "fault"))
                else:
                    self._say(said)
            case Drop(reset=reset):
                self._outcome = "fault"
                self._break(reset=reset)
            case Delay(seconds=seconds):
                self._reading = Reading.WAITING
                self._shared.spawn(self._later(seconds, then), "scripted delay")

    async def _later(self, seconds: float, then: Callable[[], None]) -> None:
        clock = self._context.clock
        await clock.sleep_until(clock.now() + seconds)
        if self._reading is Reading.WAITING:
            self._reading = Reading.COMMAND
            then()
            self._run()

    def _refuse_chunk(self, text: str, action: Respond) -> None:
        """A scripted reply to BDAT: its octets come all the same."""
        answer = self._conversation.command(text)
        self._record.note(f"fault: {action}")
        if isinstance(answer, TakeChunk):
            answer = TakeChunk(answer.octets, answer.last, reply(action.code, action.enhanced, action.text))
        self._carry_out(answer)

    # -- replies and the end -----------------------------------------------------------------------------------------

    def _say(self, answer: Reply) -> None:
        if answer.enhanced and not self._spec.enhanced_codes:
            answer = Reply(answer.code, "", answer.lines)
        octets = answer.encode()
        self._out.append(octets)
        if len(answer.lines) == 1:
            self._record.server(octets[:-2].decode("utf-8", "replace"))
        else:
            for line in octets.decode("utf-8", "replace").splitlines():
                self._record.server(line)

    def _flush(self) -> None:
        if self._out and self.transport is not None:
            self.transport.write(b"".join(self._out))
        self._out.clear()

    def _hang(self, answer: Hang) -> None:
        if answer.outcome == "closed" and self._refused and not self._accepted:
            self._outcome = "rejected"
        else:
            self._outcome = self._outcome or answer.outcome
        self._say(answer.reply)
        self._close()

    def _close(self) -> None:
        """Send what is left, then close. May be called again."""
        self._flush()
        self._reading = Reading.CLOSED
        self._input.clear()
        if self._spool is not None:
            self._spool.discard()
            self._spool = None
        if self.transport is not None:
            self.transport.close()

    def _break(self, *, reset: bool) -> None:
        self._out.clear()
        self._reading = Reading.CLOSED
        if self.transport is None:
            return
        if reset and (raw := self.transport.get_extra_info("socket")) is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    def abort(self) -> None:
        """Break off without a word."""
        self._outcome = self._outcome or "aborted"
        self._break(reset=False)

    def stop(self) -> None:
        """The listener stops (RFC 5321 §3.8: 421)."""
        if self._reading is Reading.WAITING:
            self._outcome = self._outcome or "closed"
            self._close()
        elif self._reading is not Reading.CLOSED:
            self._hang(Hang(reply(421, "4.3.2", f"{self._spec.hostname} shutting down"), "closed"))

    def _check_time(self) -> None:
        """One timer for a connection's whole life, set again for what is left."""
        limits, now = self._spec.limits, self.loop.time()
        if self._reading is Reading.WAITING:
            self._heard = now
        left = self._heard + limits.command_seconds - now
        if self._reading in (Reading.DATA, Reading.CHUNK):
            left = min(left, self._receiving_since + limits.message_seconds - now)
        if left > 0:
            self._timer = self.loop.call_later(left, self._check_time)
        elif self._reading is not Reading.CLOSED:
            self._record.note("the client took too long")
            # RFC 5321 §4.5.3.2: 421 before closing; RFC 3463 §3.5: X.4.2 bad connection.
            self._hang(Hang(reply(421, "4.4.2", f"{self._spec.hostname} timeout exceeded"), "timed out"))

    def _pause(self) -> None:
        if not self._stopped_reading and self.transport is not None:
            self._stopped_reading = True
            self.transport.pause_reading()

    def _remark(self, text: str, source: str) -> None:
        self._record.finding(Finding("tolerated-syntax", source, text))

    def _show_input(self) -> None:
        """What will not be answered, for the record."""
        for line in bytes(self._input[:1_000]).decode("utf-8", "backslashreplace").splitlines()[:10]:
            self._record.client(line)


_TOO_LONG: Final = reply(500, "5.5.2", "Line too long (RFC 5321 §4.5.3.1.4)")
_BARE_LF: Final = reply(500, "5.5.2", "Line ends with a bare LF (RFC 5321 §2.3.8)")
_LOCAL_ERROR: Final = reply(451, "4.3.0", "Local error in processing")

_STAGES: Final = {"HELO": "ehlo", "LHLO": "ehlo"}


def _shown(text: str, verb: str, *, secret: bool) -> str:
    """A command as the transcript has it: no password, no surrogates."""
    if secret:
        return text if text == "*" else "***"
    if verb == "AUTH":
        words = text.split(" ")
        return " ".join([*words[:2], *("***" for _ in words[2:])])
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200]
