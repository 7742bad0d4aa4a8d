"""Several daemons on one PostgreSQL: each sees what the others did, in order, once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial

import pytest
from interleaving import eventually
from letters import BOB, letter, to_bob

from mailsandbox.clock import ManualClock
from mailsandbox.database import open_database
from mailsandbox.errors import MaildropInUse, StartError, StoreUnavailable
from mailsandbox.notify import Hub
from mailsandbox.store.changelog import cut_changes
from mailsandbox.store.model import Change, Seq
from mailsandbox.store.store import Store


@pytest.fixture
async def daemons(postgres: object) -> AsyncIterator[list[Store]]:
    url = postgres.new_database()  # type: ignore[attr-defined]
    opened = [open_database(url) for _ in range(3)]
    stores = [Store(database, clock=ManualClock()) for database in opened]
    for database, store in zip(opened, stores, strict=True):
        await database.start()
        await store.start()
    yield stores
    for database, store in zip(opened, stores, strict=True):
        await store.aclose()
        await database.aclose()


async def _until(store: Store, seq: int) -> list[Change]:
    """Everything in the log up to `seq`, read as a waiting reader does."""
    read: list[Change] = []
    async with Hub(store).reader(BOB, since=Seq(0)) as reader:
        while not read or read[-1].seq < seq:
            page = await reader.next(30)
            assert page.changes, "nothing came within 30 seconds"
            read += page.changes
    return read


async def test_a_reader_on_another_daemon_wakes(daemons: list[Store]) -> None:
    here, there, _ = daemons
    async with Hub(there).reader(BOB) as reader:
        waiting = asyncio.ensure_future(reader.next(30))
        await here.deliver([to_bob()], letter())
        assert [change.uid for change in (await waiting).changes][-1] == 1


async def test_an_open_mailbox_follows_the_other_daemons(daemons: list[Store]) -> None:
    here, there, _ = daemons
    await here.deliver([to_bob()], letter())
    state = await there.open_mailbox(BOB, "INBOX")
    told: list[Change] = []
    there.listeners.append(told.extend)
    await here.deliver([to_bob()], letter(number=2))
    await here.store_flags(BOB, "INBOX", [1, 2], add=["\\Seen"])
    await here.remove(BOB, "INBOX", [1])
    last = await here.last_seq(BOB)
    await _until(there, last)
    await eventually(lambda: bool(told) and told[-1].seq == last)
    assert state.uids == [2]
    assert state.rows[2].flags.text == "\\Seen"
    assert state.highest_mod_seq == (await here.status(BOB, "INBOX")).highest_mod_seq
    seqs = [change.seq for change in told]
    # The announcement of the first delivery may arrive before the mailbox is opened or after it.
    assert seqs == list(range(seqs[0], 7))
    assert seqs[0] in (1, 3)


async def test_three_daemons_writing_at_once_agree(daemons: list[Store]) -> None:
    await daemons[0].ensure_account(BOB)
    states = [await store.open_mailbox(BOB, "INBOX") for store in daemons]
    told: list[list[int]] = [[], [], []]
    for store, seen in zip(daemons, told, strict=True):
        store.listeners.append(lambda changes, seen=seen: seen.extend(change.seq for change in changes))

    async def work(store: Store, number: int) -> None:
        for turn in range(15):
            (landed,) = await store.deliver([to_bob()], letter(number=100 * number + turn))
            await store.store_flags(BOB, "INBOX", [landed.uid], add=[f"d{number}"])
            if turn % 5 == 0:
                await store.remove(BOB, "INBOX", [landed.uid])

    await asyncio.gather(*[work(store, number) for number, store in enumerate(daemons)])
    last = await daemons[0].last_seq(BOB)
    for seen in told:
        await eventually(lambda seen=seen: bool(seen) and seen[-1] == last)
        assert seen == list(range(2, last + 1))
    rows = [{uid: (row.flags, row.mod_seq) for uid, row in state.rows.items()} for state in states]
    assert rows[0] == rows[1] == rows[2]
    assert states[0].uids == states[1].uids == states[2].uids
    assert len(states[0].uids) == 36


async def test_deliveries_to_the_same_accounts_from_all_sides_all_land(daemons: list[Store]) -> None:
    from mailsandbox.store.model import Delivery

    accounts = [f"user{number}@beta.test" for number in range(6)]

    async def work(store: Store, number: int) -> None:
        for turn in range(8):
            order = accounts[turn % 6 :] + accounts[: turn % 6]
            await asyncio.gather(*[store.deliver([Delivery(each, b"")], letter(number=number)) for each in order])

    await asyncio.gather(*[work(store, number) for number, store in enumerate(daemons)])
    for account in accounts:
        assert (await daemons[0].status(account, "INBOX")).messages == 24


async def test_a_cut_log_makes_the_others_read_their_mailboxes_anew(daemons: list[Store]) -> None:
    here, there, _ = daemons
    await here.deliver([to_bob()], letter())
    state = await there.open_mailbox(BOB, "INBOX")

    def work(tx: object) -> None:
        here.deliver_in(tx, [to_bob()], letter(number=2), journey_id="")  # type: ignore[arg-type]
        cut_changes(tx, 1, keep=0, older_than=0)  # type: ignore[arg-type]

    await here.database.write(work)
    await eventually(lambda: state.uids == [1, 2])


async def test_an_account_removed_elsewhere_is_gone_here(daemons: list[Store]) -> None:
    here, there, _ = daemons
    await here.deliver([to_bob()], letter())
    state = await there.open_mailbox(BOB, "INBOX")
    await here.delete_account(BOB)
    await eventually(lambda: state.removed)


async def test_a_maildrop_is_locked_for_all_daemons(daemons: list[Store]) -> None:
    here, there, _ = daemons
    async with here.maildrop(BOB):
        with pytest.raises(MaildropInUse):
            async with there.maildrop(BOB):
                pass
    async with there.maildrop(BOB):
        pass


async def test_a_maildrop_whose_client_left_while_it_was_locked_is_free_for_all_daemons(daemons: list[Store]) -> None:
    here, there, _ = daemons
    entering = asyncio.ensure_future(here.maildrop(BOB).__aenter__())
    await asyncio.sleep(0)  # the lock is asked for
    entering.cancel()
    await asyncio.gather(entering, return_exceptions=True)
    await here.database.write(lambda tx: None)
    async with there.maildrop(BOB):
        pass


async def test_a_server_that_goes_away_and_comes_back_needs_no_restart(postgres: object) -> None:
    url = postgres.new_database()  # type: ignore[attr-defined]
    database = open_database(url)
    await database.start()
    store = Store(database, clock=ManualClock())
    await store.start()
    await store.deliver([to_bob()], letter())
    postgres.stop()  # type: ignore[attr-defined]
    try:
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1"):
            await store.deliver([to_bob()], letter(number=2))
        with pytest.raises(StoreUnavailable):
            await store.mailboxes(BOB)
    finally:
        postgres.start()  # type: ignore[attr-defined]
    await store.deliver([to_bob()], letter(number=3))
    assert (await store.status(BOB, "INBOX")).messages == 2
    await store.aclose()
    await database.aclose()


async def test_a_server_that_is_not_there_is_a_start_error_without_the_password() -> None:
    database = open_database("postgresql://ann:secret@127.0.0.1:1/mail")
    with pytest.raises(StartError, match=r"127\.0\.0\.1:1/mail") as refused:
        await database.start()
    assert "secret" not in str(refused.value)


async def test_a_mailbox_opened_while_the_log_is_read_misses_nothing_of_it(
    daemons: list[Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there, _ = daemons
    await here.deliver([to_bob()], letter())
    await here.create_mailbox(BOB, "Box")
    await there.open_mailbox(BOB, "INBOX")
    read, opened = there.database.read, []

    async def slow(work: Callable[..., object], **options: bool) -> object:
        if isinstance(work, partial) and not opened:  # a page of the log, asked for before Box was opened
            opened.append(None)
            opened.append(await there.open_mailbox(BOB, "Box"))
            await here.delete_mailbox(BOB, "Box")
        return await read(work, **options)

    monkeypatch.setattr(there.database, "read", slow)
    await here.store_flags(BOB, "INBOX", [1], add=["\\Seen"])
    await eventually(lambda: len(opened) == 2)
    await eventually(lambda: opened[1].removed)
