"""Readers of the log: woken at commits, resumed by cursor, bounded."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from mailsandbox.clock import ManualClock
from mailsandbox.database import open_database
from mailsandbox.notify import Hub
from mailsandbox.store.changelog import cut_changes
from mailsandbox.store.model import Change, ChangeType, Delivery, Seq
from mailsandbox.store.store import Store

BOB = "bob@beta.test"


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    database = open_database(":memory:")
    await database.start()
    made = Store(database, clock=ManualClock())
    await made.start()
    yield made
    await made.aclose()
    await database.aclose()


@pytest.fixture
def hub(store: Store) -> Hub:
    return Hub(store)


async def _deliver(store: Store, *accounts: str, number: int = 1) -> None:
    await store.deliver([Delivery(account, b"") for account in accounts], b"Subject: %d\r\n\r\n" % number)


async def test_a_listener_hears_at_the_commit_and_only_of_its_account(store: Store, hub: Hub) -> None:
    heard: list[Change] = []
    hub.listen("BOB@beta.test", heard.extend)
    await _deliver(store, "eve@beta.test", BOB)
    await _deliver(store, "eve@beta.test", number=2)
    assert [(change.account, change.type) for change in heard] == [
        (BOB, ChangeType.MAILBOX_CREATE),
        (BOB, ChangeType.MESSAGE_NEW),
    ]


async def test_who_stopped_listening_hears_no_more(store: Store, hub: Hub) -> None:
    heard: list[Change] = []
    unsubscribe = hub.listen(BOB, heard.extend)
    unsubscribe()
    unsubscribe()
    await _deliver(store, BOB)
    assert heard == []
    assert len(hub) == 0


async def test_a_listener_may_stop_another_while_they_are_told(store: Store, hub: Hub) -> None:
    heard: list[str] = []
    ends = []
    ends.append(hub.listen(BOB, lambda changes: (heard.append("first"), ends[1]())))
    ends.append(hub.listen(BOB, lambda changes: heard.append("second")))
    await _deliver(store, BOB)
    await _deliver(store, BOB, number=2)
    assert heard.count("first") == 2
    assert heard.count("second") <= 1


async def test_a_reader_waits_for_the_next_change(store: Store, hub: Hub) -> None:
    await _deliver(store, BOB)
    async with hub.reader(BOB) as reader:
        waiting = asyncio.ensure_future(reader.next(30))
        await asyncio.sleep(0)
        assert not waiting.done()
        await _deliver(store, BOB, number=2)
        page = await waiting
        assert [change.uid for change in page.changes] == [2]
        assert page.cursor == reader.cursor == 3
    assert len(hub) == 0


async def test_a_reader_with_a_cursor_gets_what_it_missed(store: Store, hub: Hub) -> None:
    for number in range(3):
        await _deliver(store, BOB, number=number)
    async with hub.reader(BOB, since=Seq(2)) as reader:
        assert [change.seq for change in (await reader.next(0)).changes] == [3, 4]
        assert (await reader.next(0)).changes == []


async def test_no_change_falls_between_reading_and_waiting(store: Store, hub: Hub) -> None:
    seen: list[int] = []
    async with hub.reader(BOB, since=Seq(0)) as reader:

        async def read() -> None:
            while len(seen) < 101:
                seen.extend(change.seq for change in (await reader.next(30, limit=3)).changes)

        async def write() -> None:
            for number in range(100):
                await _deliver(store, BOB, number=number)
                await asyncio.sleep(0)

        await asyncio.gather(read(), write())
    assert seen == list(range(1, 102))


async def test_a_reader_of_an_account_yet_to_come_gets_its_first_message(store: Store, hub: Hub) -> None:
    async with hub.reader("new@beta.test") as reader:
        waiting = asyncio.ensure_future(reader.next(30))
        await asyncio.sleep(0)
        await _deliver(store, "new@beta.test")
        assert [change.type for change in (await waiting).changes] == [
            ChangeType.MAILBOX_CREATE,
            ChangeType.MESSAGE_NEW,
        ]


async def test_a_reader_that_slept_too_long_is_told_to_start_over(store: Store, hub: Hub) -> None:
    async with hub.reader(BOB, since=Seq(0)) as reader:
        for number in range(5):
            await _deliver(store, BOB, number=number)
        await store.database.write(lambda tx: cut_changes(tx, 1, keep=2, older_than=0))
        page = await reader.next(0)
        assert (page.reset, page.changes, page.cursor) == (True, [], 6)
        await _deliver(store, BOB, number=9)
        assert [change.seq for change in (await reader.next(0)).changes] == [7]


async def test_a_reader_whose_account_was_reset_is_told_so(store: Store, hub: Hub) -> None:
    await _deliver(store, BOB)
    async with hub.reader(BOB) as reader:
        await store.reset(BOB)
        for number in range(5):
            await _deliver(store, BOB, number=number)
        assert (await reader.next(0)).reset
    assert [change.uid for change in (await store.changes(BOB, Seq(0))).changes] == [None, 1, 2, 3, 4, 5]


async def test_a_stopped_hub_lets_its_readers_go(store: Store, hub: Hub) -> None:
    async with hub.reader(BOB) as reader:
        waiting = asyncio.ensure_future(reader.next(None))
        await asyncio.sleep(0)
        hub.stop()
        assert (await waiting).changes == []


async def test_a_reader_not_entered_has_no_cursor(hub: Hub) -> None:
    with pytest.raises(RuntimeError):
        _ = hub.reader(BOB).cursor
