"""A POP3 server over a store in memory, and a player of wire transcripts."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from private_dovecot import dovecot  # noqa: F401

from mailsandbox.access.context import AccessContext
from mailsandbox.access.pop3.personality import Pop3Options
from mailsandbox.access.pop3.server import Pop3Factory
from mailsandbox.access.transport import listen
from mailsandbox.clock import ManualClock
from mailsandbox.database.opening import open_database
from mailsandbox.faults import Faults
from mailsandbox.journey.sessions import SessionLog
from mailsandbox.notify import Hub
from mailsandbox.runtime.certificates import local_identity
from mailsandbox.store.credentials import Credentials
from mailsandbox.store.journeys import JourneyLedger
from mailsandbox.store.model import AppendItem
from mailsandbox.store.store import Store

BOB = "bob@beta.test"


@pytest.fixture(scope="session")
def identity(tmp_path_factory):
    return local_identity(tmp_path_factory.mktemp("tls"), ["localhost", "127.0.0.1"])


class Pop3Box:
    """One store, one factory, its listeners."""

    def __init__(self, context: AccessContext, options: Pop3Options) -> None:
        self.context = context
        self.options = options
        self.factory = Pop3Factory(context, "pop3", options)
        self.changes: list[str] = []
        context.store.listeners.append(lambda changes: self.changes.extend(change.type for change in changes))

    @property
    def store(self) -> Store:
        return self.context.store

    async def put(self, *messages: bytes, account: str = BOB, flags=()) -> None:
        await self.store.ensure_account(account)
        await self.store.append(account, "INBOX", [AppendItem(octets) for octets in messages])

    async def left(self, account: str = BOB) -> int:
        return (await self.store.status(account, "INBOX")).messages

    async def connect(self) -> "Client":
        return Client(*await asyncio.open_connection(self.host, self.port, limit=1 << 20))

    async def login(self, account: str = BOB) -> "Client":
        client = await self.connect()
        assert (await client.line()).startswith(b"+OK")
        assert (await client.ask(f"USER {account}")).startswith(b"+OK")
        assert (await client.ask("PASS secret")).startswith(b"+OK")
        return client

    @property
    def last_session(self):
        return next(iter(self.context.sessions))


class Client:
    """A client that sends what it is told and reads lines."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, text: str | bytes) -> None:
        self.writer.write(text.encode() + b"\r\n" if isinstance(text, str) else text)

    async def line(self) -> bytes:
        return await self.reader.readline()

    async def ask(self, text: str | bytes) -> bytes:
        self.send(text)
        return await self.line()

    async def multi(self) -> bytes:
        """Octets of a multi-line response after its first line, stuffing undone by the book, terminator left out."""
        first = await self.line()
        assert first.startswith(b"+OK"), first
        lines = []
        while (line := await self.reader.readuntil(b"\r\n")) != b".\r\n":
            lines.append(line[1:] if line.startswith(b".") else line)
        return b"".join(lines)

    async def hang_up(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


@pytest.fixture
async def pop3(identity):
    """`await pop3(options..., accounts={...})` -> Pop3Box, listening."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(*, accounts=None, clock=None, tls=False, any_account=True, **options) -> Pop3Box:
            return await stack.enter_async_context(
                _serving(identity, accounts or {}, clock, tls=tls, any_account=any_account, options=options)
            )

        yield start


@contextlib.asynccontextmanager
async def _serving(identity, accounts, clock, *, tls, any_account, options) -> AsyncIterator[Pop3Box]:
    clock = clock or ManualClock()
    database = open_database(":memory:")
    store, ledger = Store(database, clock=clock), JourneyLedger(database, clock)
    await database.start()
    await store.start()
    await ledger.start()
    context = AccessContext(
        store=store,
        hub=Hub(store),
        credentials=Credentials(any_account, accounts),
        clock=clock,
        sessions=SessionLog(clock),
        ledger=ledger,
        faults=Faults(),
        tls=identity.context,
        hostname="beta.test",
    )
    box = Pop3Box(context, Pop3Options(**options))
    listener = await listen(box.factory, "127.0.0.1", 0, tls=identity.context if tls else None)
    box.host, box.port, box.listener, box.clock = listener.host, listener.port, listener, clock
    try:
        yield box
    finally:
        await listener.aclose(0.2)
        await box.factory.tasks.aclose()
        await ledger.aclose()
        await store.aclose()
        await database.aclose()
