"""Everything into one zip, and back."""

import json
import time
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from letters import BOB, letter, to_bob

from mailsandbox.clock import ManualClock
from mailsandbox.database import open_database
from mailsandbox.errors import BadArchive, NoSuchAccount, NoSuchMailbox, StoreFull
from mailsandbox.journey.model import Delivered, FirstShown, Notified
from mailsandbox.store.archive.checking import Archive
from mailsandbox.store.archive.exporting import Export, export_zip
from mailsandbox.store.archive.importing import import_zip
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
    done = await import_zip(there, book, tmp_path / "all.zip", progress=lambda *step: steps.append(step))
    assert (done.messages, done.describe()) == (248, "248 messages")
    assert steps[-1] == (248, 248)
    for name in ("INBOX", "Liste/Été"):
        assert await _all(there, name) == await _all(store, name)
        before, after = await store.status(BOB, name), await there.status(BOB, name)
        assert (after.uid_validity, after.uid_next) == (before.uid_validity, before.uid_next)
        assert (after.messages, after.unseen, after.octets) == (before.messages, before.unseen, before.octets)
        assert after.special_use == before.special_use
        assert after.highest_mod_seq >= before.highest_mod_seq  # RFC 7162 §3.1.2.2
    assert await there.octets_used(BOB) == await store.octets_used(BOB)
    assert await there.subscriptions(BOB) == await store.subscriptions(BOB)
    assert await there.metadata(BOB, "Liste/Été") == {"/private/comment": b"\x00\xff"}
    state = await there.open_mailbox(BOB, "INBOX")
    message_id = state.rows[1].message_id
    assert await book.find(message_id) == "Q/1"
    assert [type(event) for event in await book.events("Q/1")] == [Notified, Delivered]
    assert (await there.message(message_id)).recipient == BOB
    assert await there.search_text(state, "delivered-to", scope="header") == {1}


async def test_what_an_archive_tells_of_itself_bears_the_time_of_the_sandboxs_clock(
    store: Store, ledger: JourneyLedger, clock: ManualClock, tmp_path: Path
) -> None:
    await _filled(store, ledger, clock)
    await export_zip(store, ledger, tmp_path / "all.zip")
    now = time.gmtime(clock.now())[:5]
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert archive.getinfo("manifest.json").date_time[:5] == now
        assert {each.date_time[:5] for each in archive.infolist() if each.filename.startswith("journeys/")} == {now}


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
    again = await import_zip(there, book, tmp_path / "all.zip")
    assert again.describe() == (
        "248 messages; appended to INBOX of bob@beta.test, Liste/Été of bob@beta.test, which had mail before"
    )


@pytest.mark.rfc(9051, "2.3.1.1")
async def test_who_has_an_unused_mailbox_open_is_told_that_it_is_gone(
    store: Store, ledger: JourneyLedger, other: tuple[Store, JourneyLedger], clock: ManualClock, tmp_path: Path
) -> None:
    await _filled(store, ledger, clock)
    await export_zip(store, ledger, tmp_path / "all.zip")
    there, book = other
    await there.ensure_account(BOB)
    await there.set_metadata(BOB, "INBOX", {"/private/comment": b"here before"})
    open_before = await there.open_mailbox(BOB, "INBOX")
    await import_zip(there, book, tmp_path / "all.zip")
    assert open_before.removed
    (landed,) = await there.deliver([to_bob()], letter("next", number=7))
    assert landed.uid_validity == (await store.status(BOB, "INBOX")).uid_validity
    assert landed.uid == (await store.status(BOB, "INBOX")).uid_next


async def test_journeys_come_back_with_their_sightings_and_without_what_did_not_come(
    store: Store, ledger: JourneyLedger, other: tuple[Store, JourneyLedger], clock: ManualClock, tmp_path: Path
) -> None:
    await _filled(store, ledger, clock)
    (gone,) = await store.deliver([to_bob()], letter("gone", number=3), journey_id="Q/2")
    lost = Delivered("beta", BOB, BOB, "INBOX", gone.uid, gone.message_id, gone.seq, gone.octets, gone.at, 1)
    await ledger.append("Q/2", lost)
    await store.remove(BOB, "INBOX", [gone.uid])
    state = await store.open_mailbox(BOB, "INBOX")
    ledger.first_shown([state.rows[1].message_id], "imap")
    await export_zip(store, ledger, tmp_path / "all.zip")
    there, book = other
    done = await import_zip(there, book, tmp_path / "all.zip")
    assert done.journeys == 2
    (seen,) = [event for event in await book.events("Q/1") if isinstance(event, FirstShown)]
    assert seen.protocol == "imap"
    assert seen.message_id == (await there.open_mailbox(BOB, "INBOX")).rows[1].message_id
    (copy,) = await book.events("Q/2")
    assert isinstance(copy, Delivered)
    assert copy.message_id == ""  # its old id may be another message's here
    assert await book.find(gone.message_id) is None


