"""A site's relay half on a manual clock: queue, courier and notifier over a database in memory.

In the end of every rig its journeys are put together and compared with its queue: see `journeys_agree`.
"""

import hashlib
import itertools
import random
from dataclasses import dataclass, field

from mailsandbox.clock import ManualClock
from mailsandbox.database.opening import open_database
from mailsandbox.deliver.notifier import Notifier
from mailsandbox.encoding.verdicts import Accept, Emulation, RelayPolicy
from mailsandbox.faults import Faults
from mailsandbox.journey.assemble import Journey, assemble, standings
from mailsandbox.journey.model import Accepted, Attempted, Delivered, EnvelopeRecord, JourneyEvent, Notified
from mailsandbox.journey.sessions import SessionLog
from mailsandbox.mailqueue.attempts import QueueLimits
from mailsandbox.mailqueue.model import NewItem
from mailsandbox.mailqueue.runner import Queue
from mailsandbox.mailqueue.schedule import RetryPolicy
from mailsandbox.message.envelope import Envelope, Recipient, domain_of
from mailsandbox.relay.allow import Allow
from mailsandbox.relay.connection import Timeouts
from mailsandbox.relay.courier import RelayCourier
from mailsandbox.relay.routes import Route, Routes
from mailsandbox.relay.tls import TlsPolicy
from mailsandbox.relay.zone import Zone
from mailsandbox.store.journeys import JourneyLedger, journeys_after, read_events

PLAIN = b"From: a@alpha.test\r\nTo: b@beta.test\r\nSubject: test\r\nMessage-ID: <1@alpha.test>\r\n\r\nHello\r\n"


def as_it_is(octets, *, offers, envelope, policy, clean):
    """A relay gate that lets everything pass."""
    return Accept(octets, body="8BITMIME" if not octets.isascii() and "8BITMIME" in offers else "")


ALL = 10_000  # more than any case queues
ON_THE_WAY = ("queued", "deferred", "held")


def accepted(item: NewItem) -> Accepted:
    """What the site's listener would have written into the journey."""
    envelope = EnvelopeRecord(item.envelope.reverse_path, item.envelope.addresses)
    sha256 = hashlib.sha256(item.octets).hexdigest()
    return Accepted(
        "alpha", item.queue_id, item.received_at, "", "", "", "ESMTP", "", envelope, len(item.octets), sha256, [], []
    )


@dataclass
class Home:
    """Mail that came home: what the site would have put into its own mailboxes."""

    envelope: Envelope
    octets: bytes


