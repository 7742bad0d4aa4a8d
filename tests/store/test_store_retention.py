"""What is kept, and what goes first."""

from letters import BOB, letter, to_bob

from mailsandbox.clock import ManualClock
from mailsandbox.journey.model import Notified
from mailsandbox.store.journeys import JourneyLedger
from mailsandbox.store.model import AppendItem, Change, ChangeType, Delivery, Seq
from mailsandbox.store.retention import PERIOD, Limits, Retention, RetentionPolicy
from mailsandbox.store.store import Store
from mailsandbox.store.views import MessageQuery

EVE = "eve@beta.test"


async def _fill(store: Store, clock: ManualClock) -> None:
    """s0 … s9, a second apart, in turn to bob's INBOX, bob's Lists and eve's INBOX."""
    await store.ensure_account(BOB)
    await store.create_mailbox(BOB, "Lists")
    for number in range(10):
        await clock.advance(1)
        delivery = [to_bob(), to_bob(mailbox="Lists"), Delivery(EVE, b"")][number % 3]
        await store.deliver([delivery], letter(f"s{number}", number=number))


async def _kept(store: Store) -> list[str]:
    return [message.subject for message in (await store.list_messages(MessageQuery())).messages][::-1]


async def test_each_account_keeps_its_newest(store: Store, clock: ManualClock, heard: list[Change]) -> None:
    await _fill(store, clock)
    state = await store.open_mailbox(BOB, "INBOX")
    heard.clear()
    removed = await Retention(store, RetentionPolicy(each=Limits(messages=3)), clock).run()
    assert removed == 4
    assert await _kept(store) == ["s2", "s5", "s6", "s7", "s8", "s9"]
    assert state.uids == [3, 4]
    assert {change.type for change in heard} == {ChangeType.MESSAGE_EXPUNGE}
    assert await store.octets_used(BOB) == (3, sum(status.octets for status in await store.mailboxes(BOB)))


async def test_all_together_keep_the_newest(store: Store, clock: ManualClock) -> None:
    await _fill(store, clock)
    assert await Retention(store, RetentionPolicy(total=Limits(messages=4)), clock).run() == 6
    assert await _kept(store) == ["s6", "s7", "s8", "s9"]


async def test_octets_are_limited_by_removing_the_oldest(store: Store, clock: ManualClock) -> None:
    await _fill(store, clock)
    size = (await store.octets_used(EVE))[1] // 3
    await Retention(store, RetentionPolicy(each=Limits(octets=2 * size)), clock).run()
    assert "s2" not in await _kept(store)
    assert await store.octets_used(EVE) == (2, 2 * size)
    assert (await store.octets_used(BOB))[1] <= 2 * size


async def test_what_is_too_old_goes(store: Store, clock: ManualClock) -> None:
    await _fill(store, clock)
    await Retention(store, RetentionPolicy(total=Limits(age=3.5)), clock).run()
    assert await _kept(store) == ["s6", "s7", "s8", "s9"]


async def test_age_counts_from_delivery_not_from_the_date_a_message_claims(store: Store, clock: ManualClock) -> None:
    await store.ensure_account(BOB)
    await store.append(BOB, "INBOX", [AppendItem(letter("old"), internal_date=0.0)])
    await Retention(store, RetentionPolicy(each=Limits(age=60)), clock).run()
    assert await _kept(store) == ["old"]


async def test_no_policy_removes_nothing(store: Store, ledger: JourneyLedger, clock: ManualClock) -> None:
    await _fill(store, clock)
    retention = Retention(store, RetentionPolicy(), clock)
    assert await retention.run() == 0
    await retention.trim_logs()
    assert len(await _kept(store)) == 10
    assert len((await store.changes(BOB, Seq(0))).changes) == 9


async def test_it_is_applied_as_messages_arrive_and_as_time_passes(
    store: Store, ledger: JourneyLedger, clock: ManualClock
) -> None:
    retention = Retention(store, RetentionPolicy(each=Limits(messages=2, age=300)), clock)
    retention.start()
    await _fill(store, clock)
    await clock.advance(0)
    assert (await store.octets_used(BOB))[0] == 2
    await clock.advance(300 + PERIOD)
    assert await _kept(store) == []
    await retention.aclose()


async def test_limits_hold_for_what_was_there_before_the_start(store: Store, clock: ManualClock) -> None:
    await _fill(store, clock)
    retention = Retention(store, RetentionPolicy(each=Limits(messages=1)), clock)
    retention.start()
    await clock.advance(0)
    assert (await store.octets_used(BOB))[0] == 1
    await retention.aclose()


async def test_a_short_age_is_looked_at_more_often_than_a_long_one(
    store: Store, ledger: JourneyLedger, clock: ManualClock
) -> None:
    retention = Retention(store, RetentionPolicy(each=Limits(age=60)), clock)
    retention.start()
    await _fill(store, clock)
    await clock.advance(66)
    assert await _kept(store) == []
    await retention.aclose()


async def test_logs_are_cut_and_old_journeys_forgotten(store: Store, ledger: JourneyLedger, clock: ManualClock) -> None:
    await _fill(store, clock)
    await ledger.append("old", Notified("alpha", 1.0, "failed", [BOB], ""))
    await clock.advance(1000)
    await ledger.append("new", Notified("alpha", 1.0, "failed", [BOB], ""))
    await Retention(store, RetentionPolicy(changes=2, journey_age=500), clock).trim_logs()
    assert (await store.changes(BOB, Seq(0))).reset
    last = await store.last_seq(BOB)
    assert [change.seq for change in (await store.changes(BOB, Seq(last - 2))).changes] == [last - 1, last]
    assert await ledger.recent() == ["new"]
    await Retention(store, RetentionPolicy(journey_events=0), clock).trim_logs()
    assert await ledger.recent() == []
