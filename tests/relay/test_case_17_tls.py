"""Case 17: STARTTLS that works, that is broken, that is required, and what MTA-STS, DANE and REQUIRETLS ask for."""

import contextlib
import hashlib
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

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
    assert "certificate not trusted" in rig.attempts(queue_id)[0].outcomes[0].reply
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
async def test_replies_injected_before_the_handshake_are_dropped(make_rig, make_hop, identity, trusting):
    hop = await make_hop(
        offers=OFFERS,
        tls=identity.context,
        script={"STARTTLS": ["220 2.0.0 go ahead\n250-mx.evil.test\n250 SIZE 1"]},
    )
    rig = await make_rig(tls=TlsPolicy("verified", trusting))
    rig.zone(zone_for(hop))
    queue_id = await rig.send("b@beta.test")
    [attempt] = rig.attempts(queue_id)
    assert "SIZE 1" not in attempt.offers
    assert [got.tls for got in hop.messages] in ([True], [])


async def test_injected_commands_are_dropped_by_the_listener(identity, listen):
    import asyncio

    beta = await listen(offers=("STARTTLS", "PIPELINING"))
    beta.service._context.tls = identity.context
    reader, writer = await asyncio.open_connection("127.0.0.1", beta.port)
    await reader.readline()
    writer.write(b"EHLO x.test\r\n")
    while (await reader.readline())[3:4] == b"-":
        pass
    writer.write(b"STARTTLS\r\nMAIL FROM:<evil@x.test>\r\n")
    answers = await reader.readline()
    assert b"evil" not in answers
    writer.transport.abort()


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
