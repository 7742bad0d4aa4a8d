"""A real Postfix as next hop, which relays to a hop of ours: what we say is understood, and nothing is lost."""

import asyncio

import pytest
from reports import read_report

from mailsandbox.encoding import prepare
from mailsandbox.message.envelope import Recipient

DOTS = (
    "From: a@alpha.test\r\nTo: b@beta.test\r\nSubject: dots\r\nMessage-ID: <d@alpha.test>\r\n"
    "Date: Sat, 21 Nov 2026 03:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
    "Content-Transfer-Encoding: 8bit\r\n\r\n.one\r\n..two\r\n.\r\nÜber\r\n" + "x" * 900 + "\r\n"
).encode()

pytestmark = pytest.mark.client("postfix")


async def arrived(hop, count: int) -> None:
    async with asyncio.timeout(20):
        while len(hop.messages) < count:
            await asyncio.sleep(0.05)


@pytest.mark.rfc(5321, "4.5.2")
async def test_eight_bit_message_with_dots_comes_through_postfix_to_the_octet(make_rig, make_hop, make_postfix):
    end = await make_hop()
    postfix = await make_postfix(end.port)
    rig = await make_rig(prepare=prepare)
    rig.route("beta.test", postfix)
    queue_id = await rig.send("b@beta.test", octets=DOTS, body="8BITMIME")
    [attempt] = rig.attempts(queue_id)
    assert attempt.outcomes[0].outcome == "relayed", attempt
    assert attempt.body == "8BITMIME"
    assert {"PIPELINING", "8BITMIME", "DSN", "CHUNKING"} <= {offer.split()[0] for offer in attempt.offers}
    await arrived(end, 1)
    octets = end.messages[0].octets
    assert octets[octets.index(b"From: a@alpha.test") :] == DOTS


@pytest.mark.rfc(6152, "3")
async def test_postfix_without_8bitmime_is_given_seven_bit(make_rig, make_hop, make_postfix):
    end = await make_hop()
    postfix = await make_postfix(end.port, discard="8bitmime, smtputf8, chunking")
    rig = await make_rig(prepare=prepare)
    rig.route("beta.test", postfix)
    queue_id = await rig.send("b@beta.test", octets=DOTS, body="8BITMIME")
    assert rig.attempts(queue_id)[0].outcomes[0].outcome == "relayed"
    await arrived(end, 1)
    assert end.messages[0].octets.isascii()
    assert b"=C3=9Cber" in end.messages[0].octets


@pytest.mark.rfc(3461, "5.2.1")
async def test_postfix_understands_our_dsn_parameters_and_hands_them_on(make_rig, make_hop, make_postfix):
    end = await make_hop(offers=("PIPELINING", "8BITMIME", "DSN"))
    postfix = await make_postfix(end.port)
    rig = await make_rig(prepare=prepare)
    rig.route("beta.test", postfix)
    recipient = Recipient("b@beta.test", frozenset({"SUCCESS", "FAILURE"}), "rfc822;Bob+2Blists@gamma.test")
    queue_id = await rig.send(recipient, envid="QQ+2B7", ret="HDRS")
    assert rig.attempts(queue_id)[0].outcomes[0].outcome == "relayed"
    assert rig.home == []
    await arrived(end, 1)
    assert "RET=HDRS" in end.messages[0].mail
    assert "ENVID=QQ+2B7" in end.messages[0].mail
    assert "ORCPT=rfc822;Bob+2Blists@gamma.test" in end.messages[0].recipients[0]
    assert "NOTIFY=SUCCESS,FAILURE" in end.messages[0].recipients[0]


async def test_refusals_of_postfix_are_told_for_each_recipient(make_rig, make_hop, make_postfix):
    end = await make_hop()
    postfix = await make_postfix(
        end.port,
        settings="smtpd_recipient_restrictions = check_recipient_access inline:{ never@beta.test=REJECT, "
        "{ late@beta.test = 450 4.7.1 come back } }\n",
    )
    rig = await make_rig(prepare=prepare)
    rig.route("beta.test", postfix)
    queue_id = await rig.send("good@beta.test", "never@beta.test", "late@beta.test")
    outcomes = {one.address: one.outcome for one in rig.attempts(queue_id)[0].outcomes}
    assert outcomes == {"good@beta.test": "relayed", "never@beta.test": "failed", "late@beta.test": "deferred"}
    [fields] = read_report(rig.home[0].octets).recipients
    assert fields["Final-Recipient"] == "rfc822; never@beta.test"
    assert fields["Status"] == "5.7.1"


async def test_twenty_messages_share_few_connections_to_postfix(make_rig, make_hop, make_postfix):
    end = await make_hop()
    postfix = await make_postfix(end.port)
    rig = await make_rig(prepare=prepare)
    rig.route("beta.test", postfix)
    for number in range(20):
        await rig.enqueue(f"b{number}@beta.test")
    await rig.queue.quiet()
    assert await rig.queue.count() == 0
    await arrived(end, 20)
    assert len([session for session in rig.sessions if session.protocol == "relay"]) <= 20
