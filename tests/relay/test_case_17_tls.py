"""Case 17: STARTTLS that works, that is broken, that is required, and what MTA-STS, DANE and REQUIRETLS ask for."""

import asyncio
import contextlib
import hashlib
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from rig import PLAIN

from mailsandbox.relay.tls import TlsPolicy
from mailsandbox.runtime.certificates import local_identity

OFFERS = ("PIPELINING", "STARTTLS")


@pytest.fixture(scope="module")
def identity(tmp_path_factory):
    return local_identity(tmp_path_factory.mktemp("tls"), ["mx.beta.test"])


@pytest.fixture
def trusting(identity) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(identity.authority))


def zone_for(hop, **records):
    return {
        "beta.test": {"MX": "10 mx.beta.test", **records.pop("domain", {})},
        "mx.beta.test": {"A": "127.0.0.1", "port": hop.port, **records},
    }


def certificate(identity) -> x509.Certificate:
    """What the server shows: a handshake in memory."""
    context = ssl.create_default_context(cafile=str(identity.authority))
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname="mx.beta.test")
    server = identity.context.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server, client, server):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    return x509.load_der_x509_certificate(client.getpeercert(binary_form=True))


@pytest.mark.rfc(3207, "4")
@pytest.mark.parametrize("level", ["opportunistic", "required", "verified"])
async def test_message_goes_over_tls_where_it_works(make_rig, make_hop, identity, trusting, level):
    hop = await make_hop(offers=OFFERS, tls=identity.context)
    rig = await make_rig(tls=TlsPolicy(level, trusting))
    rig.zone(zone_for(hop))
    queue_id = await rig.send("b@beta.test")
    assert hop.messages[0].tls
    assert rig.attempts(queue_id)[0].tls.startswith("TLSv1.")
    assert hop.lines[:3] == ["EHLO mx.alpha.test", "STARTTLS", "EHLO mx.alpha.test"]


@pytest.mark.rfc(7435, "3")
async def test_opportunistic_falls_back_to_clear_text_after_a_broken_handshake(make_rig, make_hop):
    hop = await make_hop(offers=OFFERS, broken_tls=True)
    rig = await make_rig(tls=TlsPolicy("opportunistic"))
    rig.route("beta.test", hop)
    queue_id = await rig.send("b@beta.test")
    assert [got.tls for got in hop.messages] == [False]
    assert any("in clear text" in line.text for line in rig.attempts(queue_id)[0].transcript)


@pytest.mark.parametrize(
    ("options", "enhanced"),
    [
        ({"offers": OFFERS, "broken_tls": True}, "4.7.5"),
        ({"offers": ("PIPELINING",)}, "4.7.4"),
        ({"offers": OFFERS, "script": {"STARTTLS": ["454 4.7.0 not now"]}}, "4.7.5"),
    ],
)
async def test_required_defers_with_4_7_x_and_never_sends_in_clear_text(make_rig, make_hop, options, enhanced):
    hop = await make_hop(**options)
    rig = await make_rig(tls=TlsPolicy("required"))
    rig.route("beta.test", hop)
    queue_id = await rig.send("b@beta.test")
    assert rig.attempts(queue_id)[0].outcomes[0].enhanced == enhanced
    assert rig.attempts(queue_id)[0].outcomes[0].outcome == "deferred"
    assert not any(line.startswith(("MAIL", "RCPT", "DATA")) for line in hop.lines)


async def test_verified_refuses_a_certificate_that_it_does_not_trust(make_rig, make_hop, identity):
    hop = await make_hop(offers=OFFERS, tls=identity.context)
    rig = await make_rig(tls=TlsPolicy("verified"))
    rig.zone(zone_for(hop))
    queue_id = await rig.send("b@beta.test")
    assert rig.attempts(queue_id)[0].outcomes[0].enhanced == "4.7.5"
    assert "its certificate is not trusted: " in rig.attempts(queue_id)[0].outcomes[0].reply
    assert hop.messages == []


