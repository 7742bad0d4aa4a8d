"""Items in memory: each attempt's way from a waiting job to the one transaction that writes down what came of it.

Invariants: an item is in memory only while this process holds its lease; every attempt ends in one transaction that
moves its recipients, appends to the journey and enqueues the notification; while anything is in memory the clock is
told that work goes on. A dead destination never delays another. Knows no SMTP, and not when anything is due.
"""

import asyncio
import contextlib
import hashlib
import itertools
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import structs

from mailsandbox.clock import Clock
from mailsandbox.database.tx import Database, Tx
from mailsandbox.errors import DamagedContent, NoSuchMessage, StoreError
from mailsandbox.journey.model import Attempted, JourneyEvent, JourneyId
from mailsandbox.mailqueue.destinations import Destination, Destinations
from mailsandbox.mailqueue.memory import Load, Loads, OctetBudget
from mailsandbox.mailqueue.model import (
    AttemptReport,
    Courier,
    Later,
    Outcome,
    QueuedItem,
    QueuedMessage,
    QueuedRecipient,
    RecipientReport,
)
from mailsandbox.mailqueue.schedule import RetryPolicy
from mailsandbox.mailqueue.settling import Settlement, settle
from mailsandbox.mailqueue.spool import Lease, Spool
from mailsandbox.message.underway import LARGE, Known, Underway
from mailsandbox.smtp.replies import reply
from mailsandbox.tasks import Tasks

Record = Callable[[Tx, JourneyId, JourneyEvent], None]
Notify = Callable[[QueuedItem, Sequence[RecipientReport], bytes], Callable[[Tx], None] | None]

