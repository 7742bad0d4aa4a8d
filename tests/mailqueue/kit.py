"""A courier by script and a queue around it, on a manual clock over a database in memory."""

import asyncio
import itertools
import random

from mailsandbox.clock import ManualClock
from mailsandbox.database.opening import open_database
from mailsandbox.mailqueue.attempts import QueueLimits
from mailsandbox.mailqueue.model import AttemptReport, Done, Later, Never, NewItem
from mailsandbox.mailqueue.runner import Queue
from mailsandbox.mailqueue.schedule import RetryPolicy
from mailsandbox.message.envelope import Envelope, Recipient, domain_of
from mailsandbox.smtp.replies import reply

OK, LATER, NEVER = reply(250, "2.0.0", "ok"), reply(451, "4.7.1", "later"), reply(550, "5.1.1", "unknown")


class ScriptedCourier:
    """`answers`: by address, outcomes in turn; then Done. `gate`: attempts wait for it."""

    def __init__(self) -> None:
        self.answers: dict[str, list] = {}
        self.attempts: list[tuple[float, str, list[str], int, bytes]] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.unreached: set[str] = set()
        self.running: dict[str, int] = {}
        self.most: dict[str, int] = {}
        self.clock = None
        self.closed = False
        self.fail: Exception | None = None

    def destination(self, recipient: Recipient) -> str:
        return domain_of(recipient.address)

    async def attempt(self, message, recipients) -> AttemptReport:
        domain = domain_of(recipients[0].address)
        self.attempts.append(
            (
                self.clock.now(),
                message.queue_id,
                [one.address for one in recipients],
                message.attempt,
                message.octets,
            )
        )
        self.running[domain] = self.running.get(domain, 0) + 1
        self.most[domain] = max(self.most.get(domain, 0), self.running[domain])
        try:
            if domain in self.gates:
                await self.gates[domain].wait()
            await asyncio.sleep(0)
            if self.fail is not None:
                raise self.fail
        finally:
            self.running[domain] -= 1
        outcomes = {}
        for one in recipients:
            turn = self.answers.get(one.address)
            outcomes[one.address] = turn.pop(0) if turn else Done(OK)
        return AttemptReport(outcomes, reached=domain not in self.unreached)

    async def aclose(self) -> None:
        self.closed = True

    def always(self, address: str, outcome) -> None:
        self.answers[address] = _Forever(outcome)


class _Forever(list):
    def __init__(self, value) -> None:
        super().__init__([value])

    def pop(self, index: int = 0):
        return self[0]


class Kit:
    def __init__(
        self, *, database=None, retry: RetryPolicy | None = None, limits: QueueLimits | None = None, clock=None
    ) -> None:
        self.database = database or open_database(":memory:")
        self.clock = clock or ManualClock()
        self.courier = ScriptedCourier()
        self.courier.clock = self.clock
        self.retry = retry or RetryPolicy(jitter=0.0)
        self.limits = limits or QueueLimits()
        self.told: list[tuple[str, list]] = []
        self.recorded: list[tuple[str, object]] = []
        self._ids = itertools.count(1)
        self.queue = self.make_queue()

    def make_queue(self, site: str = "alpha") -> Queue:
        return Queue(
            self.database,
            site=site,
            courier=self.courier,
            retry=self.retry,
            clock=self.clock,
            rng=random.Random(7),
            record=lambda tx, journey_id, event: self.recorded.append((journey_id, event)),
            notify=self.notify,
            limits=self.limits,
        )

    def notify(self, item, reports, octets):
        return lambda tx: tx.after_commit(lambda: self.told.append((item.queue_id, list(reports))))

    async def start(self) -> "Kit":
        await self.database.start()
        await self.queue.start()
        return self

    async def aclose(self) -> None:
        await self.queue.aclose()
        await self.database.aclose()

    async def put(
        self,
        *addresses: str | Recipient,
        octets: bytes = b"x\r\n",
        trace: bytes = b"",
        sender="a@alpha.test",
        **envelope,
    ) -> str:
        queue_id = f"Q{next(self._ids):04}"
        recipients = tuple(Recipient(one) if isinstance(one, str) else one for one in addresses)
        envelope = Envelope(sender, recipients, **envelope)
        item = NewItem(queue_id, queue_id, envelope, octets, self.clock.now(), trace)
        await self.database.write(lambda tx: self.queue.enqueue_in(tx, item))
        return queue_id

    async def send(self, *addresses, **options) -> str:
        queue_id = await self.put(*addresses, **options)
        await self.queue.quiet()
        return queue_id


LATER_OUTCOME, NEVER_OUTCOME, DONE = Later(LATER, "hop.test"), Never(NEVER, "hop.test"), Done(OK)
