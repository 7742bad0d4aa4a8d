"""The queue at work: attempts, deferral, leases, operators, memory."""

import asyncio
import hashlib
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit import DONE, LATER_OUTCOME, NEVER_OUTCOME, Kit

from mailsandbox.database.opening import open_database
from mailsandbox.errors import NoSuchQueueItem, QueueError, StoreUnavailable
from mailsandbox.mailqueue.attempts import QueueLimits
from mailsandbox.mailqueue.model import Action, Done, RecipientStatus
from mailsandbox.mailqueue.schedule import RetryPolicy
from mailsandbox.message.envelope import Recipient

DAY = 86_400


async def test_fresh_message_is_tried_at_once_without_reading_it_back(make_kit):
    kit = await make_kit()
    octets = b"y" * 1000
    await kit.send("b@beta.test", octets=octets)
    assert kit.courier.attempts[0][4] is octets
    assert await kit.queue.count() == 0


async def test_octets_are_released_with_the_last_recipient(make_kit):
    kit = await make_kit()
    kit.courier.answers["c@beta.test"] = [LATER_OUTCOME]
    await kit.send("b@beta.test", "c@beta.test")

    async def blobs() -> int:
        return await kit.database.read(lambda tx: tx.execute("SELECT COUNT(*) FROM blobs").fetchone()[0])

    assert await blobs() == 1
    await kit.clock.advance(60)
    assert await blobs() == 0


async def test_recipients_of_one_destination_share_an_attempt_and_others_have_their_own(make_kit):
    kit = await make_kit()
    await kit.send("a@one.test", "b@two.test", "c@one.test")
    assert sorted(addresses for _, _, addresses, _, _ in kit.courier.attempts) == [
        ["a@one.test", "c@one.test"],
        ["b@two.test"],
    ]


@pytest.mark.rfc(5321, "4.5.4.1")
async def test_five_days_of_retries_run_by_the_manual_clock_attempt_by_attempt(make_kit):
    kit = await make_kit(retry=RetryPolicy(jitter=0.1))
    kit.courier.always("b@beta.test", LATER_OUTCOME)
    began = kit.clock.now()
    await kit.send("b@beta.test")
    await kit.clock.advance(6 * DAY)
    times = [at - began for at, *_ in kit.courier.attempts]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    expected = [min(60 * 2**n, 4 * 3600) for n in range(len(gaps))]
    assert len(times) > 30
    assert all(0.9 * want <= gap <= 1.1 * want for gap, want in zip(gaps, expected, strict=True))
    assert [report.action for _, reports in kit.told for report in reports] == [Action.DELAYED, Action.FAILED]
    assert kit.told[-1][1][0].status == "5.4.7"
    assert times[-1] < 5 * DAY


async def test_attempt_number_grows_and_is_kept_over_a_restart(make_kit, tmp_path):
    database = open_database(str(tmp_path / "data"))
    kit = await make_kit(database=database)
    kit.courier.answers["b@beta.test"] = [LATER_OUTCOME] * 3
    await kit.send("b@beta.test")
    await kit.clock.advance(60)
    await kit.aclose()
    again = await make_kit(database=open_database(str(tmp_path / "data")), clock=kit.clock)
    again.courier.answers["b@beta.test"] = [LATER_OUTCOME]
    await kit.clock.advance(DAY)
    assert [number for *_, number, _ in kit.courier.attempts] == [1, 2]
    assert [number for *_, number, _ in again.courier.attempts] == [3, 4]
    assert [round(at - kit.courier.attempts[0][0]) for at, *_ in again.courier.attempts] == [180, 420]


@pytest.mark.rfc(1047, "1")
async def test_rows_left_active_by_a_dead_process_are_taken_over_at_the_next_start(make_kit, tmp_path):
    path = str(tmp_path / "data")
    dead = Kit(database=open_database(path))
    await dead.start()
    dead.courier.gates["beta.test"] = asyncio.Event()
    await dead.put("b@beta.test")
    await asyncio.sleep(0)
    dead.queue._closing = True  # a killed process gives nothing back
    await dead.queue._tasks.aclose()
    dead.queue._attempts.end()
    await dead.database.aclose()
    kit = await make_kit(database=open_database(path))
    await kit.clock.advance(0)
    assert [addresses for _, _, addresses, _, _ in kit.courier.attempts] == [["b@beta.test"]]
    assert await kit.queue.count() == 0