_BROKEN: Final = reply(451, "4.3.0", "internal error in the relay; it has been logged")
_DAMAGED: Final = reply(451, "4.3.0", "the stored message cannot be read; the log has the cause")
_FIRST_PAUSE: Final = 0.1  # seconds of real time between two tries to write: the database, not the mail, is slow
_LONGEST_PAUSE: Final = 2.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """Precedent: Postfix's qmgr holds 20,000 messages in memory, starts with 5 deliveries for each destination."""

    initial_concurrency: int = 5
    concurrency: int = 50  # attempts at once for one destination: each waits for two commits, which many share
    total: int = 200  # attempts at once; twice as many where destinations have only one
    in_memory: int = 20_000  # recipients; more wait on disk
    kept_octets: int = 32 << 20  # of fresh messages, so that they are not read back
    large_octets: int = 48 << 20  # of messages above 1 MiB that are carried at once
    lease: float = 120.0  # seconds, renewed after a third of them however long an attempt takes
    claim: int = 500  # recipients taken by one transaction
    closing: float = 0.3  # seconds of real time that running attempts are given at the end


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What attempts need of the site."""

    site: str
    database: Database
    spool: Spool
    owner: str  # of the leases
    courier: Courier
    policy: RetryPolicy
    clock: Clock
    rng: random.Random
    record: Record
    notify: Notify
    limits: QueueLimits
    underway: Underway


class _Job(msgspec.Struct, frozen=True, eq=False):
    """The recipients of one load that share a destination."""

    load: Load
    rows: tuple[QueuedRecipient, ...]

    @property
    def item(self) -> QueuedItem:
        """The item with these recipients alone."""
        item = self.load.item
        return item if len(self.rows) == len(item.recipients) else structs.replace(item, recipients=self.rows)


class Attempts:
    """Runs jobs. `due_at` is told when a deferred recipient needs attention, `room` when memory or disk has changed."""

    def __init__(
        self, around: Surroundings, *, due_at: Callable[[float], None], room: Callable[[], None], tasks: Tasks
    ) -> None:
        limits = around.limits
        self._around = around
        self._due_at = due_at
        self._room = room
        self._tasks = tasks
        self._loads = Loads(kept_octets=limits.kept_octets)
        self._budget = OctetBudget(limits.large_octets)
        self._destinations: Destinations[_Job] = Destinations(
            initial=limits.initial_concurrency, limit=limits.concurrency
        )
        self._running = 0
        self._stopped = False
        self._starving = False
        self._busy: contextlib.AbstractContextManager[None] | None = None
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._renewer: asyncio.Task[None] | None = None
        self.cut_short: list[QueuedItem] = []  # with the recipients whose attempt closing has cut short

    @property
    def space(self) -> int:
        """Recipients that may still be brought into memory. Where there are none, `room` is called when there are."""
        space = self._around.limits.in_memory - self._loads.recipients
        if space <= 0:
            self._starving = True
        return space

    def sending(self, queue_id: str) -> bool:
        """Whether an attempt for the item is under way."""
        return any(load.started for load in self._loads.of(queue_id))

    def cancel(self, queue_id: str) -> None:
        """Jobs of this item that have not started shall not."""
        for load in self._loads.of(queue_id):
            load.cancelled = True

    def queue_ids(self) -> list[str]:
        """Items in memory."""
        return [load.item.queue_id for load in self._loads.all()]

    async def quiet(self) -> None:
        """Wait until nothing is in memory."""
        await self._quiet.wait()

    async def stop(self) -> None:
        """Start nothing more; what runs gets a moment to end."""
        self._stopped = True
        for job in self._destinations.waiting():
            self._settled(job)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._quiet.wait(), self._around.limits.closing)

    def end(self) -> None:
        """All tasks have been cancelled."""
        self._not_busy()

    def take(self, load: Load) -> None:
        """Bring an item into memory, one job for each destination."""
        by_destination: dict[str, list[QueuedRecipient]] = {}
        for row in load.item.recipients:
            by_destination.setdefault(self._around.courier.destination(row.recipient), []).append(row)
        load.jobs = len(by_destination)
        if self._around.database.shared:
            load.leased_until = self._around.clock.now() + self._around.limits.lease
        self._loads.add(load)
        if self._busy is None:
            self._busy = self._around.clock.working()
            self._busy.__enter__()
            self._quiet.clear()
        if self._renewer is None and self._around.database.shared:
            self._renewer = self._tasks.spawn(self._renew(), name=f"{self._around.site}: leases")
        for name, rows in by_destination.items():
            self._destinations.add(name, _Job(load, tuple(rows)))

    def pump(self) -> None:
        """Start as many jobs as windows and the total allow."""
        limit = self._around.limits.total
        while not self._stopped and (ready := self._destinations.ready()):
            for destination in ready:
                # The other half is for destinations that have nothing running yet: many silent ones cannot fill it all.
                if self._running >= (2 * limit if not destination.running else limit):
                    return
                destination.running += 1
                self._running += 1
                job = self._destinations.next(destination)
                self._tasks.spawn(self._carry(destination, job), name=f"{self._around.site}: to {destination.name}")

    async def _carry(self, destination: Destination[_Job], job: _Job | None) -> None:
        """Work off a destination's jobs one after another, beginning with `job`, as long as its window allows."""
        try:
            while job is not None:
                try:
                    await self._one(job, destination)
                finally:
                    self._settled(job)
                # A crowd gives way to a destination that has none, and to a window that has shrunk.
                crowded = self._running >= self._around.limits.total
                if crowded or self._stopped or destination.running > destination.window.allowed:
                    break
                job = self._destinations.next(destination)
                if job is not None and destination.jobs:
                    self.pump()  # the window may have grown
        finally:
            destination.running -= 1
            self._running -= 1
            self._destinations.settle(destination)
            self.pump()

    async def _one(self, job: _Job, destination: Destination[_Job]) -> None:
        load, around = job.load, self._around
        if load.cancelled or around.clock.now() >= load.leased_until:
            await self.shed(load.item, job.rows)
            return
        load.started += 1
        try:
            if load.item.octets < LARGE:
                octets = await self._content(load.content) if load.octets is None else load.octets
                load.sha256 = load.sha256 or _sha256(load.trace, octets)
                report = await self._try(job, load.trace + octets)
            else:
                report = await self._try_large(job)
        except NoSuchMessage:
            return  # removed meanwhile
        except DamagedContent as error:
            _log.error("%s: %s is deferred: %s", around.site, load.item.queue_id, error)
            await self._defer_damaged(job)
            return
        except StoreError as error:
            _log.warning("%s: %s is not tried: %s", around.site, load.item.queue_id, error)
            await self.shed(load.item, job.rows)
            return
        finally:
            load.started -= 1
        if report.reached:
            destination.window.reached()
        else:
            destination.window.unreached()
            if destination.window.dead:
                await self._defer_behind(job, destination, report)

    async def _try_large(self, job: _Job) -> AttemptReport:
        """An attempt for which there must be room, and of which the next site may know what is known here."""
        load = job.load
        async with self._budget.share(load.item.octets):
            octets = await self._content(load.content) if load.octets is None else load.octets
            # In a thread, as it is made without the GIL.
            load.sha256 = load.sha256 or await asyncio.to_thread(_sha256, load.trace, octets)
            whole = load.trace + octets
            known = Known(load.trace, octets, load.digest, load.sha256, load.clean, whole)
            with self._around.underway.sending(known):
                return await self._try(job, whole)

    async def _try(self, job: _Job, octets: bytes) -> AttemptReport:
        """One attempt, and what came of it written down."""
        around, item = self._around, job.item
        try:
            try:
                report = await around.courier.attempt(_message(job, octets), [row.recipient for row in job.rows])
            except Exception:
                _log.exception("%s: the courier failed with %s", around.site, item.queue_id)
                report = AttemptReport({row.address: Later(_BROKEN) for row in job.rows})
            now = around.clock.now()
            settlement = settle(item, report.outcomes, policy=around.policy, now=now, rng=around.rng)
            await self.write_down(item, job.load.content, settlement, octets=octets, records=report.records)
        except asyncio.CancelledError:
            self.cut_short.append(item)
            raise
        return report

    async def _defer_damaged(self, job: _Job) -> None:
        """Tried again at once it would be found so again; a backup may bring it back before the message expires."""
        around, item = self._around, job.item
        outcomes: dict[str, Outcome] = {row.address: Later(_DAMAGED) for row in job.rows}
        settlement = settle(item, outcomes, policy=around.policy, now=around.clock.now(), rng=around.rng)
        await self.write_down(item, job.load.content, settlement, octets=job.load.trace)

    async def _content(self, content: int) -> bytes:
        around = self._around
        return await around.database.read(lambda tx: around.spool.content_in(tx, content))

    async def octets(self, content: int, trace: bytes) -> bytes:
        """Read an item's octets back, for a notification: it is sent all the same where they are damaged."""
        try:
            return trace + await self._content(content)
        except DamagedContent as error:
            _log.error("%s: %s", self._around.site, error)
            return trace

    async def _defer_behind(self, job: _Job, destination: Destination[_Job], report: AttemptReport) -> None:
        """The destination is dead: what waited behind this job has had its answer too."""
        outcome: Outcome = report.outcomes.get(job.rows[0].address, Later(_BROKEN))
        if not isinstance(outcome, Later):
            return
        around, now = self._around, self._around.clock.now()
        for other in self._destinations.take_all(destination):
            item = other.item
            outcomes: dict[str, Outcome] = {row.address: outcome for row in other.rows}
            settlement = settle(item, outcomes, policy=around.policy, now=now, rng=around.rng)
            try:
                octets = await self.octets(other.load.content, other.load.trace) if settlement.reports else b""
                await self.write_down(item, other.load.content, settlement, octets=octets)
            except StoreError as error:
                _log.warning("%s: %s is not deferred: %s", around.site, item.queue_id, error)
            finally:
                self._settled(other)

    def _settled(self, job: _Job) -> None:
        """A job is done with."""
        load = job.load
        load.jobs -= 1
        if load.jobs:
            return
        self._loads.forget(load)
        if self._starving and self._loads.recipients * 2 < self._around.limits.in_memory:
            self._starving = False
            self._room()
        if not self._loads:
            self._not_busy()

    def _not_busy(self) -> None:
        busy, self._busy = self._busy, None
        if busy is not None:
            busy.__exit__(None, None, None)
        self._quiet.set()

    async def write_down(
        self,
        item: QueuedItem,
        content: int,
        settlement: Settlement,
        *,
        octets: bytes,
        records: Sequence[Attempted] = (),
    ) -> None:
        """Make a settlement durable, with its notification and its place in the journey, however long it takes."""
        work = self.settlement_in(item, content, settlement, octets=octets, records=records)
        await self._insist(work, f"outcome of {item.queue_id}")
        for row in settlement.deferred:
            self._due_at(row.due)

    def settlement_in(
        self,
        item: QueuedItem,
        content: int,
        settlement: Settlement,
        *,
        octets: bytes,
        records: Sequence[Attempted] = (),
    ) -> Callable[[Tx], None]:
        """The work that does so."""
        around = self._around
        notice = around.notify(item, settlement.reports, octets) if settlement.reports else None

        def work(tx: Tx) -> None:
            moved = 0
            if settlement.deferred:
                moved += around.spool.defer_in(tx, item.queue_id, settlement.deferred, owner=around.owner)
            for event in records:
                around.record(tx, JourneyId(item.journey_id), event)
            if settlement.dropped:
                moved += around.spool.drop_in(tx, item.queue_id, content, settlement.dropped)
            # Whoever took these recipients over meanwhile tells the sender; nobody is told twice.
            if not moved:
                return
            for told in settlement.events:
                around.record(tx, JourneyId(item.journey_id), told)
            if notice is not None:
                notice(tx)

        return work

    async def _insist(self, work: Callable[[Tx], None], what: str) -> None:
        """Write until it is written: what an attempt did cannot be done again without a duplicate."""
        pause = _FIRST_PAUSE
        for tries in itertools.count(1):
            try:
                await self._around.database.write(work)
                return
            except StoreError as error:
                if tries == 1:
                    _log.warning("%s: %s is not written yet: %s", self._around.site, what, error)
            # A manual clock does not wait for a database that stays away.
            away = pause >= _LONGEST_PAUSE
            with self._around.clock.resting() if away else contextlib.nullcontext():
                await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def shed(self, item: QueuedItem, rows: Sequence[QueuedRecipient]) -> None:
        """Give recipients back to the disk untried."""
        around = self._around
        names = [(item.queue_id, row.number) for row in rows]
        await self._insist(
            lambda tx: around.spool.shed_in(tx, around.owner, names), f"that {item.queue_id} was not tried"
        )
        if not self._starving:
            self._room()

    async def _renew(self) -> None:
        """Hold the leases of what is in memory, as long as anything is."""
        clock, length = self._around.clock, self._around.limits.lease
        while self._loads:
            await clock.sleep_until(clock.now() + length / 3)
            await self.renew_now()
        self._renewer = None

    async def renew_now(self) -> None:
        """Hold the leases longer; what another daemon has taken over meanwhile is not begun here."""
        around = self._around
        lease = Lease(around.owner, around.clock.now() + around.limits.lease)
        loads = self._loads.all()
        queue_ids = [load.item.queue_id for load in loads]
        try:
            lost = set(await around.database.write(lambda tx: around.spool.renew_in(tx, lease, queue_ids)))
        except StoreError as error:
            _log.warning("%s: leases not renewed: %s", around.site, error)
            return
        for load in loads:
            if load.item.queue_id not in lost:
                load.leased_until = lease.until
            elif load.jobs:
                _log.warning("%s: %s was taken over by another daemon", around.site, load.item.queue_id)
                load.cancelled = True


def _message(job: _Job, octets: bytes) -> QueuedMessage:
    """What the courier is given."""
    load, item = job.load, job.load.item
    number = 1 + max([row.attempts for row in job.rows])
    return QueuedMessage(
        item.queue_id,
        item.journey_id,
        item.site,
        item.envelope,
        octets,
        item.received_at,
        number,
        load.sha256,
        load.clean,
    )


def _sha256(trace: bytes, octets: bytes) -> str:
    """Of both together, in hex; without joining them."""
    hashed = hashlib.sha256(trace)
    hashed.update(octets)
    return hashed.hexdigest()
