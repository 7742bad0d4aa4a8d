"""BDAT is used where the next hop offers CHUNKING (RFC 3030), but by emulations of servers that never use it."""

import pytest
from rig import PLAIN

from mailsandbox.encoding import Emulation
from mailsandbox.message.envelope import Recipient

CHUNKING = ("PIPELINING", "8BITMIME", "CHUNKING", "SIZE 10000000")


def verbs(hop) -> list[str]:
    return [line.partition(" ")[0] for line in hop.lines]


@pytest.mark.rfc(3030, "2")
@pytest.mark.parametrize("octets", [PLAIN, PLAIN + b".\r\n..\r\n.\r\nno end of line"])
async def test_a_message_goes_by_bdat_to_the_octet(make_rig, make_hop, octets):
    hop = await make_hop(offers=CHUNKING)
    rig = await make_rig()
    rig.route("beta.test", hop)
    await rig.send("b@beta.test", octets=octets)
    assert verbs(hop)[1:4] == ["MAIL", "RCPT", "BDAT"]
    assert hop.messages[0].octets == octets


@pytest.mark.parametrize(
    ("emulation", "verb"),
    [(Emulation.POSTFIX, "DATA"), (Emulation.SENDMAIL, "DATA"), (Emulation.EXIM, "BDAT"), (Emulation.STRICT, "BDAT")],
)
async def test_emulated_servers_send_as_they_do(make_rig, make_hop, emulation, verb):
    hop = await make_hop(offers=CHUNKING)
    rig = await make_rig(emulate=emulation)
    rig.route("beta.test", hop)
    await rig.send("b@beta.test")
    assert verb in verbs(hop)
    assert hop.messages[0].octets == PLAIN


@pytest.mark.rfc(3030, "2")
async def test_refused_recipients_cost_no_message_and_the_connection_stays_good(make_rig, make_hop):
    hop = await make_hop(
        offers=CHUNKING, decide=lambda verb, line: "550 5.1.1 no" if verb == "RCPT" and "nobody" in line else None
    )
    rig = await make_rig()
    rig.route("beta.test", hop)
    await rig.send("nobody@beta.test")
    await rig.send("nobody@beta.test", Recipient("b@beta.test"))
    await rig.send("c@beta.test")
    assert [got.recipients for got in hop.messages] == [["RCPT TO:<b@beta.test>"], ["RCPT TO:<c@beta.test>"]]
    assert hop.connections == 1


@pytest.mark.rfc(3030, "2")
async def test_a_large_message_goes_in_chunks_and_an_early_refusal_is_heard(make_rig, make_hop):
    hop = await make_hop(offers=CHUNKING)
    rig = await make_rig()
    rig.route("beta.test", hop)
    large = PLAIN + (b"x" * 76 + b"\r\n") * 30_000
    await rig.send("b@beta.test", octets=large)
    assert hop.messages[0].octets == large
    assert verbs(hop).count("BDAT") == 3
