"""Case 7: delay and expiry."""

import pytest
from reports import read_report

from mailsandbox.mailqueue.schedule import RetryPolicy
from mailsandbox.message.envelope import Recipient
from mailsandbox.message.trace import format_date

HOUR, DAY = 3600, 86_400


@pytest.mark.rfc(3464, "2.3.9")
async def test_delay_is_told_once_at_the_threshold_with_the_time_until_which_it_is_tried(make_rig, make_hop):
    hop = await make_hop(decide=lambda verb, line: "451 4.7.1 come back later" if verb == "RCPT" else None)
    rig = await make_rig()
    rig.route("beta.test", hop)
    began = rig.clock.now()
    queue_id = await rig.send("b@beta.test")
    await rig.clock.advance(4 * HOUR - 1)
    assert rig.home == []
    await rig.clock.advance(1)
    [home] = rig.home
    report = read_report(home.octets)
    [fields] = report.recipients
    assert fields["Action"] == "delayed"
    assert fields["Status"] == "4.7.1"
    assert fields["Diagnostic-Code"] == "smtp; 451 4.7.1 come back later"
    assert fields["Will-Retry-Until"] == format_date(began + 5 * DAY)
    assert report.returned_type == "text/rfc822-headers"
    await rig.clock.advance(4 * DAY)
    assert len(rig.home) == 1
    assert [one.action for one in rig.notified(queue_id)] == ["delayed"]


@pytest.mark.rfc(3463, "3.5")
async def test_expiry_is_failed_5_4_7_and_keeps_the_last_answer_in_the_diagnostic(make_rig, make_hop):
    hop = await make_hop(decide=lambda verb, line: "451 4.7.1 come back later" if verb == "RCPT" else None)
    rig = await make_rig(retry=RetryPolicy(jitter=0.1, warn=0))
    rig.route("beta.test", hop)
    began = rig.clock.now()
    queue_id = await rig.send("b@beta.test")
    await rig.clock.advance(5 * DAY - 1)
    assert await rig.queue.count() == 1
    await rig.clock.advance(1)
    assert await rig.queue.count() == 0
    [fields] = read_report(rig.home[0].octets).recipients
    assert fields["Action"] == "failed"
    assert fields["Status"] == "5.4.7"
    assert fields["Diagnostic-Code"] == "smtp; 451 4.7.1 come back later"
    assert rig.notified(queue_id)[0].at == began + 5 * DAY
    assert fields["Last-Attempt-Date"] == format_date(rig.attempts(queue_id)[-1].ended_at)
    attempts = len(rig.attempts(queue_id))
    await rig.clock.advance(10 * DAY)
    assert len(rig.attempts(queue_id)) == attempts
    assert hop.messages == []


async def test_delay_is_not_told_to_those_who_asked_for_other_notifications_only(make_rig, make_hop):
    hop = await make_hop(decide=lambda verb, line: "451 4.7.1 later" if verb == "RCPT" else None)
    rig = await make_rig()
    rig.route("beta.test", hop)
    await rig.send(Recipient("b@beta.test", frozenset({"FAILURE"})), Recipient("c@beta.test", frozenset({"DELAY"})))
    await rig.clock.advance(DAY)
    [home] = rig.home
    assert [fields["Final-Recipient"] for fields in read_report(home.octets).recipients] == ["rfc822; c@beta.test"]


@pytest.mark.rfc(2852, "4.1")
async def test_deliver_by_with_return_ends_early_and_with_notify_tells_the_delay_early(make_rig, make_hop):
    hop = await make_hop(
        offers=("PIPELINING", "DELIVERBY"), decide=lambda verb, line: "451 4.7.1 later" if verb == "RCPT" else None
    )
    rig = await make_rig()
    rig.route("beta.test", hop)
    await rig.send("b@beta.test", deliver_by="600;R")
    await rig.send("c@beta.test", deliver_by="600;N")
    await rig.clock.advance(599)
    assert rig.home == []
    await rig.clock.advance(1)
    told = [read_report(home.octets).recipients[0] for home in rig.home]
    assert sorted((fields["Final-Recipient"], fields["Action"]) for fields in told) == [
        ("rfc822; b@beta.test", "failed"),
        ("rfc822; c@beta.test", "delayed"),
    ]
    assert await rig.queue.count() == 1
