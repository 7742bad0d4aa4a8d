"""Deliver By (RFC 2852): what becomes of a deadline at hops that know it and at those that do not."""

import email

import pytest
from flufl.bounce import scan_message
from reports import read_report

from mailsandbox.faults import Delay, Fault
from mailsandbox.mailqueue.schedule import RetryPolicy
from mailsandbox.message.envelope import Envelope, Recipient
from mailsandbox.message.trace import format_date
from mailsandbox.relay.parameters import deadline_refused
from mailsandbox.smtp.deliver_by import least_time
from mailsandbox.smtp.extensions import Offers

KNOWS = ("PIPELINING", "DSN", "DELIVERBY 30")
KNOWS_NOT = ("PIPELINING", "DSN")


def later(verb, line):
    return "451 4.7.1 later" if verb == "RCPT" else None


def told(rig):
    return [(fields["Action"], fields["Status"]) for home in rig.home for fields in read_report(home.octets).recipients]


@pytest.mark.rfc(2852, "4.1.4")
@pytest.mark.parametrize(("given", "sent"), [("600;R", "480;R"), ("600;nt", "480;NT"), ("60;N", "-60;N")])
async def test_the_time_that_a_message_was_here_is_taken_off(make_rig, make_hop, given, sent):
    hop = await make_hop(offers=KNOWS, script={"RCPT": ["451 4.7.1 later"]})
    rig = await make_rig(retry=RetryPolicy(first=120, jitter=0))
    rig.route("beta.test", hop)
    await rig.send(Recipient("b@beta.test", frozenset({"NEVER"})), deliver_by=given)
    await rig.clock.advance(120)
    [got] = hop.messages
    assert got.mail.endswith(f" BY={sent}")


@pytest.mark.rfc(2852, "4.1.4.1")
async def test_return_does_not_go_to_a_hop_that_keeps_no_deadline(make_rig, make_hop):
    hop = await make_hop(offers=KNOWS_NOT)
    rig = await make_rig()
    rig.route("beta.test", hop)
    await rig.send("b@beta.test", deliver_by="600;R")
    assert hop.messages == []
    assert not any(line.startswith("MAIL") for line in hop.lines)
    assert told(rig) == [("failed", "5.3.3")]


async def test_return_goes_to_the_next_exchanger_that_keeps_the_deadline(make_rig, make_hop):
    without, knowing = await make_hop(offers=KNOWS_NOT), await make_hop(offers=KNOWS)
    rig = await make_rig()
    rig.zone(
        {
            "delta.test": {"MX": ["10 mx1.delta.test", "20 mx2.delta.test"]},
            "mx1.delta.test": {"A": "127.0.0.1", "port": without.port},
            "mx2.delta.test": {"A": "127.0.0.1", "port": knowing.port},
        }
    )
    await rig.send("b@delta.test", deliver_by="600;R")
    assert (len(without.messages), len(knowing.messages), rig.home) == (0, 1, [])


@pytest.mark.rfc(2852, "4.1.4.1")
async def test_return_with_less_time_than_the_hop_asks_for_is_not_tried(make_rig, make_hop):
    hop = await make_hop(offers=KNOWS)
    rig = await make_rig()
    rig.route("beta.test", hop)
    await rig.send("b@beta.test", deliver_by="29;R")
    assert hop.messages == []
    assert told(rig) == [("failed", "5.4.7")]


@pytest.mark.rfc(2852, "4.1.3")
async def test_return_is_failed_5_4_7_when_the_time_is_over_and_is_never_tried_after_it(make_rig, make_hop):
    hop = await make_hop(offers=KNOWS, decide=later)
    rig = await make_rig()
    rig.route("beta.test", hop)
    began = rig.clock.now()
    queue_id = await rig.send("b@beta.test", deliver_by="300;R")
    await rig.clock.advance(299)
    assert rig.home == []
    await rig.clock.advance(1)
    attempts = len(rig.attempts(queue_id))
    await rig.clock.advance(86_400)
    assert len(rig.attempts(queue_id)) == attempts
    [home] = rig.home
    report = read_report(home.octets)
    assert told(rig) == [("failed", "5.4.7")]
    assert report.message["Deliver-By-Date"] == format_date(began + 300)
    assert list(scan_message(email.message_from_bytes(home.octets))) == [b"b@beta.test"]


@pytest.mark.rfc(2852, "4.1.3")
@pytest.mark.parametrize(("seconds_used", "refused"), [(299.9, ""), (300, "5.4.7"), (5000, "5.4.7")])
def test_return_is_sent_nowhere_when_the_time_is_over(seconds_used, refused):
    envelope = Envelope("a@alpha.test", (), deliver_by="300;R")
    for lmtp in (False, True):
        answer = deadline_refused(envelope, offers=Offers.parse(["DELIVERBY"]), seconds_used=seconds_used, lmtp=lmtp)
        assert (answer.enhanced if answer else "") == refused


@pytest.mark.rfc(2852, "4.1.4.2")
async def test_notify_goes_on_to_a_hop_that_keeps_no_deadline_and_the_sender_is_told_of_the_relay(make_rig, make_hop):
    hop = await make_hop(offers=KNOWS_NOT)
    rig = await make_rig()
    rig.route("beta.test", hop)
    await rig.send("b@beta.test", deliver_by="600;N")
    [got] = hop.messages
    assert "BY=" not in got.mail
    assert told(rig) == [("relayed", "2.0.0")]


