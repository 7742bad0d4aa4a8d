"""The relay queue of one site: takes messages in, wakes when something is due, does what operators ask for.

Invariant: between two wake-ups nothing is due, so a manual clock runs a schedule of five days attempt by attempt.
Knows no SMTP; what an attempt does is `attempts`, what its outcome means is `settling`.
"""

import asyncio
import contextlib
import logging
import math
import random
from collections.abc import Sequence
from typing import Final

from msgspec import structs

from mailsandbox.clock import Clock
from mailsandbox.database.blobs import Lately
from mailsandbox.database.tx import Database, Tx
from mailsandbox.errors import QueueError, StoreError
from mailsandbox.journey.model import JourneyId
from mailsandbox.mailqueue.attempts import Attempts, Notify, QueueLimits, Record, Surroundings
from mailsandbox.mailqueue.interruptions import interrupted
from mailsandbox.mailqueue.memory import Load
from mailsandbox.mailqueue.model import Courier, NewItem, QueuedItem, QueuedRecipient, RecipientStatus
from mailsandbox.mailqueue.schedule import RetryPolicy
from mailsandbox.mailqueue.settling import attend, give_up, operated
from mailsandbox.mailqueue.spool import Lease, Spool, Stored
from mailsandbox.message.envelope import domain_of
from mailsandbox.message.underway import Underway
from mailsandbox.smtp.replies import reply
from mailsandbox.tasks import Tasks

_RESTARTED: Final = "the daemon that held it died; this is the next one on its data"
_RETURNED: Final = reply(554, "5.0.0", "returned to the sender on the operator's request")

_log = logging.getLogger(__name__)


