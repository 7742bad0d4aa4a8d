"""The ledger of journeys."""

import msgspec
import pytest
from letters import BOB, letter, to_bob

from mailsandbox.clock import ManualClock
from mailsandbox.database.schema import migrate
from mailsandbox.database.tx import Database, Tx
from mailsandbox.errors import OverQuota
from mailsandbox.journey.model import (
    Accepted,
    Attempted,
    Delivered,
    EditRecord,
    EnvelopeRecord,
    FirstShown,
    Notified,
    RecipientOutcome,
    TranscriptLine,
)
from mailsandbox.message.findings import Finding
from mailsandbox.store.journeys import MIGRATIONS, JourneyLedger, forget_journeys
from mailsandbox.store.store import Store

ENVELOPE = EnvelopeRecord("ann@alpha.test", [BOB], {"BODY": "8BITMIME"}, {BOB: {"NOTIFY": "NEVER"}})
LINES = [TranscriptLine(0.0, "S", "220 alpha.test"), TranscriptLine(0.1, "C", "EHLO é")]
FINDING = Finding("undeclared-8bit", "RFC 6152 §3", "8-bit octets", offset=7)
ACCEPTED = Accepted(
    "alpha", "A1", 1.5, "s1", "127.0.0.1:5", "me", "ESMTP", "", ENVELOPE, 10, "ab" * 32, [FINDING], LINES
)
ATTEMPTED = Attempted(
    "alpha", "A1", 1, 2.0, 2.5, "mx.beta.test", "127.0.0.1:25", ["SIZE"], "", ENVELOPE, 10, "ab" * 32, 12, "cd" * 32,
    "", [], [EditRecord("1", 0, 5, "to-7bit", "RFC 2045", "é", "=C3=A9")],
    [RecipientOutcome(BOB, "relayed", "250 ok", "2.0.0")], False, LINES,
)  # fmt: skip
NOTIFIED = Notified("alpha", 3.0, "failed", [BOB], "A2")


async def _delivered(store: Store, ledger: JourneyLedger, journey_id: str) -> Delivered:
    def work(tx: object) -> Delivered:
        (landed,) = store.deliver_in(tx, [to_bob()], letter(), journey_id=journey_id)  # type: ignore[arg-type]
        event = Delivered(
            "beta", BOB, landed.account, landed.mailbox, landed.uid, landed.message_id, landed.seq, landed.octets,
            landed.at, landed.committed_ns,
        )  # fmt: skip
        ledger.append_in(tx, journey_id, event)  # type: ignore[arg-type]
        return event

    return await store.database.write(work)


async def test_events_come_back_as_they_were_in_order(store: Store, ledger: JourneyLedger) -> None:
    await ledger.append("A1", ACCEPTED)
    await ledger.append("other", NOTIFIED)
    await ledger.append("A1", ATTEMPTED)
    delivered = await _delivered(store, ledger, "A1")
    await ledger.append("A1", NOTIFIED)
    assert await ledger.events("A1") == [ACCEPTED, ATTEMPTED, delivered, NOTIFIED]
    assert await ledger.events("none") == []


async def test_a_journey_is_found_by_its_id_a_queue_id_or_a_message_id(store: Store, ledger: JourneyLedger) -> None:
    await ledger.append("A1", ACCEPTED)
    await ledger.append("A1", Accepted(**{**_fields(ACCEPTED), "queue_id": "B9", "site": "beta"}))
    delivered = await _delivered(store, ledger, "A1")
    await store.remove(BOB, "INBOX", [delivered.uid])  # the journey outlives the message
    for any_id in ("A1", "B9", delivered.message_id):
        assert await ledger.find(any_id) == "A1"
    assert await ledger.find("nothing") is None
    assert await ledger.recent() == ["A1"]


async def test_events_of_one_work_share_a_row(database: Database, ledger: JourneyLedger) -> None:
    at_beta = Accepted(**{**_fields(ACCEPTED), "queue_id": "B9", "site": "beta"})
    copies = [Delivered("beta", BOB, BOB, "INBOX", uid, f"1-{uid}", uid, 10, 4.0, 5) for uid in (1, 2)]
    await ledger.append("A1", ACCEPTED)
    await ledger.append("A1", at_beta, *copies, NOTIFIED)
    await ledger.append("A1", ATTEMPTED)
    ledger.first_shown(["1-2"], "pop3")
    events = await ledger.events("A1")
    assert events[:-1] == [ACCEPTED, at_beta, *copies, NOTIFIED, ATTEMPTED]
    assert isinstance(events[-1], FirstShown)
    assert [await ledger.find(key) for key in ("B9", "1-1", "1-2")] == ["A1"] * 3
    assert await database.read(lambda tx: tx.execute("SELECT count(*) FROM journey_events").fetchone()) == (3,)
    await database.write(lambda tx: forget_journeys(tx, keep=0, older_than=0.0))
    for table in ("journey_events", "journey_keys", "shown"):
        count = f"SELECT count(*) FROM {table}"
        assert await database.read(lambda tx, count=count: tx.execute(count).fetchone()) == (0,)


