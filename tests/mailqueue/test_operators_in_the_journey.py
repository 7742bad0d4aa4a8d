"""What an operator does to a message in the queue, and a recipient that is given up untold, as its journey tells it."""

import asyncio

import pytest
from kit import LATER_OUTCOME, Kit

from mailsandbox.errors import StoreUnavailable
from mailsandbox.journey.assemble import Journey, assemble
from mailsandbox.journey.model import Accepted, Attempted, EnvelopeRecord, Operated, RecipientOutcome, Undelivered
from mailsandbox.mailqueue.schedule import RetryPolicy
from mailsandbox.message.envelope import Recipient

B, C = "b@beta.test", "c@gamma.test"
DAY = 86_400


def accepted(queue_id: str, *recipients: str, site: str = "alpha") -> Accepted:
    envelope = EnvelopeRecord("a@alpha.test", list(recipients))
    return Accepted(site, queue_id, 0.0, "", "", "", "ESMTP", "", envelope, 3, "", [], [])


def attempted(queue_id: str, **outcomes: str) -> Attempted:
    told = [RecipientOutcome({"b": B, "c": C}[one], outcome, "", "") for one, outcome in outcomes.items()]
    envelope = EnvelopeRecord("a@alpha.test", [one.address for one in told])
    return Attempted(
        "alpha", queue_id, 1, 0.0, 0.0, "mx", "", [], "", envelope, 3, "", 0, "", "", [], [], told, False, []
    )  # fmt: skip


def journey_of(kit: Kit, queue_id: str, *recipients: str) -> Journey:
    events = [event for journey_id, event in kit.recorded if journey_id == queue_id]
    return assemble(queue_id, [accepted(queue_id, *recipients), *events])


async def waiting(kit: Kit, *recipients: str | Recipient) -> str:
    for one in recipients:
        kit.courier.always(one if isinstance(one, str) else one.address, LATER_OUTCOME)
    return await kit.send(*recipients)


async def test_a_removed_message_says_so_and_that_nobody_is_going_to_try_it_again(make_kit):
    kit = await make_kit()
    queue_id = await waiting(kit, B, C)
    assert journey_of(kit, queue_id, B, C).state == "queued"
    await kit.queue.remove(queue_id)
    journey = journey_of(kit, queue_id, B, C)
    assert journey.state == "removed"
    now = kit.clock.now()
    assert journey.hops[0].operations == [Operated("alpha", queue_id, now, "remove", [B, C], attempts=1)]


async def test_a_held_message_is_held_until_it_is_released(make_kit):
    kit = await make_kit()
    queue_id = await waiting(kit, B)
    await kit.queue.hold(queue_id)
    await kit.queue.hold(queue_id)  # changes nothing, so it says nothing
    assert journey_of(kit, queue_id, B).state == "held"
    await kit.queue.retry(queue_id)  # a held item stays held
    await kit.queue.release(queue_id)
    await kit.queue.quiet()
    journey = journey_of(kit, queue_id, B)
    assert journey.state == "queued"
    assert [done.action for done in journey.hops[0].operations] == ["hold", "release"]


async def test_a_retry_is_told_with_the_number_of_attempts_before_it(make_kit):
    kit = await make_kit()
    queue_id = await waiting(kit, B)
    assert await kit.queue.retry(queue_id) == 1
    await kit.clock.advance(0)
    await kit.queue.release(queue_id)  # of what is not held: the same
    [first, second] = journey_of(kit, queue_id, B).hops[0].operations
    assert [(one.action, one.attempts) for one in (first, second)] == [("retry", 1), ("retry", 2)]


async def test_a_bounced_message_has_failed_whether_its_sender_wants_to_know_or_not(make_kit):
    kit = await make_kit()
    queue_id = await waiting(kit, Recipient(B, notify=frozenset({"NEVER"})))
    await kit.queue.bounce(queue_id)
    journey = journey_of(kit, queue_id, B)
    assert kit.told == []
    assert (journey.state, [done.action for done in journey.hops[0].operations]) == ("failed", ["bounce"])


