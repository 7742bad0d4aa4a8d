"""Deliveries that share a commit with whatever else changes the same mailbox."""

import asyncio
from collections.abc import Awaitable, Sequence

import pytest
from letters import BOB, letter, to_bob

from mailsandbox.errors import OverQuota
from mailsandbox.store.model import NO_FLAGS, AppendItem, Seq
from mailsandbox.store.store import Store


async def together(*works: Awaitable[object]) -> Sequence[object]:
    """Their results or errors; submitted in this order and in one turn of the loop."""
    return await asyncio.gather(*works, return_exceptions=True)


def deliveries(store: Store, first: int, count: int = 3) -> list[Awaitable[object]]:
    return [store.deliver([to_bob()], letter(number=number)) for number in range(first, first + count)]


async def assert_counters_agree_with_rows(store: Store, name: str = "INBOX") -> None:
    status = await store.status(BOB, name)
    state = await store.open_mailbox(BOB, name)
    rows = [state.rows[uid] for uid in state.uids]
    state.release()
    assert [status.messages, status.octets] == [len(rows), sum(row.octets for row in rows)]
    assert status.unseen == sum("\\Seen" not in row.flags for row in rows)
    assert status.uid_next > max(state.uids, default=0)
    assert status.highest_mod_seq == state.highest_mod_seq >= max((row.mod_seq for row in rows), default=0)
    page = await store.changes(BOB, Seq(0))
    assert [change.seq for change in page.changes] == list(range(1, len(page.changes) + 1))
    named = [change.message_id for change in page.changes if change.type in ("MessageNew", "MessageAppend")]
    assert len(named) == len(set(named))


@pytest.mark.rfc(9051, "2.3.1.1")
async def test_numbers_given_in_one_commit_agree_whatever_the_works_between_do(store: Store) -> None:
    await store.deliver([to_bob()], letter(number=0))
    await store.create_mailbox(BOB, "Other")
    outcomes = await together(
        *deliveries(store, 1),
        store.append(BOB, "INBOX", [AppendItem(letter(number=100), NO_FLAGS), AppendItem(letter(number=101))]),
        *deliveries(store, 4),
        store.store_flags(BOB, "INBOX", [1, 2, 3], add=["\\Seen"]),
        *deliveries(store, 7),
        store.remove(BOB, "INBOX", [2, 4]),
        *deliveries(store, 10),
        store.move(BOB, "INBOX", [5, 6], "Other"),
        *deliveries(store, 13),
        store.rename_mailbox(BOB, "INBOX", "Old"),
        *deliveries(store, 16),
        store.delete_mailbox(BOB, "Old"),
        *deliveries(store, 19),
    )
    assert [outcome for outcome in outcomes if isinstance(outcome, BaseException)] == []
    await assert_counters_agree_with_rows(store)
    await assert_counters_agree_with_rows(store, "Other")
    assert (await store.status(BOB, "INBOX")).messages == 6


async def test_a_work_that_fails_leaves_the_numbers_of_its_neighbours_right(
    store: Store, limits: dict[str, int]
) -> None:
    await store.deliver([to_bob()], letter(number=0))
    size = len(to_bob().trace) + len(letter(number=1))
    limits[BOB] = 6 * size
    large = letter(number=50, body="x" * 10 * size)
    outcomes = await together(
        *deliveries(store, 1, 2),
        store.deliver([to_bob()], large),
        *deliveries(store, 3, 2),
        store.deliver([to_bob()], large),
    )
    assert [isinstance(outcome, OverQuota) for outcome in outcomes] == [False, False, True, False, False, True]
    await assert_counters_agree_with_rows(store)
    assert (await store.status(BOB, "INBOX")).uid_next == 6
    assert await store.octets_used(BOB) == (5, 5 * size)


async def test_an_account_removed_in_the_same_commit_begins_anew(store: Store) -> None:
    await store.deliver([to_bob()], letter(number=0))
    outcomes = await together(*deliveries(store, 1), store.delete_account(BOB), *deliveries(store, 4), store.reset(BOB))
    assert [outcome for outcome in outcomes if isinstance(outcome, BaseException)] == []
    await store.deliver([to_bob()], letter(number=9))
    status = await store.status(BOB, "INBOX")
    assert (status.messages, status.uid_next) == (1, 2)
