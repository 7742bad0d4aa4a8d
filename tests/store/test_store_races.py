"""Two daemons change the same things at the same moment: as if one had come after the other, whatever the two are."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import psycopg
import pytest
from audit import audit
from interleaving import Work, at_once, eventually, meanwhile
from letters import BOB, letter
from postgres_cluster import Cluster

from mailsandbox.clock import ManualClock
from mailsandbox.database import open_database
from mailsandbox.database.tx import Tx
from mailsandbox.errors import MailboxExists, NoSuchMailbox, StoreError
from mailsandbox.store.changelog import cut_changes
from mailsandbox.store.model import AppendItem, Delivery, Flags
from mailsandbox.store.retention import Limits, Retention, RetentionPolicy
from mailsandbox.store.store import Store
from mailsandbox.store.textindex import writing
from mailsandbox.store.unit import Unit


@dataclass
class Pair:
    """Two daemons on one database."""

    here: Store
    there: Store
    clock: ManualClock
    url: str

    async def at_once(self, first: Work, second: Work) -> list[object]:
        """Both have read what they read before the other commits; results or errors."""
        return await at_once(self.url, ("accounts", "mailboxes"), first, second)

    async def audit(self) -> list[str]:
        for store in (self.here, self.there):
            await store.flush_texts()
        return await self.here.database.read(partial(audit, texts=True))


@pytest.fixture
async def pair(postgres: Cluster) -> AsyncIterator[Pair]:
    url = postgres.new_database()
    clock = ManualClock()
    stores = [Store(open_database(url), clock=clock) for _ in range(2)]
    for store in stores:
        await store.database.start()
        await store.start()
    yield Pair(*stores, clock, url)
    for store in stores:
        await store.aclose()
        await store.database.aclose()


async def furnished(store: Store, account: str = BOB) -> str:
    """The account with 4 messages in INBOX, of two contents, the first 3 \\Deleted, and 2 of the same in Box."""
    await store.ensure_account(account)
    await store.create_mailbox(account, "Box")
    for box, numbers in (("INBOX", (1, 2, 1, 2)), ("Box", (1, 2))):
        for number in numbers:
            await store.deliver([Delivery(account, b"Return-Path: <>\r\n", box)], letter(number=number))
    await store.store_flags(account, "INBOX", [1, 2, 3], add=["\\Deleted"])
    return account


CHANGES: dict[str, Callable[[Store, str], Awaitable[object]]] = {
    "deliver": lambda store, account: store.deliver([Delivery(account, b"X: y\r\n", "Box")], letter(number=1)),
    "append": lambda store, account: store.append(account, "Box", [AppendItem(letter(number=2), Flags.of())]),
    "copy": lambda store, account: store.copy(account, "INBOX", [1, 2], "Box"),
    "move": lambda store, account: store.move(account, "INBOX", [1, 2, 4], "Box"),
    "move back": lambda store, account: store.move(account, "Box", [1, 2], "INBOX"),
    "flag": lambda store, account: store.store_flags(account, "INBOX", [1, 4], add=["\\Seen"], remove=["\\Deleted"]),
    "expunge": lambda store, account: store.expunge(account, "INBOX", None),
    "remove": lambda store, account: store.remove(account, "INBOX", [2, 3, 4]),
    "empty Box": lambda store, account: store.remove(account, "Box", [1, 2]),
    "create": lambda store, account: store.create_mailbox(account, "New"),
    "delete": lambda store, account: store.delete_mailbox(account, "Box"),
    "rename": lambda store, account: store.rename_mailbox(account, "Box", "New"),
    "rename INBOX": lambda store, account: store.rename_mailbox(account, "INBOX", "New"),
    "subscribe": lambda store, account: store.set_subscribed(account, "New", True),
    "annotate": lambda store, account: store.set_metadata(account, "Box", {"/shared/comment": b"text"}),
    "remove the account": lambda store, account: store.delete_account(account),
    "reset": lambda store, account: store.reset(account),
    "retention": lambda store, account: Retention(store, RetentionPolicy(each=Limits(messages=3)), store.clock).run(),
}


@pytest.mark.parametrize("first", CHANGES)
async def test_of_two_changes_at_once_at_two_daemons_neither_spoils_what_the_other_does(pair: Pair, first: str) -> None:
    wrong: list[object] = []
    for second in CHANGES:
        account = await furnished(pair.here, f"with-{second.replace(' ', '-')}@beta.test")
        works = [partial(CHANGES[name], store, account) for name, store in ((first, pair.here), (second, pair.there))]
        outcomes = await pair.at_once(*works)
        bugs = [each for each in outcomes if isinstance(each, BaseException) and not isinstance(each, StoreError)]
        wrong += [(second, bugs)] if bugs else []
    assert wrong + list(await pair.audit()) == []


@pytest.mark.rfc(9051, "6.4.3")
async def test_a_message_expunged_at_two_daemons_at_once_is_expunged_once_and_its_content_lives_on_elsewhere(
    pair: Pair,
) -> None:
    account = await furnished(pair.here)
    gone = await pair.at_once(
        partial(pair.here.expunge, account, "INBOX", None), partial(pair.there.expunge, account, "INBOX", None)
    )
    assert gone == [[1, 2, 3], []]
    assert (await pair.there.status(account, "INBOX")).messages == 1
    state = await pair.there.open_mailbox(account, "Box")
    octets = await pair.there.contents([state.rows[uid] for uid in state.uids])
    assert octets == [b"Return-Path: <>\r\n" + letter(number=number) for number in (1, 2)]


@pytest.mark.rfc(6851, "3.3")
async def test_a_message_moved_at_two_daemons_at_once_is_moved_once(pair: Pair) -> None:
    account = await furnished(pair.here)
    await pair.at_once(
        partial(pair.here.move, account, "INBOX", [1, 2, 3, 4], "Box"),
        partial(pair.there.move, account, "INBOX", [1, 2, 3, 4], "Box"),
    )
    assert [(each.name, each.messages) for each in await pair.here.mailboxes(account)] == [("INBOX", 0), ("Box", 6)]


async def test_retention_at_two_daemons_at_once_removes_no_more_than_it_must(pair: Pair) -> None:
    account = await furnished(pair.here)
    policies = [RetentionPolicy(each=Limits(messages=4)), RetentionPolicy(total=Limits(messages=4))]
    for policy in policies:
        works = [Retention(store, policy, pair.clock).run for store in (pair.here, pair.there)]
        await pair.at_once(*works)
        assert (await pair.here.octets_used(account))[0] == 4
        await pair.here.append(account, "INBOX", [AppendItem(letter(number=number), Flags.of()) for number in (1, 2)])


async def test_a_log_cut_at_two_daemons_at_once_stays_cut_as_far_as_either_cut_it(pair: Pair) -> None:
    account = await furnished(pair.here)

    def some(unit: Unit, keep: int) -> int:
        key = unit.tx.execute("SELECT id FROM accounts WHERE address = ?", (account,)).fetchone()[0]
        return cut_changes(unit.tx, key, keep=keep, older_than=0)

    await pair.at_once(
        lambda: pair.here.write(lambda unit: some(unit, 2)), lambda: pair.there.write(lambda unit: some(unit, 5))
    )
    assert await pair.audit() == []


async def test_texts_written_while_their_message_is_expunged_elsewhere_do_not_stay(pair: Pair) -> None:
    (landed,) = await pair.here.deliver([Delivery(BOB, b"")], letter())
    content = (await pair.here.open_mailbox(BOB, "INBOX")).rows[landed.uid].content_id
    assert await meanwhile(
        pair.url,
        writing([(content, ("header", "body"))]),
        partial(pair.there.remove, BOB, "INBOX", [landed.uid]),
    ) == [landed.uid]
    assert await pair.audit() == []


async def test_a_message_that_comes_while_its_content_is_rendered_anew_elsewhere_is_counted(pair: Pair) -> None:
    (landed,) = await pair.here.deliver([Delivery(BOB, b"")], letter())
    content = (await pair.here.open_mailbox(BOB, "INBOX")).rows[landed.uid].content_id
    again = partial(pair.there.deliver, [Delivery(BOB, b"")], letter())
    await meanwhile(
        pair.url, lambda tx: pair.here.contents_of.replace_rendering(Unit(tx, 0.0), content, letter()), again
    )
    copied = partial(pair.there.copy, BOB, "INBOX", [landed.uid], "INBOX")
    await meanwhile(
        pair.url, lambda tx: pair.here.contents_of.replace_rendering(Unit(tx, 0.0), content, letter()), copied
    )
    assert (await pair.here.status(BOB, "INBOX")).messages == 3
    await pair.here.reindex()
    assert await pair.audit() == []


async def test_a_message_expunged_while_contents_are_rendered_anew_is_passed_over(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pair.here.deliver([Delivery(BOB, b"")], letter(number=1))
    await pair.here.deliver([Delivery(BOB, b"")], letter(number=2))

    removed: list[object] = []
    write = pair.here.database.write

    async def late(work: Callable[[Tx], object], *, heavy: bool = False) -> object:
        if not removed:
            removed.append(await pair.there.remove(BOB, "INBOX", [1]))
        return await write(work, heavy=heavy)

    monkeypatch.setattr(pair.here.database, "write", late)
    await pair.here.reindex()
    assert removed == [[1]]
    assert await pair.audit() == []


async def test_a_work_that_has_to_wait_for_another_daemon_does_not_keep_those_before_it_waiting(pair: Pair) -> None:
    """So two daemons, each with works for the same accounts in another order, do not wait for each other."""
    accounts = ("ann@beta.test", BOB, "eve@beta.test")
    for account in accounts:
        await pair.here.ensure_account(account)
    with psycopg.connect(pair.url) as other:
        other.execute("SELECT 1 FROM accounts WHERE address = %s FOR UPDATE", (BOB,))
        works = [asyncio.ensure_future(pair.here.deliver([Delivery(each, b"")], letter())) for each in accounts]
        async with asyncio.timeout(10):
            await works[0]
        assert [work.done() for work in works] == [True, False, False]
    await asyncio.gather(*works)
    assert await pair.audit() == []


async def test_a_work_that_fails_between_others_leaves_their_announcements_and_results_alone(pair: Pair) -> None:
    account = await furnished(pair.here)
    state = await pair.there.open_mailbox(account, "INBOX")
    outcomes = await asyncio.gather(
        pair.here.remove(account, "INBOX", [1]),
        pair.here.create_mailbox(account, "Box"),
        pair.here.remove(account, "INBOX", [2]),
        pair.here.move(account, "INBOX", [3], "Nowhere"),
        return_exceptions=True,
    )
    assert [each if isinstance(each, list) else type(each) for each in outcomes] == [
        [1],
        MailboxExists,
        [2],
        NoSuchMailbox,
    ]
    await eventually(lambda: state.uids == [3, 4])
    assert await pair.audit() == []


@pytest.mark.parametrize("first", ["goes", "comes"])
async def test_the_last_copy_of_a_content_goes_at_one_daemon_while_the_next_comes_at_the_other(
    pair: Pair, first: str
) -> None:
    """Of different accounts, so that nothing but the content itself keeps them apart."""
    await pair.here.ensure_account(BOB)
    await pair.here.deliver([Delivery("ann@beta.test", b"")], letter())
    works = [
        partial(pair.here.remove, "ann@beta.test", "INBOX", [1]),
        partial(pair.there.deliver, [Delivery(BOB, b"")], letter()),
    ]
    outcomes = await at_once(pair.url, ("blobs", "contents"), *(works if first == "goes" else works[::-1]))
    assert not [each for each in outcomes if isinstance(each, BaseException)]
    assert await pair.audit() == []
    state = await pair.here.open_mailbox(BOB, "INBOX")
    assert await pair.here.contents(list(state.rows.values())) == [letter()]