@pytest.mark.rfc(8461, "4.1")
async def test_mta_sts_enforce_raises_the_level_and_uses_named_exchangers_only(make_rig, make_hop, identity, trusting):
    hop = await make_hop(offers=OFFERS, tls=identity.context)
    clear = await make_hop(offers=("PIPELINING",))
    rig = await make_rig(tls=TlsPolicy("opportunistic", trusting))
    policy = {"mode": "enforce", "mx": ["mx.beta.test"]}
    rig.zone(zone_for(hop, domain={"mta_sts": policy}))
    await rig.send("b@beta.test")
    assert [got.tls for got in hop.messages] == [True]
    rig.zone(zone_for(clear, domain={"mta_sts": policy}))
    queue_id = await rig.send("c@beta.test")
    assert rig.attempts(queue_id)[0].outcomes[0].enhanced == "4.7.4"
    rig.zone(zone_for(clear, domain={"mta_sts": {"mode": "enforce", "mx": ["*.other.test"]}}))
    queue_id = await rig.send("d@beta.test")
    assert rig.attempts(queue_id)[0].outcomes[0].enhanced == "4.7.5"
    rig.zone(zone_for(clear, domain={"mta_sts": {"mode": "testing", "mx": ["*.other.test"]}}))
    await rig.send("e@beta.test")
    assert [got.recipients for got in clear.messages] == [["RCPT TO:<e@beta.test>"]]


@pytest.mark.rfc(7672, "2.2")
async def test_dane_accepts_the_pinned_key_and_refuses_any_other(make_rig, make_hop, identity):
    hop = await make_hop(offers=OFFERS, tls=identity.context)
    rig = await make_rig(tls=TlsPolicy("opportunistic"))
    key = certificate(identity).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    rig.zone(zone_for(hop, TLSA=f"3 1 1 {hashlib.sha256(key).hexdigest()}"))
    await rig.send("b@beta.test")
    assert [got.tls for got in hop.messages] == [True]
    rig.zone(zone_for(hop, TLSA=f"3 1 1 {'00' * 32}"))
    queue_id = await rig.send("c@beta.test")
    assert rig.attempts(queue_id)[0].outcomes[0].enhanced == "4.7.5"
    assert len(hop.messages) == 1
    clear = await make_hop(offers=("PIPELINING",))
    rig.zone(zone_for(clear, TLSA=f"3 1 1 {'00' * 32}"))
    queue_id = await rig.send("d@beta.test")
    assert rig.attempts(queue_id)[0].outcomes[0].enhanced == "4.7.4"
    assert clear.messages == []


@pytest.mark.rfc(8689, "4.2.1")
async def test_requiretls_bounces_5_7_30_where_the_hop_does_not_offer_it(make_rig, make_hop, identity, trusting):
    hop = await make_hop(offers=OFFERS, tls=identity.context)
    able = await make_hop(offers=(*OFFERS, "REQUIRETLS"), tls=identity.context)
    rig = await make_rig(tls=TlsPolicy("opportunistic", trusting))
    rig.zone(zone_for(hop))
    queue_id = await rig.send("b@beta.test", require_tls=True)
    assert rig.attempts(queue_id)[0].outcomes[0].enhanced == "5.7.30"
    assert hop.messages == []
    rig.zone(zone_for(able))
    await rig.send("b@beta.test", require_tls=True)
    assert able.messages[0].mail.endswith(" REQUIRETLS")


@pytest.mark.rfc(3207, "4.2")
@pytest.mark.parametrize(
    "injected",
    [
        "250-mx.evil.test\n250-DSN\n250 SIZE 1",  # an answer to the EHLO that will follow
        "250-mx.evil.test",  # its beginning, which the true answer would end
        "250 mx.evil.test\n250 ok\n250 ok\n354 go\n250 queued\n221 bye",  # to all that will follow: mail would vanish
    ],
)
async def test_replies_injected_behind_the_220_are_not_taken_for_the_next_hops(
    make_rig, make_hop, identity, trusting, injected
):
    # CVE-2011-0411 turned round: the man in the middle answers in clear, the client reads it as said in TLS.
    hop = await make_hop(offers=OFFERS, tls=identity.context, script={"STARTTLS": [f"220 2.0.0 go ahead\n{injected}"]})
    rig = await make_rig(tls=TlsPolicy("verified", trusting))
    rig.zone(zone_for(hop))
    queue_id = await rig.send("b@beta.test", envid="E1")
    [attempt] = rig.attempts(queue_id)
    assert attempt.offers == ["PIPELINING"]
    assert [(got.tls, got.mail, got.octets) for got in hop.messages] == [(True, "MAIL FROM:<a@alpha.test>", PLAIN)]
    assert [outcome.reply for outcome in attempt.outcomes] == ["250 2.0.0 queued"]
    assert not any("evil" in line.text for line in attempt.transcript)