async def _held_back(kit: Kit) -> str:
    kit.courier.always("b@beta.test", LATER_OUTCOME)
    return await kit.send("b@beta.test")


async def test_result_of_an_attempt_that_lost_its_lease_does_not_move_the_row(make_kit):
    kit = await make_kit()
    kit.courier.gates["beta.test"] = gate = asyncio.Event()
    kit.courier.answers["b@beta.test"] = [LATER_OUTCOME]
    queue_id = await kit.put("b@beta.test")
    await asyncio.sleep(0)
    await kit.database.write(lambda tx: tx.execute("UPDATE queue_recipients SET lease_owner = 'other'"))
    gate.set()
    await kit.queue.quiet()
    [row] = (await kit.queue.item(queue_id)).recipients
    assert (row.status, row.attempts) == (RecipientStatus.ACTIVE, 0)


# Operators


async def test_held_item_is_not_tried_until_it_is_released(make_kit):
    kit = await make_kit()
    queue_id = await _held_back(kit)
    await kit.queue.hold(queue_id)
    assert (await kit.queue.item(queue_id)).held
    await kit.clock.advance(DAY)
    assert await kit.queue.run() == 0
    assert await kit.queue.retry(queue_id) == 0
    assert len(kit.courier.attempts) == 1
    kit.courier.answers.clear()
    await kit.queue.release(queue_id)
    await kit.clock.advance(0)
    assert await kit.queue.count() == 0


async def test_item_held_while_it_waits_in_memory_is_given_back(make_kit):
    kit = await make_kit(limits=QueueLimits(initial_concurrency=1, concurrency=1))
    kit.courier.gates["beta.test"] = gate = asyncio.Event()
    await kit.put("first@beta.test")
    second = await kit.put("second@beta.test")
    await asyncio.sleep(0)
    await kit.queue.hold(second)
    gate.set()
    await kit.queue.quiet()
    assert [addresses for _, _, addresses, _, _ in kit.courier.attempts] == [["first@beta.test"]]
    assert (await kit.queue.item(second)).recipients[0].status is RecipientStatus.WAITING
    await kit.queue.release(second)
    await kit.clock.advance(0)
    assert await kit.queue.count() == 0


async def test_retry_tries_now_and_run_tries_all_now(make_kit):
    kit = await make_kit()
    one, _ = await _held_back(kit), await _held_back(kit)
    assert await kit.queue.retry(one) == 1
    await kit.clock.advance(0)
    assert len(kit.courier.attempts) == 3
    assert await kit.queue.run() == 2
    await kit.clock.advance(0)
    assert len(kit.courier.attempts) == 5


@pytest.mark.rfc(1985, "5")
async def test_run_for_a_domain_tries_what_is_bound_for_it_only(make_kit):
    kit = await make_kit(limits=QueueLimits(claim=2))
    for number in range(5):
        for domain in ("one.test", "two.test"):
            kit.courier.answers[f"b{number}@{domain}"] = [LATER_OUTCOME]
            await kit.send(f"b{number}@{domain}")
    assert await kit.queue.run_for("One.Test") == 5
    await kit.clock.advance(0)
    assert {item.recipients[0].address.partition("@")[2] for item in await kit.queue.items()} == {"two.test"}
    assert await kit.queue.run_for("three.test") == await kit.queue.run_for("test") == 0
    assert await kit.queue.run_for("test", below=True) == 5


