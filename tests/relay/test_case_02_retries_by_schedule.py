"""Case 2: 451 at RCPT twice, then 250."""

import pytest


@pytest.mark.rfc(5321, "4.5.4.1")
async def test_deferred_recipient_is_tried_again_after_one_then_two_minutes_and_delivered_on_try_three(
    make_rig, make_hop
):
    hop = await make_hop(script={"RCPT": ["451 4.7.1 later", "451 4.7.1 later"]})
    rig = await make_rig()
    rig.route("beta.test", hop)
    began = rig.clock.now()
    queue_id = await rig.send("b@beta.test")
    assert [row.attempts for row in (await rig.queue.item(queue_id)).recipients] == [1]
    await rig.clock.advance(5 * 86_400)
    assert [round(one.started_at - began) for one in rig.attempts(queue_id)] == [0, 60, 180]
    assert [one.number for one in rig.attempts(queue_id)] == [1, 2, 3]
    assert len(hop.messages) == 1
    assert hop.messages[0].octets.startswith(b"From: a@alpha.test")
    assert await rig.queue.count() == 0
    assert rig.home == []
