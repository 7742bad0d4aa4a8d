"""Exim: passes every octet through, whatever the next hop offers; only its line length limit stops a message.

From the Exim specification: `accept_8bitmime` ("Exim is 8-bit clean, it makes no conversion") and the smtp transport's
`message_linelength_limit` (998).
"""

from mailsandbox.encoding.classify import first_eight_bit, long_line
from mailsandbox.encoding.emulations.outcome import outcome, refused_for_utf8
from mailsandbox.encoding.verdicts import Refuse, RelayPolicy, Verdict, refusal
from mailsandbox.message.envelope import Envelope
from mailsandbox.message.findings import Finding
from mailsandbox.message.spans import scan
from mailsandbox.smtp.extensions import Offers


def prepare(octets: bytes, *, offers: Offers, envelope: Envelope, policy: RelayPolicy) -> Verdict:
    """Unchanged, or not at all. The policy has nothing to say here."""
    header_end = scan(octets).header.end
    utf8_header = first_eight_bit(octets, 0, header_end) >= 0
    refused = refused_for_utf8(envelope, offers, utf8_header=utf8_header)
    if refused is not None:
        return refused
    at = long_line(octets, 0, len(octets))
    if at >= 0:
        text = "message has lines too long for transport"
        finding = Finding("long-line", "RFC 5321 §4.5.3.1.6", text, at, enhanced="5.6.0", fatal=True)
        return Refuse(refusal(554, finding), (finding,))
    return outcome(octets, None, (), offers, body="", smtputf8=envelope.smtputf8 and "SMTPUTF8" in offers)
