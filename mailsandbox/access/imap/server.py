"""IMAP on Twisted's Protocol: the rim of the session. Octets in and out, TLS, compression, time-outs, back-pressure.

Invariant: one worker task per connection executes its commands in order; output of one turn of the loop is one write;
when the client does not read, the worker waits in `drained` and nothing piles up. Knows no command.
"""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure

from mailsandbox.access.imap.deadlines import Deadlines
from mailsandbox.access.imap.dispatch import literal_limit, run
from mailsandbox.access.imap.fetching.header_cache import HeaderCache
from mailsandbox.access.imap.framing import Framer
from mailsandbox.access.imap.input import Input
from mailsandbox.access.imap.personalities import ImapOptions
from mailsandbox.access.imap.responses import status_line
from mailsandbox.access.imap.session import Session, State
from mailsandbox.access.imap.table import verify
from mailsandbox.access.transport import shown
from mailsandbox.faults.plan import Delay, Drop, Respond
from mailsandbox.journey.sessions import SessionRecord
from mailsandbox.tasks import Tasks

if TYPE_CHECKING:
    from mailsandbox.access.context import AccessContext
    from mailsandbox.access.transport import Connection

_CLEAN: Final = Failure(ConnectionDone())  # type: ignore[no-untyped-call]  # Twisted's default
FLUSH_OCTETS: Final = 65_536  # written out at once when that much has gathered within one turn of the loop


@dataclass(frozen=True, slots=True)
class Service:
    """What the connections of one service share. `name` as in the ready file: "imap", "imaps"."""

    context: "AccessContext"
    options: ImapOptions
    name: str
    tasks: Tasks
    deadlines: Deadlines
    headers: HeaderCache


