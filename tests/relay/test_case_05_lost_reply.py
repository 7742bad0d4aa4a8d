"""Case 5: the connection is lost after the end of data, before its reply."""

import pytest
from next_hop import DROP

from mailsandbox.faults import Drop, Fault


@pytest.mark.rfc(1047, "1")
async def test_lost_reply_is_4_4_2_and_retried_and_reported_as_possible_duplicate(make_rig, make_hop):
    hop = await make_hop(script={".": [DROP]})
    rig = await make_rig()
    rig.route("beta.test", hop)
    queue_id = await rig.send("b@beta.test")
    [first] = rig.attempts(queue_id)
    assert first.possible_duplicate
    assert first.octets_out == first.octets_in
    assert first.outcomes[0].outcome == "deferred"
    assert first.outcomes[0].enhanced == "4.4.2"
    await rig.clock.advance(60)
    assert [one.possible_duplicate for one in rig.attempts(queue_id)] == [True, False]
    assert len(hop.messages) == 1


async def test_next_exchanger_is_not_given_a_copy_that_the_first_may_have(make_rig, make_hop):
    first, second = await make_hop(script={".": [DROP]}), await make_hop()
    rig = await make_rig()
    rig.zone(
        {
            "beta.test": {"MX": ["10 mx1.beta.test", "20 mx2.beta.test"]},
            "mx1.beta.test": {"A": "127.0.0.1", "port": first.port},
            "mx2.beta.test": {"A": "127.0.0.1", "port": second.port},
        }
    )
    await rig.send("b@beta.test")
    assert second.connections == 0


async def test_connection_lost_before_the_end_of_data_is_no_possible_duplicate(make_rig, make_hop):
    hop = await make_hop(script={"DATA": [DROP]})
    rig = await make_rig()
    rig.route("beta.test", hop)
    queue_id = await rig.send("b@beta.test")
    [first] = rig.attempts(queue_id)
    assert not first.possible_duplicate
    assert first.octets_out == 0
    assert first.outcomes[0].enhanced == "4.4.2"


async def test_scripted_fault_loses_the_reply_too(make_rig, make_hop):
    hop = await make_hop()
    rig = await make_rig()
    rig.route("beta.test", hop)
    rig.faults.add(Fault(Drop(), protocol="relay", stage="message", times=1))
    queue_id = await rig.send("b@beta.test")
    assert rig.attempts(queue_id)[0].possible_duplicate
    await rig.clock.advance(60)
    assert await rig.queue.count() == 0
