"""Case 6: 421 at MAIL."""

import pytest


@pytest.mark.rfc(5321, "5.1")
@pytest.mark.parametrize("verb", ["connect", "EHLO", "MAIL", "RCPT", "DATA", "."])
async def test_421_sends_the_message_to_the_next_exchanger_in_the_same_attempt(make_rig, make_hop, verb):
    first = await make_hop(script={verb: ["421 4.3.2 shutting down"]})
    second = await make_hop()
    rig = await make_rig()
    rig.zone(
        {
            "beta.test": {"MX": ["10 mx1.beta.test", "20 mx2.beta.test"]},
            "mx1.beta.test": {"A": "127.0.0.1", "port": first.port},
            "mx2.beta.test": {"A": "127.0.0.1", "port": second.port},
        }
    )
    queue_id = await rig.send("b@beta.test")
    assert [(one.host, one.number, one.outcomes[0].outcome) for one in rig.attempts(queue_id)] == [
        ("mx1.beta.test", 1, "deferred"),
        ("mx2.beta.test", 1, "relayed"),
    ]
    assert len(second.messages) == 1
    assert await rig.queue.count() == 0
