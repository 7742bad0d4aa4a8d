"""Routes and the zone by port, where the sandbox took free ports instead of the configured ones: mail stays in it."""

from pathlib import Path

import pytest

from mailsandbox import Sandbox
from mailsandbox.config import parse

MANUAL_CLOCK = Path(__file__).parents[2] / "configs" / "manual-clock.toml"

ROUTES = """
[sites.beta.listeners.store]
kind = "lmtp"
port = 2024

[[routes]]
domain = "route.test"
host = "localhost"
port = 2025

[[routes]]
domain = "named.test"
host = "mx.test"
port = 2025

[[routes]]
domain = "store.test"
host = "127.0.0.1"
port = 2024
lmtp = true

[zone]
"mx.test" = { A = "127.0.0.1" }
"""


def test_an_exchanger_at_the_configured_port_of_beta_is_this_sandboxs_beta():
    with Sandbox(config=MANUAL_CLOCK) as box:
        box.send("a@delta.test", subject="stays", text="x")
        message = box.wait_for(to="a@delta.test", subject="stays", timeout=10)
        assert [hop.site for hop in box.journey(message).hops] == ["alpha", "beta"]


@pytest.mark.parametrize(
    ("domain", "protocol"), [("route.test", "ESMTP"), ("named.test", "ESMTP"), ("store.test", "LMTP")]
)
def test_a_route_to_the_configured_port_of_a_listener_leads_to_that_listener(domain, protocol):
    with Sandbox(parse(ROUTES)) as box:
        box.send(f"a@{domain}", subject="stays", text="x")
        message = box.wait_for(to=f"a@{domain}", subject="stays", timeout=10)
        assert box.journey(message).hops[-1].accepted.protocol == protocol
