"""Messages are rendered before their transaction, by whoever has the time, and only as long as it is to come."""

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from letters import BOB, TRACE, letter, to_bob

from mailsandbox.clock import ManualClock
from mailsandbox.database import open_database
from mailsandbox.database.batch import Batch
from mailsandbox.database.tx import Database
from mailsandbox.message.rendering import Rendered, render
from mailsandbox.store.store import Store

OCTETS = letter()


@pytest.fixture
def rendered() -> list[bytes]:
    """What was rendered."""
    return []


@pytest.fixture
async def counting(database: Database, clock: ManualClock, rendered: list[bytes]) -> AsyncIterator[Store]:
    def note(octets: bytes) -> Rendered:
        rendered.append(octets)
        return render(octets)

    store = Store(database, clock=clock, render=note)
    await store.start()
    yield store
    await store.aclose()


def delivery(store: Store, octets: bytes) -> Callable:
    return lambda tx: store.deliver_in(tx, [to_bob()], octets, journey_id="")


@pytest.mark.parametrize("sha256", [None, hashlib.sha256(OCTETS).digest()])
async def test_what_was_rendered_before_is_not_rendered_in_the_transaction(
    counting: Store, rendered: list[bytes], sha256: bytes | None
) -> None:
    with counting.prepared(OCTETS, sha256=sha256):
        assert rendered == [OCTETS]
        await counting.database.write(delivery(counting, OCTETS))
        await counting.database.write(delivery(counting, letter("Other")))
    assert rendered == [OCTETS, letter("Other")]
    state = await counting.open_mailbox(BOB, "INBOX")
    subjects = await counting.rendered(list(state.rows.values()), ["subject"])
    assert subjects == [("Hello",), ("Other",)]


async def test_what_is_expected_is_rendered_while_a_commit_is_under_way_and_not_again_when_it_comes(
    tmp_path: Path, rendered: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def note(octets: bytes) -> Rendered:
        rendered.append(octets)
        made.set()
        return render(octets)

    def commit_late(batch: Batch) -> None:
        assert made.wait(timeout=30)
        commit(batch)

    made, commit = threading.Event(), Batch.commit
    database = open_database(str(tmp_path / "data"))
    await database.start()
    store = Store(database, render=note)
    await store.start()
    monkeypatch.setattr(Batch, "commit", commit_late)
    store.expect(OCTETS, hashlib.sha256(OCTETS).digest())

    await asyncio.gather(*[database.write(lambda tx: None) for _ in range(10)])  # too many to be committed by the loop

    assert rendered == [OCTETS]
    await store.deliver([to_bob()], OCTETS)
    assert rendered == [OCTETS]
    state = await store.open_mailbox(BOB, "INBOX")
    assert await store.rendered(list(state.rows.values()), ["subject"]) == [("Hello",)]
    await store.aclose()
    await database.aclose()


async def test_what_was_rendered_in_vain_is_forgotten(counting: Store, rendered: list[bytes]) -> None:
    with counting.prepared(OCTETS):
        pass
    await counting.deliver([to_bob()], letter("Other"))
    await counting.database.write(delivery(counting, OCTETS))
    assert rendered == [OCTETS, letter("Other"), OCTETS]


async def test_the_same_octets_twice_at_once_are_stored_though_one_ends_first(
    counting: Store, rendered: list[bytes]
) -> None:
    first, second = counting.prepared(OCTETS), counting.prepared(OCTETS)
    with first:
        with second:
            pass
        await counting.database.write(delivery(counting, OCTETS))
    assert rendered == [OCTETS, OCTETS, OCTETS]


async def test_what_was_rendered_though_its_content_is_here_already_joins_that(counting: Store) -> None:
    for _ in range(3):
        await counting.deliver([to_bob()], OCTETS)
    state = await counting.open_mailbox(BOB, "INBOX")
    first, second, third = state.uids
    assert len({row.content_id for row in state.rows.values()}) == 1
    assert len({row.thread_id for row in state.rows.values()}) == 1
    await counting.remove(BOB, "INBOX", [first, third])
    assert await counting.contents([state.rows[second]]) == [TRACE + OCTETS]
    await counting.remove(BOB, "INBOX", [second])
    for table in ("contents", "renderings", "blobs", "blob_octets"):
        count = await counting.database.read(lambda tx, of=table: tx.execute(f"SELECT count(*) FROM {of}").fetchone())
        assert count == (0,), table
