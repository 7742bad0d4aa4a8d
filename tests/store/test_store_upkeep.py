"""Snapshots, rendering again, versions of the schema."""

import asyncio

import msgspec
import pytest
from audit import audit
from letters import BOB, TRACE, letter, to_bob

from mailsandbox.clock import ManualClock
from mailsandbox.database import Database, Tx
from mailsandbox.errors import NoSuchAccount, StartError, StoreFull
from mailsandbox.message.rendering import render
from mailsandbox.store import schema
from mailsandbox.store import store as store_module
from mailsandbox.store.journeys import JourneyLedger
from mailsandbox.store.model import AppendItem, Change, ChangeType, Delivery, Seq
from mailsandbox.store.store import Store
from mailsandbox.store.unit import Unit


async def test_a_restored_snapshot_is_what_was_there(store: Store, ledger: JourneyLedger) -> None:
    await store.deliver([to_bob()], letter(body="kept"), journey_id="Q1")
    await store.create_mailbox(BOB, "Lists")
    image = await store.snapshot()
    before = (await store.mailboxes(BOB), await store.changes(BOB, Seq(0)))
    for _ in range(2):  # a snapshot can be used again
        await store.deliver([to_bob(), Delivery("eve@beta.test", b"")], letter(number=2))
        await store.remove(BOB, "INBOX", [1])
        await store.delete_mailbox(BOB, "Lists")
        await store.restore(image)
        ledger.forget()
        assert (await store.mailboxes(BOB), await store.changes(BOB, Seq(0))) == before
        with pytest.raises(NoSuchAccount):
            await store.mailboxes("eve@beta.test")
        state = await store.open_mailbox(BOB, "INBOX")
        assert state.uids == [1]
        assert await store.search_text(state, "kept", scope="body") == {1}
        (landed,) = await store.deliver([to_bob()], letter(number=3))
        assert landed.uid == 2


async def test_mail_kept_by_the_version_before_reads_the_same(
    database: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(store_module, "MIGRATIONS", schema.MIGRATIONS[:3])  # the tables have the names they have now
        old = Store(database, clock=clock)
        await old.start()
        for number in range(1, 13):
            await old.deliver([to_bob(TRACE + b"X-Number: %d\r\n" % number)], letter(number=number))
        await old.create_mailbox(BOB, "Lists")
        await old.copy(BOB, "INBOX", [2], "Lists")
        await old.aclose()
    store = Store(database, clock=clock)
    await store.start()
    kept = await store.open_mailbox(BOB, "INBOX")
    numbers = [number for number in range(1, 13) if number not in (2, 3, 4)]
    await store.remove(BOB, "INBOX", [2, 3, 4])
    await store.deliver([to_bob()], letter(number=13))
    wanted = [TRACE + b"X-Number: %d\r\n" % number + letter(number=number) for number in numbers]
    assert await store.contents([kept.rows[uid] for uid in kept.uids]) == [*wanted, TRACE + letter(number=13)]
    lists = await store.open_mailbox(BOB, "Lists")
    assert await store.contents(list(lists.rows.values())) == [TRACE + b"X-Number: 2\r\n" + letter(number=2)]
    assert await store.search_text(kept, "number: 12", scope="text") == {12}
    assert await database.read(audit) == []
    await store.aclose()


async def test_who_looks_at_a_mailbox_is_told_of_the_restore(store: Store, heard: list[Change]) -> None:
    await store.deliver([to_bob()], letter())
    image = await store.snapshot()
    state = await store.open_mailbox(BOB, "INBOX")
    heard.clear()
    await store.restore(image)
    assert state.removed
    assert [(change.type, change.mailbox) for change in heard] == [(ChangeType.MAILBOX_DELETE, "INBOX")]


async def test_writes_wait_while_a_snapshot_is_put_back(store: Store) -> None:
    import asyncio

    await store.ensure_account(BOB)
    image = await store.snapshot()
    await asyncio.gather(
        *[store.deliver([to_bob()], letter(number=number)) for number in range(20)],
        store.restore(image),
        *[store.deliver([to_bob()], letter(number=100 + number)) for number in range(20)],
    )
    status = await store.status(BOB, "INBOX")
    state = await store.open_mailbox(BOB, "INBOX")
    assert status.messages == len(state.uids)
    assert (await store.deliver([to_bob()], letter(number=999)))[0].uid == status.uid_next


async def test_old_rows_are_rendered_again(database: Database, clock: ManualClock) -> None:
    def old(octets: bytes) -> object:
        return msgspec.structs.replace(render(octets), subject="old", search_text="old")

    store = Store(database, clock=clock, render=old)  # type: ignore[arg-type]
    await store.start()
    await store.ensure_account(BOB)
    await store.append(BOB, "INBOX", [AppendItem(letter(f"s{number}", number=number)) for number in range(120)])
    await store.aclose()
    store = Store(database, clock=clock)
    await store.start()
    steps: list[tuple[int, int]] = []
    assert await store.reindex(lambda done, total: steps.append((done, total))) == 120
    assert steps == [(50, 120), (100, 120), (120, 120)]
    state = await store.open_mailbox(BOB, "INBOX")
    assert await store.rendered([state.rows[7]], ["subject"]) == [("s6",)]
    assert await store.search_text(state, "how are you", scope="body") == set(state.uids)
    assert await store.search_text(state, "old", scope="body") == set()
    await store.remove(BOB, "INBOX", state.uids)
    counts = await database.read(lambda tx: tx.execute("SELECT count(*) FROM blobs").fetchone())
    assert counts == (0,)
    await store.aclose()


async def test_data_of_a_newer_version_is_not_touched(store: Store) -> None:
    await store.database.write(
        lambda tx: tx.execute("UPDATE schema_versions SET version = 99 WHERE component = 'store'")
    )
    with pytest.raises(StartError, match="newer version"):
        await Store(store.database).start()


async def test_starting_again_keeps_everything(store: Store) -> None:
    await store.deliver([to_bob()], letter())
    again = Store(store.database)
    await again.start()
    assert (await again.status(BOB, "INBOX")).messages == 1
    await again.aclose()


async def test_a_store_closes_over_a_database_that_takes_nothing_and_searches_miss_nothing_later(
    store: Store, database: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.flush_texts()
    await store.deliver([to_bob()], letter(body="needle"))

    async def full(work: object, **options: object) -> None:
        raise StoreFull("no room")

    with monkeypatch.context() as patched:
        patched.setattr(database, "write", full)
        await store.aclose()
    again = Store(database, clock=clock)
    await again.start()
    state = await again.open_mailbox(BOB, "INBOX")
    assert await again.search_text(state, "needle", scope="body") == {1}
    await again.aclose()


async def test_texts_rendered_anew_while_the_old_ones_are_written_are_written_too(store: Store) -> None:
    await store.deliver([to_bob()], letter(body="a needle"))
    key = await store.database.read(lambda tx: tx.execute("SELECT id FROM contents").fetchone()[0])

    def anew(tx: Tx) -> None:
        unit = Unit(tx, 0.0)
        store.contents_of.replace_rendering(unit, key, letter(body="as a newer renderer finds it"))
        tx.after_commit(lambda: store._texts.add(unit.texts))

    await asyncio.gather(store.flush_texts(), store.database.write(anew))
    await store.flush_texts()
    state = await store.open_mailbox(BOB, "INBOX")
    assert await store.search_text(state, "newer renderer", scope="text") == {1}
