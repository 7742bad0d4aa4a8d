"""Final delivery into mailboxes: the trace that the delivering system writes, and what it takes away.

Invariant: a copy begins with exactly one Return-Path, which is the envelope's (RFC 5321 §4.4), and names the address it
was delivered to (RFC 9228); nothing else of the message changes, and nothing at all where there was no Return-Path.
Knows no store: it says what is to be stored.
"""

import re
from collections.abc import Sequence
from typing import Final

from mailsandbox.message.envelope import Envelope, Recipient
from mailsandbox.message.trace import delivered_to_field, return_path_field
from mailsandbox.store.credentials import canonical
from mailsandbox.store.model import Delivery

MAX_HEADER: Final = 1_000_000  # octets looked at where no blank line ends the header

_RETURN_PATH: Final = re.compile(rb"(?im)^return-path[ \t]*:(?:[^\n]|\n[ \t])*(?:\n|\Z)")
_DELIVERED_TO: Final = re.compile(rb"(?im)^delivered-to[ \t]*:[ \t]*([^\r\n]*)")


def deliveries(envelope: Envelope, recipients: Sequence[Recipient], *, trace: bytes = b"") -> list[Delivery]:
    """The copies for `recipients`; `trace` (our Received field) goes between what is written here and the message."""
    return_path = return_path_field(envelope.reverse_path)
    return [
        Delivery(
            account=canonical(recipient.address),
            trace=b"".join((return_path, delivered_to_field(recipient.address), trace)),
            recipient=recipient.address,
        )
        for recipient in recipients
    ]


def without_return_path(octets: bytes) -> bytes:
    """The message without Return-Path fields of earlier deliveries; the same object where there are none."""
    end = _header_end(octets)
    if octets.find(b"eturn-", 0, end) < 0 and octets.find(b"ETURN-", 0, end) < 0:
        return octets
    header = octets[:end]
    # RFC 5321 §4.4: a system that delivers or sends on removes Return-Path fields that are there already.
    cleaned = _RETURN_PATH.sub(b"", header)
    return octets if len(cleaned) == len(header) else cleaned + octets[end:]


def went_round(octets: bytes, address: str) -> bool:
    """Whether the message has been delivered to `address` before: a loop that Received fields may not show."""
    wanted = canonical(address)
    found = _DELIVERED_TO.findall(octets[: _header_end(octets)])
    return any(canonical(value.decode("utf-8", "replace")) == wanted for value in found)


def _header_end(octets: bytes) -> int:
    if octets.startswith((b"\r\n", b"\n")):
        return 0
    end = octets.find(b"\r\n\r\n", 0, MAX_HEADER)
    bare = octets.find(b"\n\n", 0, end if end >= 0 else MAX_HEADER)
    if bare >= 0:
        return bare + 1
    return end + 2 if end >= 0 else min(len(octets), MAX_HEADER)
