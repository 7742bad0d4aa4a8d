"""Everything into one zip, and back."""

import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from letters import BOB, letter, to_bob

from mailsandbox.clock import ManualClock
from mailsandbox.database import open_database
from mailsandbox.journey.model import Delivered, Notified
from mailsandbox.store.archive import BadArchive, export_zip, import_zip
from mailsandbox.store.journeys import JourneyLedger
from mailsandbox.store.model import AppendItem, Flags
from mailsandbox.store.store import Store


@pytest.fixture
async def other(clock: ManualClock) -> AsyncIterator[tuple[Store, JourneyLedger]]:
    """A store elsewhere, with an account of its own so that keys differ."""
    database = open_database(":memory:")
    await database.start()
    store, ledger = Store(database, clock=clock), JourneyLedger(database, clock)
    await store.start()
    await ledger.start()
    await store.ensure_account("first@beta.test")
    yield store, ledger
    await ledger.aclose()
    await store.aclose()
    await database.aclose()


async def _filled(store: Store, ledger: JourneyLedger, clock: ManualClock) -> None:
    (landed,) = await store.deliver([to_bob()], letter("crossed"), journey_id="Q/1")
    delivered = Delivered(
        "beta", BOB, BOB, "INBOX", landed.uid, landed.message_id, landed.seq, landed.octets, landed.at, 1
    )
    await ledger.append("Q/1", Notified("alpha", 1.0, "delayed", [BOB], ""))
    await ledger.append("Q/1", delivered)
    await clock.advance(5)
    await store.create_mailbox(BOB, "Liste/Été", "\\Archive")
    await store.set_metadata(BOB, "Liste/Été", {"/private/comment": b"\x00\xff"})
    await store.set_subscribed(BOB, "Elsewhere", True)
    items = [AppendItem(letter(f"s{n}", number=n), Flags.of([f"k{n % 3}"]), internal_date=float(n)) for n in range(250)]
    await store.append(BOB, "Liste/Été", items)
    await store.remove(BOB, "Liste/Été", [1, 5, 250])


async def _all(store: Store, name: str) -> list[tuple[object, ...]]:
    state = await store.open_mailbox(BOB, name)
    rows = [state.rows[uid] for uid in state.uids]
    contents = await store.contents(rows)
    return [
        (row.uid, row.flags, row.internal_date, row.save_date, row.octets, octets)
        for row, octets in zip(rows, contents, strict=True)
    ]


async def test_an_archive_brings_everything_back(
    store: Store, ledger: JourneyLedger, other: tuple[Store, JourneyLedger], clock: ManualClock, tmp_path: Path
) -> None:
    await _filled(store, ledger, clock)
    steps: list[tuple[int, int]] = []
    assert await export_zip(store, ledger, tmp_path / "all.zip", progress=lambda *step: steps.append(step)) == 248
    assert steps[-1] == (248, 248)
    there, book = other
    assert await import_zip(there, book, tmp_path / "all.zip", progress=lambda *step: steps.append(step)) == 248
    assert steps[-1] == (248, 248)
    for name in ("INBOX", "Liste/Été"):
        assert await _all(there, name) == await _all(store, name)
        before, after = await store.status(BOB, name), await there.status(BOB, name)
        assert (after.uid_validity, after.uid_next) == (before.uid_validity, before.uid_next)
        assert (after.messages, after.unseen, after.octets) == (before.messages, before.unseen, before.octets)
        assert after.special_use == before.special_use
    assert await there.octets_used(BOB) == await store.octets_used(BOB)
    assert await there.subscriptions(BOB) == await store.subscriptions(BOB)
    assert await there.metadata(BOB, "Liste/Été") == {"/private/comment": b"\x00\xff"}
    state = await there.open_mailbox(BOB, "INBOX")
    message_id = state.rows[1].message_id
    assert await book.find(message_id) == "Q/1"
    assert [type(event) for event in await book.events("Q/1")] == [Notified, Delivered]
    assert (await there.message(message_id)).recipient == BOB
    assert await there.search_text(state, "delivered-to", scope="header") == {1}


async def test_into_a_mailbox_in_use_messages_are_appended(
    store: Store, ledger: JourneyLedger, other: tuple[Store, JourneyLedger], clock: ManualClock, tmp_path: Path
) -> None:
    await _filled(store, ledger, clock)
    await export_zip(store, ledger, tmp_path / "all.zip", accounts=[BOB])
    there, book = other
    await there.deliver([to_bob()], letter("mine", number=99))
    await import_zip(there, book, tmp_path / "all.zip")
    await import_zip(there, book, tmp_path / "all.zip")
    status = await there.status(BOB, "INBOX")
    assert (status.messages, status.uid_next) == (3, 4)
    assert (await there.status(BOB, "Liste/Été")).messages == 494
    assert len(await book.events("Q/1")) == 2


@pytest.mark.parametrize("octets", [b"", b"PK\x03\x04 no", b"not a zip"])
async def test_what_is_no_archive_is_refused(
    store: Store, ledger: JourneyLedger, tmp_path: Path, octets: bytes
) -> None:
    (tmp_path / "x.zip").write_bytes(octets)
    with pytest.raises(BadArchive, match=r"x\.zip"):
        await import_zip(store, ledger, tmp_path / "x.zip")


@pytest.mark.parametrize(
    "manifest",
    [
        b"{",
        b"[]",
        b'{"messages": [{"file": "missing.eml", "account": "a@b", "mailbox": "INBOX"}]}',
        b'{"messages": [], "version": 99}',
        None,
    ],
)
async def test_an_archive_with_a_wrong_manifest_is_refused(
    store: Store, ledger: JourneyLedger, tmp_path: Path, manifest: bytes | None
) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        if manifest is not None:
            archive.writestr("manifest.json", manifest)
    with pytest.raises(BadArchive):
        await import_zip(store, ledger, tmp_path / "x.zip")
