"""The header field TLS-Required (RFC 8689 §3), by which an author says that security does not matter. Pure."""

import re
from typing import Final

MAX_HEADER: Final = 1_000_000  # octets looked at where no blank line ends the header
FIELD: Final = "TLS-Required"
_WAIVED: Final = re.compile(rb"(?im)^tls-required[ \t]*:[ \t\r\n]*no[ \t]*\r?$")


def tls_waived(octets: bytes) -> bool:
    """Whether a message says `TLS-Required: No`: what its receivers ask for (DANE, MTA-STS) is passed over."""
    end = octets.find(b"\r\n\r\n")
    return _WAIVED.search(octets, 0, end + 2 if end >= 0 else min(len(octets), MAX_HEADER)) is not None
