"""Attempts that nobody finished: recorded as possible duplicates by whoever takes their recipients over."""

import asyncio

import psycopg
import pytest
from interleaving import eventually
from kit import LATER_OUTCOME, NEVER_OUTCOME, Kit
from postgres_cluster import postgres  # noqa: F401

from mailsandbox.database import presence
from mailsandbox.database.opening import open_database
from mailsandbox.errors import StoreUnavailable
from mailsandbox.journey.model import Attempted
from mailsandbox.mailqueue.attempts import QueueLimits
from mailsandbox.mailqueue.interruptions import interrupted
from mailsandbox.mailqueue.model import NewItem, QueuedItem, QueuedRecipient, RecipientStatus
from mailsandbox.mailqueue.spool import Lease, Spool
from mailsandbox.message.envelope import Envelope, Recipient

B, C = Recipient("b@beta.test"), Recipient("c@gamma.test")
DAY = 86_400


@pytest.fixture(params=["memory", "file", "postgresql"])
def target(request, tmp_path) -> str:
    match request.param:
        case "memory":
            return ":memory:"
        case "file":
            return str(tmp_path / "data")
        case _:
            return request.getfixturevalue("postgres").new_database()


@pytest.fixture
async def spool(target):
    """A spool and its database, with one item of two recipients leased to `one` until 100."""
    database, spool = open_database(target), Spool("alpha")
    await database.start()
    await database.write(spool.create_in)
    item = NewItem("Q1", "J1", Envelope("a@alpha.test", (B, C)), b"x", 0.0)
    await database.write(lambda tx: spool.add_in(tx, item, Lease("one", 100.0)))
    yield database, spool
    await database.aclose()


async def kill(kit: Kit) -> None:
    kit.queue._closing = True
    await kit.queue._tasks.aclose()
    kit.queue._attempts.end()
    await kit.database.aclose()


@pytest.mark.rfc(1047, "1")
def test_the_record_of_an_interrupted_attempt_is_a_possible_duplicate_for_each_of_its_recipients():
    rows = tuple(
        QueuedRecipient(number, one, RecipientStatus.WAITING, attempts, 0.0, warned=False)
        for number, (one, attempts) in enumerate([(B, 3), (C, 2)])
    )
    item = QueuedItem("Q1", "J1", "alpha", Envelope("a@alpha.test", (B, C)), 0.0, 1, False, rows)
    record = interrupted(item, now=7.0, why="the daemon that held it died")
    assert record.possible_duplicate
    assert (record.queue_id, record.site, record.number, record.ended_at) == ("Q1", "alpha", 3, 7.0)
    assert [(one.address, one.outcome, one.enhanced) for one in record.outcomes] == [
        ("b@beta.test", "deferred", "4.3.0"),
        ("c@gamma.test", "deferred", "4.3.0"),
    ]
    assert record.transcript[0].text == "the daemon that held it died"


async def test_a_lease_is_taken_over_when_it_has_run_out_and_not_before(spool):
    database, spool = spool
    assert await database.write(lambda tx: spool.take_over_in(tx, expired=99.9)) == []
    [freed] = await database.write(lambda tx: spool.take_over_in(tx, expired=100.0))
    assert [(row.address, row.status, row.attempts) for row in freed.recipients] == [
        ("b@beta.test", RecipientStatus.WAITING, 1),
        ("c@gamma.test", RecipientStatus.WAITING, 1),
    ]
    assert freed.recipients[0].reply.enhanced == "4.3.0"
    assert freed.recipients[0].last_attempt is None  # nobody knows
    assert await database.write(lambda tx: spool.take_over_in(tx, expired=100.0)) == []


async def test_what_this_process_has_in_memory_is_not_taken_from_itself(spool):
    database, spool = spool
    assert await database.write(lambda tx: spool.take_over_in(tx, expired=500.0, mine={"Q1"})) == []


async def test_only_what_the_dead_daemon_held_is_taken_over(spool):
    database, spool = spool
    assert await database.write(lambda tx: spool.take_over_in(tx, dead="another")) == []
    assert len(await database.write(lambda tx: spool.take_over_in(tx, dead="one"))) == 1


async def test_an_interrupted_recipient_waits_again_with_its_attempt_counted_and_the_others_do_not(spool):
    database, spool = spool
    assert await database.write(lambda tx: spool.interrupt_in(tx, "another", [("Q1", 0)])) == []
    [freed] = await database.write(lambda tx: spool.interrupt_in(tx, "one", [("Q1", 1)]))
    assert [row.address for row in freed.recipients] == ["c@gamma.test"]
    stored = await database.read(lambda tx: spool.item_in(tx, "Q1"))
    assert [(row.status, row.attempts) for row in stored.item.recipients] == [
        (RecipientStatus.ACTIVE, 0),
        (RecipientStatus.WAITING, 1),
    ]


