"""Case 14: MX preference, fallback, shuffle, and ourselves among the exchangers."""

import random
import socket

import pytest
from reports import read_report

from mailsandbox.relay.routes import Hops, Routes, Unroutable
from mailsandbox.relay.zone import Zone


def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.mark.rfc(5321, "5.1")
async def test_exchanger_that_refuses_the_connection_is_followed_by_the_next_preference(make_rig, make_hop):
    hop = await make_hop()
    rig = await make_rig()
    rig.zone(
        {
            "beta.test": {"MX": ["20 mx2.beta.test", "10 mx1.beta.test"]},
            "mx1.beta.test": {"A": "127.0.0.1", "port": closed_port()},
            "mx2.beta.test": {"A": "127.0.0.1", "port": hop.port},
        }
    )
    queue_id = await rig.send("b@beta.test")
    first, second = rig.attempts(queue_id)
    assert (first.host, first.outcomes[0].outcome, first.outcomes[0].enhanced) == ("mx1.beta.test", "deferred", "4.4.1")
    assert (second.host, second.outcomes[0].outcome) == ("mx2.beta.test", "relayed")


def hosts(routes: Routes, address: str = "b@beta.test") -> list[str]:
    found = routes.resolve(address)
    assert isinstance(found, Hops)
    return [hop.host for hop in found.hops]


def zone(*mx: str) -> Zone:
    names = {text.split()[1]: {"A": "127.0.0.1", "port": 2525} for text in mx}
    return Zone.parse({"beta.test": {"MX": list(mx)}, **names})


@pytest.mark.rfc(5321, "5.1")
def test_equal_preferences_are_shuffled_by_the_seed_and_spread_over_all():
    equal = zone(*(f"10 mx{number}.test" for number in range(5)))
    orders = [tuple(hosts(Routes(zone=equal, rng=random.Random(seed)))) for seed in range(20)]
    assert len(set(orders)) > 5
    assert orders == [tuple(hosts(Routes(zone=equal, rng=random.Random(seed)))) for seed in range(20)]
    assert {order[0] for order in orders} == {f"mx{number}.test" for number in range(5)}


@pytest.mark.rfc(5321, "5.1")
def test_with_ourselves_among_the_exchangers_only_better_preferences_stay():
    routes = Routes(zone=zone("5 mx1.test", "10 us.test", "10 mx2.test", "20 mx3.test"), own=["US.test."])
    assert hosts(routes) == ["mx1.test"]


@pytest.mark.rfc(5321, "5.1")
@pytest.mark.parametrize("mx", [("10 us.test",), ("10 us.test", "20 mx3.test")])
def test_nothing_left_after_removing_ourselves_is_a_loop_5_4_6(mx):
    found = Routes(zone=zone(*mx), own=["us.test"]).resolve("b@beta.test")
    assert isinstance(found, Unroutable)
    assert (found.reply.code, found.reply.enhanced) == (554, "5.4.6")


async def test_loop_bounces_without_a_connection(make_rig):
    rig = await make_rig()
    rig.zone({"beta.test": {"MX": "10 mx.alpha.test"}, "mx.alpha.test": {"A": "127.0.0.1"}})
    queue_id = await rig.send("b@beta.test")
    assert read_report(rig.home[0].octets).recipients[0]["Status"] == "5.4.6"
    assert rig.attempts(queue_id)[0].address == ""