async def test_one_mailbox_of_one_account_can_be_taken_alone(
    store: Store, ledger: JourneyLedger, clock: ManualClock, tmp_path: Path
) -> None:
    await _filled(store, ledger, clock)
    await store.ensure_account("else@beta.test")
    assert await export_zip(store, ledger, tmp_path / "one.zip", accounts=[BOB], mailbox="INBOX") == 1
    with Archive(tmp_path / "one.zip") as archive:
        assert [each.address for each in archive.manifest.accounts] == [BOB]
        assert [entry.mailbox for entries in archive.messages() for entry in entries] == ["INBOX"]
    with pytest.raises(NoSuchAccount):
        await export_zip(store, ledger, tmp_path / "none.zip", accounts=["nobody@beta.test"])
    with pytest.raises(NoSuchMailbox):
        await export_zip(store, ledger, tmp_path / "none.zip", mailbox="Nowhere")
    assert not (tmp_path / "none.zip").exists()


async def test_a_mailbox_that_goes_while_it_is_exported_ends_there(
    store: Store, ledger: JourneyLedger, clock: ManualClock, tmp_path: Path
) -> None:
    await _filled(store, ledger, clock)
    export = await Export.begin(store, ledger)
    with (tmp_path / "all.zip").open("wb") as file:
        async for piece in export.octets():
            file.write(piece)
            if await store.accounts():
                await store.delete_account(BOB)
    with Archive(tmp_path / "all.zip") as archive:
        assert archive.manifest.messages == 1


async def test_what_stops_an_import_says_how_much_was_done(
    store: Store, ledger: JourneyLedger, other: tuple[Store, JourneyLedger], clock: ManualClock, tmp_path: Path
) -> None:
    await _filled(store, ledger, clock)
    await export_zip(store, ledger, tmp_path / "all.zip")
    there, book = other

    def full(done: int, total: int) -> None:
        if done > 100:
            raise StoreFull("no room")

    with pytest.raises(StoreFull, match=r"no room; until then 101 messages of 248 had been imported"):
        await import_zip(there, book, tmp_path / "all.zip", progress=full)
    assert sum(status.messages for status in await there.mailboxes(BOB)) == 101


async def test_accounts_that_the_configuration_does_not_let_be_are_refused(
    store: Store, ledger: JourneyLedger, other: tuple[Store, JourneyLedger], clock: ManualClock, tmp_path: Path
) -> None:
    await _filled(store, ledger, clock)
    await export_zip(store, ledger, tmp_path / "all.zip")
    there, book = other
    with pytest.raises(BadArchive, match=BOB):
        await import_zip(there, book, tmp_path / "all.zip", may_exist=lambda address: False)
    assert await there.accounts() == ["first@beta.test"]


@pytest.mark.parametrize("octets", [b"", b"PK\x03\x04 no", b"not a zip"])
async def test_what_is_no_archive_is_refused(
    store: Store, ledger: JourneyLedger, tmp_path: Path, octets: bytes
) -> None:
    (tmp_path / "x.zip").write_bytes(octets)
    with pytest.raises(BadArchive, match=r"x\.zip"):
        await import_zip(store, ledger, tmp_path / "x.zip")


ENTRY = {"file": "messages/000001.eml", "account": BOB, "mailbox": "INBOX", "uid": 1}
MAILBOX = {"name": "INBOX", "uid_validity": 7, "uid_next": 2}


