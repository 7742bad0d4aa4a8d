"""Connections: used again, gone meanwhile, out of step, slow, authenticated, LMTP."""

import asyncio

import pytest
from next_hop import DROP, HANG
from rig import PLAIN

from mailsandbox.encoding.verdicts import Accept
from mailsandbox.relay.connection import Timeouts
from mailsandbox.relay.routes import Login, Route


async def test_connection_is_used_again_for_the_next_message(make_rig, make_hop):
    hop = await make_hop()
    rig = await make_rig()
    rig.route("beta.test", hop)
    for _ in range(5):
        await rig.send("b@beta.test")
    assert hop.connections == 1
    assert len(hop.messages) == 5


async def test_transcript_of_a_message_on_a_kept_connection_is_its_own(make_rig, make_hop):
    hop = await make_hop()
    rig = await make_rig()
    rig.route("beta.test", hop)
    await rig.send("b@beta.test")
    queue_id = await rig.send("c@beta.test")
    lines = [(line.side, line.text) for line in rig.attempts(queue_id)[0].transcript]
    assert lines == [
        ("!", "connection used again: message 2"),
        ("C", f"MAIL FROM:<a@alpha.test> SIZE={len(PLAIN)}"),
        ("C", "RCPT TO:<c@beta.test>"),
        ("C", "DATA"),
        ("S", "250 2.1.0 sender ok"),
        ("S", "250 2.1.5 recipient ok"),
        ("S", "354 go on"),
        ("C", f"[{len(PLAIN)} octets of message data]"),
        ("C", "."),
        ("S", "250 2.0.0 queued"),
    ]


@pytest.mark.parametrize("answer", [DROP, "421 4.4.2 idle too long"])
async def test_kept_connection_that_is_gone_costs_a_second_connection_and_not_the_attempt(make_rig, make_hop, answer):
    hop = await make_hop(script={"MAIL": [None, answer]})
    rig = await make_rig()
    rig.route("beta.test", hop)
    await rig.send("b@beta.test")
    queue_id = await rig.send("c@beta.test")
    assert len(rig.attempts(queue_id)) == 1
    assert rig.attempts(queue_id)[0].outcomes[0].outcome == "relayed"
    assert hop.connections == 2


async def test_connection_after_refused_recipients_is_reset_and_used_again(make_rig, make_hop):
    hop = await make_hop(script={"RCPT": ["550 5.1.1 unknown"]}, offers=())
    rig = await make_rig()
    rig.route("beta.test", hop)
    await rig.send("b@beta.test")
    await rig.send("c@beta.test")
    assert hop.connections == 1
    assert "RSET" in hop.lines
    assert len(hop.messages) == 1


@pytest.mark.rfc(5321, "4.2.1")
@pytest.mark.parametrize("nonsense", ["hello there", "250-a\n550 b", "2500 x", "250-" + "x" * 5000, "\x00\x00"])
async def test_what_is_no_reply_defers_the_message_and_the_connection_is_not_used_again(make_rig, make_hop, nonsense):
    hop = await make_hop(script={"RCPT": [nonsense]})
    rig = await make_rig()
    rig.route("beta.test", hop)
    queue_id = await rig.send("b@beta.test")
    assert rig.attempts(queue_id)[0].outcomes[0].outcome == "deferred"
    await rig.clock.advance(60)
    assert hop.connections == 2
    assert len(hop.messages) == 1


@pytest.mark.parametrize("verb", ["connect", "EHLO"])
async def test_nonsense_before_mail_defers_the_message(make_rig, make_hop, verb):
    hop = await make_hop(script={verb: ["hello there"]})
    rig = await make_rig()
    rig.route("beta.test", hop)
    queue_id = await rig.send("b@beta.test")
    assert rig.attempts(queue_id)[0].outcomes[0].outcome == "deferred"
    await rig.clock.advance(60)
    assert len(hop.messages) == 1