@pytest.mark.rfc(3461, "4.1")
@pytest.mark.parametrize("lifetime", [600, 5 * DAY])
async def test_a_recipient_whose_time_is_over_has_failed_where_nobody_is_told_of_it(make_kit, lifetime):
    kit = await make_kit(retry=RetryPolicy(jitter=0.0, lifetime=lifetime))
    queue_id = await waiting(kit, Recipient(B, notify=frozenset({"NEVER"})))
    await kit.clock.advance(6 * DAY)
    journey = journey_of(kit, queue_id, B)
    assert (await kit.queue.count(), kit.told, journey.state) == (0, [], "failed")
    [given_up] = journey.hops[0].undelivered
    assert (given_up.recipient, given_up.queue_id) == (B, queue_id)
    assert given_up.reply == "554 5.4.7 Delivery time expired; the last answer was: 451 4.7.1 later"


async def test_what_the_database_does_not_take_is_not_in_the_journey(make_kit, monkeypatch):
    kit = await make_kit()
    queue_id = await waiting(kit, B)

    def full(*_: object) -> int:
        raise StoreUnavailable("full")

    for verb in ("hold_in", "retry_in", "drop_in"):
        monkeypatch.setattr(kit.queue._spool, verb, full)
    monkeypatch.setattr(kit.queue._spool, "hold_in", lambda *_, **__: full())
    monkeypatch.setattr(kit.queue._spool, "retry_in", lambda *_, **__: full())
    before = list(kit.recorded)
    for act in (kit.queue.hold, kit.queue.release, kit.queue.retry, kit.queue.bounce, kit.queue.remove):
        with pytest.raises(StoreUnavailable):
            await act(queue_id)
    assert kit.recorded == before


async def test_removed_while_it_is_being_sent_is_told_before_the_attempt_that_ends_after(make_kit):
    kit = await make_kit()
    kit.courier.gates["beta.test"] = gate = asyncio.Event()
    queue_id = await kit.put(B)
    await asyncio.sleep(0)
    await kit.queue.remove(queue_id)
    gate.set()
    await kit.queue.quiet()
    [done] = journey_of(kit, queue_id, B).hops[0].operations
    assert (done.action, done.attempts) == ("remove", 0)


# How the parts of a journey add up


def removed(*recipients: str, site: str = "alpha", queue_id: str = "Q1", action: str = "remove") -> Operated:
    return Operated(site, queue_id, 0.0, action, list(recipients), 1)


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([removed(B, C)], "removed"),
        ([attempted("Q1", b="delivered", c="deferred")], "queued"),
        ([attempted("Q1", b="delivered", c="deferred"), removed(C)], "removed"),
        ([attempted("Q1", b="failed", c="deferred"), removed(C)], "failed"),
        ([attempted("Q1", b="failed", c="deferred"), removed(C, action="hold")], "failed"),
        ([removed(B, C), attempted("Q1", b="relayed", c="relayed")], "delivered"),
        ([removed(B, C), attempted("Q1", b="deferred", c="relayed")], "removed"),
        ([removed(B, C, action="hold"), removed(B, C)], "removed"),
        ([removed(B, C, action="hold"), removed(B, C, action="bounce")], "failed"),
        ([removed(B, C, action="hold"), removed(B, C, action="retry")], "held"),
        ([removed(B, C, action="hold"), removed(B, C, action="release")], "queued"),
        ([removed(B, C, action="hold"), attempted("Q1", b="relayed", c="relayed")], "delivered"),
        # The next site holds what this one has passed on; and what is held there is not held here.
        ([attempted("Q1", b="relayed", c="relayed"), accepted("Q2", B, C, site="beta"),
          removed(B, C, site="beta", queue_id="Q2", action="hold")], "held"),
        ([removed(B, C, action="hold"), attempted("Q1", b="relayed", c="relayed"),
          accepted("Q2", B, C, site="beta")], "queued"),
        ([Undelivered("alpha", B, "554 5.4.7", 0.0, "Q1"), removed(C)], "failed"),
    ],
)  # fmt: skip
def test_the_state_of_a_journey_is_the_sum_of_what_became_of_its_recipients(events, state):
    assert assemble("Q1", [accepted("Q1", B, C), *events]).state == state
