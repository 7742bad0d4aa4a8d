"""MTA-STS policies (RFC 8461): which exchangers they name, and what each mode does."""

import pytest

from mailsandbox.errors import ConfigError
from mailsandbox.relay.tls import sts_names
from mailsandbox.relay.zone import MtaSts, Zone


@pytest.mark.rfc(8461, "4.1")
@pytest.mark.parametrize(
    ("host", "pattern", "named"),
    [
        ("mx.beta.test", "mx.beta.test", True),
        ("MX.beta.test", "mx.beta.test", True),
        ("mx.beta.test", "*.beta.test", True),
        ("a.mx.beta.test", "*.beta.test", False),
        ("beta.test", "*.beta.test", False),
        ("mx.beta.test", "*.test", False),
        ("mx.beta.test", "beta.test", False),
        ("mx", "*.", False),
    ],
)
def test_a_pattern_stands_for_one_label_at_the_left(host, pattern, named):
    assert sts_names(host, MtaSts("enforce", (pattern,))) is named


@pytest.mark.rfc(8461, "5")
@pytest.mark.parametrize(
    ("policy", "sent", "noted"),
    [
        ({"mode": "enforce", "mx": ["*.other.test"]}, False, False),
        ({"mode": "testing", "mx": ["*.other.test"], "max_age": 604_800}, True, True),
        ({"mode": "testing", "mx": ["mx.beta.test"], "version": "STSv1"}, True, False),
        ({"mode": "none"}, True, False),
    ],
)
async def test_each_mode_does_what_it_says_with_an_exchanger_that_is_not_named(make_rig, make_hop, policy, sent, noted):
    hop = await make_hop()
    rig = await make_rig()
    rig.zone(
        {
            "beta.test": {"MX": "10 mx.beta.test", "mta_sts": policy},
            "mx.beta.test": {"A": "127.0.0.1", "port": hop.port},
        }
    )
    queue_id = await rig.send("b@beta.test")
    [attempt] = rig.attempts(queue_id)
    assert bool(hop.messages) is sent
    assert (attempt.outcomes[0].enhanced == "4.7.5") is not sent
    shown = "MTA-STS (testing): mx.beta.test is not named by the MTA-STS policy"
    assert any(line.text == shown for line in attempt.transcript) is noted


@pytest.mark.rfc(8461, "3.2")
@pytest.mark.parametrize(
    "policy",
    [
        {"mode": "enforce"},
        {"mode": "enforce", "mx": []},
        {"mode": "enforce", "mx": "mx.beta.test"},
        {"mode": "enforce", "mx": ["mx.*.test"]},
        {"mode": "enforce", "mx": [5]},
        {"mode": "enforce", "mx": ["mx.beta.test"], "max_age": -1},
        {"mode": "enforce", "mx": ["mx.beta.test"], "max_age": 31_557_601},
        {"mode": "enforce", "mx": ["mx.beta.test"], "max_age": "1d"},
        {"mode": "enforce", "mx": ["mx.beta.test"], "version": "STSv2"},
        {"mode": "enforce", "mx": ["mx.beta.test"], "ttl": 5},
    ],
)
def test_a_policy_that_no_domain_could_publish_is_an_error(policy):
    with pytest.raises(ConfigError, match=r'zone\."beta\.test"\.mta_sts = .*; right would be'):
        Zone.parse({"beta.test": {"mta_sts": policy}})