@pytest.mark.rfc(5321, "4.5.3.2")
@pytest.mark.parametrize("verb", ["connect", "EHLO", "MAIL", "DATA", "."])
async def test_server_that_does_not_answer_is_given_up_after_the_deadline(make_rig, make_hop, verb):
    hop = await make_hop(script={verb: [HANG]})
    quick = Timeouts(connect=0.05, greeting=0.05, command=0.05, data=0.05, block=0.05, end=0.05)
    rig = await make_rig(timeouts=quick)
    rig.route("beta.test", hop)
    queue_id = await rig.send("b@beta.test")
    [attempt] = rig.attempts(queue_id)
    assert attempt.outcomes[0].outcome == "deferred"
    assert attempt.possible_duplicate is (verb == ".")
    await rig.clock.advance(60)
    assert len(hop.messages) == 1


@pytest.mark.rfc(5321, "3.2")
async def test_server_that_does_not_know_ehlo_is_asked_with_helo(make_rig, make_hop):
    hop = await make_hop(script={"EHLO": ["502 5.5.1 what"]})
    rig = await make_rig()
    rig.route("beta.test", hop)
    await rig.send("b@beta.test")
    assert hop.lines[:2] == ["EHLO mx.alpha.test", "HELO mx.alpha.test"]
    assert hop.messages[0].mail == "MAIL FROM:<a@alpha.test>"


@pytest.mark.parametrize("answer", ["554 5.3.2 not here", "550 5.7.1 you are blocked"])
async def test_permanent_answer_to_the_connection_bounces(make_rig, make_hop, answer):
    hop = await make_hop(script={"connect": [answer]})
    rig = await make_rig()
    rig.route("beta.test", hop)
    queue_id = await rig.send("b@beta.test")
    assert rig.attempts(queue_id)[0].outcomes[0].reply == answer
    assert len(rig.home) == 1


@pytest.mark.rfc(4954, "4")
async def test_route_with_a_login_authenticates_and_the_password_is_in_no_transcript(make_rig, make_hop):
    hop = await make_hop(offers=("PIPELINING", "AUTH PLAIN"), script={"AUTH": ["235 2.7.0 welcome"]})
    rig = await make_rig()
    rig.routes.static.append(Route("beta.test", "127.0.0.1", hop.port, login=Login("me", "s3cr3t")))
    queue_id = await rig.send("b@beta.test")
    assert len(hop.messages) == 1
    assert any(line.startswith("AUTH PLAIN") for line in hop.lines)
    said = " ".join(line.text for line in rig.attempts(queue_id)[0].transcript)
    assert "AUTH (as me) ***" in said
    assert "s3cr3t" not in said
    assert "s3cr3t" not in repr(rig.routes.static)


@pytest.mark.rfc(4954, "6")
@pytest.mark.parametrize("offers", [("AUTH PLAIN",), ()])
async def test_refused_or_missing_auth_defers_with_4_7_x(make_rig, make_hop, offers):
    hop = await make_hop(offers=offers, script={"AUTH": ["535 5.7.8 wrong"]})
    rig = await make_rig()
    rig.routes.static.append(Route("beta.test", "127.0.0.1", hop.port, login=Login("me", "wrong")))
    queue_id = await rig.send("b@beta.test")
    outcome = rig.attempts(queue_id)[0].outcomes[0]
    assert outcome.outcome == "deferred"
    assert outcome.enhanced.startswith("4.7.")
    assert hop.messages == []


@pytest.mark.rfc(2033, "4.2")
async def test_lmtp_answers_for_each_recipient_and_success_is_told_as_delivered(make_rig, make_hop):
    from mailsandbox.message.envelope import Recipient

    hop = await make_hop(lmtp=True, script={".": [None, "550 5.2.1 mailbox closed"]})
    rig = await make_rig()
    rig.route("beta.test", hop, lmtp=True)
    queue_id = await rig.send(Recipient("b@beta.test", frozenset({"SUCCESS"})), Recipient("c@beta.test"))
    assert hop.lines[0] == "LHLO mx.alpha.test"
    assert [one.outcome for one in rig.attempts(queue_id)[0].outcomes] == ["delivered", "failed"]
    assert sorted(one.action for one in rig.notified(queue_id)) == ["delivered", "failed"]


