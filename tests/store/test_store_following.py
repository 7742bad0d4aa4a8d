"""A daemon that reads in the log what others did: page by page, or without the log where it was cut."""

from collections.abc import AsyncIterator

import pytest
from interleaving import eventually
from letters import BOB, letter
from postgres_cluster import Cluster
from watching import Watcher

from mailsandbox.clock import ManualClock
from mailsandbox.database import open_database
from mailsandbox.store import following
from mailsandbox.store.changelog import cut_changes
from mailsandbox.store.flagging import store_flags
from mailsandbox.store.model import AppendItem, Change, ChangeType, Flags
from mailsandbox.store.store import Store
from mailsandbox.store.unit import Mailbox, Unit

Stores = tuple[Store, Store]


@pytest.fixture
async def stores(postgres: Cluster) -> AsyncIterator[Stores]:
    url = postgres.new_database()
    here, there = (Store(open_database(url), clock=ManualClock()) for _ in range(2))
    for store in (here, there):
        await store.database.start()
        await store.start()
    await here.append(await made(here), "INBOX", [item(number) for number in range(1, 5)])
    yield here, there
    for store in (here, there):
        await store.aclose()
        await store.database.aclose()


async def made(store: Store) -> str:
    await store.ensure_account(BOB)
    return BOB


def item(number: int, *flags: str) -> AppendItem:
    return AppendItem(letter(number=number), Flags.of(flags))


async def watched(store: Store, name: str = "INBOX") -> Watcher:
    return Watcher(store, await store.open_mailbox(BOB, name))


