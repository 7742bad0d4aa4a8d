"""Case 8: NOTIFY."""

import pytest
from reports import read_report

from mailsandbox.message.envelope import Recipient
from mailsandbox.smtp.parameters import parse_rcpt
from mailsandbox.smtp.replies import Reply

NEVER, SUCCESS, FAILURE = frozenset({"NEVER"}), frozenset({"SUCCESS"}), frozenset({"FAILURE"})


@pytest.mark.rfc(3461, "4.1")
async def test_notify_never_gets_no_notification_at_all(make_rig, make_hop):
    hop = await make_hop(decide=lambda verb, line: "550 5.1.1 unknown" if verb == "RCPT" else None)
    rig = await make_rig()
    rig.route("beta.test", hop)
    queue_id = await rig.send(Recipient("b@beta.test", NEVER), Recipient("c@beta.test", SUCCESS))
    assert rig.home == []
    assert rig.notified(queue_id) == []
    assert await rig.queue.count() == 0


@pytest.mark.rfc(3461, "5.2.2")
async def test_success_towards_a_hop_without_dsn_is_told_as_relayed(make_rig, make_hop):
    hop = await make_hop()
    rig = await make_rig()
    rig.route("beta.test", hop)
    await rig.send(Recipient("b@beta.test", SUCCESS), Recipient("c@beta.test", FAILURE))
    [home] = rig.home
    report = read_report(home.octets)
    [fields] = report.recipients
    assert (fields["Final-Recipient"], fields["Action"]) == ("rfc822; b@beta.test", "relayed")
    assert fields["Status"] == "2.0.0"
    assert report.returned_type == "text/rfc822-headers"
    assert "NOTIFY" not in " ".join(hop.lines)


@pytest.mark.rfc(3461, "5.2.1")
async def test_success_towards_a_hop_with_dsn_is_that_hops_to_tell(make_rig, make_hop):
    hop = await make_hop(offers=("PIPELINING", "DSN"))
    rig = await make_rig()
    rig.route("beta.test", hop)
    await rig.send(Recipient("b@beta.test", frozenset({"SUCCESS", "FAILURE"})))
    assert rig.home == []
    assert "RCPT TO:<b@beta.test> NOTIFY=SUCCESS,FAILURE" in hop.lines


@pytest.mark.rfc(3461, "4.1")
def test_never_together_with_anything_is_501_5_5_4():
    refused = parse_rcpt("NOTIFY=NEVER,SUCCESS", offered={"DSN": ""})
    assert isinstance(refused, Reply)
    assert (refused.code, refused.enhanced) == (501, "5.5.4")
