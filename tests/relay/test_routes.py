"""Static routes, the zone, the default route; and what may be connected to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsandbox.errors import ConfigError
from mailsandbox.relay.allow import Allow
from mailsandbox.relay.routes import MAX_HOPS, Hop, Hops, Login, Route, Routes, Unroutable
from mailsandbox.relay.zone import Found, LookupFailed, MxRecord, NoSuchName, Zone

ZONE = Zone.parse(
    {
        "delta.test": {"MX": ["10 mx1.delta.test", "20 mx2.delta.test"]},
        "mx1.delta.test": {"A": ["127.0.0.1", "127.0.0.2"], "AAAA": "::1", "port": 2601},
        "mx2.delta.test": {"A": "127.0.0.3"},
    }
)


def places(routes: Routes, address: str) -> list[str]:
    found = routes.resolve(address)
    assert isinstance(found, Hops)
    return [hop.place for hop in found.hops]


def test_static_route_comes_before_the_zone_and_the_zone_before_the_default():
    routes = Routes(static=[Route("gamma.test", "127.0.0.1", 2600)], zone=ZONE, default=Route("*", "127.0.0.1", 2025))
    assert places(routes, "a@gamma.test") == ["127.0.0.1:2600"]
    assert places(routes, "a@GAMMA.test.") == ["127.0.0.1:2600"]
    assert places(routes, "a@delta.test") == ["127.0.0.1:2601", "127.0.0.2:2601", "[::1]:2601", "127.0.0.3:25"]
    assert places(routes, "a@anything.test") == ["127.0.0.1:2025"]


def test_pattern_meets_the_domains_below_but_not_the_domain_itself():
    route = Route("*.example.test", "127.0.0.1", 25)
    assert route.fits("a.example.test")
    assert route.fits("b.a.example.test")
    assert not route.fits("example.test")
    assert not route.fits("badexample.test")


def test_recipients_of_one_route_share_a_key_and_domains_with_their_own_exchangers_do_not():
    routes = Routes(zone=ZONE, default=Route("*", "127.0.0.1", 2025))
    assert routes.key("a@one.test") == routes.key("b@two.test")
    assert routes.key("a@delta.test") == "delta.test"
    assert routes.key("a@[127.0.0.1]") == "[127.0.0.1]"


@pytest.mark.parametrize(
    ("bound", "address", "port", "place"),
    [
        ("127.0.0.1", "127.0.0.1", 2025, "127.0.0.1:40001"),
        ("127.0.0.1", "127.0.0.1", 2026, "127.0.0.1:2026"),  # of no listener here
        ("127.0.0.1", "127.0.0.2", 2025, "127.0.0.2:2025"),  # another host
        ("127.0.0.1", "::1", 2025, "[::1]:2025"),
        ("127.0.0.1", "/run/lmtp.sock", 0, "/run/lmtp.sock"),
        ("0.0.0.0", "127.0.0.2", 2025, "127.0.0.2:40001"),
        ("0.0.0.0", "192.0.2.1", 2025, "192.0.2.1:2025"),
        ("::", "::1", 2025, "[::1]:40001"),
    ],
)
def test_the_port_of_a_listener_that_moved_leads_to_it_and_no_other_port_does(bound, address, port, place):
    routes = Routes()
    assert routes.placed(Hop("mx.test", address, port)).port == port
    routes.moved = {2025: (bound, 40001)}
    assert routes.placed(Hop("mx.test", address, port)).place == place


def test_route_to_a_name_of_the_zone_takes_its_addresses_and_port():
    routes = Routes(static=[Route("x.test", "mx1.delta.test")], zone=ZONE)
    assert places(routes, "a@x.test") == ["127.0.0.1:2601", "127.0.0.2:2601", "[::1]:2601"]
    routes.static = [Route("x.test", "mx1.delta.test", 99)]
    assert places(routes, "a@x.test")[0] == "127.0.0.1:99"


def test_route_to_localhost_asks_nobody_and_to_an_unknown_name_asks_the_system():
    routes = Routes(static=[Route("x.test", "localhost", 99), Route("y.test", "mail.example.test")], zone=ZONE)
    assert places(routes, "a@x.test") == ["127.0.0.1:99"]
    found = routes.resolve("a@y.test")
    assert isinstance(found, Hops)
    assert found.to_resolve == "mail.example.test"


@pytest.mark.rfc(5321, "4.1.3")
@pytest.mark.parametrize(("address", "place"), [("a@[127.0.0.1]", "127.0.0.1:25"), ("a@[IPv6:::1]", "[::1]:25")])
def test_address_literal_is_the_server_itself(address, place):
    assert places(Routes(default=Route("*", "127.0.0.1", 2025)), address) == [place]


@pytest.mark.parametrize("address", ["a@[nonsense]", "a@[127.0.0.1", "a@[]"])
def test_broken_literal_is_unroutable(address):
    found = Routes().resolve(address)
    assert isinstance(found, Unroutable)
    assert found.reply.enhanced == "5.1.2"


def test_number_of_hops_of_one_attempt_is_bounded():
    hosts = {f"mx{n}.test": {"A": [f"127.0.{n}.{m}" for m in range(1, 9)]} for n in range(9)}
    zone = Zone.parse({"big.test": {"MX": [f"{n} mx{n}.test" for n in range(9)]}, **hosts})
    assert len(places(Routes(zone=zone), "a@big.test")) == MAX_HOPS


@pytest.mark.rfc(5890, "2.3.2.1")
def test_internationalized_domain_is_looked_up_by_its_a_labels():
    zone = Zone.parse({"bücher.test": {"A": "127.0.0.1"}})
    assert "xn--bcher-kva.test" in zone
    assert places(Routes(zone=zone), "a@BÜCHER.test") == ["127.0.0.1:25"]


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ({"x.test": {"TXT": "hi"}}, 'unknown key "TXT"'),
        ({"x.test": {"A": "1.2.3"}}, "IPv4 address"),
        ({"x.test": {"A": "::1"}}, "IPv4 address"),
        ({"x.test": {"AAAA": "127.0.0.1"}}, "IPv6 address"),
        ({"x.test": {"dnssec": "no"}}, "right would be true or false"),
        ({"x.test": {"MX": "mx.x.test"}}, 'right would be "10 mx1.x.test"'),
        ({"x.test": {"MX": "70000 mx.x.test"}}, "right would be"),
        ({"x.test": {"MX": 10}}, "a text or a list of texts"),
        ({"x.test": {"status": "BROKEN"}}, "NOERROR, NXDOMAIN, SERVFAIL"),
        ({"x.test": {"port": 0}}, "1 to 65535"),
        ({"x.test": {"port": "25"}}, "1 to 65535"),
        ({"x.test": {"port": True}}, "1 to 65535"),
        ({"x.test": {"TLSA": "3 1 1"}}, "3 1 1 <sha256 in hex>"),
        ({"x.test": {"TLSA": "3 1 1 xyz"}}, "3 1 1 <sha256 in hex>"),
        ({"x.test": {"mta_sts": "enforce"}}, 'mode = "enforce"'),
        ({"x.test": {"mta_sts": {"mode": "maybe"}}}, 'mode = "enforce"'),
    ],
)
def test_wrong_zone_is_an_error_that_names_the_key_and_what_would_be_right(table, text):
    with pytest.raises(ConfigError, match=r"x\.test") as caught:
        Zone.parse(table)
    assert text in str(caught.value)


@pytest.mark.parametrize("wrong", [{"port": 70000}, {"tls": "maybe"}, {"host": ""}, {"domain": ""}])
def test_wrong_route_is_an_error(wrong):
    with pytest.raises(ConfigError):
        Route(**{"domain": "x.test", "host": "127.0.0.1", **wrong})


def test_password_of_a_login_is_not_shown():
    assert "secret" not in repr(Route("x.test", "127.0.0.1", login=Login("me", "secret")))


def test_lookups_answer_with_what_they_found():
    assert ZONE.look_up("DELTA.test.").entry.mx[0] == MxRecord(10, "mx1.delta.test")
    assert isinstance(ZONE.look_up("delta.test"), Found)
    assert isinstance(ZONE.look_up("nowhere.test"), NoSuchName)


@given(st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("abcdef"), max_size=6), st.sampled_from("abcdef"))
def test_aliases_end_whatever_the_zone_says(aliases, name):
    zone = Zone.parse({source: {"CNAME": target} for source, target in aliases.items()})
    assert isinstance(zone.look_up(name), NoSuchName | LookupFailed)


@pytest.mark.parametrize(
    ("address", "port", "permitted"),
    [
        ("127.0.0.1", 25, True),
        ("127.9.9.9", 25, True),
        ("::1", 25, True),
        ("::ffff:127.0.0.1", 25, True),
        ("192.0.2.1", 25, False),
        ("::ffff:192.0.2.1", 25, False),
        ("2001:db8::1", 25, False),
        ("10.0.0.1", 2025, True),
        ("10.0.0.1", 2026, False),
        ("localhost", 25, False),
        ("", 25, False),
        ("", 0, False),
        ("/run/lmtp", 0, True),
        ("lmtp", 0, False),
        ("0.0.0.0", 25, False),
    ],
)
def test_only_loopback_own_listeners_and_listed_networks_are_permitted(address, port, permitted):
    allow = Allow()
    allow.own.add(("10.0.0.1", 2025))
    assert allow.permits(address, port) is permitted


def test_listed_networks_are_permitted_and_names_are_no_networks():
    allow = Allow(["192.0.2.0/24", "2001:db8::1"])
    assert allow.permits("192.0.2.77", 25)
    assert allow.permits("2001:db8::1", 25)
    assert not allow.permits("127.0.0.1", 25)
    with pytest.raises(ConfigError, match=r"mail\.example\.test"):
        Allow(["mail.example.test"])