async def test_what_lies_in_the_future_of_the_clock_is_tried_when_the_queue_is_run(make_kit, tmp_path):
    path = str(tmp_path / "data")
    before = Kit(database=open_database(path))
    await before.clock.advance(11 * DAY)
    await before.start()
    queue_id = await _held_back(before)
    await before.aclose()
    kit = await make_kit(database=open_database(path))
    kit.courier.answers["b@beta.test"] = [LATER_OUTCOME]
    assert (await kit.queue.item(queue_id)).received_at > kit.clock.now()
    await kit.clock.advance(5 * DAY)
    assert kit.courier.attempts == []
    assert await kit.queue.run() == 1
    await kit.clock.advance(0)
    assert [number for *_, number, _ in kit.courier.attempts] == [2]
    await kit.clock.advance(DAY)  # and from then on by its schedule
    assert await kit.queue.count() == 0


async def test_bounce_tells_the_sender_and_empties_the_item(make_kit):
    kit = await make_kit()
    queue_id = await _held_back(kit)
    await kit.queue.bounce(queue_id)
    assert await kit.queue.count() == 0
    [(told, [report])] = kit.told
    assert (told, report.action, report.status) == (queue_id, Action.FAILED, "5.0.0")


async def test_bounce_that_the_database_does_not_take_is_told_at_once_and_changes_nothing(make_kit, monkeypatch):
    kit = await make_kit()
    queue_id = await _held_back(kit)

    async def away(work, **options):
        raise StoreUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(kit.database, "write", away)
        with pytest.raises(StoreUnavailable):
            await kit.queue.bounce(queue_id)
    assert (await kit.queue.item(queue_id)).recipients[0].status is RecipientStatus.WAITING
    assert kit.told == []


async def test_bounce_is_refused_while_the_item_is_being_sent(make_kit):
    kit = await make_kit()
    kit.courier.gates["beta.test"] = gate = asyncio.Event()
    queue_id = await kit.put("b@beta.test")
    await asyncio.sleep(0)
    with pytest.raises(QueueError, match="being sent"):
        await kit.queue.bounce(queue_id)
    gate.set()


async def test_remove_tells_nobody_and_an_attempt_under_way_leaves_nothing_behind(make_kit):
    kit = await make_kit()
    kit.courier.gates["beta.test"] = gate = asyncio.Event()
    kit.courier.answers["b@beta.test"] = [NEVER_OUTCOME]
    queue_id = await kit.put("b@beta.test")
    await asyncio.sleep(0)
    await kit.queue.remove(queue_id)
    gate.set()
    await kit.queue.quiet()
    assert await kit.queue.count() == 0
    assert await kit.database.read(lambda tx: tx.execute("SELECT COUNT(*) FROM blobs").fetchone()[0]) == 0


@pytest.mark.parametrize("verb", ["item", "hold", "release", "retry", "bounce", "remove"])
async def test_unknown_item_is_named_in_the_error(make_kit, verb):
    kit = await make_kit()
    with pytest.raises(NoSuchQueueItem, match="NOPE"):
        await getattr(kit.queue, verb)("NOPE")


async def test_items_are_listed_in_pages_and_reset_drops_all(make_kit):
    kit = await make_kit()
    kit.courier.always("b@beta.test", LATER_OUTCOME)
    names = [await kit.send("b@beta.test") for _ in range(5)]
    first = await kit.queue.items(limit=3)
    rest = await kit.queue.items(limit=3, after=first[-1].queue_id)
    assert [item.queue_id for item in [*first, *rest]] == names
    assert first[0].recipients[0].reply.text == "later"
    assert first[0].recipients[0].remote == "hop.test"
    assert await kit.queue.reset() == 5
    assert await kit.queue.count() == 0
    assert kit.told == []


async def test_two_sites_share_a_database_without_seeing_each_other(make_kit):
    kit = await make_kit()
    queue_id = await _held_back(kit)
    other = kit.make_queue("beta")
    await other.start()
    assert await other.items() == []
    with pytest.raises(NoSuchQueueItem):
        await other.remove(queue_id)
    await other.aclose()


# Limits and failures


