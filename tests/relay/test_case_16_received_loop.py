"""Case 16: 101 Received fields."""

import pytest
from reports import read_report
from rig import PLAIN


@pytest.mark.rfc(5321, "6.3")
async def test_message_with_101_received_fields_is_refused_554_5_4_6_by_the_listener_and_not_queued(make_rig, listen):
    beta = await listen()
    rig = await make_rig()
    rig.route("beta.test", beta)
    looped = b"Received: by x id 1; Sat, 21 Nov 2026 00:00:00 +0000\r\n" * 101 + PLAIN
    queue_id = await rig.send("b@beta.test", octets=looped)
    assert beta.accepted == []
    assert rig.attempts(queue_id)[0].outcomes[0].reply.startswith("554 5.4.6")
    assert read_report(rig.home[0].octets).recipients[0]["Status"] == "5.4.6"


async def test_message_with_few_received_fields_passes_the_same_listener(make_rig, listen):
    beta = await listen()
    rig = await make_rig()
    rig.route("beta.test", beta)
    octets = b"Received: by x id 1; Sat, 21 Nov 2026 00:00:00 +0000\r\n" * 90 + PLAIN
    await rig.send("b@beta.test", octets=octets)
    assert [incoming.octets for incoming in beta.accepted] == [octets]
