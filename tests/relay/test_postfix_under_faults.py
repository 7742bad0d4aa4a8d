"""A real Postfix as next hop that refuses, limits, hangs up and goes away: every recipient ends as it should."""

import asyncio

import pytest
from reports import read_report

from mailsandbox.encoding import prepare
from mailsandbox.mailqueue.schedule import RetryPolicy
from mailsandbox.message.envelope import Recipient

pytestmark = pytest.mark.client("postfix")

ONE_BY_ONE = RetryPolicy(first=60, jitter=0)


async def arrived(hop, count: int) -> list[str]:
    """The recipients of what came, once so many have."""
    async with asyncio.timeout(30):
        while len(hop.messages) < count or sum(len(got.recipients) for got in hop.messages) < count:
            if sum(len(got.recipients) for got in hop.messages) >= count:
                break
            await asyncio.sleep(0.05)
    return sorted(one.partition("<")[2].partition(">")[0] for got in hop.messages for one in got.recipients)


def outcomes(rig, queue_id: str) -> dict[str, str]:
    """The last of each recipient."""
    return {one.address: one.outcome for attempt in rig.attempts(queue_id) for one in attempt.outcomes}


@pytest.mark.rfc(5321, "4.5.3.1.10")
async def test_recipients_beyond_its_limit_follow_in_other_transactions(make_rig, make_hop, make_postfix):
    end = await make_hop()
    postfix = await make_postfix(end.port, settings="smtpd_recipient_limit = 2\nsmtpd_error_sleep_time = 0\n")
    rig = await make_rig(prepare=prepare, retry=ONE_BY_ONE)
    rig.route("beta.test", postfix)
    people = [f"b{number}@beta.test" for number in range(5)]
    queue_id = await rig.send(*people)
    for _ in range(4):
        await rig.clock.advance(3600)
        await rig.queue.quiet()
    assert await rig.queue.count() == 0
    assert outcomes(rig, queue_id) == dict.fromkeys(people, "relayed")
    assert await arrived(end, 5) == people
    assert rig.home == []


@pytest.mark.rfc(5321, "3.8")
async def test_421_after_too_many_errors_leaves_the_others_for_another_try(make_rig, make_hop, make_postfix):
    end = await make_hop()
    settings = (
        "smtpd_hard_error_limit = 2\nsmtpd_soft_error_limit = 2\nsmtpd_error_sleep_time = 0\n"
        "smtpd_recipient_restrictions = check_recipient_access "
        "inline:{ bad1@beta.test=REJECT, bad2@beta.test=REJECT }\n"
    )
    postfix = await make_postfix(end.port, settings=settings)
    rig = await make_rig(prepare=prepare, retry=ONE_BY_ONE)
    rig.route("beta.test", postfix)
    queue_id = await rig.send("good1@beta.test", "bad1@beta.test", "bad2@beta.test", "good2@beta.test")
    for _ in range(4):
        await rig.clock.advance(3600)
        await rig.queue.quiet()
    assert await rig.queue.count() == 0
    assert outcomes(rig, queue_id) == {
        "good1@beta.test": "relayed",
        "bad1@beta.test": "failed",
        "bad2@beta.test": "failed",
        "good2@beta.test": "relayed",
    }
    assert await arrived(end, 2) == ["good1@beta.test", "good2@beta.test"]
    told = [fields["Final-Recipient"] for home in rig.home for fields in read_report(home.octets).recipients]
    assert sorted(told) == ["rfc822; bad1@beta.test", "rfc822; bad2@beta.test"]


@pytest.mark.rfc(1870, "6.1")
async def test_a_message_beyond_its_size_is_not_sent_at_all(make_rig, make_hop, make_postfix):
    end = await make_hop()
    postfix = await make_postfix(end.port, settings="message_size_limit = 20000\n")
    rig = await make_rig(prepare=prepare)
    rig.route("beta.test", postfix)
    large = b"From: a@alpha.test\r\nSubject: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * 400
    queue_id = await rig.send("b@beta.test", octets=large)
    [attempt] = rig.attempts(queue_id)
    assert (attempt.octets_out, outcomes(rig, queue_id)) == (0, {"b@beta.test": "failed"})
    [fields] = read_report(rig.home[0].octets).recipients
    assert fields["Status"] == "5.3.4"
    assert end.messages == []


async def test_mail_waits_while_it_is_stopped_and_a_kept_connection_that_is_gone_costs_nothing(
    make_rig, make_hop, make_postfix
):
    end = await make_hop()
    postfix = await make_postfix(end.port)
    rig = await make_rig(prepare=prepare, retry=ONE_BY_ONE)
    rig.route("beta.test", postfix)
    await rig.send("b1@beta.test")
    await asyncio.to_thread(postfix._run, "stop")
    queue_id = await rig.send("b2@beta.test")
    assert outcomes(rig, queue_id) == {"b2@beta.test": "deferred"}
    await asyncio.to_thread(postfix._run, "start")
    async with asyncio.timeout(20):
        while await rig.queue.count():
            await rig.clock.advance(3600)
            await rig.queue.quiet()
    assert await arrived(end, 2) == ["b1@beta.test", "b2@beta.test"]
    assert rig.home == []


@pytest.mark.rfc(6531, "3.2")
async def test_internationalized_mail_comes_through_it(make_rig, make_hop, make_postfix):
    end = await make_hop(offers=("PIPELINING", "8BITMIME", "SMTPUTF8"))
    postfix = await make_postfix(end.port)
    rig = await make_rig(prepare=prepare)
    rig.route("beta.test", postfix)
    octets = (
        "From: zoë@alpha.test\r\nSubject: été\r\nMessage-ID: <1@alpha.test>\r\n"
        "Date: Sat, 21 Nov 2026 03:00:00 +0000\r\n\r\nx\r\n"
    ).encode()
    queue_id = await rig.send("jürgen@beta.test", octets=octets, sender="zoë@alpha.test", smtputf8=True)
    assert rig.attempts(queue_id)[0].envelope.mail_parameters.keys() >= {"SMTPUTF8"}
    assert await arrived(end, 1) == ["jürgen@beta.test"]
    assert end.messages[0].octets.endswith(octets)


@pytest.mark.rfc(3461, "5.2.2")
async def test_without_dsn_success_is_told_as_relayed_by_us(make_rig, make_hop, make_postfix):
    end = await make_hop()
    postfix = await make_postfix(end.port, discard="dsn")
    rig = await make_rig(prepare=prepare)
    rig.route("beta.test", postfix)
    await rig.send(Recipient("b@beta.test", frozenset({"SUCCESS"})))
    [fields] = read_report(rig.home[0].octets).recipients
    assert (fields["Action"], fields["Status"]) == ("relayed", "2.0.0")
    await arrived(end, 1)
    assert len(rig.home) == 1
