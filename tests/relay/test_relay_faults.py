"""Scripted faults on the relay's own side, and what cannot be sent at all."""

import pytest
from reports import read_report

from mailsandbox.faults import Delay, Drop, Fault, Respond
from mailsandbox.relay.routes import Route


@pytest.mark.parametrize("stage", ["connect", "mail", "data"])
async def test_answer_in_the_servers_place_counts_for_everybody(make_rig, make_hop, stage):
    hop = await make_hop()
    rig = await make_rig()
    rig.route("beta.test", hop)
    rig.faults.add(Fault(Respond(554, "scripted", "5.7.1"), protocol="relay", stage=stage, times=1))
    queue_id = await rig.send("b@beta.test", "c@beta.test")
    assert {one.reply for one in rig.attempts(queue_id)[0].outcomes} == {"554 5.7.1 scripted"}
    assert hop.messages == []
    assert any("fault: answered 554" in line.text for line in rig.attempts(queue_id)[0].transcript)
    assert len(read_report(rig.home[0].octets).recipients) == 2


async def test_answer_for_one_recipient_leaves_the_others_alone(make_rig, make_hop):
    hop = await make_hop()
    rig = await make_rig()
    rig.route("beta.test", hop)
    rig.faults.add(Fault(Respond(451, "scripted", "4.2.1"), protocol="relay", stage="rcpt", account="^c@", times=1))
    queue_id = await rig.send("b@beta.test", "c@beta.test")
    assert [one.outcome for one in rig.attempts(queue_id)[0].outcomes] == ["deferred", "relayed"]
    assert hop.messages[0].recipients == ["RCPT TO:<b@beta.test>"]
    await rig.clock.advance(60)
    assert hop.messages[1].recipients == ["RCPT TO:<c@beta.test>"]


async def test_all_recipients_answered_by_faults_leave_the_connection_usable(make_rig, make_hop):
    hop = await make_hop()
    rig = await make_rig()
    rig.route("beta.test", hop)
    rig.faults.add(Fault(Respond(451, "scripted"), protocol="relay", stage="rcpt", times=1))
    await rig.send("b@beta.test")
    await rig.clock.advance(60)
    assert hop.connections == 1
    assert len(hop.messages) == 1


@pytest.mark.parametrize("stage", ["connect", "mail", "data"])
async def test_broken_off_connection_defers_with_4_4_2(make_rig, make_hop, stage):
    hop = await make_hop()
    rig = await make_rig()
    rig.route("beta.test", hop)
    rig.faults.add(Fault(Drop(), protocol="relay", stage=stage, times=1))
    queue_id = await rig.send("b@beta.test")
    outcome = rig.attempts(queue_id)[0].outcomes[0]
    assert (outcome.outcome, outcome.enhanced) == ("deferred", "4.4.2")
    await rig.clock.advance(60)
    assert len(hop.messages) == 1


async def test_delay_lasts_by_the_manual_clock_and_is_noted(make_rig, make_hop):
    hop = await make_hop()
    rig = await make_rig()
    rig.route("beta.test", hop)
    rig.faults.add(Fault(Delay(3600.0), protocol="relay", stage="connect", site="alpha"))
    queue_id = await rig.enqueue("b@beta.test")
    await rig.clock.advance(3599)
    assert hop.connections == 0
    await rig.clock.advance(1)
    assert len(hop.messages) == 1
    [attempt] = rig.attempts(queue_id)
    assert attempt.ended_at - attempt.started_at == 3600
    assert any("seconds of delay" in line.text for line in rig.attempts(queue_id)[0].transcript)


@pytest.mark.rfc(5321, "4.5.3.1.10")
@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ("552 too many recipients", "deferred"),
        ("552 5.5.3 too many recipients", "deferred"),
        ("552 5.2.2 mailbox full", "failed"),
        ("552 5.3.4 too large", "failed"),
    ],
)
async def test_552_to_rcpt_counts_as_452_unless_its_enhanced_code_says_otherwise(make_rig, make_hop, answer, outcome):
    hop = await make_hop(script={"RCPT": [answer]})
    rig = await make_rig()
    rig.route("beta.test", hop)
    queue_id = await rig.send("b@beta.test")
    assert rig.attempts(queue_id)[0].outcomes[0].outcome == outcome


@pytest.mark.parametrize(
    "address", ["b@beta.test>\r\nRCPT TO:<evil@x.test", "b@beta.test\n", "b\x00@beta.test", "<b@x>"]
)
async def test_address_that_would_be_another_command_never_reaches_the_wire(make_rig, make_hop, address):
    hop = await make_hop()
    rig = await make_rig()
    rig.routes.static.append(Route("*", "127.0.0.1", hop.port))
    queue_id = await rig.send(address, "good@beta.test")
    await rig.send("good@beta.test", sender=address)
    assert not any("evil" in line for line in hop.lines)
    assert [got.recipients for got in hop.messages] == [["RCPT TO:<good@beta.test>"]]
    failed = [one for event in rig.attempts(queue_id) for one in event.outcomes if one.outcome == "failed"]
    assert [one.enhanced for one in failed] == ["5.1.3"]


async def test_name_of_a_route_that_the_system_does_not_know_defers_with_4_4_3(make_rig):
    rig = await make_rig()
    rig.routes.static.append(Route("beta.test", "no-such-host.invalid", 25))
    queue_id = await rig.send("b@beta.test")
    outcome = rig.attempts(queue_id)[0].outcomes[0]
    assert (outcome.outcome, outcome.enhanced) == ("deferred", "4.4.3")


async def test_name_that_the_system_resolves_is_still_subject_to_the_allowed_networks(make_rig, monkeypatch):
    import asyncio

    rig = await make_rig()
    rig.routes.static.append(Route("beta.test", "mail.example.test", 25))

    async def resolve(host, port, **options):
        return [(2, 1, 6, "", ("192.0.2.9", port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    queue_id = await rig.send("b@beta.test")
    assert rig.attempts(queue_id)[0].address == "192.0.2.9:25"
    assert rig.attempts(queue_id)[0].outcomes[0].enhanced == "5.7.1"


@pytest.mark.rfc(5321, "4.5.3.1.10")
@pytest.mark.parametrize("verb", ["MAIL", "DATA", "."])
async def test_552_to_anything_but_rcpt_is_for_good(make_rig, make_hop, verb):
    hop = await make_hop(decide=lambda said, line: "552 message too large" if said == verb else None)
    rig = await make_rig()
    rig.route("beta.test", hop)
    queue_id = await rig.send("b@beta.test")
    assert rig.attempts(queue_id)[0].outcomes[0].outcome == "failed"
    assert await rig.queue.count() == 0
