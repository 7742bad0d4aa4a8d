"""A listening SMTP, submission or LMTP service: its socket, its connections, and what they share."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path

from mailsandbox.errors import StartError
from mailsandbox.message.findings import Finding
from mailsandbox.smtp.replies import Reply, reply
from mailsandbox.submit.commands import PROMPT
from mailsandbox.submit.connection import SmtpConnection
from mailsandbox.submit.conversation import Conversation
from mailsandbox.submit.gate import Gate
from mailsandbox.submit.greylist import Greylist
from mailsandbox.submit.handler import Handler
from mailsandbox.submit.model import Kind, ListenerSpec, SubmitContext
from mailsandbox.submit.peers import Networks
from mailsandbox.submit.spool import Spool
from mailsandbox.submit.transaction import Client
from mailsandbox.tasks import Tasks
from mailsandbox.wording import cause_of


class Shared:
    """What the connections of one listener have in common."""

    def __init__(self, spec: ListenerSpec, context: SubmitContext) -> None:
        self.spec = spec
        self.context = context
        self.loop = asyncio.get_running_loop()
        self.gate = Gate(spec)
        self.handler = Handler(context.credentials, nonce=context.nonce)
        self.memory = context.memory
        self.proxies = Networks(spec.proxy_peers)
        self.connections: set[SmtpConnection] = set()
        self.tasks = Tasks()
        self._xclient = Networks(spec.xclient_peers)
        self._greylist = Greylist(spec.greylist) if spec.greylist else None
        self._peers: Counter[str] = Counter()
        self._address_of: dict[SmtpConnection, str] = {}
        # What aiosmtpd finds by introspection is found once (see connection.py).
        self.prototype: SmtpConnection | None = None
        self.prototype = SmtpConnection(self)
        self.methods = {
            verb: getattr(SmtpConnection, method.__name__) for verb, method in self.prototype._smtp_methods.items()
        }
        self.prompt = {verb: getattr(SmtpConnection, name) for verb, name in PROMPT.items()}

    def converse(self, client: Client, found: Callable[[Finding], None]) -> Conversation:
        """A new session's state; `found` takes what it finds."""
        return Conversation(
            self.spec, self.context, client=client, trusted=self._xclient, found=found, greylist=self._greylist
        )

    def spool(self) -> Spool:
        """Room for one message."""
        return Spool(self.memory, limit=self.spec.max_octets)

    def spawn(self, work: Coroutine[object, object, None], name: str) -> None:
        """Let something wait that belongs to a connection."""
        self.tasks.spawn(work, name=f"{self.spec.service}: {name}")

    def enter(self, connection: SmtpConnection, address: str) -> Reply | None:
        """Count a connection in; the refusal where there are too many."""
        limits = self.spec.limits
        self.connections.add(connection)
        self._address_of[connection] = address
        self._peers[address] += 1
        if len(self.connections) > limits.connections:
            return reply(421, "4.3.2", "Too many connections (RFC 5321 §3.8)")
        if limits.connections_per_peer and self._peers[address] > limits.connections_per_peer:
            return reply(421, "4.7.0", f"Too many connections from {address or 'here'}")
        return None

    def leave(self, connection: SmtpConnection) -> None:
        """Count it out."""
        self.connections.discard(connection)
        address = self._address_of.pop(connection, None)
        if address is not None:
            self._peers[address] -= 1
            if not self._peers[address]:
                del self._peers[address]


class SmtpListener:
    """One service: `await start()`, then `host` and `port` are where it listens; `await aclose()` ends it."""

    def __init__(self, spec: ListenerSpec, context: SubmitContext) -> None:
        if spec.kind is Kind.SUBMISSIONS and context.tls is None:
            raise StartError(f"{spec.service}: implicit TLS needs a certificate")
        self.spec = spec
        self.host = spec.host
        self.port = spec.port
        self._context = context
        self._server: asyncio.Server | None = None
        self._shared: Shared | None = None

    async def start(self) -> None:
        """Listen. Raises StartError where the port or path is not to be had."""
        spec = self.spec
        shared = self._shared = Shared(spec, self._context)
        try:
            if spec.socket:
                self._server = await shared.loop.create_unix_server(
                    lambda: SmtpConnection(shared), spec.socket, backlog=512
                )
                self.host = spec.socket
            else:
                self._server = await shared.loop.create_server(
                    lambda: SmtpConnection(shared), spec.host, spec.port, backlog=512
                )
                self.host, self.port = self._server.sockets[0].getsockname()[:2]
        except OSError as error:
            where = spec.socket or f"{spec.host}:{spec.port}"
            raise StartError(f"{spec.service}: cannot listen on {where}: {cause_of(error)}") from error

    @property
    def connections(self) -> int:
        """Clients connected now."""
        return len(self._shared.connections) if self._shared else 0

    async def aclose(self, timeout: float = 1.0) -> None:
        """Stop listening, say 421 to those connected, wait up to `timeout` seconds for messages being handed over."""
        server, self._server = self._server, None
        if server is None or self._shared is None:
            return
        server.close()
        for connection in list(self._shared.connections):
            connection.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout / 2):
                while any(connection.handing_over for connection in self._shared.connections):
                    await asyncio.sleep(0.001)
        await self._shared.tasks.aclose(timeout / 2)
        await asyncio.sleep(0)
        for connection in list(self._shared.connections):
            connection.abort()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(server.wait_closed(), timeout)
        if self.spec.socket:
            await asyncio.to_thread(Path(self.spec.socket).unlink, missing_ok=True)
