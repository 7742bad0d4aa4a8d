"""Case 4: 250, 451 and 550 at RCPT, then 554 at the end of data."""

import pytest
from reports import read_report


def by_name(verb, line):
    if verb == "RCPT":
        return "451 4.2.1 later" if "late" in line else "550 5.1.1 unknown" if "never" in line else None
    return "554 5.6.0 content refused" if verb == "." else None


@pytest.mark.rfc(5321, "3.3")
async def test_answer_to_the_end_of_data_counts_for_accepted_recipients_only(make_rig, make_hop):
    hop = await make_hop(decide=by_name)
    rig = await make_rig()
    rig.route("beta.test", hop)
    queue_id = await rig.send("good@beta.test", "late@beta.test", "never@beta.test")
    outcomes = {one.address: (one.outcome, one.reply) for one in rig.attempts(queue_id)[0].outcomes}
    assert outcomes == {
        "good@beta.test": ("failed", "554 5.6.0 content refused"),
        "late@beta.test": ("deferred", "451 4.2.1 later"),
        "never@beta.test": ("failed", "550 5.1.1 unknown"),
    }
    assert [row.address for row in (await rig.queue.item(queue_id)).recipients] == ["late@beta.test"]
    report = read_report(rig.home[0].octets)
    assert [fields["Status"] for fields in report.recipients] == ["5.6.0", "5.1.1"]