@pytest.mark.rfc(2852, "4.1.4.2")
@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ((), " NOTIFY=FAILURE,DELAY"),
        (("FAILURE",), " NOTIFY=FAILURE,DELAY"),
        (("SUCCESS", "DELAY"), " NOTIFY=SUCCESS,DELAY"),
        (("NEVER",), " NOTIFY=NEVER"),
    ],
)
async def test_notify_asks_a_hop_that_keeps_no_deadline_to_tell_delays(make_rig, make_hop, given, asked):
    hop = await make_hop(offers=KNOWS_NOT)
    rig = await make_rig()
    rig.route("beta.test", hop)
    await rig.send(Recipient("b@beta.test", frozenset(given)), deliver_by="600;N")
    assert hop.messages[0].recipients == [f"RCPT TO:<b@beta.test>{asked}"]


@pytest.mark.rfc(2852, "4.1.4.2")
@pytest.mark.parametrize(("by", "actions"), [("-5;N", []), ("0;N", []), ("-5;NT", ["relayed"])])
async def test_a_time_that_is_over_asks_no_more_of_a_hop_that_keeps_no_deadline(make_rig, make_hop, by, actions):
    hop = await make_hop(offers=KNOWS_NOT)
    rig = await make_rig()
    rig.route("beta.test", hop)
    await rig.send("b@beta.test", deliver_by=by)
    assert hop.messages[0].recipients == ["RCPT TO:<b@beta.test>"]
    assert [action for action, _ in told(rig)] == actions


@pytest.mark.rfc(2852, "4.1.3")
@pytest.mark.parametrize(
    ("notify", "expected"), [((), [("delayed", "4.4.7")]), (("DELAY",), [("delayed", "4.4.7")]), (("FAILURE",), [])]
)
@pytest.mark.parametrize("offers", [KNOWS, KNOWS_NOT])
async def test_a_relay_that_ends_after_the_time_is_told_as_a_delay(make_rig, make_hop, notify, expected, offers):
    hop = await make_hop(offers=offers)
    rig = await make_rig()
    rig.route("beta.test", hop)
    rig.faults.add(Fault(Delay(120), protocol="relay", stage="connect"))
    await rig.enqueue(Recipient("b@beta.test", frozenset(notify)), deliver_by="60;N")
    await rig.clock.advance(120)
    assert len(hop.messages) == 1
    assert told(rig) == expected
    assert all(b"It has been handed on by now" in home.octets for home in rig.home)


@pytest.mark.rfc(2852, "2")
@pytest.mark.parametrize(
    ("parameter", "minimum"), [("", 0), ("240", 240), ("240,X-NEW", 240), (",X-NEW", 0), ("1234567890", 0), ("x", 0)]
)
def test_the_minimum_is_the_first_of_the_options_that_a_server_lists(parameter, minimum):
    offers = Offers.parse([f"DELIVERBY {parameter}".strip()])
    assert least_time(offers) == minimum
    envelope = Envelope("a@alpha.test", (), deliver_by="239;R")
    assert (deadline_refused(envelope, offers=offers, seconds_used=0) is None) == (minimum <= 239)


async def test_notify_that_a_knowing_hop_takes_is_told_by_that_hop(make_rig, make_hop):
    hop = await make_hop(offers=KNOWS)
    rig = await make_rig()
    rig.route("beta.test", hop)
    await rig.send("b@beta.test", deliver_by="600;N")
    assert rig.home == []


@pytest.mark.rfc(2852, "4.1.4")
async def test_trace_tells_every_relay_and_goes_on(make_rig, make_hop):
    hop = await make_hop(offers=KNOWS)
    rig = await make_rig()
    rig.route("beta.test", hop)
    await rig.send("b@beta.test", Recipient("c@beta.test", frozenset({"NEVER"})), deliver_by="600;NT")
    assert hop.messages[0].mail.endswith("BY=600;NT")
    assert told(rig) == [("relayed", "2.0.0")]


@pytest.mark.rfc(2852, "4.1.3")
async def test_notify_tells_the_delay_when_the_time_is_over_whatever_our_own_time_is_and_goes_on(make_rig, make_hop):
    hop = await make_hop(offers=KNOWS, script={"RCPT": ["451 4.7.1 later"] * 12})
    rig = await make_rig(retry=RetryPolicy(warn=3600, jitter=0, limit=3600))
    rig.route("beta.test", hop)
    await rig.send("b@beta.test", deliver_by="14400;N")
    await rig.clock.advance(14_399)
    assert rig.home == []
    await rig.clock.advance(1)
    assert told(rig) == [("delayed", "4.4.7")]
    await rig.clock.advance(86_400)
    assert len(hop.messages) == 1
    assert told(rig) == [("delayed", "4.4.7")]


@pytest.mark.rfc(2852, "4")
async def test_a_time_that_was_over_before_the_message_came_is_told_no_second_time(make_rig, make_hop):
    hop = await make_hop(offers=KNOWS, decide=later)
    rig = await make_rig(retry=RetryPolicy(warn=3600, jitter=0))
    rig.route("beta.test", hop)
    await rig.send("b@beta.test", deliver_by="-5;N")
    assert rig.home == []
    await rig.clock.advance(3600)
    assert told(rig) == [("delayed", "4.7.1")]  # our own warning


async def test_lmtp_delivers_at_once_and_needs_no_deadline(make_rig, make_hop):
    hop = await make_hop(offers=("PIPELINING",), lmtp=True)
    rig = await make_rig()
    rig.route("beta.test", hop, lmtp=True)
    await rig.send("b@beta.test", deliver_by="600;RT")
    assert (len(hop.messages), rig.home) == (1, [])
