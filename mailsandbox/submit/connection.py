"""One connection of the SMTP server: octets to aiosmtpd's commands, message data to the gate, replies to the wire.

    octets ──▶ data_received ──▶ lines ──▶ aiosmtpd's smtp_* methods (`commands`) ──▶ replies, grouped (RFC 2920 §3.2)
                       └──▶ DataReader or BDAT count ──▶ Spool ──▶ Gate ──▶ context.accept ──▶ 250

It is an aiosmtpd.smtp.SMTP. Its __init__ runs once for each listener, as it finds hooks, mechanisms and commands by
introspection (`prototype`); its loop over readuntil() is replaced by `data_received`, which steps a command where its
line is read: only what waits (delivery, TLS, a challenge, a delay) becomes a task. Every line, reply and event goes to
the session's record, so that refused and broken-off sessions are remembered as well.
"""

import asyncio
import enum
import logging
import socket
import struct
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, cast

from aiosmtpd.proxy_protocol import get_proxy
from aiosmtpd.smtp import ALLOWED_BEFORE_STARTTLS, SMTP, TLSSetupException

from mailsandbox.errors import QueueError, StoreError
from mailsandbox.faults import Action, Delay, Drop, Respond
from mailsandbox.journey.sessions import SessionRecord
from mailsandbox.message.findings import Finding
from mailsandbox.smtp.data import DataReader
from mailsandbox.smtp.replies import Reply, reply
from mailsandbox.submit.commands import SmtpCommands, reply_of
from mailsandbox.submit.conversation import Hang, TakeChunk
from mailsandbox.submit.eager import start, within_task
from mailsandbox.submit.gate import add_transcript
from mailsandbox.submit.model import Authentication, Incoming, Kind
from mailsandbox.submit.peers import proxied_client
from mailsandbox.submit.spool import Spool
from mailsandbox.submit.transaction import Client, Transaction

if TYPE_CHECKING:
    from mailsandbox.submit.listener import Shared

_log = logging.getLogger(__name__)

MAX_AHEAD: Final = 65_536  # octets a client may send ahead while we work; then reading pauses
PROXY_SECONDS: Final = 10.0  # a load balancer sends its header at once

_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER on with 0 seconds: close() sends RST
_FLUSHED: Final = (220, 221, 334, 421)  # replies after which something other than a reply happens on the wire
_STAGES: Final = {"HELO": "ehlo", "LHLO": "ehlo"}

# Cross-protocol requests: a browser can be made to post to this port. Postfix: smtpd_forbidden_commands.
_HTTP_METHODS: Final = frozenset({"GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE", "PRI"})
_TEXT_8BIT: Final = frozenset({"MAIL", "RCPT", "VRFY", "EXPN"})  # RFC 6531 §3.1: commands that may carry UTF-8
_UNSAFE: Final = frozenset(chr(code) for code in (*range(0x20), 0x7F) if code != 0x09)

_TOO_LONG: Final = reply(500, "5.5.2", "Line too long (RFC 5321 §4.5.3.1.4)")
_BARE_LF: Final = reply(500, "5.5.2", "Line ends with a bare LF (RFC 5321 §2.3.8)")
_CONTROL: Final = reply(500, "5.5.2", "Control character in a command (RFC 5321 §4.1.2)")


class Reading(enum.Enum):
    """What the next octets are."""

    EARLY = "nothing: the client waits for the greeting"
    RESPONSE = "read by aiosmtpd: a PROXY header, the answer to a challenge"
    COMMAND = "command lines"
    OVERLONG = "the rest of a line that is too long"
    DATA = "message data up to CRLF.CRLF"
    CHUNK = "a BDAT chunk"
    WAITING = "kept until what we do is done"
    CLOSED = "not wanted any more"


