"""Servers that take so many recipients at a time, or so many messages: the rest follows, in the same attempt."""

import pytest

from mailsandbox.message.envelope import Recipient

PEOPLE = [f"b{number}@beta.test" for number in range(7)]


def taking(limit: int, text: str):
    """Refuses RCPT beyond `limit` in one transaction."""
    count = 0

    def decide(verb, line):
        nonlocal count
        count = 0 if verb == "MAIL" else count + (verb == "RCPT")
        return text if verb == "RCPT" and count > limit else None

    return decide


def transactions(hop) -> list[int]:
    return [len(got.recipients) for got in hop.messages]


@pytest.mark.rfc(5321, "4.5.3.1.10")
@pytest.mark.parametrize("text", ["452 4.5.3 too many", "552 5.5.3 too many", "452 too many", "552 too many"])
async def test_recipients_beyond_the_limit_follow_at_once_on_the_same_connection(make_rig, make_hop, text):
    hop = await make_hop(decide=taking(3, text))
    rig = await make_rig()
    rig.route("beta.test", hop)
    queue_id = await rig.send(*PEOPLE)
    assert transactions(hop) == [3, 3, 1]
    assert hop.connections == 1
    [attempt] = rig.attempts(queue_id)
    assert {one.address: one.outcome for one in attempt.outcomes} == dict.fromkeys(PEOPLE, "relayed")
    assert attempt.envelope.recipients == PEOPLE
    assert await rig.queue.count() == 0


@pytest.mark.rfc(9422, "4.2")
async def test_a_limit_that_is_announced_is_kept(make_rig, make_hop):
    hop = await make_hop(offers=("PIPELINING", "LIMITS RCPTMAX=2"))
    rig = await make_rig()
    rig.route("beta.test", hop)
    await rig.send(*PEOPLE)
    assert transactions(hop) == [2, 2, 2, 1]


@pytest.mark.rfc(9422, "4.1")
async def test_a_connection_is_not_used_for_more_messages_than_announced(make_rig, make_hop):
    hop = await make_hop(offers=("PIPELINING", "LIMITS MAILMAX=2"))
    rig = await make_rig()
    rig.route("beta.test", hop)
    for one in PEOPLE[:4]:
        await rig.send(one)
    assert [got.connection for got in hop.messages] == [1, 1, 2, 2]


async def test_a_server_that_takes_nobody_is_asked_once(make_rig, make_hop):
    hop = await make_hop(decide=lambda verb, line: "452 4.5.3 too many" if verb == "RCPT" else None)
    rig = await make_rig()
    rig.route("beta.test", hop)
    await rig.send(*PEOPLE)
    assert sum(line.startswith("MAIL") for line in hop.lines) == 1
    assert len((await rig.queue.items())[0].recipients) == 7


async def test_a_full_disk_in_between_is_no_limit_on_recipients(make_rig, make_hop):
    hop = await make_hop(decide=lambda verb, line: "452 4.3.1 disk full" if "b3" in line else None)
    rig = await make_rig()
    rig.route("beta.test", hop)
    await rig.send(*PEOPLE)
    assert transactions(hop) == [6]


async def test_those_whose_turn_has_not_come_wait_when_the_connection_ends(make_rig, make_hop):
    hop = await make_hop(offers=("PIPELINING", "LIMITS RCPTMAX=2"), script={"MAIL": [None, "421 4.3.2 going"]})
    rig = await make_rig()
    rig.route("beta.test", hop)
    queue_id = await rig.send(*PEOPLE[:2], Recipient(PEOPLE[2]), *PEOPLE[3:])
    [attempt] = rig.attempts(queue_id)
    outcomes = [one.outcome for one in attempt.outcomes]
    assert outcomes == ["relayed"] * 2 + ["deferred"] * 5
    await rig.clock.advance(120)
    assert sorted(one for got in hop.messages for one in got.recipients) == sorted(f"RCPT TO:<{one}>" for one in PEOPLE)
