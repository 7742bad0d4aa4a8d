"""The BY parameter of MAIL: until when a message is to be delivered, and what happens else (RFC 2852 §4). Pure.

by-mode R   in time or not at all: it is returned when the time is over
by-mode N   the sender is told when the time is over; delivery goes on
by-trace T  the sender is told of every relay
"""

import re
from dataclasses import dataclass, replace
from typing import Final

from mailsandbox.smtp.extensions import Offers

_BY: Final = re.compile(r"([+-]?[0-9]{1,9});([NR])(T?)\Z", re.IGNORECASE)  # RFC 2852 §4
_MINIMUM: Final = re.compile(r"[0-9]{1,9}\Z")  # RFC 2852 §2


@dataclass(frozen=True, slots=True)
class DeliverBy:
    """One parameter. `seconds`: those left when it was said; none are left at zero and below."""

    seconds: int
    returns: bool  # by-mode R; N otherwise
    trace: bool = False

    def after(self, seconds: float) -> "DeliverBy":
        """What is said when so many seconds have been used (RFC 2852 §4.1.4)."""
        left = max(-999_999_999, self.seconds - int(seconds))  # nine digits
        return replace(self, seconds=left)

    def __str__(self) -> str:
        return f"{self.seconds};{'R' if self.returns else 'N'}{'T' if self.trace else ''}"


def parse_deliver_by(text: str) -> DeliverBy | None:
    """The parameter's value; None for what is none."""
    match = _BY.match(text) if text else None
    if match is None:
        return None
    by = DeliverBy(int(match[1]), match[2].upper() == "R", bool(match[3]))
    # RFC 2852 §4: by-mode R asks for time that is left.
    return None if by.returns and by.seconds <= 0 else by


def least_time(offers: Offers) -> int:
    """The seconds below which a server takes no by-mode R; 0 where it names none."""
    # RFC 2852 §2: a list with commas, of which the first is the minimum or nothing; the others are for extensions.
    first = "".join(offers.parameters("DELIVERBY")[:1]).partition(",")[0]
    return int(first) if _MINIMUM.match(first) else 0