async def test_journeys_of_the_first_version_are_found_and_read(database: Database, clock: ManualClock) -> None:
    at_beta = Accepted(**{**_fields(ACCEPTED), "queue_id": "B9", "site": "beta"})
    delivered = Delivered("beta", BOB, BOB, "INBOX", 1, "1-1", 1, 10, 4.0, 5)

    def first_version(tx: Tx) -> None:
        migrate(tx, "journeys", MIGRATIONS[:1])
        for kind, event in (("accepted", ACCEPTED), ("accepted", at_beta), ("delivered", delivered)):
            tx.execute(
                "INSERT INTO journey_events (journey_id, kind, at, event) VALUES ('A1', ?, 1.5, ?)",
                (kind, msgspec.msgpack.encode(event)),
            )
        for key in ("B9", "1-1"):
            tx.execute("INSERT INTO journey_keys (id, journey_id) VALUES (?, 'A1')", (key,))

    await database.write(first_version)
    ledger = JourneyLedger(database, clock)
    await ledger.start()
    assert await ledger.events("A1") == [ACCEPTED, at_beta, delivered]
    assert [await ledger.find(key) for key in ("A1", "B9", "1-1")] == ["A1"] * 3
    await ledger.append("A1", at_beta)  # a key that is there already
    await ledger.append("A1", NOTIFIED)
    ledger.first_shown(["1-1"], "pop3")
    assert [type(event) for event in await ledger.events("A1")][3:] == [Accepted, Notified, FirstShown]
    await database.write(lambda tx: forget_journeys(tx, keep=0, older_than=0.0))
    assert await ledger.events("A1") == []
    assert await database.read(lambda tx: tx.execute("SELECT count(*) FROM journey_keys").fetchone()) == (0,)


async def test_an_event_goes_with_the_transaction_that_failed(
    store: Store, ledger: JourneyLedger, limits: dict[str, int]
) -> None:
    limits[BOB] = 1

    def work(tx: object) -> None:
        ledger.append_in(tx, "A1", ACCEPTED)  # type: ignore[arg-type]
        store.deliver_in(tx, [to_bob()], letter(), journey_id="A1")  # type: ignore[arg-type]

    with pytest.raises(OverQuota):
        await store.database.write(work)
    assert await ledger.events("A1") == []
    assert await ledger.find("A1") is None


async def test_only_the_first_sighting_by_a_protocol_counts(
    store: Store, ledger: JourneyLedger, clock: ManualClock
) -> None:
    delivered = await _delivered(store, ledger, "A1")
    key = int(delivered.message_id.partition("-")[0])
    seen_at = clock.now()
    ledger.shown(key, [1], "imap")
    await ledger.flush()
    await clock.advance(60)
    ledger.shown(key, [1], "imap")
    JourneyLedger(store.database, clock).shown(key, [1], "imap")
    ledger.first_shown([delivered.message_id, "junk"], "pop3")
    shown = [event for event in await ledger.events("A1") if isinstance(event, FirstShown)]
    assert [(event.protocol, event.at) for event in shown] == [("imap", seen_at), ("pop3", seen_at + 60)]
    assert 0 <= shown[0].after_ms < 60_000


async def test_a_message_removed_at_once_keeps_its_sighting(store: Store, ledger: JourneyLedger) -> None:
    delivered = await _delivered(store, ledger, "A1")
    ledger.first_shown([delivered.message_id], "pop3")
    await store.remove(BOB, "INBOX", [delivered.uid])
    assert [event.protocol for event in await ledger.events("A1") if isinstance(event, FirstShown)] == ["pop3"]


async def test_sightings_of_many_messages_stay_bounded(store: Store, ledger: JourneyLedger) -> None:
    for mailbox in range(30):
        ledger.shown(mailbox, range(10_000), "imap")
    assert ledger.remembered <= 200_000
    assert ledger.waiting <= 20_000


def _fields(event: Accepted) -> dict[str, object]:
    return {name: getattr(event, name) for name in Accepted.__struct_fields__}