class SmtpConnection(SmtpCommands):
    """One client."""

    transport: asyncio.Transport | None
    _record: SessionRecord

    def __init__(self, shared: "Shared") -> None:
        self._shared = shared
        self.spec = spec = shared.spec
        self._context = context = shared.context
        if shared.prototype is None:
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
        self.__dict__.update(shared.prototype.__dict__)
        reader = asyncio.StreamReader(limit=spec.limits.auth_line, loop=shared.loop)
        asyncio.StreamReaderProtocol.__init__(
            self, reader, client_connected_cb=self._cb_client_connected, loop=shared.loop
        )
        self._faults = context.faults
        self._reading = Reading.EARLY
        self._input = bytearray()
        self._out: list[bytes] = []
        self._data = DataReader()
        self._spool: Spool | None = None
        self._chunk = TakeChunk(0, last=False)
        self._chunk_left = 0
        self._heard = self._receiving_since = 0.0
        self._eof = self._stopped_reading = self._stopped_writing = self._muted = False
        self._before_response = Reading.EARLY
        self._calls: Counter[str] = Counter()
        self._unknown = self._errors = self._auth_failures = self._accepted = self._refused = 0
        self._mark = 0  # where in the transcript the last transaction ended
        self._outcome = ""

    # -- asyncio -----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came, or TLS is established on its connection; aiosmtpd tells the two apart."""
        if self._original_transport is None:
            peer = transport.get_extra_info("peername")
            local = transport.get_extra_info("sockname")
            client = Client(self.loop, peer[0], peer[1]) if isinstance(peer, tuple) else Client(self.loop)
            where = f"{local[0]}:{local[1]}" if isinstance(local, tuple) else str(local)
            protocol = "lmtp" if self.spec.kind is Kind.LMTP else "smtp"
            self._record = self._context.sessions.open(protocol, self.spec.service, peer=client.where, local=where)
            self.conversation = self._shared.converse(client)
        super().connection_made(transport)
        if self.session.ssl is not None:
            established = transport.get_extra_info("ssl_object")
            cipher = established.cipher()
            self.session.tls = f"{established.version()} {cipher[0] if cipher else ''}".strip()
            self._record.tls = self.session.tls
            self._record.note(f"TLS established: {self.session.tls}")

    def _create_session(self) -> Client:
        """RFC 3207 §4.2: nothing is kept that the client said before, but who it is by the network or a proxy."""
        known = self.conversation.client
        client = self.conversation.client = Client(self.loop, known.address, known.port)
        client.name = known.name
        self.conversation.changed()
        return client

    def data_received(self, data: bytes) -> None:
        """Octets of whatever is being read."""
        reading = self._reading
        self._heard = self.loop.time()
        if reading is Reading.COMMAND:
            if not self._input and data.find(b"\n") == len(data) - 1 and not self._stopped_writing:
                self._line(data)  # one command, as most clients send them: no need to go through the buffer
            else:
                self._input += data
            self._run()
        elif reading is Reading.DATA:
            self._receive(data)
        elif reading is Reading.OVERLONG:
            self._input += data
            self._run()
        elif reading is Reading.CHUNK:
            self._input += data
            self._receive_chunk()
        elif reading is Reading.RESPONSE:
            super().data_received(data)
        elif reading is not Reading.CLOSED:
            self._input += data
            if len(self._input) > MAX_AHEAD:
                self._pause()

    def eof_received(self) -> bool | None:
        """The client sends no more. What it sent is answered still, where the transport allows it."""
        self._eof = True
        if self._reading is Reading.WAITING and self.session.ssl is None:
            return True
        return super().eof_received() and None

    def connection_lost(self, error: Exception | None) -> None:
        """The end, from either side; a failed TLS handshake tells it twice."""
        if self.transport is None and self._reading is Reading.CLOSED:
            return
        reading, self._reading = self._reading, Reading.CLOSED
        super().connection_lost(error)
        if self._spool is not None:
            self._spool.discard()
            self._spool = None
        self._shared.leave(self)
        if not self._outcome:
            inside = reading in (Reading.DATA, Reading.CHUNK) or self.envelope.open
            self._outcome = "aborted" if inside else "hung up"
            self._record.note(f"connection lost{f': {error}' if error else ''}")
        self._record.close(self._outcome)

    def pause_writing(self) -> None:
        """The client does not read its replies: answer nothing more until it does."""
        super().pause_writing()
        self._stopped_writing = True

    def resume_writing(self) -> None:
        """It reads again."""
        super().resume_writing()
        self._stopped_writing = False
        self._run()

    # -- the beginning: aiosmtpd runs this as the connection's task --------------------------------------------------

    async def _handle_client(self) -> None:
        refusal = self._shared.enter(self, self.session.address)
        if refusal is not None:
            self.hang(Hang(refusal))
            return
        if self.session.address in self._shared.proxies and not await self._read_proxy_header():
            return
        if self.spec.kind is Kind.SUBMISSIONS and not await self._implicit_tls():
            return
        action = self._faults.match("smtp", site=self.spec.site, stage="connect")
        if action is not None and not await self._suffer(action, hang=True):
            return
        if self._reading is not Reading.CLOSED:
            await self._greet()

    async def _read_proxy_header(self) -> bool:
        self.take_response(expected=True)
        self._reset_timeout(PROXY_SECONDS)
        try:
            header = await get_proxy(self._reader)
        except asyncio.IncompleteReadError:
            return False
        self.take_response(expected=False)
        if not header.valid:
            self._record.note(f"bad PROXY header: {header.error}")
            self._end("rejected")
            return False
        if (found := proxied_client(header)) is not None:
            client = Client(self.loop, *found)
            client.peer = found
            self.session = client
            self.conversation = self._shared.converse(client)
            self._set_rset_state()  # type: ignore[no-untyped-call]  # aiosmtpd's
            self.identify()
        self._reset_timeout()
        return True

    async def _implicit_tls(self) -> bool:
        """RFC 8314 §3.3: TLS first. aiosmtpd's STARTTLS without its reply."""
        self._reading = Reading.WAITING
        self._muted = True
        try:
            await SMTP.smtp_STARTTLS(self, "")
        except TLSSetupException as error:
            self._tls_failed(error)
            return False
        finally:
            self._muted = False
        return self.session.ssl is not None

    async def _greet(self) -> None:
        self._reading = Reading.EARLY
        delay = self.spec.limits.greeting_delay
        # Two turns of the loop at least: what lay in the socket when the client was accepted has been read by then.
        await asyncio.sleep(delay)
        await asyncio.sleep(0)
        if self._reading is not Reading.EARLY:
            return
        if self._input:
            # RFC 5321 §3.1, §4.3.1: the client waits for the greeting.
            self.hang(Hang(reply(554, "5.5.0", "You spoke before the greeting (RFC 5321 §4.3.1)")))
            return
        self.say(self.conversation.greeting())
        self._reading = Reading.COMMAND
        self._run()

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
            self._end("")
        elif len(self._input) > MAX_AHEAD:
            self._pause()
        elif self._stopped_reading and self._reading not in (Reading.WAITING, Reading.CLOSED):
            self._stopped_reading = False
            if self.transport is not None:
                self.transport.resume_reading()

    def _next_line(self) -> bool:
        end = self._input.find(b"\n") + 1
        if not end:
            limit = self.conversation.line_limit(self._input[:8].partition(b" ")[0].decode("latin-1").upper())
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
        self.say(_TOO_LONG)

    def _line(self, line: bytes) -> None:
        text = line.decode("utf-8", "surrogateescape").rstrip("\n").removesuffix("\r")
        verb, _, argument = text.partition(" ")
        verb = verb.upper()
        self._record.client(text if verb != "AUTH" and text.isascii() else _shown(text, verb))
        if (refusal := self._line_refused(line, text, verb)) is not None:
            if isinstance(refusal, Hang):
                self.hang(refusal)
            else:
                self.say(refusal)
            return
        method = self._shared.methods[verb]
        # RFC 5321 §4.1.1: trailing white space is tolerated.
        command = method(self, argument.strip(" \t") or None)
        if self._faults:
            stage = _STAGES.get(verb, verb.lower())
            account = text.partition("<")[2].partition(">")[0]
            action = self._faults.match("smtp", site=self.spec.site, stage=stage, account=account, text=text)
            if action is not None:
                command.close()
                command = self._faulty(action, verb, argument, lambda: method(self, argument.strip(" \t") or None))
        self._step(command)

    def _line_refused(self, line: bytes, text: str, verb: str) -> Reply | Hang | None:
        """The checks on every line, in aiosmtpd's order where it has them."""
        limits = self.spec.limits
        if len(line) > limits.command_line and len(line) > self.conversation.line_limit(verb):
            return _TOO_LONG
        if not line.endswith(b"\r\n"):
            # RFC 5321 §2.3.8: lines end with CRLF and nothing else.
            if not self.spec.tolerant:
                return _BARE_LF
            self._record.finding(Finding("bare-lf-command", "RFC 5321 §2.3.8", "command line ends with a bare LF"))
        if self._input and verb != "BDAT" and "PIPELINING" not in self.conversation.offers:
            # RFC 2920 §3.1: only where the server offers it may a client send on before the reply.
            return Hang(reply(503, "5.5.0", "PIPELINING is not offered here (RFC 2920 §3.1)"))
        if verb not in self._shared.methods:
            return self._unrecognized(verb)
        if not text.isprintable() and not _UNSAFE.isdisjoint(text):
            return _CONTROL
        if not text.isascii() and verb not in _TEXT_8BIT:
            return reply(500, "5.5.2", f"Non-ASCII characters in {verb}")
        if self.require_starttls and self._tls_protocol is None and verb not in ALLOWED_BEFORE_STARTTLS:
            return reply(530, "5.7.0", "Must issue a STARTTLS command first (RFC 3207 §4)")
        if self._enforce_call_limit:
            self._calls[verb] += 1
            if self._calls[verb] > self._call_limit_base.get(verb, self._call_limit_default):
                return Hang(reply(421, "4.7.0", f"{verb} sent too many times"))
        return None

    def _unrecognized(self, verb: str) -> Reply | Hang:
        if verb in _HTTP_METHODS:
            return Hang(reply(554, "5.7.0", "This is SMTP, not HTTP"))
        self._unknown += 1
        if self._unknown >= self.spec.limits.unknown_commands:
            return Hang(reply(421, "4.7.0", "Too many unrecognized commands"))
        shown = verb[:20] if verb.isascii() and verb.isprintable() else ascii(verb[:20])
        return reply(500, "5.5.1", f"Command {shown} not recognized (RFC 5321 §4.2.4)")

    def _step(self, command: Coroutine[Any, Any, None]) -> None:  # Any: asyncio's own protocol between task and future
        """Run a command as far as it goes without waiting; its rest becomes a task."""
        try:
            waiting = start(command)
        except Exception as error:
            self._failed(error)
            return
        if waiting is not None:
            if self._reading is Reading.COMMAND:
                self._reading = Reading.WAITING
            self._flush()
            self._shared.spawn(self._wait(waiting.rest()), "command")

    async def _wait(self, rest: Coroutine[Any, Any, None]) -> None:  # Any: see _step
        try:
            await rest
        except (ConnectionError, asyncio.CancelledError):
            self._end("")
            raise
        except Exception as error:
            self._failed(error)
        if self._reading is Reading.WAITING:
            self._reading = Reading.COMMAND
        self._heard = self.loop.time()
        self._run()

    def _failed(self, error: Exception) -> None:
        if isinstance(error, TLSSetupException):
            self._tls_failed(error)
            return
        handled = self.handle_exception(error)
        try:
            handled.send(None)
        except StopIteration as done:
            self.say(reply_of(done.value))

    def _tls_failed(self, error: TLSSetupException) -> None:
        cause = error.__cause__
        self._record.note(f"TLS handshake failed: {str(cause) or type(cause).__name__}")
        self._outcome = "tls failed"
        if self._original_transport is not None:
            self._original_transport.close()
        self.connection_lost(None)

    # -- message data ------------------------------------------------------------------------------------------------

    def take_data(self) -> None:
        """Say 354 and read on."""
        if self._input:
            # RFC 2920 §3.1: DATA is the last command of a group; what follows it unasked may be smuggled commands.
            self.hang(Hang(reply(554, "5.5.0", "Message data before the 354 (RFC 2920 §3.1)")))
            return
        self.say(_GO_ON)
        self._spool = self._shared.spool()
        self._data = DataReader()
        self._receiving_since = self._heard
        self._reading = Reading.DATA

    def _receive(self, octets: bytes) -> None:
        spool, reader = self._spool, self._data
        assert spool is not None
        if content := reader.feed(octets):
            spool.append(content)
        if reader.ended:
            self._input += reader.rest
            self._record.client(f"[{spool.size} octets of message data]")
            self._record.client(".")
            self._end_of_message()

    def take_chunk(self, chunk: TakeChunk) -> None:
        """Read a chunk, to be kept or thrown away."""
        if chunk.refusal is None:
            self.envelope.chunks += 1
            if self._spool is None:
                self._spool = self._shared.spool()
                self._receiving_since = self._heard
        elif self.envelope.open:
            self.envelope.broken = True
        self._chunk, self._chunk_left = chunk, chunk.octets
        self._reading = Reading.CHUNK
        self._receive_chunk()

    def _receive_chunk(self) -> None:
        octets = bytes(self._input[: self._chunk_left])
        del self._input[: len(octets)]
        self._chunk_left -= len(octets)
        if self._spool is not None and self._chunk.refusal is None:
            self._spool.append(octets)
        if self._chunk_left:
            return
        chunk, spool = self._chunk, self._spool
        if chunk.octets:
            self._record.client(f"[{chunk.octets} octets of message data]")
        if chunk.refusal is not None:
            self._proceed(chunk.refusal)
        elif chunk.last:
            self._end_of_message()
        elif spool is not None and spool.too_large:
            self.envelope.broken = True
            self._proceed(self._too_large(spool.size))
        else:
            self._proceed(reply(250, "2.0.0", f"{chunk.octets} octets received"))

    def _end_of_message(self) -> None:
        """Everything is here. aiosmtpd's hook for DATA gets it, as `envelope.content`."""
        self._reading = Reading.WAITING
        spool, self._spool = self._spool, None
        assert spool is not None
        self._step(self._conclude(spool))

    async def _conclude(self, spool: Spool) -> None:
        transaction = self.envelope
        answer = await self._examine(spool, transaction)
        self._set_post_data_state()  # type: ignore[no-untyped-call]  # aiosmtpd's
        if answer is None:  # broken off by a fault
            return
        if answer.positive:
            self._accepted += 1
        else:
            self._refused += 1
        # RFC 2033 §4.2: LMTP has one reply for each recipient.
        replies = len(transaction.rcpt_tos) if self.spec.kind is Kind.LMTP else 1
        self._mark = self._record.mark + replies
        for _ in range(replies - 1):
            self.say(answer)
        self._proceed(answer)

    async def _examine(self, spool: Spool, transaction: Transaction) -> Reply | None:
        size = spool.size
        if spool.too_large:
            spool.discard()
            return self._too_large(size)
        if self._faults:
            account = ",".join(transaction.rcpt_tos)
            action = self._faults.match("smtp", site=self.spec.site, stage="message", account=account)
            if isinstance(action, Respond):
                self._record.note(f"fault: {action}")
                return reply(action.code, action.enhanced, action.text)
            if action is not None and not await self._suffer(action):
                return None
        memory = self._shared.memory
        if not memory.try_grant(size):
            await memory.grant(size)
        try:
            transaction.content = transaction.original_content = spool.whole()
            status: Reply | str = await self._call_handler_hook("DATA")
            return status if isinstance(status, Reply) else reply_of(status)
        finally:
            transaction.content = transaction.original_content = None
            memory.give_back(size)

    async def deliver(self, transaction: Transaction) -> Reply:
        """Judge a message that is here and hand it over; what the client is told."""
        gate = self._shared.gate
        octets = cast(bytes, transaction.content)  # never decoded, as aiosmtpd could
        outcome, findings = gate.judge(octets, transaction, offers=self.conversation.offers)
        for finding in findings:
            self._record.finding(finding)
        if isinstance(outcome, Reply):
            return outcome
        incoming = gate.admit(
            outcome,
            findings,
            transaction,
            client=self.session,
            queue_id=self._context.new_id(),
            session_id=self._record.id,
            now=self._context.clock.now(),
        )
        add_transcript(incoming, self._record.since(self._mark))
        return await self._hand_over(incoming)

    async def _hand_over(self, incoming: Incoming) -> Reply:
        await within_task()
        try:
            with self._context.clock.working():
                return await self._context.accept(incoming)
        except (StoreError, QueueError) as error:
            self._record.note(f"not stored: {error}")
            # RFC 3463 §3.4: X.3.1 mail system full, for now.
            return reply(452, "4.3.1", f"Cannot store the message now: {' '.join(str(error).split())[:200]}")

    def _proceed(self, answer: Reply) -> None:
        """Answer, and go on reading commands."""
        if self._reading is Reading.CLOSED:
            self._record.note(f"too late to be told: {answer}")
            return
        self.say(answer)
        self._reading = Reading.COMMAND
        self._run()

    def _too_large(self, size: int) -> Reply:
        return reply(552, "5.3.4", f"Message of {size} octets, the limit is {self.spec.max_octets} (RFC 1870 §6.1)")

    def _create_envelope(self) -> Transaction:
        if self._spool is not None:
            self._spool.discard()  # chunks of a transaction that RSET or EHLO ended
            self._spool = None
        return super()._create_envelope()

    # -- faults ------------------------------------------------------------------------------------------------------

    async def _faulty(
        self, action: Action, verb: str, argument: str, command: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:  # Any: see _step
        """A command for which a fault is scripted."""
        if verb == "BDAT" and isinstance(action, Respond):
            # Its octets come all the same.
            self._record.note(f"fault: {action}")
            answer = self.conversation.bdat(argument.strip())
            if isinstance(answer, TakeChunk):
                said = reply(action.code, action.enhanced, action.text)
                self.take_chunk(TakeChunk(answer.octets, answer.last, said))
            else:
                self.hang(answer)
        elif await self._suffer(action):
            if self._reading is Reading.WAITING:
                self._reading = Reading.COMMAND
            await command()

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
                self._reading = Reading.WAITING
                clock = self._context.clock
                await within_task()
                with clock.resting():  # a relay of this sandbox may be the client, and its clock waits for it
                    await clock.sleep_until(clock.now() + seconds)
                return self._reading is Reading.WAITING

    # -- replies and the end -----------------------------------------------------------------------------------------

    def say(self, answer: Reply) -> None:
        """Reply; sent with those before it when no more commands are here."""
        if self._muted:
            return
        code = answer.code
        if code >= 400:
            answer = self._count(answer)
        if answer.enhanced and not self.spec.enhanced_codes:
            answer = Reply(answer.code, "", answer.lines)
        octets = answer.encode(utf8=False)
        self._out.append(octets)
        if len(answer.lines) == 1:
            self._record.server(octets[:-2].decode("ascii"))
        else:
            for line in octets.decode("ascii").splitlines():
                self._record.server(line)
        if code in _FLUSHED:
            self._flush()
        if answer.code == 421 and self._reading is not Reading.CLOSED:
            self._end("rejected")

    def _count(self, answer: Reply) -> Reply:
        """Refusals and errors are counted; too many end the session, by 421 in their place."""
        if self.envelope.open:
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
            self._before_response, self._reading = self._reading, Reading.RESPONSE
            if self._input:
                self._reader.feed_data(bytes(self._input))
                self._input.clear()
            return
        if self._reading is Reading.RESPONSE:
            self._reading = self._before_response
        self._input += held
        held.clear()
        if self.conversation.client.helo:
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
        """Reply and close; what the client sent besides is shown, not answered."""
        for line in bytes(self._input[:1_000]).decode("utf-8", "backslashreplace").splitlines()[:10]:
            self._record.client(line)
        self._outcome = self._outcome or answer.outcome
        self._reading = Reading.CLOSED
        self.say(answer.reply)
        self._end(answer.outcome)

    def finish(self, outcome: str) -> None:
        """The session ends in order; a session whose every message was refused was rejected."""
        self._outcome = self._outcome or ("rejected" if self._refused and not self._accepted else outcome)
        self._reading = Reading.CLOSED
        self._input.clear()

    def _end(self, outcome: str) -> None:
        """Send what is left, then close. May be called again. "" leaves the outcome to be found."""
        self._outcome = self._outcome or outcome
        self._flush()
        if self._outcome:
            self._reading = Reading.CLOSED
        self._input.clear()
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()

    def _break(self, *, reset: bool) -> None:
        self._out.clear()
        self._reading = Reading.CLOSED
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
        if self._reading in (Reading.WAITING, Reading.RESPONSE):
            self._end("closed")
        elif self._reading is not Reading.CLOSED:
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
        if self._reading is Reading.WAITING:
            self._heard = now
        left = self._heard + limits.command_seconds - now
        if self._reading in (Reading.DATA, Reading.CHUNK):
            left = min(left, self._receiving_since + limits.message_seconds - now)
        if left > 0 and not (self._reading is Reading.RESPONSE and not self.session.helo):
            self._timeout_handle = self.loop.call_later(left, self._timeout_cb)
        elif self._reading is not Reading.CLOSED:
            self._record.note("the client took too long")
            # RFC 5321 §4.5.3.2: 421 before closing; RFC 3463 §3.5: X.4.2 bad connection.
            self.hang(Hang(reply(421, "4.4.2", f"{self.spec.hostname} timeout exceeded"), "timed out"))

    def _pause(self) -> None:
        if not self._stopped_reading and self.transport is not None:
            self._stopped_reading = True
            self.transport.pause_reading()


_GO_ON: Final = reply(354, "", "End data with <CR><LF>.<CR><LF>")


def _shown(text: str, verb: str) -> str:
    """A command as the transcript has it: no password, no surrogates."""
    if verb == "AUTH":
        words = text.split(" ")
        return " ".join([*words[:2], *("***" for _ in words[2:])])
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
