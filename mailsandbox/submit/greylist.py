"""Greylisting: an unknown (client network, reverse-path, forward-path) is asked to come again (RFC 6647).

Invariant: bounded memory, the oldest triplets are forgotten first. Time is handed in.
"""

import ipaddress
from collections import OrderedDict
from typing import Final

from mailsandbox.smtp.replies import Reply, reply

MAX_TRIPLETS: Final = 100_000
FORGET_AFTER: Final = 36 * 86_400.0  # seconds since the last sight; Postgrey has 35 days


class Greylist:
    """First sight of each triplet, by the clock of the sandbox."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._seen: OrderedDict[tuple[str, str, str], tuple[float, float]] = OrderedDict()  # first, last sight

    def check(self, address: str, reverse_path: str, forward_path: str, *, now: float) -> Reply | None:
        """None where the triplet is known long enough; else 451 4.7.1 (RFC 6647 §2.4, RFC 3463)."""
        triplet = (_network(address), reverse_path.lower(), forward_path.lower())
        first, last = self._seen.pop(triplet, (now, now))
        if now - last > FORGET_AFTER:
            first = now
        self._seen[triplet] = (first, now)
        while len(self._seen) > MAX_TRIPLETS:
            self._seen.popitem(last=False)
        left = first + self._delay - now
        if left <= 0:
            return None
        seconds = max(1, round(left))
        period = "1 second" if seconds == 1 else f"{seconds} seconds"
        return reply(451, "4.7.1", f"Greylisted, try again in {period} (RFC 6647)")


def _network(address: str) -> str:
    """The client's network: a retry may come from a neighbour of the same pool (RFC 6647 §5.1)."""
    try:
        host = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((host, 24 if host.version == 4 else 64), strict=False))