@dataclass
class Rig:
    routes: Routes = field(default_factory=lambda: Routes(own=["mx.alpha.test"], rng=random.Random(1)))
    retry: RetryPolicy = field(default_factory=lambda: RetryPolicy(jitter=0.0))
    tls: TlsPolicy = field(default_factory=lambda: TlsPolicy("off"))
    prepare: object = as_it_is
    limits: QueueLimits = field(default_factory=QueueLimits)
    timeouts: Timeouts = field(default_factory=lambda: Timeouts(connect=5, greeting=5, command=5, end=5))
    convert: bool = False  # what comes back in notifications
    emulate: Emulation = Emulation.STRICT
    home_domain: str = "alpha.test"
    database: object = None
    clock: ManualClock = field(default_factory=ManualClock)
    faults: Faults = field(default_factory=Faults)
    sessions: SessionLog = field(init=False)
    allow: Allow = field(default_factory=Allow)
    home: list[Home] = field(default_factory=list)
    journey: dict[str, list[JourneyEvent]] = field(default_factory=dict)
    closed: bool = False

    async def start(self) -> "Rig":
        self.database = self.database or open_database(":memory:")
        await self.database.start()
        self.ledger = JourneyLedger(self.database, self.clock)
        await self.ledger.start()
        self._ids = itertools.count(1)
        self.sessions = SessionLog(self.clock)
        self.courier = RelayCourier(
            site="alpha",
            helo="mx.alpha.test",
            routes=self.routes,
            allow=self.allow,
            tls=self.tls,
            prepare=self.prepare,
            policy=RelayPolicy(host="mx.alpha.test", emulate=self.emulate),
            faults=self.faults,
            clock=self.clock,
            sessions=self.sessions,
            timeouts=self.timeouts,
        )
        self.notifier = Notifier(
            site="alpha",
            hostname="mx.alpha.test",
            clock=self.clock,
            new_id=lambda: f"D{next(self._ids):04}",
            hand_over_in=self._hand_over_in,
            record=self._record,
            to_seven_bit=self.courier.seven_bit if self.convert else None,
        )
        self.queue = self.new_queue()
        await self.queue.start()
        return self

    def new_queue(self) -> Queue:
        return Queue(
            self.database,
            site="alpha",
            courier=self.courier,
            retry=self.retry,
            clock=self.clock,
            rng=random.Random(7),
            record=self._record,
            notify=self.notifier.notices,
            limits=self.limits,
        )

    async def aclose(self) -> None:
        if self.closed:
            return
        self.closed = True
        try:
            await self.queue.aclose()
            await self.courier.aclose()
            await self.journeys_agree()
        finally:
            await self.database.aclose()

    async def journeys_agree(self) -> dict[str, Journey]:
        """All journeys by id: each says of every recipient whether it is in the queue, as the queue does."""
        return await self.database.read(self._journeys_agree)

    def _journeys_agree(self, tx) -> dict[str, Journey]:
        items = self.queue._spool.items_in(tx, limit=ALL)
        journeys = {one: assemble(one, read_events(tx, one)) for one in journeys_after(tx, "", ALL)}
        assert {item.journey_id for item in items} <= set(journeys), "a message without a journey"
        for journey_id, journey in journeys.items():
            mine = [item for item in items if item.journey_id == journey_id]
            queued = {row.address: item.held for item in mine for row in item.recipients}
            standing = {one: where for one, where in standings(journey.hops).items() if where in ON_THE_WAY}
            assert {one: where == "held" for one, where in standing.items()} == queued, (journey_id, journey.state)
            states = ("failed", "held", "queued") if queued else ("delivered", "failed", "removed")
            assert journey.state in states, (journey_id, journey.state, queued)
        return journeys

    def _record(self, tx, journey_id, event) -> None:
        self.ledger.append_in(tx, journey_id, event)
        tx.after_commit(lambda: self.journey.setdefault(journey_id, []).append(event))

    def _hand_over_in(self, tx, envelope, octets, queue_id) -> None:
        if all(domain_of(address) == self.home_domain for address in envelope.addresses):
            tx.after_commit(lambda: self.home.append(Home(envelope, octets)))
            for one in envelope.addresses:
                landed = Delivered("alpha", one, one, "INBOX", 1, "", 1, len(octets), self.clock.now(), 0)
                self.ledger.append_in(tx, queue_id, landed)
        else:
            self.queue.enqueue_in(tx, NewItem(queue_id, queue_id, envelope, octets, self.clock.now()))

    async def send(
        self,
        *recipients: str | Recipient,
        octets: bytes = PLAIN,
        sender: str = "a@alpha.test",
        queue_id: str = "",
        **envelope,
    ) -> str:
        """Queue a message; returns its id, when all first attempts are over."""
        queue_id = await self.enqueue(*recipients, octets=octets, sender=sender, queue_id=queue_id, **envelope)
        await self.queue.quiet()
        return queue_id

    async def enqueue(
        self,
        *recipients: str | Recipient,
        octets: bytes = PLAIN,
        sender: str = "a@alpha.test",
        queue_id: str = "",
        **envelope,
    ) -> str:
        queue_id = queue_id or f"Q{next(self._ids):04}"
        people = tuple(Recipient(one) if isinstance(one, str) else one for one in recipients)
        item = NewItem(queue_id, queue_id, Envelope(sender, people, **envelope), octets, self.clock.now())

        def work(tx) -> None:
            self.ledger.append_in(tx, queue_id, accepted(item))
            self.queue.enqueue_in(tx, item)

        await self.database.write(work)
        return queue_id

    def attempts(self, queue_id: str) -> list[Attempted]:
        return [event for event in self.journey.get(queue_id, []) if isinstance(event, Attempted)]

    def notified(self, queue_id: str) -> list[Notified]:
        return [event for event in self.journey.get(queue_id, []) if isinstance(event, Notified)]

    def route(self, domain: str, hop, **options) -> None:
        self.routes.static.append(Route(domain, "127.0.0.1", hop.port, **options))

    def zone(self, table) -> None:
        self.routes.zone = Zone.parse(table)