async def test_concurrency_of_a_destination_starts_slowly_and_never_exceeds_the_limit(make_kit):
    kit = await make_kit(limits=QueueLimits(initial_concurrency=2, concurrency=6))
    kit.courier.gates["beta.test"] = gate = asyncio.Event()
    for number in range(50):
        await kit.put(f"b{number}@beta.test")
    for _ in range(5):
        await asyncio.sleep(0)
    assert kit.courier.running["beta.test"] == 2
    gate.set()
    await kit.queue.quiet()
    assert len(kit.courier.attempts) == 50
    assert kit.courier.most["beta.test"] <= 6


async def test_stuck_destination_does_not_delay_another(make_kit):
    kit = await make_kit(limits=QueueLimits(concurrency=2, total=4))
    kit.courier.gates["stuck.test"] = asyncio.Event()
    for number in range(20):
        await kit.put(f"b{number}@stuck.test")
    for number in range(20):
        await kit.put(f"b{number}@live.test")
    for _ in range(400):
        await asyncio.sleep(0)
    live = [addresses for _, _, addresses, _, _ in kit.courier.attempts if addresses[0].endswith("@live.test")]
    assert len(live) == 20


async def test_many_stuck_destinations_do_not_delay_a_living_one(make_kit):
    kit = await make_kit(limits=QueueLimits(concurrency=5, total=20))
    for stuck in range(8):
        kit.courier.gates[f"stuck{stuck}.test"] = asyncio.Event()
        for number in range(10):
            await kit.put(f"b{number}@stuck{stuck}.test")
    await kit.put("b@live.test")
    for _ in range(50):
        await asyncio.sleep(0)
    assert ["b@live.test"] in [addresses for _, _, addresses, _, _ in kit.courier.attempts]


async def test_what_does_not_fit_into_memory_waits_on_disk_and_nothing_is_lost_or_tried_twice(make_kit):
    kit = await make_kit(limits=QueueLimits(in_memory=10, concurrency=2, initial_concurrency=2, claim=3))
    kit.courier.gates["beta.test"] = gate = asyncio.Event()
    for number in range(100):
        await kit.put(f"b{number}@beta.test")
    for _ in range(20):
        await asyncio.sleep(0)
    assert kit.queue._attempts._loads.recipients <= 10
    gate.set()
    while await kit.queue.count():
        await asyncio.sleep(0)
    tried = [addresses[0] for _, _, addresses, _, _ in kit.courier.attempts]
    assert sorted(tried) == sorted(f"b{number}@beta.test" for number in range(100))


async def test_octets_beyond_the_cache_are_read_back(make_kit):
    kit = await make_kit(limits=QueueLimits(kept_octets=1500, concurrency=1, initial_concurrency=1))
    kit.courier.gates["beta.test"] = gate = asyncio.Event()
    sent = [bytes([65 + number]) * 1000 for number in range(4)]
    for octets in sent:
        await kit.put("b@beta.test", octets=octets)
    gate.set()
    await kit.queue.quiet()
    assert [octets for *_, octets in kit.courier.attempts] == sent
    assert kit.courier.attempts[0][4] is sent[0]
    assert kit.courier.attempts[1][4] is not sent[1]


async def test_the_trace_goes_before_the_octets_whether_they_are_kept_or_read_back(make_kit):
    kit = await make_kit(limits=QueueLimits(kept_octets=1500, concurrency=1, initial_concurrency=1))
    for number in range(3):
        await kit.put("b@beta.test", octets=bytes([65 + number]) * 1000, trace=b"Received: %d\r\n" % number)
    await kit.queue.quiet()
    expected = [b"Received: %d\r\n" % number + bytes([65 + number]) * 1000 for number in range(3)]
    assert [octets for *_, octets in kit.courier.attempts] == expected


async def test_large_messages_share_a_budget_and_small_ones_pass_them(make_kit):
    kit = await make_kit(limits=QueueLimits(large_octets=5 << 20, kept_octets=0))
    kit.courier.gates["beta.test"] = gate = asyncio.Event()
    for number in range(4):
        await kit.put("b@beta.test", octets=bytes([number]) * (2 << 20))
    await kit.put("b@beta.test", octets=b"small")
    async with asyncio.timeout(20):
        while len(kit.courier.attempts) < 3:
            await asyncio.sleep(0)
    # Large ones are hashed in threads: others that had begun would have come as far by now.
    await asyncio.gather(*[asyncio.to_thread(hashlib.sha256, bytes(4 << 20)) for _ in range(8)])
    for _ in range(50):
        await asyncio.sleep(0)
    assert sorted(len(octets) for *_, octets in kit.courier.attempts) == [5, 2 << 20, 2 << 20]
    gate.set()
    await kit.queue.quiet()
    assert len(kit.courier.attempts) == 5