async def test_renewing_tells_what_was_lost_meanwhile(spool):
    database, spool = spool
    lease = Lease("one", 200.0)
    assert await database.write(lambda tx: spool.renew_in(tx, lease, ["Q1", "Q2"])) == ["Q2"]
    assert await database.read(spool.next_expiry) == 200.0
    await database.write(lambda tx: spool.take_over_in(tx, dead="one"))
    assert await database.write(lambda tx: spool.renew_in(tx, lease, ["Q1"])) == ["Q1"]


@pytest.mark.rfc(1047, "1")
async def test_a_restart_records_the_attempts_that_the_crash_cut_short_and_makes_them_again(make_kit, tmp_path):
    path = str(tmp_path / "data")
    dead = await Kit(database=open_database(path)).start()
    dead.courier.gates["beta.test"] = asyncio.Event()
    queue_id = await dead.put("b@beta.test")
    await asyncio.sleep(0)
    await kill(dead)
    kit = await make_kit(database=open_database(path))
    [(journey_id, record)] = kit.recorded
    assert (journey_id, record.queue_id, record.number, record.possible_duplicate) == (queue_id, queue_id, 1, True)
    await kit.clock.advance(0)
    assert [number for *_, number, _ in kit.courier.attempts] == [2]
    assert await kit.queue.count() == 0


async def test_a_message_that_expired_while_the_daemon_was_dead_is_still_tried_once(make_kit, tmp_path):
    path = str(tmp_path / "data")
    dead = await Kit(database=open_database(path)).start()
    dead.courier.gates["beta.test"] = asyncio.Event()
    await dead.put("b@beta.test")
    await kill(dead)
    kit = Kit(database=open_database(path))
    await kit.clock.advance(30 * DAY)
    await kit.start()
    await kit.clock.advance(0)
    assert len(kit.courier.attempts) == 1
    assert (await kit.queue.count(), kit.told) == (0, [])
    await kit.aclose()


@pytest.mark.rfc(1047, "1")
async def test_closing_records_the_attempts_that_it_cuts_short_and_gives_back_untried_what_has_not_begun(
    make_kit, tmp_path
):
    path = str(tmp_path / "data")
    kit = await make_kit(
        database=open_database(path), limits=QueueLimits(closing=0.0, initial_concurrency=1, concurrency=1)
    )
    kit.courier.gates["beta.test"] = asyncio.Event()
    begun, waiting = await kit.put("b@beta.test"), await kit.put("c@beta.test")
    await asyncio.sleep(0)
    await kit.queue.aclose()
    assert [(record.queue_id, record.possible_duplicate) for _, record in kit.recorded] == [(begun, True)]
    items = {item.queue_id: item.recipients[0] for item in await kit.queue.items()}
    assert {queue_id: (row.status, row.attempts) for queue_id, row in items.items()} == {
        begun: (RecipientStatus.WAITING, 1),
        waiting: (RecipientStatus.WAITING, 0),
    }


# Several daemons


@pytest.fixture
def quick(monkeypatch):
    """A daemon whose lock is free is dead at the next look, and the next look is at once."""
    monkeypatch.setattr(presence, "LOOK", 0.0)
    monkeypatch.setattr(presence, "GRACE", 0.0)


@pytest.mark.rfc(1047, "1")
async def test_a_daemon_that_dies_is_noticed_and_what_it_held_is_tried_by_another(make_kit, postgres, quick):  # noqa: F811
    url = postgres.new_database()
    survivor = await make_kit(database=open_database(url))
    dead = await Kit(database=open_database(url), clock=survivor.clock).start()
    dead.courier.gates["beta.test"] = asyncio.Event()
    queue_id = await dead.put("b@beta.test")
    await asyncio.sleep(0)
    assert dead.courier.attempts
    await kill(dead)
    await eventually(lambda: survivor.courier.attempts)
    assert [addresses for _, _, addresses, _, _ in survivor.courier.attempts] == [["b@beta.test"]]
    await survivor.queue.quiet()
    assert [
        record.possible_duplicate
        for _, record in survivor.recorded
        if isinstance(record, Attempted) and record.queue_id == queue_id
    ] == [True]
    assert await survivor.queue.count() == 0


async def test_a_living_daemon_keeps_its_lease_however_long_its_attempt_takes(make_kit, postgres, quick):  # noqa: F811
    url = postgres.new_database()
    slow = await make_kit(database=open_database(url))
    other = await make_kit(database=open_database(url), clock=slow.clock)
    slow.courier.gates["beta.test"] = gate = asyncio.Event()
    await slow.put("b@beta.test")
    await asyncio.sleep(0)
    slow.clock._busy = 0  # the attempt waits for its peer, and time passes all the same
    slow.clock._idle.set()
    for _ in range(100):
        await slow.clock.advance(30)
        await slow.database.write(lambda tx: None)  # renewals are in the database before time goes on
    assert other.courier.attempts == []
    slow.clock._busy = 1
    gate.set()
    await slow.queue.quiet()
    assert await slow.queue.count() == 0
    assert len(slow.courier.attempts) == 1


