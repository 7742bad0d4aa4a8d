"""POP3 on the wire: a Twisted protocol that feeds the session, carries out its effects, and writes what it says.

Invariants: commands are carried out one after the other however they come (RFC 2449 §6.6); while one takes time at most
MAX_WAITING octets of the following are kept; replies to pipelined commands are sent together; what UPDATE began is
finished without its client, and everything else ends with the connection. Knows no command by name.
"""

import asyncio
import hashlib
import hmac
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Coroutine, Iterator
from importlib import metadata
from typing import Final

from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from mailsandbox.access.context import AccessContext
from mailsandbox.access.login import Denied
from mailsandbox.access.pop3 import codec
from mailsandbox.access.pop3.authorization import Host
from mailsandbox.access.pop3.commands import State
from mailsandbox.access.pop3.effects import (
    Commit,
    Effect,
    Fetch,
    Leave,
    Message,
    Say,
    TryDigest,
    TryPassword,
    TrySasl,
    Upgrade,
    line,
)
from mailsandbox.access.pop3.opening import OpenMaildrop, open_maildrop
from mailsandbox.access.pop3.personality import Pop3Options, manner
from mailsandbox.access.pop3.refusals import words
from mailsandbox.access.pop3.session import Session
from mailsandbox.access.transport import Connection, TlsFailed, shown
from mailsandbox.errors import StoreError
from mailsandbox.faults import Action, Delay, Drop, Respond
from mailsandbox.message.findings import Finding
from mailsandbox.tasks import Tasks

MAX_WAITING: Final = 65_536  # octets of pipelined commands kept while one takes time
MAX_GATHERED: Final = 65_536  # octets of replies gathered before they are written
TLS_HELLO: Final = b"\x16\x03"  # how a TLS handshake begins (RFC 8446 §5.1)


class Pop3Factory:
    """Makes the protocol of each connection; the `source` of `access.transport.listen`."""

    refusal = b"-ERR [SYS/TEMP] Too many connections, try again later\r\n"

    def __init__(self, context: AccessContext, service: str, options: Pop3Options | None = None) -> None:
        """`service`: its name in the ready file, "pop3" or "pop3s"."""
        self.context = context
        self.service = service
        self.options = options or Pop3Options()
        self.version = metadata.version("mailsandbox")
        self.tasks = Tasks()
        self.logins: OrderedDict[str, float] = OrderedDict()  # by account, for LOGIN-DELAY

    def __call__(self) -> "Pop3Protocol":
        return Pop3Protocol(self)

    async def aclose(self, timeout: float = 1.0) -> None:
        """Stop what is still at work, after the listener was closed."""
        await self.tasks.aclose(timeout)

    def stamp(self) -> str:
        """RFC 1939 §7: a timestamp that no other greeting has; "" where no account has a password to hash it with."""
        if not self.context.credentials.has_secrets:
            return ""
        # The machine's time: the sandbox's clock may stand still, and this is only to differ.
        return f"<{secrets.token_hex(8)}.{time.time_ns()}@{self.context.hostname}>"


