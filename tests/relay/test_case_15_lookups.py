"""Case 15: null MX, no MX, NXDOMAIN, SERVFAIL, CNAME."""

import pytest
from reports import read_report


@pytest.mark.rfc(7505, "4.1")
async def test_null_mx_bounces_556_5_1_10_at_once(make_rig):
    rig = await make_rig()
    rig.zone({"beta.test": {"MX": "0 ."}})
    await rig.send("b@beta.test")
    [fields] = read_report(rig.home[0].octets).recipients
    assert fields["Status"] == "5.1.10"
    assert fields["Diagnostic-Code"].startswith("X-Mailsandbox; 556 5.1.10")
    assert await rig.queue.count() == 0


@pytest.mark.rfc(5321, "5.1")
async def test_without_mx_the_domains_own_address_is_used(make_rig, make_hop):
    hop = await make_hop()
    rig = await make_rig()
    rig.zone({"beta.test": {"A": "127.0.0.1", "port": hop.port}})
    await rig.send("b@beta.test")
    assert len(hop.messages) == 1


@pytest.mark.rfc(5321, "5.1")
async def test_alias_is_followed_to_its_exchangers(make_rig, make_hop):
    hop = await make_hop()
    rig = await make_rig()
    rig.zone(
        {
            "beta.test": {"CNAME": "gamma.test."},
            "gamma.test": {"MX": "10 mx.gamma.test"},
            "mx.gamma.test": {"A": "127.0.0.1", "port": hop.port},
        }
    )
    await rig.send("b@beta.test")
    assert len(hop.messages) == 1


@pytest.mark.rfc(3463, "3.2")
@pytest.mark.parametrize("table", [{}, {"beta.test": {"status": "NXDOMAIN"}}, {"beta.test": {"CNAME": "no.test"}}])
async def test_domain_that_does_not_exist_bounces_5_1_2(make_rig, table):
    rig = await make_rig()
    rig.zone(table)
    await rig.send("b@beta.test")
    assert read_report(rig.home[0].octets).recipients[0]["Status"] == "5.1.2"


@pytest.mark.rfc(3463, "3.5")
@pytest.mark.parametrize(
    "table",
    [
        {"beta.test": {"status": "SERVFAIL"}},
        {"beta.test": {"CNAME": "beta.test"}},
        {"beta.test": {"MX": "10 mx.beta.test"}, "mx.beta.test": {"status": "SERVFAIL"}},
    ],
)
async def test_failing_lookup_is_4_4_3_and_tried_again(make_rig, make_hop, table):
    hop = await make_hop()
    rig = await make_rig()
    rig.zone(table)
    queue_id = await rig.send("b@beta.test")
    assert rig.attempts(queue_id)[0].outcomes[0].enhanced == "4.4.3"
    rig.zone({"beta.test": {"A": "127.0.0.1", "port": hop.port}})
    await rig.clock.advance(60)
    assert len(hop.messages) == 1


async def test_exchangers_without_any_address_bounce_5_4_4(make_rig):
    rig = await make_rig()
    rig.zone({"beta.test": {"MX": "10 mx.beta.test"}})
    await rig.send("b@beta.test")
    assert read_report(rig.home[0].octets).recipients[0]["Status"] == "5.4.4"


async def test_address_outside_the_allowed_networks_is_never_connected_to_and_the_journey_says_so(make_rig):
    rig = await make_rig()
    rig.zone({"beta.test": {"MX": "10 mx.beta.test"}, "mx.beta.test": {"A": "192.0.2.1"}})
    queue_id = await rig.send("b@beta.test")
    [attempt] = rig.attempts(queue_id)
    assert attempt.address == "192.0.2.1:25"
    assert attempt.outcomes[0].enhanced == "5.7.1"
    assert "192.0.2.1:25 is not listed under [relay] allow: no connection was made" in attempt.transcript[0].text
    assert read_report(rig.home[0].octets).recipients[0]["Status"] == "5.7.1"
