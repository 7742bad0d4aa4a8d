"""How much is kept: messages by count, age and octets; the log of changes and the journeys by count and age.

Invariant: least recently delivered goes first, by the same road as any expunge, so every reader is told. What waits in
a queue is held by the queue and not touched here. Work is done in small transactions, so that others get their turn.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from mailsandbox.clock import Clock
from mailsandbox.errors import StoreError
from mailsandbox.store.changelog import cut_changes
from mailsandbox.store.journeys import forget_journeys
from mailsandbox.store.logrow import Changes
from mailsandbox.store.model import ChangeType, Uid
from mailsandbox.store.store import Store
from mailsandbox.store.unit import Account, Unit
from mailsandbox.tasks import Tasks

CHUNK: Final = 250  # messages removed in one transaction
PERIOD: Final = 900.0  # seconds between looks at ages, at most
LATENESS: Final = 0.1  # by this share of the shortest age a message may outlive it

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one account, or of all together. None: no limit. `age` in seconds since the message was delivered."""

    messages: int | None = None
    octets: int | None = None
    age: float | None = None

    @property
    def none(self) -> bool:
        """Whether nothing is limited."""
        return self.messages is None and self.octets is None and self.age is None


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """What is kept. The log must outlast the longest absence that a reader shall resume from."""

    each: Limits = Limits()
    total: Limits = Limits()
    changes: int = 100_000  # of one account
    changes_age: float = 30 * 86400.0  # seconds
    journey_events: int = 500_000  # those that one work recorded count as one
    journey_age: float = 30 * 86400.0  # seconds since the last event


class Retention:
    """Applies a policy when messages arrive and as time passes."""

    def __init__(self, store: Store, policy: RetentionPolicy, clock: Clock) -> None:
        self._store = store
        self._policy = policy
        self._clock = clock
        self._tasks = Tasks()
        self._arrived = asyncio.Event()
        ages = [age for age in (policy.each.age, policy.total.age) if age is not None]
        self._period = min(PERIOD, max(1.0, LATENESS * min(ages))) if ages else PERIOD

    def start(self) -> None:
        """Begin to watch."""
        if not (self._policy.each.none and self._policy.total.none):
            self._store.listeners.append(self._heard)
            self._arrived.set()  # the limits may be others than when the store was last open
            self._tasks.spawn(self._on_arrival(), name="retention of messages")
        self._tasks.spawn(self._on_time(), name="retention by age")

    async def aclose(self) -> None:
        """Stop watching."""
        if self._heard in self._store.listeners:
            self._store.listeners.remove(self._heard)
        await self._tasks.aclose()

    async def run(self) -> int:
        """Apply the policy now; returns how many messages were removed."""
        removed = 0
        while count := await self._store.write(self._remove_some):
            removed += count
        return removed

    async def trim_logs(self) -> None:
        """Cut the logs of changes and forget old journeys."""
        policy, now = self._policy, self._clock.now()
        accounts = await self._store.database.read(
            lambda tx: [row[0] for row in tx.execute("SELECT id FROM accounts ORDER BY id")]
        )
        for key in accounts:
            await self._store.database.write(
                lambda tx, key=key: cut_changes(  # type: ignore[misc]
                    tx, key, keep=policy.changes, older_than=now - policy.changes_age
                )
            )
        while await self._store.database.write(
            lambda tx: forget_journeys(tx, keep=policy.journey_events, older_than=now - policy.journey_age)
        ):
            pass

    def _heard(self, changes: Changes) -> None:
        if any(row.type in (ChangeType.MESSAGE_NEW, ChangeType.MESSAGE_APPEND) for row in changes.rows):
            self._arrived.set()

    async def _on_arrival(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            with self._clock.working():
                await self._attempt(self.run())

    async def _on_time(self) -> None:
        while True:
            await self._clock.sleep_until(self._clock.now() + self._period)
            with self._clock.working():
                await self._attempt(self.run())
                await self._attempt(self.trim_logs())

    async def _attempt(self, work: Awaitable[object]) -> None:
        try:
            await work
        except StoreError as error:
            _log.warning("retention waits: %s", error)

    def _remove_some(self, unit: Unit) -> int:
        """Up to CHUNK of what is too much; 0 when all limits hold."""
        policy = self._policy
        removed = self._too_old(unit, policy.total.age) or self._too_old(unit, policy.each.age)
        if removed:
            return removed
        if not policy.each.none:
            for (key,) in unit.tx.execute(
                "SELECT id FROM accounts WHERE messages > ? OR octets > ? LIMIT 1",
                (_or_huge(policy.each.messages), _or_huge(policy.each.octets)),
            ).fetchall():
                excess = partial(_excess, unit, policy.each, "WHERE id = ?", (key,))
                return self._oldest(unit, excess, "WHERE b.account_id = ?", (key,))
        if not policy.total.none and _excess(unit, policy.total) != (0, 0):
            return self._oldest(unit, partial(_excess, unit, policy.total), "", ())
        return 0

    def _too_old(self, unit: Unit, age: float | None) -> int:
        if age is None:
            return 0
        return self._oldest(unit, lambda: (CHUNK, 0), "WHERE m.save_date < ?", (unit.now - age,))

    def _oldest(
        self, unit: Unit, excess: Callable[[], tuple[int, int]], where: str, parameters: Sequence[object]
    ) -> int:
        """Remove the least recently delivered until the `excess` of messages and octets is gone, at most CHUNK.

        The excess is read after the candidates, and these are taken as they are then: what other daemons remove
        meanwhile counts for both, and so never too much goes.
        """
        found = unit.tx.execute(
            "SELECT m.mailbox_id, m.uid, m.octets, a.id, a.address FROM messages m "
            f"JOIN mailboxes b ON b.id = m.mailbox_id JOIN accounts a ON a.id = b.account_id {where} "
            "ORDER BY m.save_date, m.mailbox_id, m.uid LIMIT ?",
            (*parameters, CHUNK),
        ).fetchall()
        messages, octets = excess()
        chosen: dict[tuple[int, str], dict[int, list[Uid]]] = {}
        freed = 0
        for count, (mailbox, uid, size, account, address) in enumerate(found):
            if count >= messages and freed >= octets:
                break
            chosen.setdefault((account, address), {}).setdefault(mailbox, []).append(uid)
            freed += size
        accounts = [Account(*each) for each in sorted(chosen)]
        there = [each for each in accounts if unit.find_account(each.address) == each]  # from here on they are locked
        return sum(self._remove(unit, each, chosen[each.key, each.address]) for each in there)

    def _remove(self, unit: Unit, account: Account, chosen: Mapping[int, list[Uid]]) -> int:
        """Expunge UIDs, by key of their mailbox, that are still there; returns how many."""
        removed = 0
        for key, uids in chosen.items():
            if (mailbox := unit.find_mailbox_of(account, key)) is not None:
                messages = self._store.messages
                removed += len(messages.expunge(unit, mailbox, messages.select(unit, mailbox, uids)))
        return removed


def _excess(unit: Unit, limits: Limits, where: str = "", parameters: Sequence[object] = ()) -> tuple[int, int]:
    """By how many messages and octets the accounts exceed the limits."""
    messages, octets = unit.tx.execute(
        f"SELECT coalesce(sum(messages), 0), coalesce(sum(octets), 0) FROM accounts {where}", parameters
    ).fetchone()
    return max(0, int(messages) - _or_huge(limits.messages)), max(0, int(octets) - _or_huge(limits.octets))


def _or_huge(limit: int | None) -> int:
    return (1 << 62) if limit is None else limit
