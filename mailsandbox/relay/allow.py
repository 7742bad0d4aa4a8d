"""Nothing leaves the box: the addresses that the relay may connect to. Pure.

Invariant: an address that is neither one of the sandbox's own listeners nor listed is refused, and so is what is no
address at all. Names are never judged here, only what they resolved to.
"""

import ipaddress
from collections.abc import Iterable
from typing import Final

from mailsandbox.errors import ConfigError

LOOPBACK: Final = ("127.0.0.0/8", "::1/128")


class Allow:
    """Networks that may be connected to, and the sandbox's own listeners."""

    def __init__(self, networks: Iterable[str] = LOOPBACK) -> None:
        """Raises ConfigError for what is no network, e.g. a name."""
        self.own: set[tuple[str, int]] = set()  # address and port; those of sites that start later are added
        self._networks = [_network(text) for text in networks]

    def permits(self, address: str, port: int) -> bool:
        """Whether a connection may be opened. UNIX sockets (port 0, an absolute path) are on this machine."""
        if not port:
            return address.startswith("/")
        if (address, port) in self.own:
            return True
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped  # ::ffff:192.0.2.1 reaches 192.0.2.1
        return any(ip.version == network.version and ip in network for network in self._networks)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise ConfigError(
            f'relay.allow: "{text}" is no network; right would be an address or a network, "192.0.2.0/24"'
        ) from None
