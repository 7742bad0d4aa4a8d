"""Case 3: 550 5.1.1 for one of two recipients."""

import pytest
from reports import read_report


@pytest.mark.rfc(3464, "2.3")
async def test_other_recipient_is_delivered_and_one_notification_names_the_failed_one(make_rig, make_hop):
    hop = await make_hop(
        name="mx.beta.test",
        decide=lambda verb, line: "550 5.1.1 no such user here" if verb == "RCPT" and "nobody" in line else None,
    )
    rig = await make_rig()
    rig.zone({"beta.test": {"MX": "10 mx.beta.test"}, "mx.beta.test": {"A": "127.0.0.1", "port": hop.port}})
    queue_id = await rig.send("bob@beta.test", "nobody@beta.test")
    assert hop.messages[0].recipients == ["RCPT TO:<bob@beta.test>"]
    assert await rig.queue.count() == 0

    [home] = rig.home
    assert home.envelope.reverse_path == ""
    assert home.envelope.addresses == ["a@alpha.test"]
    report = read_report(home.octets)
    assert report.header["Auto-Submitted"] == "auto-replied"
    assert report.header["In-Reply-To"] == "<1@alpha.test>"
    assert report.message["Reporting-MTA"] == "dns; mx.alpha.test"
    [fields] = report.recipients
    assert fields["Final-Recipient"] == "rfc822; nobody@beta.test"
    assert fields["Action"] == "failed"
    assert fields["Status"] == "5.1.1"
    assert fields["Remote-MTA"] == "dns; mx.beta.test"
    assert fields["Diagnostic-Code"] == "smtp; 550 5.1.1 no such user here"
    assert "nobody@beta.test" in report.text
    assert "bob@beta.test" not in report.text
    assert [one.recipients for one in rig.notified(queue_id)] == [["nobody@beta.test"]]
    assert [(one.address, one.outcome) for one in rig.attempts(queue_id)[0].outcomes] == [
        ("bob@beta.test", "relayed"),
        ("nobody@beta.test", "failed"),
    ]