async def test_courier_that_breaks_defers_the_message(make_kit, caplog):
    kit = await make_kit()
    kit.courier.fail = RuntimeError("a bug")
    queue_id = await kit.send("b@beta.test")
    assert (await kit.queue.item(queue_id)).recipients[0].reply.enhanced == "4.3.0"
    assert "a bug" in caplog.text
    kit.courier.fail = None
    await kit.clock.advance(60)
    assert await kit.queue.count() == 0


async def test_outcome_is_written_again_when_the_database_does_not_answer(make_kit, monkeypatch, caplog):
    kit = await make_kit()
    kit.courier.gates["beta.test"] = gate = asyncio.Event()
    await kit.put("b@beta.test")
    await asyncio.sleep(0)
    write, failures = kit.database.write, [StoreUnavailable("busy"), StoreUnavailable("busy")]

    async def failing(work, **options):
        if failures:
            raise failures.pop()
        return await write(work, **options)

    monkeypatch.setattr(kit.database, "write", failing)
    monkeypatch.setattr("mailsandbox.mailqueue.attempts._FIRST_PAUSE", 0.0)
    gate.set()
    await kit.queue.quiet()
    assert len(kit.courier.attempts) == 1
    assert await kit.queue.count() == 0
    assert "not written yet" in caplog.text


async def test_message_that_is_not_committed_is_never_tried(make_kit):
    kit = await make_kit()
    from mailsandbox.mailqueue.model import NewItem
    from mailsandbox.message.envelope import Envelope

    def work(tx) -> None:
        item = NewItem("Q", "Q", Envelope("a@b.test", (Recipient("b@beta.test"),)), b"x", 0.0)
        kit.queue.enqueue_in(tx, item)
        raise StoreUnavailable("no")

    with pytest.raises(StoreUnavailable):
        await kit.database.write(work)
    await kit.clock.advance(DAY)
    assert kit.courier.attempts == []
    assert await kit.queue.count() == 0


async def test_nothing_is_attempted_after_closing_and_closing_twice_is_allowed(make_kit):
    kit = await make_kit()
    await kit.queue.aclose()
    await kit.put("b@beta.test")
    await asyncio.sleep(0)
    assert kit.courier.attempts == []
    assert kit.courier.closed
    await kit.queue.aclose()


@settings(max_examples=30)
@given(
    st.lists(
        st.lists(
            st.tuples(
                st.sampled_from(["one.test", "two.test"]),
                st.lists(st.sampled_from([LATER_OUTCOME, NEVER_OUTCOME, DONE]), max_size=6),
            ),
            min_size=1,
            max_size=4,
        ),
        max_size=5,
    )
)
def test_every_recipient_ends_delivered_or_told_and_never_both(messages):
    async def run() -> None:
        kit = await Kit(retry=RetryPolicy(jitter=0.2, warn=0)).start()
        expected: dict[str, bool] = {}
        for index, recipients in enumerate(messages):
            addresses = []
            for number, (domain, script) in enumerate(recipients):
                address = f"m{index}r{number}@{domain}"
                addresses.append(address)
                kit.courier.answers[address] = list(script)
                decisive = [outcome for outcome in script if outcome is not LATER_OUTCOME]
                expected[address] = not decisive or isinstance(decisive[0], Done)
            await kit.put(*addresses)
        await kit.clock.advance(5 * DAY)
        failed = [report.recipient.address for _, reports in kit.told for report in reports]
        assert sorted(failed) == sorted(address for address, good in expected.items() if not good)
        assert await kit.queue.count() == 0
        await kit.aclose()

    asyncio.run(run())
