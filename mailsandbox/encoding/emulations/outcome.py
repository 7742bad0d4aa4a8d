"""The end of every emulation: size, and what the message as sent breaks on this hop."""

from mailsandbox.encoding.classify import is_clean, is_protected_container, offences
from mailsandbox.encoding.edits import apply_edits, touched
from mailsandbox.encoding.verdicts import Accept, Convert, Refuse, Verdict, bounded, refusal
from mailsandbox.message.envelope import Envelope
from mailsandbox.message.findings import Edit, Finding
from mailsandbox.message.spans import Part
from mailsandbox.smtp.extensions import Offers


def refused_for_utf8(envelope: Envelope, offers: Offers, *, utf8_header: bool) -> Refuse | None:
    """Asked for and needed, but not offered: a bounce with 5.6.7 in all three servers (RFC 6531 §3.5)."""
    paths = (envelope.reverse_path, *envelope.addresses)
    needed = utf8_header or not all(path.isascii() for path in paths)
    if "SMTPUTF8" in offers or not (envelope.smtputf8 and needed):
        return None
    text = "message requires SMTPUTF8, but the next hop does not offer it"
    finding = Finding("smtputf8-required", "RFC 6531 §3.5", text, enhanced="5.6.7", fatal=True)
    return Refuse(refusal(553, finding), (finding,))


def outcome(
    octets: bytes, root: Part | None, edits: tuple[Edit, ...], offers: Offers, *, body: str, smtputf8: bool
) -> Verdict:
    """The verdict, with a finding for each rule that the server breaks by sending this."""
    sent = apply_edits(octets, edits) if edits else octets
    if offers.size is not None and len(sent) > offers.size:
        text = f"message of {len(sent)} octets, the next hop takes {offers.size}"
        finding = Finding("too-big", "RFC 1870 §6", text, enhanced="5.3.4", fatal=True)
        return Refuse(refusal(552, finding), (finding,))
    findings = violations(sent, offers)
    if root is not None and edits:
        findings += broken_signatures(root, edits)
    if edits:
        return Convert(sent, edits, bounded(findings), body, smtputf8)
    return Accept(sent, bounded(findings), body, smtputf8)


def violations(sent: bytes, offers: Offers) -> list[Finding]:
    """What the hop did not allow and gets all the same."""
    if is_clean(sent):
        return []
    found = offences(sent, 0, len(sent))
    findings = []
    if found.eight_bit >= 0 and "8BITMIME" not in offers:
        text = "8-bit octets sent to a hop without 8BITMIME"
        findings.append(Finding("sent-8bit", "RFC 6152 §3", text, found.eight_bit, enhanced="5.6.1"))
    for rule, at, text in (
        ("sent-nul", found.nul, "NUL octet sent"),
        ("sent-bare-cr", found.bare_cr, "bare CR sent"),
        ("sent-bare-lf", found.bare_lf, "bare LF sent"),
        ("sent-long-line", found.long_line, "line longer than 998 octets sent"),
    ):
        if at >= 0:
            findings.append(Finding(rule, "RFC 5321 §2.3.8", text, at, enhanced="5.6.0"))
    return findings


def broken_signatures(root: Part, edits: tuple[Edit, ...]) -> list[Finding]:
    """Signed parts with changed octets, and a DKIM signature over what was changed."""
    findings = []
    for part in root.walk():
        if is_protected_container(part) and part.delimiters:
            start, end = part.delimiters[0].start, part.delimiters[-1].end if part.closed else part.end
            if touched(edits, start, end):
                text = f"octets inside {part.content_type.name} changed: the signature no longer verifies"
                findings.append(Finding("signed-part-changed", "RFC 1847 §2.1", text, start, part.number, "5.6.4"))
    signature = root.field("dkim-signature")
    if signature is not None:
        text = "the conversion breaks DKIM-Signature"
        findings.append(Finding("signature-broken", "RFC 6376 §5.3", text, signature.start))
    return findings
