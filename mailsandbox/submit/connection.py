"""One connection of the SMTP server: octets to aiosmtpd's commands, message data to the gate, replies to the wire.

    octets ──▶ data_received ──▶ lines ──▶ aiosmtpd's smtp_* methods (`commands`) ──▶ replies, grouped (`wire`)
                       └──▶ message data (`receiving`)

It is an aiosmtpd.smtp.SMTP. Its __init__ runs once for each listener, as it finds hooks, mechanisms and commands by
introspection (`prototype`); its loop over readuntil() is replaced by `data_received`, which steps a command where its
line is read: only what waits (delivery, TLS, a challenge, a delay) becomes a task. Every line, reply and event goes to
the session's record, so that refused and broken-off sessions are remembered as well.
"""

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Final

from aiosmtpd.proxy_protocol import get_proxy
from aiosmtpd.smtp import ALLOWED_BEFORE_STARTTLS, SMTP, TLSSetupException

from mailsandbox.faults import Action, Respond
from mailsandbox.message.findings import Finding
from mailsandbox.smtp.replies import Reply, reply
from mailsandbox.submit.conversation import Hang, TakeChunk
from mailsandbox.submit.eager import start
from mailsandbox.submit.legible import readable
from mailsandbox.submit.model import Kind
from mailsandbox.submit.peers import proxied_client
from mailsandbox.submit.receiving import SmtpReceiving
from mailsandbox.submit.transaction import Client
from mailsandbox.submit.wire import MAX_AHEAD

if TYPE_CHECKING:
    from mailsandbox.submit.listener import Shared

PROXY_SECONDS: Final = 10.0  # a load balancer sends its header at once

# Cross-protocol requests: a browser can be made to post to this port. Postfix: smtpd_forbidden_commands.
_HTTP_METHODS: Final = frozenset({"GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE", "PRI"})
_TEXT_8BIT: Final = frozenset({"MAIL", "RCPT", "VRFY", "EXPN"})  # RFC 6531 §3.1: commands that may carry UTF-8
_ALWAYS_SHOWN: Final = frozenset({"EHLO", "HELO", "LHLO", "MAIL", "RCPT", "RSET", "NOOP", "QUIT"})
_UNSAFE: Final = frozenset(chr(code) for code in (*range(0x20), 0x7F) if code != 0x09)

_TOO_LONG: Final = reply(500, "5.5.2", "Line too long (RFC 5321 §4.5.3.1.4)")
_RESPONSE_TOO_LONG: Final = reply(500, "5.5.6", "Authentication exchange line is too long (RFC 4954 §4)")
_BARE_LF: Final = reply(500, "5.5.2", "Line ends with a bare LF (RFC 5321 §2.3.8)")
_CONTROL: Final = reply(500, "5.5.2", "Control character in a command (RFC 5321 §4.1.2)")