async def test_a_daemon_that_lost_its_lease_begins_nothing_of_it_and_tells_nobody(make_kit):
    kit = await make_kit()
    kit.courier.gates["beta.test"] = gate = asyncio.Event()
    kit.courier.answers["b@beta.test"] = [NEVER_OUTCOME]
    queue_id = await kit.put("b@beta.test")
    await asyncio.sleep(0)

    def settle_elsewhere(tx) -> None:
        stored = kit.queue._spool.item_in(tx, queue_id)
        kit.queue._spool.drop_in(tx, queue_id, stored.content, [0])

    await kit.database.write(settle_elsewhere)
    gate.set()
    await kit.queue.quiet()
    assert kit.told == []


async def test_items_lost_while_they_wait_in_memory_are_not_begun(make_kit, postgres):  # noqa: F811
    kit = await make_kit(
        database=open_database(postgres.new_database()), limits=QueueLimits(initial_concurrency=1, concurrency=1)
    )
    kit.courier.gates["beta.test"] = gate = asyncio.Event()
    await kit.put("b@beta.test")
    lost = await kit.put("c@beta.test")
    await asyncio.sleep(0)
    await kit.database.write(
        lambda tx: tx.execute("UPDATE queue_recipients SET lease_owner = 'other' WHERE queue_id = ?", (lost,))
    )
    await kit.queue._attempts.renew_now()
    gate.set()
    await kit.queue.quiet()
    assert [addresses for _, _, addresses, _, _ in kit.courier.attempts] == [["b@beta.test"]]
    assert (await kit.queue.item(lost)).recipients[0].status is RecipientStatus.ACTIVE


async def test_nothing_is_begun_under_a_lease_that_could_not_be_renewed_in_time(make_kit, postgres, monkeypatch):  # noqa: F811
    kit = await make_kit(
        database=open_database(postgres.new_database()), limits=QueueLimits(initial_concurrency=1, concurrency=1)
    )

    async def away() -> None:
        """Renews nothing, as while the database is away."""

    monkeypatch.setattr(kit.queue._attempts, "renew_now", away)
    kit.courier.gates["beta.test"] = gate = asyncio.Event()
    await kit.put("b@beta.test")
    late = await kit.put("c@beta.test")
    await asyncio.sleep(0)
    given_back, shed = [], kit.queue._attempts.shed

    async def watched(item, rows):
        given_back.append((item.queue_id, len(kit.courier.attempts)))
        await shed(item, rows)

    monkeypatch.setattr(kit.queue._attempts, "shed", watched)
    for load in kit.queue._attempts._loads.all():
        load.leased_until = kit.clock.now()  # it was away for so long
    gate.set()
    await kit.queue.quiet()
    assert given_back == [(late, 1)]  # before any attempt at it; whoever takes it now has a lease


async def test_an_engine_without_session_locks_holds_nobody_for_dead_and_falls_back_to_leases(
    make_kit,
    postgres,  # noqa: F811
    quick,
):
    url = postgres.new_database()
    schema = url.rpartition("%3D")[2]
    with psycopg.connect(url, autocommit=True) as connection:
        for name in ("pg_advisory_lock", "pg_try_advisory_lock", "pg_try_advisory_xact_lock"):
            # As CockroachDB has them: always granted, to everybody.
            connection.execute(f"CREATE FUNCTION {name}(bigint) RETURNS boolean LANGUAGE sql AS 'SELECT true'")
    url = url.replace(f"%3D{schema}", f"%3D{schema},pg_catalog")
    survivor = await make_kit(database=open_database(url))
    dead = await Kit(database=open_database(url), clock=survivor.clock).start()
    dead.courier.gates["beta.test"] = asyncio.Event()
    await dead.put("b@beta.test")
    await asyncio.sleep(0)
    await kill(dead)
    with psycopg.connect(url, autocommit=True) as connection:
        assert connection.execute("SELECT count(*) FROM daemons").fetchone() == (0,)
    await survivor.clock.advance(119)
    assert survivor.courier.attempts == []
    await survivor.clock.advance(122)
    assert [addresses for _, _, addresses, _, _ in survivor.courier.attempts] == [["b@beta.test"]]


async def test_the_outcome_is_written_whenever_the_database_is_back(make_kit, monkeypatch, caplog):
    kit = await make_kit()
    kit.courier.answers["b@beta.test"] = [LATER_OUTCOME]
    monkeypatch.setattr("mailsandbox.mailqueue.attempts._FIRST_PAUSE", 0.0)
    monkeypatch.setattr("mailsandbox.mailqueue.attempts._LONGEST_PAUSE", 0.0)
    kit.courier.gates["beta.test"] = gate = asyncio.Event()
    queue_id = await kit.put("b@beta.test")
    await asyncio.sleep(0)
    write, failures = kit.database.write, [StoreUnavailable("away")] * 500

    async def failing(work, **options):
        if failures:
            raise failures.pop()
        return await write(work, **options)

    monkeypatch.setattr(kit.database, "write", failing)
    gate.set()
    await kit.queue.quiet()
    assert (await kit.queue.item(queue_id)).recipients[0].attempts == 1
    assert caplog.text.count("not written yet") == 1