def _written(
    path: Path, *, manifest: object = None, entry: object = None, mailbox: object = None, files: object = None
) -> Path:
    """An archive of one message, some of it wrong."""
    account = {"address": BOB, "mailboxes": [MAILBOX | (mailbox or {})]}  # type: ignore[operator]
    head = {"format": "mailsandbox archive", "version": 2, "messages": 1, "accounts": [account]}
    members = {
        "messages/000001.eml": letter(),
        "index/000001.json": json.dumps([ENTRY | (entry or {})]).encode(),  # type: ignore[operator]
        "manifest.json": json.dumps(head | (manifest or {})).encode(),  # type: ignore[operator]
    } | (files or {})  # type: ignore[operator]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, octets in members.items():
            if octets is not None:
                archive.writestr(name, octets)
    return path


async def test_an_archive_written_by_hand_is_taken(store: Store, ledger: JourneyLedger, tmp_path: Path) -> None:
    assert (await import_zip(store, ledger, _written(tmp_path / "x.zip"))).messages == 1
    assert (await store.status(BOB, "INBOX")).uid_validity == 7


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"manifest": {"format": "other"}}, "does not say that it is a mailsandbox archive"),
        ({"manifest": {"version": 99}}, "format 99; this version reads 2"),
        ({"manifest": {"messages": 2}}, "lists 1 messages of 2"),
        ({"files": {"manifest.json": None}}, "holds no manifest.json"),
        ({"files": {"manifest.json": b"{"}}, "truncated"),
        ({"files": {"manifest.json": b"[]"}}, "array"),
        ({"files": {"index/000001.json": b"[1]"}}, "int"),
        ({"files": {"journeys/000001.json": b'[{"id": "Q", "events": [["accepted", {}]]}]'}}, "missing required field"),
        ({"files": {"messages/000001.eml": None}}, "listed, but not in it"),
        ({"entry": {"file": "../../etc/passwd"}}, "listed, but not in it"),
        ({"entry": {"mailbox": "Elsewhere"}}, "not listed"),
        ({"entry": {"uid": 0}}, "uid"),
        ({"entry": {"flags": ["\\Seen) UID 9 (X"]}}, "flags"),
        ({"entry": {"flags": ["a\r\n* BYE"]}}, "flags"),
        ({"entry": {"received_at": 1e300}}, "received_at"),
        ({"entry": {"recipient": "a\nb"}}, "recipient"),
        ({"mailbox": {"uid_validity": 1 << 32}}, "uid_validity"),
        ({"mailbox": {"special_use": "\\Sent (x"}}, "special_use"),
        ({"mailbox": {"metadata": {"/private/*": ""}}}, "metadata"),
        ({"mailbox": {"name": "a//b"}, "entry": {"mailbox": "a//b"}}, "separators"),
        ({"mailbox": {"name": "a\nb"}, "entry": {"mailbox": "a\nb"}}, "name"),
    ],
)
async def test_an_archive_with_something_wrong_in_it_is_refused_whole(
    store: Store, ledger: JourneyLedger, tmp_path: Path, wrong: dict[str, object], said: str
) -> None:
    path = _written(tmp_path / "x.zip", **wrong)
    with pytest.raises(BadArchive) as refused:
        await import_zip(store, ledger, path)
    assert str(refused.value).startswith("x.zip: ")
    assert said in str(refused.value)
    assert await store.accounts() == []


async def test_a_damaged_message_is_found_before_anything_is_stored(
    store: Store, ledger: JourneyLedger, clock: ManualClock, tmp_path: Path
) -> None:
    path = _written(tmp_path / "x.zip")
    octets = bytearray(path.read_bytes())
    at = octets.index(b"messages/000001.eml") + 60
    octets[at] ^= 0xFF
    path.write_bytes(octets)
    with pytest.raises(BadArchive, match=r"x\.zip"):
        await import_zip(store, ledger, path)
    assert await store.accounts() == []


def test_an_archive_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    whole = _written(tmp_path / "x.zip").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "cut.zip").write_bytes(whole[:length])
        with pytest.raises(BadArchive, match=r"cut\.zip"):
            Archive(tmp_path / "cut.zip")


def test_a_zip_that_claims_far_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    bomb = _written(tmp_path / "x.zip", files={"messages/000002.eml": bytes(3 << 20)})
    octets = bomb.read_bytes()
    # The directory's own record of the length of messages/000002.eml, made larger.
    at = octets.rindex(b"messages/000002.eml") - 46 + 24
    bomb.write_bytes(octets[:at] + (0x7FFFFFFF).to_bytes(4, "little") + octets[at + 4 :])
    with pytest.raises(BadArchive, match="claim to be"):
        Archive(bomb)
