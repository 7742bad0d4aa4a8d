"""Several daemons on one database do whatever they can, at once, to a few mailboxes with a few contents.

By a seed; which of them comes first is left to the server. Afterwards everything must agree: the tables with themselves
(`audit`), each daemon's memory with the tables, and what clients were told with what is there (`watching`).
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from audit import audit
from letters import letter
from watching import Watcher

from mailsandbox.clock import ManualClock
from mailsandbox.database import open_database
from mailsandbox.database.tx import Tx
from mailsandbox.errors import NoSuchAccount, NoSuchMailbox, StoreError, StoreUnavailable
from mailsandbox.store.changelog import cut_changes
from mailsandbox.store.model import AppendItem, Delivery, Flags, Uid
from mailsandbox.store.retention import Limits, Retention, RetentionPolicy
from mailsandbox.store.state import MailboxState
from mailsandbox.store.states import read_rows
from mailsandbox.store.store import Store

ACCOUNTS = ("ann@beta.test", "bob@beta.test")
NAMES = ("INBOX", "INBOX", "INBOX", "Box", "Box", "Box/In it", "Other")
FLAGS = ("\\Seen", "\\Deleted", "\\Flagged", "word")
MESSAGES = 24  # of one account, more or less, as retention leaves them

Act = Callable[["Actor"], Awaitable[object]]


class Actor:
    """One client of one daemon, who knows next to nothing of what is there."""

    def __init__(self, store: Store, rng: random.Random, watchers: list[Watcher]) -> None:
        self.store = store
        self.rng = rng
        self.watchers = watchers
        self.wrong: list[str] = []

    async def act(self, times: int) -> None:
        acts, weights = list(_ACTS), list(_ACTS.values())
        for _ in range(times):
            (act,) = self.rng.choices(acts, weights)
            try:
                await act(self)
            except StoreUnavailable as error:
                self.wrong.append(f"{act.__name__}: {error!r}")
            except StoreError:
                pass  # there is no such mailbox, or there is one already
            except Exception as error:
                self.wrong.append(f"{act.__name__}: {error!r}")

    @property
    def account(self) -> str:
        return self.rng.choice(ACCOUNTS)

    @property
    def name(self) -> str:
        return self.rng.choice(NAMES)

    @property
    def octets(self) -> bytes:
        return letter(number=self.rng.randrange(4))

    @property
    def flags(self) -> list[str]:
        return self.rng.sample(FLAGS, self.rng.randrange(3))

    async def uids(self, account: str, name: str) -> list[Uid]:
        """Some that may be there, or were."""
        highest = (await self.store.status(account, name)).uid_next
        count = self.rng.choice((1, 2, 5, 12))
        return sorted({Uid(self.rng.randrange(max(1, highest - 20), highest + 1)) for _ in range(count)})

    async def deliver(self) -> None:
        to = self.rng.sample(ACCOUNTS, self.rng.randrange(1, 3))
        await self.store.deliver([Delivery(each, b"Return-Path: <>\r\n", self.name) for each in to], self.octets)

    async def append(self) -> None:
        items = [AppendItem(self.octets, Flags.of(self.flags)) for _ in range(self.rng.randrange(1, 5))]
        await self.store.append(self.account, self.name, items)

    async def copy(self) -> None:
        account, source = self.account, self.name
        await self.store.copy(account, source, await self.uids(account, source), self.name)

    async def move(self) -> None:
        account, source = self.account, self.name
        await self.store.move(account, source, await self.uids(account, source), self.name)

    async def flag(self) -> None:
        account, name = self.account, self.name
        uids = await self.uids(account, name)
        if self.rng.random() < 0.3:
            await self.store.store_flags(account, name, uids, replace=self.flags)
        else:
            await self.store.store_flags(account, name, uids, add=self.flags, remove=self.flags)

    async def expunge(self) -> None:
        account, name = self.account, self.name
        await self.store.expunge(account, name, None if self.rng.random() < 0.5 else await self.uids(account, name))

    async def remove(self) -> None:
        account, name = self.account, self.name
        await self.store.remove(account, name, await self.uids(account, name))

    async def create(self) -> None:
        await self.store.create_mailbox(self.account, self.name)

    async def delete(self) -> None:
        await self.store.delete_mailbox(self.account, self.name)

    async def rename(self) -> None:
        await self.store.rename_mailbox(self.account, self.name, self.name)

    async def subscribe(self) -> None:
        await self.store.set_subscribed(self.account, self.name, self.rng.random() < 0.5)

    async def annotate(self) -> None:
        await self.store.set_metadata(self.account, self.name, {"/shared/comment": b"text"})

    async def retain(self) -> None:
        limits = Limits(messages=MESSAGES)
        policy = self.rng.choice((RetentionPolicy(each=limits), RetentionPolicy(total=limits)))
        await Retention(self.store, policy, self.store.clock).run()

    async def cut(self) -> None:
        account, keep = self.account, self.rng.choice((0, 3, 10))
        await self.store.write(lambda unit: cut_changes(unit.tx, unit.account(account).key, keep=keep, older_than=0))

    async def begin_anew(self) -> None:
        await (self.store.reset if self.rng.random() < 0.5 else self.store.delete_account)(self.account)

    async def reindex(self) -> None:
        await self.store.reindex()

    async def watch(self) -> None:
        state = await self.store.open_mailbox(self.account, self.name)
        self.store.claim_recent(state)
        self.watchers.append(Watcher(self.store, state))


_ACTS: dict[Act, int] = {
    Actor.deliver: 20, Actor.append: 12, Actor.copy: 12, Actor.move: 12, Actor.flag: 20, Actor.expunge: 8,
    Actor.remove: 6, Actor.create: 6, Actor.delete: 3, Actor.rename: 4, Actor.subscribe: 2, Actor.annotate: 2,
    Actor.retain: 4, Actor.cut: 2, Actor.begin_anew: 1, Actor.reindex: 1, Actor.watch: 8,
}  # fmt: skip


async def storm(url: str, seed: int, *, daemons: int = 3, clients: int = 3, times: int = 20) -> list[str]:
    """What is wrong after `clients` of each daemon did so much each."""
    clock = ManualClock()
    stores = [Store(open_database(url), clock=clock) for _ in range(daemons)]
    for store in stores:
        await store.database.start()
        await store.start()
    try:
        for account in ACCOUNTS:
            await stores[0].ensure_account(account)
        rng = random.Random(seed)
        watchers: list[list[Watcher]] = [[] for _ in stores]
        actors = [
            Actor(store, random.Random(rng.getrandbits(64)), own)
            for store, own in zip(stores, watchers, strict=True)
            for _ in range(clients)
        ]
        await asyncio.gather(*(actor.act(times) for actor in actors))
        wrong = [each for actor in actors for each in actor.wrong]
        for store, own in zip(stores, watchers, strict=True):
            wrong += await _differences(store, own)
        return wrong + await stores[0].database.read(partial(audit, texts=True))
    finally:
        for store in stores:
            await store.aclose()
            await store.database.aclose()


async def _differences(store: Store, watchers: Sequence[Watcher]) -> list[str]:
    """Between what one daemon and its clients know and what is in the tables."""
    await store.flush_texts()
    for account in ACCOUNTS:
        try:
            (await store.open_mailbox(account, "INBOX")).release()  # follows to the newest change
        except (NoSuchAccount, NoSuchMailbox):
            continue
    for watcher in watchers:  # of accounts that were removed, too
        if store._following is not None:
            await store._following.reach_newest(watcher.state.account_key)
    wrong = [each for watcher in watchers for each in watcher.differences()]
    for state in {id(watcher.state): watcher.state for watcher in watchers}.values():
        wrong += await store.database.read(partial(_compare, state))
    return wrong


def _compare(state: MailboxState, tx: Tx) -> list[str]:
    found = tx.execute("SELECT name, uid_next, mod_seq FROM mailboxes WHERE id = ?", (state.key,)).fetchone()
    if state.removed or found is None:
        return [] if state.removed and found is None else [f"mailbox {state.key}: removed or not"]
    there = {row.uid: (row.flags.text, row.mod_seq) for row in read_rows(tx, state.key, 0, 1 << 62)}
    here = {uid: (row.flags.text, row.mod_seq) for uid, row in state.rows.items()}
    wrong = []
    if here != there or state.uids != list(there):
        wrong.append(f"mailbox {state.key}: has {there}, in memory {here}")
    if (state.name, state.uid_next, state.highest_mod_seq) != found:
        wrong.append(f"mailbox {state.key}: is {found}, in memory {state.name, state.uid_next, state.highest_mod_seq}")
    return wrong