async def test_lmtp_over_a_unix_socket(make_rig, tmp_path):
    from next_hop import NextHop

    hop = NextHop(lmtp=True)
    path = str(tmp_path / "lmtp")
    server = await asyncio.start_unix_server(hop._serve, path)
    rig = await make_rig()
    rig.routes.static.append(Route("beta.test", f"unix:{path}", lmtp=True))
    await rig.send("b@beta.test")
    assert len(hop.messages) == 1
    server.close()
    await hop.aclose()
    await rig.courier.aclose()


@pytest.mark.rfc(3030, "2")
@pytest.mark.parametrize("size", [10, 100_000, 3_000_000])
async def test_bdat_carries_octets_as_they_are(make_rig, make_hop, size):
    octets = (b".\r\n\x00\n" * (size // 5 + 1))[:size]

    def by_bdat(octets, *, offers, envelope, policy, clean):
        return Accept(octets, body="BINARYMIME", use_bdat=True)

    hop = await make_hop(offers=("PIPELINING", "CHUNKING", "BINARYMIME"))
    rig = await make_rig(prepare=by_bdat)
    rig.route("beta.test", hop)
    await rig.send("b@beta.test", octets=octets)
    assert hop.messages[0].octets == octets
    assert hop.messages[0].mail == "MAIL FROM:<a@alpha.test> BODY=BINARYMIME"


@pytest.mark.rfc(5321, "4.5.2")
@pytest.mark.parametrize(
    "octets", [b".\r\n", b"..\r\n.\r\n", b"a\r\n.b\r\n\r\n.\r\n", b"x" * 5_000_000 + b"\r\n", b"\r\n"]
)
async def test_data_arrives_to_the_octet(make_rig, make_hop, octets):
    hop = await make_hop(offers=("PIPELINING",))
    rig = await make_rig()
    rig.route("beta.test", hop)
    await rig.send("b@beta.test", octets=octets)
    assert hop.messages[0].octets == octets


async def test_peer_that_stops_reading_is_given_up_and_is_no_possible_duplicate(make_rig):
    writers = []

    async def deaf(reader, writer):
        writers.append(writer)
        writer.write(b"220 x\r\n")
        await reader.readline()
        writer.write(b"250 x\r\n")
        for _ in range(2):
            await reader.readline()
            writer.write(b"250 ok\r\n")
        await reader.readline()
        writer.write(b"354 go\r\n")
        writer.transport.pause_reading()

    server = await asyncio.start_server(deaf, "127.0.0.1", 0)
    rig = await make_rig(timeouts=Timeouts(block=0.1))
    rig.routes.static.append(Route("beta.test", "127.0.0.1", server.sockets[0].getsockname()[1]))
    queue_id = await rig.send("b@beta.test", octets=b"x" * 50_000_000 + b"\r\n")
    [attempt] = rig.attempts(queue_id)
    assert attempt.outcomes[0].outcome == "deferred"
    assert not attempt.possible_duplicate
    writers[0].transport.abort()
    server.close()


async def test_every_connection_is_in_the_session_log_with_its_end(make_rig, make_hop):
    hop = await make_hop()
    refusing = await make_hop(script={"connect": ["554 5.3.2 no"]})
    rig = await make_rig()
    rig.route("beta.test", hop)
    rig.route("gamma.test", refusing)
    await rig.send("b@beta.test")
    await rig.send("b@gamma.test")
    assert sorted((one.protocol, one.service, one.outcome) for one in rig.sessions) == [
        ("relay", "alpha.relay", "failed"),
        ("relay", "alpha.relay", "open"),
    ]
    await rig.courier.aclose()
    assert {one.outcome for one in rig.sessions} == {"failed", "closed"}
    assert hop.lines[-1] == "QUIT"


async def test_replies_that_are_no_utf_8_are_shown_with_escapes(make_rig, make_hop):
    hop = await make_hop(script={"RCPT": ["550 5.1.1 unbekannt: \udcfc"]})
    rig = await make_rig()
    rig.route("beta.test", hop)
    queue_id = await rig.send("b@beta.test")
    assert rig.attempts(queue_id)[0].outcomes[0].reply == "550 5.1.1 unbekannt: \\xfc"