class SmtpConnection(SmtpReceiving):
    """One client."""

    def __init__(self, shared: "Shared") -> None:
        super().__init__(shared)
        self._calls: Counter[str] = Counter()
        self._unknown = 0
        self._overlong = _TOO_LONG  # what is said when the line has ended that is being skipped
        self._running = False  # lines are being answered further up the stack

    # -- asyncio -----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came, or TLS is established on its connection; aiosmtpd tells the two apart."""
        if self._original_transport is None:
            peer = transport.get_extra_info("peername")
            local = transport.get_extra_info("sockname")
            client = Client(self.loop, peer[0], peer[1]) if isinstance(peer, tuple) else Client(self.loop)
            where = f"{local[0]}:{local[1]}" if isinstance(local, tuple) else str(local)
            protocol = "lmtp" if self.spec.lmtp else "smtp"
            self._record = self._context.sessions.open(protocol, self.spec.service, peer=client.where, local=where)
            self.conversation = self._shared.converse(client, self._record.finding)
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
        if reading == "command":
            if not self._input and data.find(b"\n") == len(data) - 1 and not self._stopped_writing:
                self._line(data)  # one command, as most clients send them: no need to go through the buffer
                if not self._input and not self._stopped_reading:
                    self._flush()
                    return
            else:
                self._input += data
            self._run()
        elif reading == "data":
            self._receive(data)
        elif reading == "overlong":
            self._input += data
            self._run()
        elif reading == "chunk":
            self._receive_chunk(data)
        elif reading == "response":
            self._line_ended = data.endswith(b"\n")
            super().data_received(data)
        elif reading != "closed":
            self._input += data
            if len(self._input) > MAX_AHEAD:
                self._pause()

    def eof_received(self) -> bool | None:
        """The client sends no more. What it sent is answered still, where the transport allows it."""
        self._eof = True
        if self._reading == "waiting" and self.session.ssl is None:
            return True
        return super().eof_received() and None

    def connection_lost(self, error: Exception | None) -> None:
        """The end, from either side; a failed TLS handshake tells it twice."""
        if self.transport is None and self._reading == "closed":
            return
        reading, self._reading = self._reading, "closed"
        super().connection_lost(error)
        if self._spool is not None:
            self._spool.discard()
            self._spool = None
        self._shared.leave(self)
        if not self._outcome:
            inside = reading in ("data", "chunk") or self.envelope.open
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
        if self._reading != "closed":
            self._reading = "early"
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
            self.conversation = self._shared.converse(client, self._record.finding)
            self._set_rset_state()  # type: ignore[no-untyped-call]  # aiosmtpd's
            self.identify()
        self._reset_timeout()
        return True

    async def _implicit_tls(self) -> bool:
        """RFC 8314 §3.3: TLS first. aiosmtpd's STARTTLS without its reply."""
        self._reading = "waiting"
        self._muted = True
        try:
            handshake = start(SMTP.smtp_STARTTLS(self, ""))
            self._hand_to_tls()
            if handshake is not None:
                await handshake.rest()
        except TLSSetupException as error:
            self._tls_failed(error)
            return False
        finally:
            self._muted = False
        return self.session.ssl is not None

    def _hand_to_tls(self) -> None:
        """What came before this connection's task ran (uvloop reads that early) was the handshake's beginning."""
        early = bytes(self._input)
        self._input.clear()
        if early and self._tls_protocol is not None:
            self._tls_protocol.get_buffer(len(early))[: len(early)] = early
            self._tls_protocol.buffer_updated(len(early))

    async def _greet(self) -> None:
        delay = self.spec.limits.greeting_delay
        # Two turns of the loop at least: what lay in the socket when the client was accepted has been read by then.
        await asyncio.sleep(delay)
        await asyncio.sleep(0)
        if self._reading != "early":
            return
        if self._input:
            # RFC 5321 §3.1, §4.3.1: the client waits for the greeting.
            self.hang(Hang(reply(554, "5.5.0", "You spoke before the greeting (RFC 5321 §4.3.1)")))
            return
        self.say(self.conversation.greeting())
        self._reading = "command"
        self._run()

    # -- commands ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        """Answer the lines that are here. A command that is done at once calls this again: the loop goes on then."""
        if self._running:
            return
        self._running = True
        while self._input and not self._stopped_writing:
            if self._reading == "overlong":
                self._skip_overlong()
            elif self._reading != "command" or not self._next_line():
                break
        self._running = False
        self._flush()
        if self._eof and self._reading == "command" and not self._stopped_writing:
            self._end("")
        elif len(self._input) > MAX_AHEAD:
            self._pause()
        elif self._stopped_reading and self._reading not in ("waiting", "closed"):
            self._stopped_reading = False
            if self.transport is not None:
                self.transport.resume_reading()

    def _next_line(self) -> bool:
        end = self._input.find(b"\n") + 1
        if not end:
            limit = self.conversation.line_limit(self._input[:8].partition(b" ")[0].decode("latin-1").upper())
            if len(self._input) > limit:
                self._input.clear()
                self._reading, self._overlong = "overlong", _TOO_LONG
            self._line_since = self._line_since or self._heard
            return False
        line = bytes(self._input[:end])
        del self._input[:end]
        self._line_since = 0.0
        self._line(line)
        return True

    def _skip_overlong(self) -> None:
        end = self._input.find(b"\n") + 1
        if not end:
            self._input.clear()
            return
        del self._input[:end]
        self._reading = "command"
        self._line_since = 0.0
        self._record.client("[a line that is too long]")
        self.say(self._overlong)

    def response_too_long(self) -> None:
        """The reader has dropped the line as far as it was there; its rest (of a password) is no command."""
        if self._input or self._line_ended:
            self.say(_RESPONSE_TOO_LONG)
        else:
            self._reading, self._overlong = "overlong", _RESPONSE_TOO_LONG

    @property
    def handing_over(self) -> bool:
        """Whether a message is being stored."""
        return self._handing_over

    def _line(self, line: bytes) -> None:
        text = line.decode("utf-8", "surrogateescape")
        text = text[:-2] if text.endswith("\r\n") else text[:-1]
        verb, _, argument = text.partition(" ")
        self._verb = verb = verb.upper()
        plain = text.isascii()
        legible = self._legible
        shown = text if plain and verb in _ALWAYS_SHOWN and not legible.in_doubt else legible.line(text)
        self._record.client(shown)
        self._may_quote = "" if shown is text or verb == "AUTH" or shown == readable(text) else _quoted(text)
        if (refusal := self._line_refused(line, text, verb, plain=plain)) is not None:
            if isinstance(refusal, Hang):
                self.hang(refusal)
            else:
                self.say(refusal)
            return
        argument = argument.strip(" \t")  # RFC 5321 §4.1.1: trailing white space is tolerated
        if self._faults and (action := self._fault(verb, text)) is not None:
            self._step(self._faulty(action, verb, argument))
        elif (prompt := self._shared.prompt.get(verb)) is not None:
            try:
                prompt(self, argument)
            except Exception as error:
                self._failed(error)
        else:
            self._step(self._shared.methods[verb](self, argument or None))

    def _line_refused(self, line: bytes, text: str, verb: str, *, plain: bool) -> Reply | Hang | None:
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
            return self._unrecognized(text, verb)
        if not text.isprintable() and not _UNSAFE.isdisjoint(text):
            return _CONTROL
        if not plain and verb not in _TEXT_8BIT:
            return reply(500, "5.5.2", f"Non-ASCII characters in {verb}")
        if self.require_starttls and self._tls_protocol is None and verb not in ALLOWED_BEFORE_STARTTLS:
            return reply(530, "5.7.0", "Must issue a STARTTLS command first (RFC 3207 §4)")
        if self._enforce_call_limit:
            self._calls[verb] += 1
            if self._calls[verb] > self._call_limit_base.get(verb, self._call_limit_default):
                return Hang(reply(421, "4.7.0", f"{verb} sent too many times"))
        return None

    def _unrecognized(self, text: str, verb: str) -> Reply | Hang:
        if verb in _HTTP_METHODS:
            return Hang(reply(554, "5.7.0", "This is SMTP, not HTTP"))
        self._unknown += 1
        if self._unknown >= self.spec.limits.unknown_commands:
            return Hang(reply(421, "4.7.0", "Too many unrecognized commands"))
        if not text.strip(" \t"):
            return reply(500, "5.5.1", "An empty line is no command (RFC 5321 §4.1.1)")
        if text[0] in " \t":
            return reply(500, "5.5.2", "White space before the command (RFC 5321 §4.1.1)")
        return reply(500, "5.5.1", f"Command {_quoted(text)} not recognized (RFC 5321 §4.2.4)")

    # -- faults ------------------------------------------------------------------------------------------------------

    def _fault(self, verb: str, text: str) -> Action | None:
        account = text.partition("<")[2].partition(">")[0]
        return self._faults.match("smtp", site=self.spec.site, stage=verb.lower(), account=account, text=text)

    async def _faulty(self, action: Action, verb: str, argument: str) -> None:
        """A command for which a fault is scripted."""
        if verb == "BDAT" and isinstance(action, Respond):
            # Its octets come all the same.
            self._record.note(f"fault: {action}")
            answer = self.conversation.bdat(argument)
            if isinstance(answer, TakeChunk):
                said = reply(action.code, action.enhanced, action.text)
                self.take_chunk(TakeChunk(answer.octets, answer.last, said))
            else:
                self.hang(answer)
        elif await self._suffer(action):
            if self._reading == "waiting":
                self._reading = "command"
            await self._shared.methods[verb](self, argument or None)


def _quoted(text: str) -> str:
    """What was said in a command's place, as the reply has it."""
    return text.partition(" ")[0][:20]
