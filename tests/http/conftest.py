"""A real server on port 0 over a real store in memory; only the sites behind POST /v1/send are played."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx
import pytest

from mailsandbox.access.http.context import HttpContext, HttpOptions, Submission
from mailsandbox.access.http.server import HttpServer
from mailsandbox.clock import ManualClock
from mailsandbox.database import Database, open_database
from mailsandbox.faults import Faults
from mailsandbox.journey.model import Delivered
from mailsandbox.journey.sessions import SessionLog
from mailsandbox.message.envelope import Envelope
from mailsandbox.notify.hub import Hub
from mailsandbox.smtp.replies import Reply, reply
from mailsandbox.store.credentials import Credentials
from mailsandbox.store.journeys import JourneyLedger
from mailsandbox.store.model import Delivery, Landed
from mailsandbox.store.store import Store

LETTER = (
    b"From: Alice <alice@alpha.test>\r\nTo: Bob <bob@beta.test>\r\nSubject: =?utf-8?q?=C3=89t=C3=A9?=\r\n"
    b"Message-ID: <one@alpha.test>\r\nDate: Fri, 20 Nov 2026 10:00:00 +0100\r\n\r\nHello Bob.\r\n"
)


@dataclass
class Site:
    """Takes what POST /v1/send hands over, and answers as told."""

    answer: Reply = field(default_factory=lambda: reply(250, "2.0.0", "Ok: queued as q1"))
    taken: list[tuple[Envelope, bytes, str]] = field(default_factory=list)

    async def __call__(self, envelope: Envelope, octets: bytes, *, site: str, client: str) -> Submission:
        self.taken.append((envelope, octets, site))
        return Submission(self.answer, "j1", "q1") if self.answer.positive else Submission(self.answer)


@dataclass
class House:
    """The server, what stands behind it, and a client."""

    database: Database
    store: Store
    ledger: JourneyLedger
    context: HttpContext
    server: HttpServer
    site: Site
    client: httpx.AsyncClient

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    async def deliver(
        self, account: str = "bob@beta.test", octets: bytes = LETTER, *, trace: bytes = b"", journey_id: str = ""
    ) -> Landed:
        """One message into the account's INBOX."""
        deliveries = [Delivery(account, trace, recipient=account)]

        def work(tx):
            (landed,) = self.store.deliver_in(tx, deliveries, octets, journey_id=journey_id)
            if journey_id:
                fields = {name: getattr(landed, name, "") for name in Delivered.__struct_fields__}
                self.ledger.append_in(tx, journey_id, Delivered(**fields | {"site": "beta"}))
            return landed

        return await self.database.write(work)


@pytest.fixture
def options() -> HttpOptions:
    return HttpOptions()


@pytest.fixture
def credentials() -> Credentials:
    return Credentials()


@pytest.fixture
async def house(options: HttpOptions, credentials: Credentials) -> AsyncIterator[House]:
    database = open_database(":memory:")
    await database.start()
    clock = ManualClock()
    store = Store(database, clock=clock)
    await store.start()
    ledger = JourneyLedger(database, clock)
    await ledger.start()
    site = Site()
    hub = Hub(store)
    context = HttpContext(
        store=store,
        hub=hub,
        credentials=credentials,
        clock=clock,
        sessions=SessionLog(clock),
        ledger=ledger,
        faults=Faults(),
        submit=site,
        reset=store.reset,
        options=options,
    )
    server = HttpServer(context, "127.0.0.1", 0)
    await server.start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=10) as client:
        yield House(database, store, ledger, context, server, site, client)
    hub.stop()
    await server.aclose()
    await ledger.aclose()
    await store.aclose()
    await database.aclose()