@pytest.fixture
async def behind_tls(listen, identity):
    """A listener that offers STARTTLS, and a client that said EHLO to it in clear."""
    beta = await listen(offers=("STARTTLS", "PIPELINING"), tls=identity.context)
    reader, writer = await asyncio.open_connection("127.0.0.1", beta.port)
    await reader.readline()
    writer.write(b"EHLO x.test\r\n")
    while (await reader.readline())[3:4] == b"-":
        pass
    yield beta, reader, writer
    writer.transport.abort()


@pytest.mark.rfc(3207, "4.2")
@pytest.mark.parametrize(
    "injected",
    [
        b"EHLO evil.test\r\nMAIL FROM:<evil@x.test>\r\nRCPT TO:<b@beta.test>\r\nDATA\r\n",
        b"MAIL FROM:<evil@x.test>\r\n",
        b"MAIL FROM:<evil@x.test> X=",  # the beginning of a line, which the client's own would end
        b"\r\n",
    ],
)
async def test_injected_commands_are_dropped_by_the_listener(behind_tls, injected):
    # CVE-2011-0411: what stands in clear behind STARTTLS would be carried out as if it had come in TLS.
    beta, reader, writer = behind_tls
    writer.write(b"STARTTLS\r\n" + injected)
    assert (await reader.readline())[:9] == b"554 5.5.0"
    assert await reader.read() == b""
    [session] = beta.sessions
    said = [line.text[:4] for line in session.transcript if line.side == "S"]
    assert said[-2:] == ["250 ", "554 "]
    assert (session.outcome, session.tls, beta.accepted) == ("rejected", "", [])


@pytest.mark.rfc(3207, "4.2")
async def test_commands_injected_behind_the_220_break_the_handshake(behind_tls):
    beta, reader, writer = behind_tls
    writer.write(b"STARTTLS\r\n")
    assert (await reader.readline())[:3] == b"220"
    writer.write(b"EHLO evil.test\r\nMAIL FROM:<evil@x.test>\r\n")
    async with asyncio.timeout(10):  # a server that goes on in clear would wait for more
        assert b"250" not in await reader.read()
    [session] = beta.sessions
    assert not any("evil" in line.text for line in session.transcript)
    assert (session.outcome, session.tls, beta.accepted) == ("tls failed", "", [])


@pytest.mark.rfc(8689, "4.2.1")
async def test_requiretls_asks_the_next_exchanger_where_one_does_not_offer_it(make_rig, make_hop, identity, trusting):
    without = await make_hop(offers=OFFERS, tls=identity.context)
    offering = await make_hop(offers=(*OFFERS, "REQUIRETLS"), tls=identity.context)
    rig = await make_rig(tls=TlsPolicy("opportunistic", trusting))
    rig.zone(
        {
            "beta.test": {"MX": ["10 mx.beta.test", "20 second.test"]},
            "mx.beta.test": {"A": "127.0.0.1", "port": without.port},
            "second.test": {"A": "127.0.0.1", "port": offering.port},
        }
    )
    queue_id = await rig.send("b@beta.test", require_tls=True)
    said = [attempt.outcomes[0].enhanced for attempt in rig.attempts(queue_id)]
    assert said[0] == "5.7.30"
    assert len(said) == 2
    assert without.messages == []


@pytest.mark.rfc(8689, "4.2.2")
@pytest.mark.parametrize("policy", [{"TLSA": f"3 1 1 {'00' * 32}"}, {"TLSA": "SERVFAIL"}, {"domain": "sts"}])
@pytest.mark.parametrize(
    ("field", "require_tls", "sent"),
    [
        ("TLS-Required: No", False, True),
        ("tls-required:\r\n no ", False, True),
        ("TLS-Required: Yes", False, False),
        ("X: 1\r\n\r\nTLS-Required: No", False, False),
        ("TLS-Required: No", True, False),
    ],
)
async def test_an_author_can_waive_what_the_receiver_asks_for_but_not_requiretls(
    make_rig, make_hop, policy, field, require_tls, sent
):
    hop = await make_hop()
    rig = await make_rig(tls=TlsPolicy("opportunistic"))
    sts = {"domain": {"mta_sts": {"mode": "enforce", "mx": ["mx.other.test"]}}}
    rig.zone(zone_for(hop, **(sts if "domain" in policy else policy)))
    octets = f"From: a@alpha.test\r\n{field}\r\n\r\nHello\r\n".encode()
    await rig.send("b@beta.test", octets=octets, require_tls=require_tls)
    assert bool(hop.messages) is sent
