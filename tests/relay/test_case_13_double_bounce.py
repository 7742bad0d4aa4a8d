"""Case 13: a message with the null reverse-path fails."""

import pytest

from mailsandbox.message.envelope import Recipient


@pytest.mark.rfc(5321, "4.5.5")
async def test_nobody_is_told_and_the_journey_shows_a_double_bounce(make_rig, make_hop, caplog):
    caplog.set_level("INFO")
    hop = await make_hop(decide=lambda verb, line: "550 5.1.1 unknown" if verb == "RCPT" else None)
    rig = await make_rig()
    rig.route("beta.test", hop)
    queue_id = await rig.send("b@beta.test", sender="")
    assert rig.home == []
    assert await rig.queue.count() == 0
    [notified] = rig.notified(queue_id)
    assert (notified.action, notified.recipients, notified.dsn_journey) == ("double-bounce", ["b@beta.test"], "")
    assert "double bounce" in caplog.text


async def test_notification_that_fails_itself_ends_as_double_bounce_and_causes_no_third(make_rig, make_hop):
    hop = await make_hop(decide=lambda verb, line: "550 5.1.1 unknown" if verb == "RCPT" else None)
    rig = await make_rig()
    rig.route("beta.test", hop)
    rig.route("away.test", hop)
    queue_id = await rig.send(Recipient("b@beta.test", frozenset({"FAILURE"})), sender="a@away.test")
    await rig.clock.advance(86_400)
    [first] = rig.notified(queue_id)
    [second] = rig.notified(first.dsn_journey)
    assert (first.action, second.action) == ("failed", "double-bounce")
    assert await rig.queue.count() == 0


async def test_delay_of_a_notification_is_told_nobody(make_rig, make_hop):
    hop = await make_hop(decide=lambda verb, line: "451 4.7.1 later" if verb == "RCPT" else None)
    rig = await make_rig()
    rig.route("beta.test", hop)
    queue_id = await rig.send("b@beta.test", sender="")
    await rig.clock.advance(86_400)
    assert rig.notified(queue_id) == []