class Doing:
    """Several commands of one commit, as another daemon's log has them when it was busy."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.messages = store.messages

    def __call__(self, unit: Unit) -> None:
        inbox = unit.mailbox(unit.account(BOB), "INBOX")
        self.messages.append(unit, inbox, [item(5), item(6)])
        self.messages.append(unit, inbox, [item(7, "\\Flagged")])
        self.expunge(unit, inbox, 5)
        self.messages.append(unit, inbox, [item(8)])
        self.flag(unit, inbox, 1, 6)
        self.expunge(unit, inbox, 2, 7)

    def expunge(self, unit: Unit, mailbox: Mailbox, *uids: int) -> None:
        self.messages.expunge(unit, mailbox, self.messages.select(unit, mailbox, uids))  # type: ignore[arg-type]

    def flag(self, unit: Unit, mailbox: Mailbox, *uids: int) -> None:
        store_flags(
            unit, self.messages, mailbox, uids, add=["\\Seen"], remove=(), replace=None, unchanged_since=None  # type: ignore[arg-type]
        )  # fmt: skip


@pytest.mark.rfc(9051, "7.5.1")
@pytest.mark.parametrize("page", [1, 2, 3, 1000])
async def test_a_message_whose_expunge_stands_on_a_later_page_has_its_number_until_then(
    stores: Stores, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(following, "_PAGE", page)
    here, there = stores
    watcher = await watched(there)
    await here.write(Doing(here))
    await eventually(lambda: watcher.state.uids == [1, 3, 4, 6, 8])
    assert watcher.differences() == []
    assert watcher.uids == [1, 3, 4, 6, 8]


@pytest.mark.rfc(7162, "3.1")
async def test_a_message_that_is_gone_already_has_the_flags_and_mod_sequence_it_came_with(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "_PAGE", 1)
    here, there = stores
    watcher = await watched(there)
    seen = {}
    there.listeners.append(lambda changes: seen.update({uid: watcher.state.rows[uid] for uid in watcher.state.uids}))
    await here.write(Doing(here))
    await eventually(lambda: watcher.state.uids == [1, 3, 4, 6, 8])
    gone = seen[7]
    assert (gone.flags.text, gone.mod_seq) == ("\\Flagged", 4)
    assert await there.contents([gone]) == [None]


@pytest.mark.rfc(9051, "7.5.1")
async def test_a_client_hears_what_came_and_went_while_the_log_was_cut(stores: Stores) -> None:
    here, there = stores
    watcher = await watched(there)
    told: list[Change] = []
    there.listeners.append(told.extend)

    def work(unit: Unit) -> None:
        Doing(here)(unit)
        cut_changes(unit.tx, unit.account(BOB).key, keep=0, older_than=0)

    await here.write(work)
    await eventually(lambda: watcher.state.uids == [1, 3, 4, 6, 8])
    assert watcher.differences() == []
    assert [(change.type, change.uid) for change in told] == [
        (ChangeType.MESSAGE_EXPUNGE, 2),
        (ChangeType.MESSAGE_NEW, 6),
        (ChangeType.MESSAGE_NEW, 8),
        (ChangeType.FLAGS_SET, 1),
    ]
    await here.store_flags(BOB, "INBOX", [3], add=["\\Seen"])
    await eventually(lambda: watcher.flags[3].text == "\\Seen")  # type: ignore[index]
    assert watcher.differences() == []


@pytest.mark.rfc(9051, "7.5.1")
async def test_a_client_hears_each_thing_once_where_its_own_daemon_finds_the_log_cut(stores: Stores) -> None:
    here, there = stores
    watcher = await watched(there)

    def work(unit: Unit) -> None:
        Doing(here)(unit)
        cut_changes(unit.tx, unit.account(BOB).key, keep=0, older_than=0)

    there._following._heard = lambda topic: None  # type: ignore[method-assign,union-attr]  # its own commit is first
    there.database._listeners.clear()  # type: ignore[attr-defined]
    await here.write(work)
    await there.append(BOB, "INBOX", [item(9)])
    await there.remove(BOB, "INBOX", [3])  # type: ignore[list-item]
    await eventually(lambda: watcher.state.uids == [1, 4, 6, 8, 9])
    assert watcher.differences() == []


async def test_who_has_a_mailbox_open_that_went_or_was_renamed_while_the_log_was_cut_is_told(stores: Stores) -> None:
    here, there = stores
    for name in ("Gone", "Old"):
        await here.create_mailbox(BOB, name)
    gone, renamed = [await watched(there, name) for name in ("Gone", "Old")]
    told: list[Change] = []
    there.listeners.append(told.extend)

    def work(unit: Unit) -> None:
        account = unit.account(BOB)
        here.mailboxes_of.delete(unit, account, "Gone")
        here.mailboxes_of.rename(unit, account, "Old", "New")
        cut_changes(unit.tx, account.key, keep=0, older_than=0)

    await here.write(work)
    await eventually(lambda: gone.state.removed and renamed.state.name == "New")
    assert sorted((change.type, change.mailbox, change.other_name) for change in told) == [
        (ChangeType.MAILBOX_DELETE, "Gone", ""),
        (ChangeType.MAILBOX_RENAME, "New", "Old"),
    ]


async def test_an_account_with_an_open_mailbox_is_followed_however_many_others_there_are(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "MAX_KNOWN", 3)
    here, there = stores
    watcher = await watched(there)
    for number in range(8):
        await there.ensure_account(f"user{number}@beta.test")
        await there.open_mailbox(f"user{number}@beta.test", "INBOX")
    there.database._listeners.clear()  # type: ignore[attr-defined]  # its own commit is first
    await here.append(BOB, "INBOX", [item(5)])
    await there.append(BOB, "INBOX", [item(6)])
    assert watcher.uids == watcher.state.uids == [1, 2, 3, 4, 5, 6]


async def test_accounts_that_are_not_open_here_are_not_remembered_for_ever(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "MAX_KNOWN", 3)
    here, there = stores
    for number in range(8):
        await here.ensure_account(f"user{number}@beta.test")
    watcher = await watched(there)
    await here.append(BOB, "INBOX", [item(5)])
    await eventually(lambda: watcher.uids == [1, 2, 3, 4, 5])
    assert len(there._following._known) <= 4  # type: ignore[union-attr]
