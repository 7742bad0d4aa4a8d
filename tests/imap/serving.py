"""A store, a hub and an IMAP server in memory on a free port, for tests."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from mailsandbox.access.context import AccessContext
from mailsandbox.access.imap.personalities import ImapOptions
from mailsandbox.access.imap.server import ImapFactory
from mailsandbox.access.transport import Listener, listen
from mailsandbox.clock import ManualClock, SystemClock
from mailsandbox.database import open_database
from mailsandbox.faults import Faults
from mailsandbox.journey.sessions import SessionLog
from mailsandbox.notify import Hub
from mailsandbox.store.credentials import AccountSpec, Credentials
from mailsandbox.store.journeys import JourneyLedger
from mailsandbox.store.store import Store
from tests.imap.wire import Wire

ACCOUNT = "bob@beta.test"


@dataclass
class Server:
    """One IMAP service with everything below it."""

    context: AccessContext
    listener: Listener
    wires: list[Wire] = field(default_factory=list)

    @property
    def store(self) -> Store:
        return self.context.store

    async def wire(self, *, tls: ssl.SSLContext | None = None) -> Wire:
        """A new connection; its greeting is still to come."""
        wire = await Wire.open(self.listener.host, self.listener.port, tls=tls)
        self.wires.append(wire)
        return wire

    async def login(self, account: str = ACCOUNT) -> Wire:
        """A new connection, logged in."""
        wire = await self.wire()
        await wire.ok(f"LOGIN {account} pass")
        return wire

    async def selected(self, mailbox: str = "INBOX", account: str = ACCOUNT) -> Wire:
        """A new connection with a mailbox open."""
        wire = await self.login(account)
        await wire.ok(f"SELECT {mailbox}")
        return wire


StartServer = Callable[..., "contextlib.AbstractAsyncContextManager[Server]"]


@contextlib.asynccontextmanager
async def serving(
    *,
    options: ImapOptions | None = None,
    clock: SystemClock | ManualClock | None = None,
    specs: dict[str, AccountSpec] | None = None,
    tls: ssl.SSLContext | None = None,
    implicit: bool = False,
    any_account: bool = True,
    target: str = ":memory:",
) -> AsyncIterator[Server]:
    """`target`: the database, as a user would name it."""
    clock = clock or SystemClock()
    database = open_database(target)
    await database.start()
    credentials = Credentials(any_account, specs or {})
    store = Store(
        database, clock=clock, quota=lambda address: spec.quota if (spec := credentials.spec(address)) else None
    )
    await store.start()
    ledger = JourneyLedger(database, clock)
    await ledger.start()
    context = AccessContext(
        store, Hub(store), credentials, clock, SessionLog(clock), ledger, Faults(), tls, hostname="imap.beta.test"
    )
    factory = ImapFactory(context, "imap", options)
    listener = await listen(factory, "127.0.0.1", 0, tls=tls if implicit else None)
    server = Server(context, listener)
    try:
        yield server
    finally:
        for wire in server.wires:
            wire.close()
        await listener.aclose()
        await factory.aclose()
        await ledger.aclose()
        await store.aclose()
        await database.aclose()


MESSAGE = (
    b"From: Alice <alice@alpha.test>\r\nTo: bob@beta.test\r\nSubject: Hello\r\n"
    b"Date: Mon, 7 Feb 1994 21:52:25 -0800\r\nMessage-ID: <one@alpha.test>\r\n\r\nHi Bob\r\n"
)


async def settled() -> None:
    """Let callbacks of the loop run."""
    for _ in range(5):
        await asyncio.sleep(0)
