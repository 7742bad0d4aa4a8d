"""What every rig looks at in its end can fail: a journey that does not say what its queue does."""

import pytest
from next_hop import DROP

from mailsandbox.mailqueue.schedule import RetryPolicy
from mailsandbox.message.envelope import Recipient

B, C = "b@beta.test", "c@beta.test"


@pytest.fixture
async def rig(make_rig):
    """Nobody listens for beta.test, so what is sent there waits."""
    rig = await make_rig(retry=RetryPolicy(jitter=0.0, lifetime=600))
    rig.zone({"beta.test": {"A": "127.0.0.1", "port": 1}})
    return rig


async def state_of(rig, queue_id: str) -> str:
    return (await rig.journeys_agree())[queue_id].state


@pytest.mark.parametrize(
    "statements",
    [
        ["DELETE FROM queue_recipients WHERE number = 1"],
        ["DELETE FROM queue_recipients", "DELETE FROM queue_messages"],
        ["UPDATE queue_messages SET held = 1"],
        ["DELETE FROM journey_events"],
        ["UPDATE queue_messages SET journey_id = 'another'"],
    ],
)
async def test_a_queue_that_changes_without_its_journey_is_found(rig, statements):
    await rig.send(B, C)
    await rig.journeys_agree()
    kept = await rig.database.snapshot()
    for one in statements:
        await rig.database.write(lambda tx, sql=one: tx.execute(sql))
    with pytest.raises(AssertionError):
        await rig.journeys_agree()
    await rig.database.restore(kept)


async def test_what_the_operator_does_is_in_the_journey(rig):
    queue_id = await rig.send(B, C)
    assert await state_of(rig, queue_id) == "queued"
    await rig.queue.hold(queue_id)
    assert await state_of(rig, queue_id) == "held"
    await rig.queue.release(queue_id)
    await rig.queue.quiet()
    assert await state_of(rig, queue_id) == "queued"
    await rig.queue.remove(queue_id)
    assert await state_of(rig, queue_id) == "removed"
    returned = await rig.send(B)
    await rig.queue.bounce(returned)
    assert await state_of(rig, returned) == "failed"


@pytest.mark.rfc(3461, "4.1")
async def test_an_end_that_nobody_is_told_is_in_the_journey(rig):
    queue_id = await rig.send(Recipient(B, notify=frozenset({"NEVER"})))
    await rig.clock.advance(3600)
    assert await state_of(rig, queue_id) == "failed"


async def test_removed_while_its_reply_is_lost(make_rig, make_hop):
    hop = await make_hop(script={".": [DROP]})
    rig = await make_rig()
    rig.route("beta.test", hop)
    queue_id = await rig.send(B)
    await rig.queue.remove(queue_id)
    assert await state_of(rig, queue_id) == "removed"
