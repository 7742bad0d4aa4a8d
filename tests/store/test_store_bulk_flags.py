"""Flags of many messages changed at once are recorded beside their rows, and nobody who reads can tell."""

import random

import pytest
from letters import BOB, letter, to_bob

from mailsandbox.store import bulkflags
from mailsandbox.store.bulkflags import Record, ranges_of
from mailsandbox.store.model import AppendItem, Flags, MessageRow, ModSeq, Seq, Uid
from mailsandbox.store.states import read_rows
from mailsandbox.store.store import Store
from mailsandbox.store.views import MessageQuery


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulkflags, "MIN_MESSAGES", 4)
    monkeypatch.setattr(bulkflags, "MIN_RUN", 2)
    monkeypatch.setattr(bulkflags, "KEPT", 3)


async def _records(store: Store) -> list[Record]:
    return await store.database.read(lambda tx: bulkflags.read(tx, 1))


async def _stored(store: Store, key: int = 1) -> list[MessageRow]:
    return await store.database.read(lambda tx: read_rows(tx, key, 0, 1 << 62))


async def _filled(store: Store, count: int) -> None:
    await store.ensure_account(BOB)
    await store.append(BOB, "INBOX", [AppendItem(letter(number=number)) for number in range(count)])


@pytest.mark.parametrize("seed", range(4))
async def test_every_reader_sees_the_flags_that_a_model_has(store: Store, seed: int) -> None:
    chance = random.Random(seed)
    await _filled(store, 40)
    state = await store.open_mailbox(BOB, "INBOX")
    model = {uid: frozenset[str]() for uid in state.uids}
    for turn in range(60):
        uids = sorted(model)
        low, high = sorted(chance.choices(range(len(uids)), k=2))
        picked = chance.choice([uids, uids[low : high + 1], uids[::2], chance.sample(uids, 2), uids[: high + 1]])
        names = {chance.choice(["\\Seen", "\\Deleted", "\\Flagged", "word"])}
        match turn % 5:
            case 0:
                await store.store_flags(BOB, "INBOX", picked, replace=names)
                model |= {uid: frozenset(names) for uid in picked}
            case 1:
                await store.store_flags(BOB, "INBOX", picked, remove=names)
                model |= {uid: model[uid] - names for uid in picked}
            case 4 if turn % 3 == 0:
                await store.deliver([to_bob()], letter(number=1_000 + turn))
                model[state.uids[-1]] = frozenset()
                for uid in await store.remove(BOB, "INBOX", chance.sample(uids, 1)):
                    del model[uid]
            case _:
                await store.store_flags(BOB, "INBOX", picked, add=names)
                model |= {uid: model[uid] | names for uid in picked}
        assert {uid: row.flags.names for uid, row in state.rows.items()} == model
        assert await _stored(store) == list(state.rows.values())
        status = await store.status(BOB, "INBOX")
        assert status.unseen == sum("\\Seen" not in names for names in model.values())
        assert status.deleted == sum("\\Deleted" in names for names in model.values())
        assert len(await _records(store)) <= bulkflags.KEPT + 1
    listed = (await store.list_messages(MessageQuery(account=BOB, limit=1_000))).messages
    assert {each.row.uid: each.row.flags.names for each in listed} == model
    assert (await store.message(listed[0].message_id)).row == listed[0].row
    await store.create_mailbox(BOB, "Copies")
    await store.copy(BOB, "INBOX", sorted(model), "Copies")
    copies = await store.open_mailbox(BOB, "Copies")
    assert [row.flags.names for row in copies.rows.values()] == [model[uid] for uid in sorted(model)]
    assert await _stored(store, copies.key) == list(copies.rows.values())


async def test_a_change_of_many_is_one_record_that_the_next_of_all_replaces(store: Store) -> None:
    await _filled(store, 10)
    await store.store_flags(BOB, "INBOX", list(range(1, 11)), add=["\\Seen"])
    await store.store_flags(BOB, "INBOX", list(range(2, 8)), add=["\\Flagged"])
    assert [(each.flags.text, each.ranges) for each in await _records(store)] == [
        ("\\Seen", [(1, 10)]),
        ("\\Flagged \\Seen", [(2, 7)]),
    ]
    await store.store_flags(BOB, "INBOX", list(range(1, 11)), replace=["\\Draft"])
    assert [(each.flags.text, each.ranges) for each in await _records(store)] == [("\\Draft", [(1, 10)])]
    assert len((await store.changes(BOB, Seq(0))).changes) == 1 + 10 + 10 + 6 + 10


async def test_records_beyond_a_number_are_written_into_the_rows(store: Store) -> None:
    await _filled(store, 40)
    for turn in range(4):
        await store.store_flags(BOB, "INBOX", list(range(1 + 10 * turn, 11 + 10 * turn)), add=[f"k{turn}"])
    assert await _records(store) == []
    assert [row.flags.text for row in await _stored(store)] == [f"k{uid // 10}" for uid in range(40)]


async def test_one_message_is_changed_in_its_row_and_stays_newer_than_the_record(store: Store) -> None:
    await _filled(store, 10)
    await store.store_flags(BOB, "INBOX", list(range(1, 11)), add=["\\Seen"])
    await store.store_flags(BOB, "INBOX", [3], remove=["\\Seen"])
    flags = [row.flags.text for row in await _stored(store)]
    assert flags == ["\\Seen", "\\Seen", "", *["\\Seen"] * 7]


async def test_a_mailbox_that_is_emptied_or_deleted_leaves_no_records(store: Store) -> None:
    await _filled(store, 10)
    await store.store_flags(BOB, "INBOX", list(range(1, 11)), add=["\\Seen"])
    assert await _records(store)
    await store.reset(BOB)
    assert await _records(store) == []


def test_ranges_join_neighbours() -> None:
    assert ranges_of([Uid(uid) for uid in (3, 4, 5)]) == [(3, 5)]
    assert ranges_of([Uid(uid) for uid in (1, 2, 4, 7, 8)]) == [(1, 2), (4, 4), (7, 8)]


def test_what_is_newer_than_a_record_keeps_its_flags() -> None:
    rows = [MessageRow(Uid(uid), 1, ModSeq(uid), Flags.of(), 0.0, 1, 1, 0.0, "", "") for uid in (1, 5, 9)]
    bulkflags.bring_up([Record(ModSeq(6), Flags.of(["\\Seen"]), [(1, 9)])], rows)
    assert [(row.flags.text, row.mod_seq) for row in rows] == [("\\Seen", 6), ("\\Seen", 6), ("", 9)]