class ImapProtocol(TwistedProtocol):
    """One connection."""

    transport: "Connection"  # type: ignore[assignment]  # Twisted declares the interface only
    deadline: float = 0.0

    def __init__(self, service: "Service") -> None:
        self._service = service
        self._context = service.context
        self._options = service.options
        self._output: list[bytes] = []
        self._gathered = 0
        self._handed = 0  # octets given to the transport since it was last waited for
        self._flushing = False
        self._lost = False
        self._session: Session
        self._input: Input
        self._record: SessionRecord
        self._worker: asyncio.Task[None]
        self._unlimit: Callable[[], None] = lambda: None

    # -- Twisted's side

    def connectionMade(self) -> None:  # noqa: N802  # Twisted's name
        transport = self.transport
        self._record = self._context.sessions.open(
            "imap", self._service.name, peer=shown(transport.getPeer()), local=shown(transport.getHost())
        )
        framer = Framer(lambda text: literal_limit(self._session, text))
        self._input = Input(framer, self._pause)
        self._session = Session(
            self._context,
            self._options,
            rim=self,
            source=self._input,
            record=self._record,
            headers=self._service.headers,
        )
        framer.nonsync_limit = self._session.nonsync_limit
        self.deadline = self._context.clock.now() + self._options.login_timeout
        self._unlimit = self._service.deadlines.watch(self)
        self._worker = self._service.tasks.spawn(self._work(), name=f"imap {self._record.id}")

    def handshakeCompleted(self) -> None:  # noqa: N802  # Twisted's name
        self._record.tls = self.transport.tls.version if self.transport.tls is not None else ""
        self._record.note(f"TLS: {self._record.tls}")

    def dataReceived(self, octets: bytes) -> None:  # noqa: N802  # Twisted's name
        self._touch()
        self._input.feed(octets)

    def readConnectionLost(self) -> None:  # noqa: N802  # Twisted's name
        self._input.end()

    def connectionLost(self, reason: Failure = _CLEAN) -> None:  # noqa: N802  # Twisted's name
        self._lost = True
        self._unlimit()
        self._session.close()
        self._record.close("closed" if self._session.logged_out else "aborted")
        self._input.end()
        if not self._worker.done():
            self._worker.cancel()

    # -- the worker

    async def _work(self) -> None:
        try:
            if await self._greeting_fault():
                return
            await run(self._session)
        except ConnectionError:
            pass
        finally:
            self.flush()
            self._session.close()
            self.transport.loseConnection()

    async def _greeting_fault(self) -> bool:
        """A scripted fault at connect; True if the connection is over."""
        match self._context.faults.match("imap", stage="connect"):
            case Respond(_, text, _):
                self.write(status_line("BYE", text or "Not now"))
                return True
            case Drop(reset):
                self._record.note("fault: connection dropped")
                if reset:
                    self.transport.reset()
                return True
            case Delay(seconds):
                clock = self._context.clock
                await clock.sleep_until(clock.now() + seconds)
            case None:
                pass
        return False

    # -- the session's side: Rim

    @property
    def tls(self) -> bool:
        return self.transport.tls is not None

    def write(self, octets: bytes) -> None:
        """Gathered until the loop's next turn, so that a batch of small answers is one write."""
        self._output.append(octets)
        self._gathered += len(octets)
        if self._gathered >= FLUSH_OCTETS:
            self.flush()
        elif not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush_soon)

    def _flush_soon(self) -> None:
        self._flushing = False
        self.flush()

    def flush(self) -> None:
        """Hand everything gathered to the transport."""
        if self._output:
            octets = self._output[0] if len(self._output) == 1 else b"".join(self._output)
            self._output.clear()
            self._handed += self._gathered
            self._gathered = 0
            if not self._lost:
                self.transport.write(octets)

    async def drained(self) -> None:
        """Wait for a client that does not read. Raises ConnectionError when it is gone."""
        if self._lost:
            raise ConnectionResetError("the client is gone")
        if self._handed + self._gathered < FLUSH_OCTETS:
            return  # too little to matter: small answers stay together in one write
        self.flush()
        self._handed = 0
        await self.transport.drained()

    def start_tls(self) -> None:
        self._record.note("STARTTLS")
        self.transport.startTLS(self._tls_context())

    def _tls_context(self) -> ssl.SSLContext:
        assert self._context.tls is not None
        return self._context.tls

    def start_compression(self) -> None:
        self._record.note("DEFLATE")
        self.transport.startCompression()

    def _pause(self, paused: bool) -> None:  # a switch
        if paused:
            self.transport.pauseProducing()
        else:
            self.transport.resumeProducing()

    # -- time-outs and the end

    def _touch(self) -> None:
        """The client showed a sign of life. Before login that counts for nothing: the time to log in is bounded."""
        if self._session.state is not State.NOT_AUTHENTICATED:
            self.deadline = self._context.clock.now() + self._options.idle_timeout  # RFC 9051 §5.4

    def expire(self) -> None:
        """The deadline has passed."""
        if self._session.state is not State.NOT_AUTHENTICATED and self._session.busy and not self._session.idling:
            self._touch()  # it is we who are slow, or the client is still reading
            return
        self._goodbye("Autologout: no sign of life for too long", "timeout")

    def shutdown(self) -> None:
        """The server is going down (called by the listener)."""
        self._goodbye("Server is shutting down", "shutdown")

    def _goodbye(self, text: str, outcome: str) -> None:
        if not self._lost:
            self._record.note(text)
            self._record.close(outcome)
            self.write(status_line("BYE", text, "UNAVAILABLE" if outcome == "shutdown" else ""))
            self.flush()
            self.transport.loseConnection()
            self._input.end()


class ImapFactory:
    """Makes the protocol of each connection; the `source` of `transport.listen`."""

    refusal = status_line("BYE", "Too many connections", "LIMIT")

    def __init__(self, context: "AccessContext", service: str, options: ImapOptions | None = None) -> None:
        """Raises StartError where the tables contradict themselves, ConfigError for an unknown personality."""
        verify()
        options = options or ImapOptions()
        options.manners()
        tasks = Tasks()
        self._service = Service(context, options, service, tasks, Deadlines(context.clock, tasks), HeaderCache())

    def __call__(self) -> ImapProtocol:
        return ImapProtocol(self._service)

    async def aclose(self, timeout: float = 1.0) -> None:
        """Stop what is still at work, after the listener was closed."""
        await self._service.tasks.aclose(timeout)
