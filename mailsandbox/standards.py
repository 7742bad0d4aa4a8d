"""Which standards are implemented, and where: the table behind `mailsandbox standards`.

A test greps the named package for a comment or docstring that cites the RFC, so that no row outlives its code.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Standard:
    """One specification: `id` "RFC 5321", its title, the packages that meet it, what of it is known to be left out."""

    id: str
    title: str
    packages: tuple[str, ...]
    gaps: str = ""


STANDARDS: Final[tuple[Standard, ...]] = (
    Standard("RFC 5321", "Simple Mail Transfer Protocol", ("smtp", "submit", "relay")),
    Standard("RFC 5322", "Internet Message Format", ("message",)),
    Standard("RFC 2045", "MIME part one: format of message bodies", ("message", "encoding")),
    Standard("RFC 2046", "MIME part two: media types", ("message", "encoding")),
    Standard("RFC 2047", "MIME part three: non-ASCII text in headers", ("message", "encoding")),
    Standard("RFC 2231", "MIME parameter values: charsets and continuations", ("message", "encoding")),
    Standard("RFC 6152", "SMTP extension for 8-bit MIME transport", ("encoding",)),
    Standard("RFC 3030", "SMTP extensions for large and binary MIME messages", ("submit", "encoding")),
    Standard("RFC 6531", "SMTP extension for internationalized email", ("submit", "encoding")),
    Standard("RFC 1870", "SMTP extension for message size declaration", ("submit",)),
    Standard("RFC 2920", "SMTP extension for command pipelining", ("submit", "relay")),
    Standard("RFC 3207", "SMTP over TLS", ("submit", "relay")),
    Standard("RFC 4954", "SMTP extension for authentication", ("submit",)),
    Standard("RFC 6409", "Message submission", ("submit",)),
    Standard("RFC 3461", "SMTP extension for delivery status notifications", ("deliver",)),
    Standard("RFC 3463", "Enhanced mail system status codes", ("smtp",)),
    Standard("RFC 3464", "Message format for delivery status notifications", ("deliver",)),
    Standard("RFC 1939", "Post Office Protocol version 3", ("access.pop3",)),
    Standard("RFC 2449", "POP3 extension mechanism", ("access.pop3",)),
    Standard("RFC 9051", "IMAP4rev2", ("access.imap",)),
    Standard("RFC 3501", "IMAP4rev1", ("access.imap",)),
    Standard("RFC 2177", "IMAP IDLE", ("access.imap",)),
    Standard("RFC 7162", "IMAP CONDSTORE and QRESYNC", ("access.imap", "store")),
    Standard("RFC 5423", "Internet message store events", ("store",)),
    Standard("RFC 7240", "Prefer header for HTTP", ("access.http",)),
    Standard("RFC 9110", "HTTP semantics", ("access.http",)),
    Standard("RFC 9457", "Problem details for HTTP APIs", ("access.http",)),
    Standard("WHATWG HTML §9.2", "Server-sent events", ("access.http",)),
    Standard("RFC 6455", "The WebSocket protocol", ("access.http",)),
)