class Queue:
    """The queue. Methods that name an item raise NoSuchQueueItem for an id that is not in it."""

    def __init__(
        self,
        database: Database,
        *,
        site: str,
        courier: Courier,
        retry: RetryPolicy,
        clock: Clock,
        rng: random.Random,
        record: Record,
        notify: Notify,
        limits: QueueLimits | None = None,
        underway: Underway | None = None,
        lately: Lately | None = None,
    ) -> None:
        self.site = site
        self._database = database
        self._record = record
        self._courier = courier
        self._policy = retry
        self._clock = clock
        self._limits = limits or QueueLimits()
        self._spool = Spool(site, lately)
        self._owner = database.daemon
        self._tasks = Tasks()
        around = Surroundings(
            site,
            database,
            self._spool,
            self._owner,
            courier,
            retry,
            clock,
            rng,
            record,
            notify,
            self._limits,
            underway or Underway(),
        )
        self._wake = asyncio.Event()
        self._wake_at: float | None = None
        self._sleeper: asyncio.Task[None] | None = None
        self._attempts = Attempts(around, due_at=self._wake_by, room=self._wake.set, tasks=self._tasks)
        self._closing = False

    # The way in

    def enqueue_in(self, tx: Tx, item: NewItem) -> None:
        """Put a message in as part of the transaction that accepts it; it is tried right after the commit."""
        content = self._spool.add_in(tx, item, Lease(self._owner, item.received_at + self._limits.lease))
        tx.after_commit(lambda: self._accepted(item, content))

    def _accepted(self, item: NewItem, content: int) -> None:
        rows = [
            QueuedRecipient(number, recipient, RecipientStatus.ACTIVE, 0, item.received_at, warned=False)
            for number, recipient in enumerate(item.envelope.recipients)
        ]
        size = len(item.trace) + len(item.octets)
        queued = QueuedItem(
            item.queue_id,
            item.journey_id,
            self.site,
            item.envelope,
            item.received_at,
            size,
            held=False,
            recipients=tuple(rows),
        )
        if self._closing:
            return  # leased by us: the next start takes it over
        if self._attempts.space < len(rows):
            self._tasks.spawn(self._attempts.shed(queued, rows), name=f"{self.site}: give {item.queue_id} back")
            return
        self._attempts.take(Load(queued, content, item.trace, item.octets, item.sha256, item.clean))
        self._attempts.pump()

    async def start(self) -> None:
        """Make the tables, take over what an earlier process left, and begin to work."""

        def open_up(tx: Tx) -> None:
            self._spool.create_in(tx)
            if not self._database.shared:  # whoever held a lease is gone
                self._record_in(tx, self._spool.take_over_in(tx), _RESTARTED)

        await self._database.write(open_up)
        self._database.on_death(self._inherit)
        self._database.listen(self._heard)
        self._tasks.spawn(self._schedule(), name=f"{self.site}: queue")

    def _heard(self, topic: str) -> None:
        """The database was away, so others may have held us for dead."""
        if not topic and not self._closing and self._attempts.queue_ids():
            self._tasks.spawn(self._attempts.renew_now(), name=f"{self.site}: leases after a gap")

    def _inherit(self, tx: Tx, daemon: str) -> None:
        """Another daemon is dead: what it held is due here."""
        freed = self._spool.take_over_in(tx, dead=daemon)
        self._record_in(tx, freed, "the daemon that held it died")
        if freed:
            _log.warning("%s: %d messages taken over from daemon %s, which died", self.site, len(freed), daemon)
            tx.after_commit(self._wake.set)

    def _record_in(self, tx: Tx, cut_short: Sequence[QueuedItem], why: str) -> None:
        now = self._clock.now()
        for item in cut_short:
            self._record(tx, JourneyId(item.journey_id), interrupted(item, now=now, why=why))

    async def aclose(self) -> None:
        """Stop; attempts under way get a moment to end. What is left is in the database. May be called again."""
        if self._closing:
            return
        self._closing = True
        await self._attempts.stop()
        await self._tasks.aclose()

        def give_back(tx: Tx) -> None:
            rows = [(item.queue_id, row.number) for item in self._attempts.cut_short for row in item.recipients]
            self._record_in(tx, self._spool.interrupt_in(tx, self._owner, rows), "the daemon was stopped")
            self._spool.shed_in(tx, self._owner)

        with contextlib.suppress(StoreError):
            await self._database.write(give_back)
        await self._courier.aclose()
        self._attempts.end()

    async def quiet(self) -> None:
        """Wait until nothing is being tried or waits in memory."""
        await self._attempts.quiet()

    # Time

    async def _schedule(self) -> None:
        """Claim what is due, sleep until the next is."""
        while True:
            self._wake.clear()
            with self._clock.working():
                try:
                    when = await self._claim_due()
                    if self._database.shared:
                        expiry = await self._take_over_expired()
                        when = expiry if when is None else min(when, expiry)
                except StoreError as error:
                    _log.warning("%s: queue: %s", self.site, error)
                    when = self._clock.now() + 1.0
            if when is not None:
                self._wake_by(when)
            await self._wake.wait()

    async def _claim_due(self) -> float | None:
        """Take rows as long as any are due and there is room; returns when the next will be."""
        while True:
            now = self._clock.now()
            when = await self._database.read(self._spool.next_due)
            if when is None or when > now:
                return when
            space = self._attempts.space
            if space <= 0:
                return None
            for stored in await self._claim(now, min(self._limits.claim, space)):
                await self._attend(stored, now)
            self._attempts.pump()

    async def _claim(self, now: float, limit: int) -> list[Stored]:
        lease = Lease(self._owner, now + self._limits.lease)

        return await self._database.write(lambda tx: self._spool.claim_in(tx, lease, now=now, limit=limit))

    async def _take_over_expired(self) -> float:
        """Take over what daemons have not renewed, whatever keeps them; returns when to look again."""
        now = self._clock.now()
        expiry = await self._database.read(self._spool.next_expiry)
        if expiry is None or expiry > now:
            return min(now + self._limits.lease, expiry or math.inf)
        mine = frozenset(self._attempts.queue_ids())

        def work(tx: Tx) -> int:
            freed = self._spool.take_over_in(tx, expired=now, mine=mine)
            self._record_in(tx, freed, "the daemon that held it has not renewed its lease")
            return len(freed)

        # What is free now is due at once.
        return now if await self._database.write(work) else now + 1.0

    async def _attend(self, stored: Stored, now: float) -> None:
        """Try what is to be tried; settle what needs no attempt: an end, or a delay to be told."""
        tried, settlement = attend(stored.item, policy=self._policy, now=now)
        if settlement.dropped or settlement.deferred:
            octets = await self._attempts.octets(stored.content, stored.trace) if settlement.reports else b""
            await self._attempts.write_down(stored.item, stored.content, settlement, octets=octets)
        if tried:
            self._attempts.take(
                Load(structs.replace(stored.item, recipients=tuple(tried)), stored.content, stored.trace, None)
            )

    def _wake_by(self, when: float) -> None:
        """See to it that the scheduler runs at `when`, or earlier."""
        if self._closing or (self._wake_at is not None and self._wake_at <= when):
            return
        if self._sleeper is not None:
            self._sleeper.cancel()
        self._wake_at = when
        self._sleeper = self._tasks.spawn(self._sleep(when), name=f"{self.site}: queue sleeps")

    async def _sleep(self, when: float) -> None:
        await self._clock.sleep_until(when)
        self._wake_at = None
        self._sleeper = None
        self._wake.set()

    # What operators ask for: what changes a message enters its journey in the transaction of the change

    async def items(self, *, limit: int = 1000, after: str = "") -> list[QueuedItem]:
        """Items in the order of their queue ids, from behind `after`."""
        return await self._database.read(lambda tx: self._spool.items_in(tx, limit=limit, after=after))

    async def item(self, queue_id: str) -> QueuedItem:
        """One item."""
        return (await self._database.read(lambda tx: self._spool.item_in(tx, queue_id))).item

    async def count(self) -> int:
        """How many messages are queued."""
        return await self._database.read(self._spool.count_in)

    async def hold(self, queue_id: str) -> None:
        """Do not try it until it is released; an attempt under way is not stopped."""

        def work(tx: Tx) -> None:
            item = self._spool.item_in(tx, queue_id).item
            self._spool.hold_in(tx, queue_id, held=True)
            if not item.held:
                self._operated(tx, item, "hold")

        await self._database.write(work)
        self._attempts.cancel(queue_id)

    async def release(self, queue_id: str) -> None:
        """Let it go, and try it at once."""

        def work(tx: Tx) -> None:
            item = self._spool.item_in(tx, queue_id).item
            self._spool.hold_in(tx, queue_id, held=False)
            due = self._spool.retry_in(tx, now=self._clock.now(), queue_id=queue_id)
            if item.held or due:
                self._operated(tx, item, "release" if item.held else "retry")

        await self._database.write(work)
        self._wake.set()

    async def retry(self, queue_id: str) -> int:
        """Try its waiting recipients now; returns how many. A held item stays held."""

        def work(tx: Tx) -> int:
            item = self._spool.item_in(tx, queue_id).item
            due = self._spool.retry_in(tx, now=self._clock.now(), queue_id=queue_id)
            if due:
                self._operated(tx, item, "retry")
            return due

        due = await self._database.write(work)
        self._wake.set()
        return due

    async def run(self) -> int:
        """Try everything that waits and is not held, now; returns how many recipients."""
        due = await self._database.write(lambda tx: self._spool.retry_in(tx, now=self._clock.now()))
        self._wake.set()
        return due

    async def run_for(self, domain: str, *, below: bool = False) -> int:
        """Try messages with a recipient in that domain now, as ETRN asks for (RFC 1985 §5); returns how many.

        `below`: those for the domains below it as well.
        """

        def work(tx: Tx) -> int:
            now = self._clock.now()
            return sum(
                self._spool.retry_in(tx, now=now, queue_id=queue_id) > 0
                for queue_id in self._bound_for(tx, domain.lower(), below=below)
            )

        due = await self._database.write(work)
        self._wake.set()
        return due

    def _bound_for(self, tx: Tx, domain: str, *, below: bool) -> list[str]:
        found: list[str] = []
        after = ""
        while items := self._spool.items_in(tx, limit=self._limits.claim, after=after):
            after = items[-1].queue_id
            for item in items:
                domains = {domain_of(row.address) for row in item.recipients}
                if domain in domains or (below and any(one.endswith(f".{domain}") for one in domains)):
                    found.append(item.queue_id)
        return found

    async def bounce(self, queue_id: str) -> None:
        """Return it to its sender now. Raises QueueError while it is being sent."""
        stored = await self._database.read(lambda tx: self._spool.item_in(tx, queue_id))
        if self._attempts.sending(queue_id):
            raise QueueError(f"{self.site}: {queue_id} is being sent at this moment; try again")
        self._attempts.cancel(queue_id)
        octets = await self._attempts.octets(stored.content, stored.trace)
        settlement = give_up(stored.item, _RETURNED, now=self._clock.now())
        # Once: whoever asked for it is told where the database does not take it.
        await self._database.write(self._attempts.settlement_in(stored.item, stored.content, settlement, octets=octets))

    async def remove(self, queue_id: str) -> None:
        """Drop it without telling anybody."""
        await self._database.write(lambda tx: self._remove_in(tx, queue_id))
        self._attempts.cancel(queue_id)

    def _remove_in(self, tx: Tx, queue_id: str) -> None:
        stored = self._spool.item_in(tx, queue_id)
        numbers = [row.number for row in stored.item.recipients]
        if self._spool.drop_in(tx, queue_id, stored.content, numbers):
            self._operated(tx, stored.item, "remove")

    def _operated(self, tx: Tx, item: QueuedItem, action: str) -> None:
        self._record(tx, JourneyId(item.journey_id), operated(item, action, now=self._clock.now()))

    async def reset(self) -> int:
        """Drop everything without telling anybody; returns how many messages."""

        def work(tx: Tx) -> list[str]:
            dropped = []
            while items := self._spool.items_in(tx, limit=self._limits.claim):
                for item in items:
                    self._remove_in(tx, item.queue_id)
                    dropped.append(item.queue_id)
            return dropped

        dropped = await self._database.write(work)
        for queue_id in dropped:
            self._attempts.cancel(queue_id)
        return len(dropped)