class Pop3Protocol(Protocol):
    """One connection."""

    transport: Connection  # type: ignore[assignment]  # Twisted declares any ITransport

    def __init__(self, factory: Pop3Factory) -> None:
        self._factory = factory
        self._context = factory.context
        self._reader = codec.LineReader()
        self._out: list[bytes] = []
        self._gathered = 0
        self._busy = False  # something takes time: following commands wait
        self._ended = False  # nothing more is heard
        self._eof = False
        self._greeted = False
        self._spoken = False  # whether the client said anything in clear or in TLS
        self._work: asyncio.Task[None] | None = None
        self._open: OpenMaildrop | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._heard_at = 0.0

    # -- the connection

    def connectionMade(self) -> None:  # noqa: N802  # Twisted's name
        context = self._context
        peer, host = shown(self.transport.getPeer()), shown(self.transport.getHost())
        self._record = context.sessions.open("pop3", self._factory.service, peer=peer, local=host)
        self._guard = context.logins.guard()
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()
        self._idle = self.transport.callLater(self._factory.options.idle_timeout, self._check_idle)
        if self.transport.tls is None:
            self._greet(tls=context.tls is not None)

    def handshakeCompleted(self) -> None:  # noqa: N802  # Twisted's name
        self._record.tls = self.transport.tls_version
        self._record.note(f"TLS established: {self._record.tls}")
        if not self._greeted:  # implicit TLS (RFC 8314 §3.2)
            self._greet(tls=True)
        self._session.authorization.secured()

    def _greet(self, *, tls: bool) -> None:
        factory = self._factory
        self._greeted = True
        host = Host(factory.context.hostname, factory.version, factory.stamp(), tls)
        self._session = Session(manner(factory.options), factory.context.credentials, host=host)
        action = factory.context.faults.match("pop3", stage="connect")
        if isinstance(action, Delay):
            self._start(self._late(action, self._session.greeting()))
        elif isinstance(action, Respond):
            self._record.note("fault: refused at connect")
            self._perform(Leave(line(f"-ERR {action.text}", error=True), "fault"))
        elif isinstance(action, Drop):
            self._drop(action)
        else:
            self._perform(self._session.greeting())
        self._flush()

    def dataReceived(self, octets: bytes) -> None:  # noqa: N802  # Twisted's name
        if self._ended:
            return
        if not self._spoken and octets.startswith(TLS_HELLO) and not self.transport.secure:
            self._record.note("the client began TLS on a port that begins without: use STLS or the pop3s port")
            self._end("TLS on a plain port")
            return
        self._spoken = True
        self._heard_at = self._loop.time()
        self._reader.feed(octets)
        if not self._busy:
            self._run()
        elif self._reader.waiting > MAX_WAITING:
            self.transport.pauseProducing()

    def readConnectionLost(self) -> None:  # noqa: N802  # Twisted's name
        """The client ended its direction: what it asked before is still answered."""
        self._eof = True
        if not self._busy:
            self._run()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # noqa: N802  # Twisted's default
        self._ended = True
        if self._idle is not None:
            self._idle.cancel()
        if isinstance(reason.value, TlsFailed):
            self._record.note(f"TLS failed: {reason.value}")
        updating = False
        if self._greeted:
            if self._session.state not in (State.CLOSED, State.UPDATE):
                self._record.note("connection lost without QUIT: nothing is deleted")
            self._session.lost()  # RFC 1939 §6: no UPDATE without QUIT
            updating = self._session.state is State.UPDATE
        self._record.close("aborted")
        if updating:
            return  # the commit goes on, and unlocks
        if self._work is not None:
            self._work.cancel()
        self._unlock()

    def shutdown(self) -> None:
        """The server stops."""
        if self._greeted and self._session.state is State.UPDATE:
            return  # its answer is the goodbye
        if self._greeted and not self._ended:
            self._perform(self._session.thrown_out("shutdown"))
            self._flush()
        self.transport.loseConnection()

    # -- time

    def _check_idle(self) -> None:
        timeout = self._factory.options.idle_timeout
        left = self._heard_at + timeout - self._loop.time()
        if self._busy or left > 0.001:
            self._idle = self.transport.callLater(timeout if self._busy else left, self._check_idle)
            return
        # RFC 1939 §3: on time-out, close without UPDATE and without a response.
        self._record.note(f"no command for {timeout:.0f} seconds")
        self._end("timeout")

    # -- lines in

    def _run(self) -> None:
        """Carry out what the client has sent, until something takes time."""
        while not (self._ended or self._busy):
            heard = self._reader.next()
            if heard is None:
                break
            if isinstance(heard, bytes):
                self._handle(heard)
            elif heard is codec.Unusable.TOO_LONG:
                effect = self._session.too_long()
                self._record.client(self._session.shown)
                self._perform(effect)
            else:
                self._end("over-long line")
            if self.transport.congested:
                self._wait_for_reader()
        self._flush()
        if self._ended or self._busy:
            return
        if self._eof:
            self._end("aborted")
        else:
            self.transport.resumeProducing()

    def _wait_for_reader(self) -> None:
        """Carry out no more while the client does not read what it was told."""
        if not (self._ended or self._busy):
            self._flush()
            self._start(self.transport.drained())

    def _handle(self, octets: bytes) -> None:
        session, faults = self._session, self._context.faults
        if self._reader.bare:
            self._found("bare-lf", "RFC 1939 §3", "a command line ends by LF without CR")
        session.hear(octets)
        self._record.client(session.shown)
        action = None
        if len(faults):
            account = self._record.account or session.authorization.login
            action = faults.match("pop3", stage=session.verb.lower(), account=account, text=session.shown)
        if action is None:
            self._perform(session.act())
        else:
            self._fault(action)

    def _fault(self, action: Action) -> None:
        match action:
            case Respond(text=text):
                self._record.note("fault: answered by script")
                self._perform(line(f"-ERR {text}", error=True))
            case Drop():
                self._drop(action)
            case Delay():
                self._start(self._late(action, None))

    async def _late(self, action: Delay, effect: Effect | None) -> None:
        self._record.note(f"fault: delayed by {action.seconds:g} seconds")
        clock = self._context.clock
        await clock.sleep_until(clock.now() + action.seconds)
        await self._perform_and_wait(self._session.act() if effect is None else effect)

    def _drop(self, action: Drop) -> None:
        self._record.note("fault: connection dropped")
        self._flush()
        self._ended = True
        self._record.close("fault")
        if action.reset:
            self.transport.reset()
        else:
            self.transport.abortConnection()

    def _found(self, rule: str, source: str, text: str) -> None:
        if not any(finding.rule == rule for finding in self._record.findings):
            self._record.finding(Finding(rule, source, text))

    # -- effects out

    def _perform(self, effect: Effect) -> None:
        """Carry out an effect now, or begin what takes time."""
        match effect:
            case Fetch():
                octets = self._open.taken(effect) if self._open is not None else None
                if octets is None:
                    self._start(self._carry_out(effect))
                elif (rest := self._answer(effect, octets)) is not None:
                    self._start(rest)
            case Say():
                self._say(effect)
            case Leave(say=say, outcome=outcome):
                self._say(say)
                self._end(outcome)
            case Upgrade(say=say):
                self._upgrade(say)
            case _:
                self._start(self._carry_out(effect))

    def _say(self, say: Say) -> None:
        self._record.server(say.shown)
        self._out.append(say.octets)
        self._gathered += len(say.octets)
        if self._gathered > MAX_GATHERED:
            self._flush()

    def _flush(self) -> None:
        if self._out:
            self.transport.write(b"".join(self._out) if len(self._out) > 1 else self._out[0])
            self._out.clear()
            self._gathered = 0

    def _end(self, outcome: str) -> None:
        """Close when what was said has been sent."""
        self._flush()
        self._ended = True
        self._reader.clear()
        self._record.close(outcome)
        self.transport.loseConnection()

    def _upgrade(self, say: Say) -> None:
        context = self._context.tls
        assert context is not None
        if self._reader.waiting:
            # RFC 2595 §4, RFC 3207 §6: commands sent in clear after STLS could be an attacker's; none is carried out.
            self._found("plaintext-after-stls", "RFC 2595 §4", "commands were sent before the reply to STLS: ignored")
            self._reader.clear()
        self._say(say)
        self._flush()
        self.transport.startTLS(context)

    def _answer(self, fetch: Fetch, octets: bytes | None) -> Coroutine[object, object, None] | None:
        """Send a message that is in memory; what is returned sends the rest of a large one in its own time."""
        response = self._session.fetched(fetch, octets)
        if isinstance(response, Say):
            self._say(response)
            return None
        if self._open is not None:
            self._context.ledger.shown(self._open.mailbox_key, (fetch.row.uid,), "pop3")
        self._record.server(self._session.shown)
        if not isinstance(response, Message):
            return self._pour(response)
        content = response.content
        self._out += (response.first, content.lines, content.end)
        self._gathered += len(content.lines)
        if self._gathered > MAX_GATHERED:
            self._flush()
        if content.misleading:
            self._found(
                "lone-dot-after-lf", "RFC 1939 §3",
                f"message {fetch.number} has LF, dot, line end: clients that end lines by LF see it cut off there",
            )  # fmt: skip
        return None

    # -- what takes time

    def _start(self, work: Coroutine[object, object, None]) -> None:
        self._busy = True
        self._work = self._factory.tasks.spawn(self._guarded(work), name=f"pop3 {self._record.id}")

    async def _guarded(self, work: Coroutine[object, object, None]) -> None:
        try:
            await work
        except ConnectionResetError:
            return  # connectionLost does the rest
        except StoreError as error:
            text, code = words(error)
            self._say(self._session.failed(text, code))
        except asyncio.CancelledError:
            raise
        except Exception:
            # A bug of ours: this client goes, the others stay; the task's owner logs the traceback.
            self._record.note("internal error")
            self._say(line("-ERR [SYS/PERM] Internal error", error=True))
            self._end("internal error")
            raise
        self._busy = False
        self._work = None
        self._run()

    async def _perform_and_wait(self, effect: Effect) -> None:
        """`_perform` within work that was started already."""
        match effect:
            case Say() | Leave() | Upgrade():
                self._perform(effect)
            case _:
                await self._carry_out(effect)

    async def _carry_out(self, effect: Effect) -> None:
        match effect:
            case TryPassword() | TryDigest() | TrySasl():
                await self._log_in(effect)
            case Fetch() if self._open is not None:
                await self._open.read(effect, self._session)
                if (rest := self._answer(effect, self._open.taken(effect))) is not None:
                    await rest
            case Commit():
                await self._commit(effect)
            case _:
                raise AssertionError(f"nothing that takes time: {effect}")

    async def _pour(self, pieces: Iterator[bytes | memoryview]) -> None:
        self._flush()
        for piece in pieces:
            self.transport.write(piece)
            await self.transport.drained()

    async def _log_in(self, attempt: TryPassword | TryDigest | TrySasl) -> None:
        options, credentials = self._factory.options, self._context.credentials
        login, recent = _recent_prefix(attempt, manner(options).personality.recent_prefix)
        match attempt:
            case TryPassword(password=password):
                outcome = await self._guard.password(login, password)
            case TryDigest(digest=digest, stamp=stamp):
                outcome = await self._guard.digest(login, lambda secret: _apop_matches(stamp, secret, digest))
            case TrySasl(step=step):
                outcome = await self._guard.sasl(step)
        if isinstance(outcome, Denied):
            self._perform(self._session.denied(outcome.code, final=outcome.final))
            return
        spec = credentials.spec(outcome.account)
        own = manner(options, spec.personality if spec else "")
        wait = self._login_delay(outcome.account)
        if wait:
            self._perform(self._session.failed("login-delay", "LOGIN-DELAY", seconds=wait))  # RFC 2449 §8.1.1
            return
        opened = await open_maildrop(self._context.store, outcome.account, own, recent=recent)
        if self._ended:  # the client went while the maildrop was opened
            await opened.unlock()
            return
        self._open = opened
        self._record.account = outcome.account
        self._perform(self._session.opened(opened.maildrop, own))

    def _login_delay(self, account: str) -> int:
        """Seconds until the account may log in; 0 and remembered if now (RFC 2449 §6.5)."""
        delay, logins, now = self._factory.options.login_delay, self._factory.logins, self._context.clock.now()
        if not delay:
            return 0
        left = logins.get(account, -delay) + delay - now
        if left > 0:
            return math.ceil(left)
        logins[account] = now
        logins.move_to_end(account)
        while len(logins) > 10_000:
            logins.popitem(last=False)
        return 0

    async def _commit(self, commit: Commit) -> None:
        assert self._open is not None
        failed = False
        try:
            await self._open.commit(commit, self._session.manner)
        except StoreError as error:
            self._record.note(f"the store refused: {error}")
            failed = True
        # The lock goes before the answer: a client that logs in again on reading it must not find it locked.
        await self._open.unlock()
        self._perform(self._session.committed(len(commit.doomed), failed=failed))

    def _unlock(self) -> None:
        if self._open is not None:
            self._factory.tasks.spawn(self._open.unlock(), name=f"pop3 unlock {self._record.id}")


def _recent_prefix(attempt: TryPassword | TryDigest | TrySasl, known: bool) -> tuple[str, bool]:
    """The login, and whether it asks for messages that were fetched before (Gmail's "recent:")."""
    login = attempt.step.login if isinstance(attempt, TrySasl) else attempt.login
    if known and login.lower().startswith("recent:"):
        return login[len("recent:") :], True
    return login, False


def _apop_matches(stamp: str, secret: bytes, digest: str) -> bool:
    """RFC 1939 §7."""
    return hmac.compare_digest(hashlib.md5(stamp.encode() + secret).hexdigest(), digest.lower())
