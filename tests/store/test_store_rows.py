"""A large mailbox is held in memory in part, and nobody who looks can tell."""

import random

import pytest
from letters import BOB, letter, to_bob

from mailsandbox.store import rows as rows_module
from mailsandbox.store import states
from mailsandbox.store.model import AppendItem
from mailsandbox.store.rows import Rows
from mailsandbox.store.state import MailboxState
from mailsandbox.store.store import Store


@pytest.fixture
async def state(store: Store, monkeypatch: pytest.MonkeyPatch) -> MailboxState:
    """100 messages, with gaps, of which blocks of 8 are read and at most 24 kept."""
    monkeypatch.setattr(states, "EAGER", 10)
    monkeypatch.setattr(rows_module, "BLOCK", 8)
    monkeypatch.setattr(rows_module, "MAX_LOADED", 24)
    await store.ensure_account(BOB)
    await store.append(BOB, "INBOX", [AppendItem(letter(number=number)) for number in range(120)])
    await store.remove(BOB, "INBOX", [1, 2, 3, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 90, 91, 119, 120])
    return await store.open_mailbox(BOB, "INBOX")


def _loaded(state: MailboxState) -> int:
    return dict.__len__(state.rows)


async def test_rows_are_read_when_asked_for_and_memory_stays_bounded(store: Store, state: MailboxState) -> None:
    assert len(state.rows) == len(state.uids) == 100
    if store.database.shared:
        return  # read whole: its rows cannot be had at once
    assert isinstance(state.rows, Rows)
    assert _loaded(state) == 0
    for uid in state.uids:
        assert state.rows[uid].uid == uid
        assert _loaded(state) <= 32
    assert list(state.rows) == state.uids == [row.uid for row in state.rows.values()]
    assert _loaded(state) <= 32


async def test_a_dict_of_rows_answers_as_a_dict_would(state: MailboxState) -> None:
    assert 3 not in state.rows
    assert 4 in state.rows
    assert "4" not in state.rows
    assert state.rows.get(50) is None
    assert state.rows.get(4).uid == 4
    with pytest.raises(KeyError):
        state.rows[121]
    assert dict(state.rows) == state.rows == {uid: state.rows[uid] for uid in state.uids}
    assert next(iter(state.rows.items()))[0] == 4
    assert set(state.rows.keys()) == set(state.uids)
    assert {4, 50, 63}.intersection(state.rows) == {4, 63}


async def test_changes_reach_rows_that_are_in_memory_and_those_that_are_not(store: Store, state: MailboxState) -> None:
    chance = random.Random(7)
    for turn in range(60):
        picked = chance.sample(state.uids, 5)
        state.rows[picked[0]]
        match turn % 4:
            case 0:
                await store.store_flags(BOB, "INBOX", picked, add=[f"k{turn}"])
            case 1:
                await store.remove(BOB, "INBOX", picked[:2])
            case 2:
                await store.deliver([to_bob()], letter(number=1000 + turn))
            case _:
                await store.store_flags(BOB, "INBOX", list(state.uids), add=["\\Seen"])
    stored = await store.database.read(lambda tx: states.read_rows(tx, state.key, 0, 1 << 62))
    assert [state.rows[uid] for uid in state.uids] == stored
    assert list(state.rows.values()) == stored


def test_a_message_expunged_but_not_yet_told_is_an_empty_row() -> None:
    rows = Rows(1, [5, 6], [], lambda low, high: [])
    assert rows[5].content_id == 0
    with pytest.raises(KeyError):
        rows[7]
