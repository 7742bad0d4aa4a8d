"""REQUIRETLS (RFC 8689) at the relay: what a message may travel by, how it fails, and how its notifications travel."""

import ssl

import pytest

from mailsandbox.relay.tls import TlsPolicy
from mailsandbox.runtime.certificates import local_identity

TLS = ("PIPELINING", "STARTTLS")
ABLE = (*TLS, "REQUIRETLS")
CLEAR = ("PIPELINING",)


@pytest.fixture(scope="module")
def identity(tmp_path_factory):
    return local_identity(tmp_path_factory.mktemp("tls"), ["mx.beta.test", "second.test"])


@pytest.fixture
def opportunistic(identity) -> TlsPolicy:
    return TlsPolicy("opportunistic", ssl.create_default_context(cafile=str(identity.authority)))


def zone_for(*hops, **domain):
    names = ["mx.beta.test", "second.test"][: len(hops)]
    exchangers = [f"{10 * (place + 1)} {name}" for place, name in enumerate(names)]
    hosts = {name: {"A": "127.0.0.1", "port": hop.port} for name, hop in zip(names, hops, strict=True)}
    return {"beta.test": {"MX": exchangers, **domain}, **hosts}


def outcomes(rig, queue_id):
    return [(one.outcomes[0].outcome, one.outcomes[0].enhanced) for one in rig.attempts(queue_id)]


@pytest.mark.rfc(8689, "4.2.1")
@pytest.mark.parametrize(
    ("options", "trusted"),
    [
        ({"offers": CLEAR}, True),
        ({"offers": TLS, "broken_tls": True}, True),
        ({"offers": TLS, "script": {"STARTTLS": ["454 4.7.0 not now"]}}, True),
        ({"offers": ABLE}, False),
    ],
)
async def test_without_a_trusted_tls_session_it_is_returned_5_7_10(
    make_rig, make_hop, identity, opportunistic, options, trusted
):
    if "STARTTLS" in options["offers"] and "broken_tls" not in options:
        options = {**options, "tls": identity.context}
    hop = await make_hop(**options)
    rig = await make_rig(tls=opportunistic if trusted else TlsPolicy("opportunistic"))
    rig.zone(zone_for(hop))
    queue_id = await rig.send("b@beta.test", require_tls=True)
    assert outcomes(rig, queue_id) == [("failed", "5.7.10")]
    assert not any(line.startswith("MAIL") for line in hop.lines)
    assert len(rig.home) == 1


@pytest.mark.rfc(8689, "4.2.1")
async def test_every_exchanger_is_asked_before_it_is_returned(make_rig, make_hop, identity, opportunistic):
    clear, able = await make_hop(offers=CLEAR), await make_hop(offers=ABLE, tls=identity.context)
    rig = await make_rig(tls=opportunistic)
    rig.zone(zone_for(clear, able))
    queue_id = await rig.send("b@beta.test", require_tls=True)
    assert outcomes(rig, queue_id) == [("failed", "5.7.10"), ("relayed", "2.0.0")]
    assert [got.mail.endswith(" REQUIRETLS") for got in able.messages] == [True]
    assert rig.home == []


async def test_a_server_that_cannot_be_reached_is_tried_again(make_rig, make_hop, identity, opportunistic):
    hop = await make_hop(offers=ABLE, tls=identity.context)
    rig = await make_rig(tls=opportunistic)
    zone = zone_for(hop)
    zone["mx.beta.test"]["port"] = 9
    rig.zone(zone)
    queue_id = await rig.send("b@beta.test", require_tls=True)
    assert outcomes(rig, queue_id) == [("deferred", "4.4.1")]
    rig.zone(zone_for(hop))
    await rig.clock.advance(60)
    assert len(hop.messages) == 1


@pytest.mark.rfc(8689, "5")
@pytest.mark.parametrize("require_tls", [True, False])
async def test_a_notification_asks_for_what_its_message_asked_for(make_rig, make_hop, opportunistic, require_tls):
    hop = await make_hop(offers=CLEAR, script={"RCPT": ["550 5.1.1 nobody"]})
    rig = await make_rig(tls=opportunistic)
    rig.zone(zone_for(hop))
    await rig.send("b@beta.test", require_tls=require_tls)
    [home] = rig.home
    assert home.envelope.require_tls is require_tls


@pytest.mark.rfc(8689, "5")
@pytest.mark.parametrize(
    ("offers", "broken", "asked"), [(ABLE, False, True), (TLS, False, False), (CLEAR, False, False), (TLS, True, False)]
)
async def test_a_notification_is_not_lost_for_want_of_requiretls(
    make_rig, make_hop, identity, opportunistic, offers, broken, asked
):
    hop = await make_hop(offers=offers, tls=identity.context, broken_tls=broken)
    rig = await make_rig(tls=opportunistic)
    rig.zone(zone_for(hop))
    await rig.send("b@beta.test", sender="", require_tls=True)
    [got] = hop.messages
    assert got.mail.endswith(" REQUIRETLS") is asked
    assert got.tls is (offers != CLEAR and not broken)


@pytest.mark.rfc(8689, "6")
@pytest.mark.parametrize(("require_tls", "said"), [(False, True), (True, False)])
async def test_a_notification_waives_what_its_message_waived(make_rig, make_hop, opportunistic, require_tls, said):
    hop = await make_hop(offers=CLEAR, script={"RCPT": ["550 5.1.1 nobody"]})
    rig = await make_rig(tls=opportunistic)
    rig.zone(zone_for(hop))
    octets = b"From: a@alpha.test\r\nTLS-Required: No\r\n\r\nHello\r\n"
    await rig.send("b@beta.test", octets=octets, require_tls=require_tls)
    [home] = rig.home
    assert (b"\r\nTLS-Required: No\r\n" in home.octets.partition(b"\r\n\r\n")[0] + b"\r\n") is said


@pytest.mark.rfc(8689, "4.2.1")
@pytest.mark.parametrize(
    ("domain", "sent"),
    [
        ({}, True),  # the simulated zone is signed
        ({"dnssec": False}, False),
        ({"dnssec": False, "mta_sts": {"mode": "enforce", "mx": ["mx.beta.test"]}}, True),
        ({"dnssec": False, "mta_sts": {"mode": "testing", "mx": ["*.beta.test"]}}, True),
        ({"dnssec": False, "mta_sts": {"mode": "testing", "mx": ["mx.other.test"]}}, False),
    ],
)
async def test_an_exchanger_that_neither_dnssec_nor_mta_sts_proves_is_not_given_it(
    make_rig, make_hop, identity, opportunistic, domain, sent
):
    hop = await make_hop(offers=ABLE, tls=identity.context)
    rig = await make_rig(tls=opportunistic)
    rig.zone(zone_for(hop, **domain))
    queue_id = await rig.send("b@beta.test", require_tls=True)
    assert outcomes(rig, queue_id) == [("relayed", "2.0.0") if sent else ("failed", "5.7.10")]
    assert bool(hop.messages) is sent
    await rig.send("b@beta.test", sender="", require_tls=True)  # §5: a notification is not lost
    assert len(hop.messages) == 1 + sent


@pytest.mark.rfc(8689, "4.2.1")
async def test_the_next_exchanger_may_be_proven(make_rig, make_hop, identity, opportunistic):
    unproven, proven = [await make_hop(offers=ABLE, tls=identity.context) for _ in range(2)]
    rig = await make_rig(tls=opportunistic)
    rig.zone(zone_for(unproven, proven, dnssec=False, mta_sts={"mode": "testing", "mx": ["second.test"]}))
    await rig.send("b@beta.test", require_tls=True)
    assert (unproven.messages, len(proven.messages)) == ([], 1)


@pytest.mark.rfc(7672, "2.2")
async def test_tlsa_records_of_an_unsigned_zone_pin_nothing(make_rig, make_hop, identity, opportunistic):
    hop = await make_hop(offers=TLS, tls=identity.context)
    rig = await make_rig(tls=opportunistic)
    zone = zone_for(hop)
    zone["mx.beta.test"] |= {"TLSA": f"3 1 1 {'00' * 32}", "dnssec": False}
    rig.zone(zone)
    await rig.send("b@beta.test")
    assert len(hop.messages) == 1
