"""Sender lint: what a message says of itself against what it is. Findings only, never a verdict.

Invariant: a message that keeps the rules has no finding, so that a test can assert `findings == []`.
"""

from typing import Final

from mailsandbox.encoding.classify import Inspection, Offences, is_protected_container
from mailsandbox.message.findings import Finding
from mailsandbox.message.spans import Part
from mailsandbox.message.transfer import IDENTITY

KNOWN_ENCODINGS: Final = IDENTITY | {"quoted-printable", "base64"}
_SEVEN_BIT_ONLY: Final = frozenset({"partial", "external-body"})


def lint(inspect: Inspection, root: Part, *, eight_bit: bool, binary_allowed: bool) -> list[Finding]:
    """All findings of the tree. `eight_bit` False: the message is known to be ASCII, so bodies are not looked at."""
    findings = root.all_findings()
    if (root.field("content-type") or root.field("content-transfer-encoding")) and not root.field("mime-version"):
        at = (root.field("content-type") or root.field("content-transfer-encoding") or root.fields[0]).start
        findings.append(Finding("missing-mime-version", "RFC 2045 §4", "MIME fields without MIME-Version", at))
    protected_until = -1
    for part in root.walk():
        if is_protected_container(part):
            protected_until = max(protected_until, part.end)
        _encoding_label(part, findings, binary_allowed=binary_allowed)
        if eight_bit and not part.children:
            found = inspect(part.body.start, part.body.end)
            if found.eight_bit >= 0:
                _eight_bit_leaf(inspect.octets, part, found, findings, protected=part.start < protected_until)
    return findings


def _encoding_label(part: Part, findings: list[Finding], *, binary_allowed: bool) -> None:
    field = part.field("content-transfer-encoding")
    if field is None:
        return
    if part.encoding not in KNOWN_ENCODINGS:
        text = f"Content-Transfer-Encoding {part.encoding[:40]!r} is not defined"
        findings.append(Finding("unknown-encoding", "RFC 2045 §6.1", text, field.start, part.number, "5.6.3"))
    elif part.encoding == "binary" and not binary_allowed:
        text = "Content-Transfer-Encoding binary without BODY=BINARYMIME"
        findings.append(Finding("binary-label", "RFC 3030 §3", text, field.start, part.number))
    elif part.encoding not in IDENTITY and (part.is_multipart or part.content_type.name == "message/rfc822"):
        text = f"{part.content_type.name} may not be encoded as {part.encoding}"
        findings.append(Finding("encoded-composite", "RFC 2045 §6.4", text, field.start, part.number, "5.6.0"))


def _eight_bit_leaf(octets: bytes, part: Part, found: Offences, findings: list[Finding], *, protected: bool) -> None:
    at, number, kind = found.eight_bit, part.number, part.content_type

    def note(rule: str, source: str, text: str) -> None:
        findings.append(Finding(rule, source, text, at, number))

    if protected:
        note("8bit-in-protected", "RFC 1847 §2.1", "8-bit content inside a signed or encrypted part")
    if kind.maintype == "message" and kind.subtype in _SEVEN_BIT_ONLY:
        note("8bit-in-partial", "RFC 2046 §5.2.2", f"8-bit content in {kind.name}")
    match part.encoding:
        case "quoted-printable" | "base64":
            note("8bit-in-encoded", "RFC 2045 §6.7", f"8-bit octets in a body labelled {part.encoding}")
        case "7bit":
            note("mislabelled-8bit", "RFC 2045 §6.2", "8-bit content labelled 7bit, or not labelled at all")
    if kind.maintype == "text" and part.encoding in IDENTITY:
        _charset(octets, part, note_at=at, findings=findings)


def _charset(octets: bytes, part: Part, *, note_at: int, findings: list[Finding]) -> None:
    kind = part.content_type
    charset = kind.parameters.get("charset", "").lower() if kind.explicit else ""
    if not kind.explicit:
        rule, source, text = "unlabelled-8bit", "RFC 2045 §5.2", "8-bit text without Content-Type"
    elif not charset:
        rule, source, text = "8bit-without-charset", "RFC 2046 §4.1.2", "8-bit text without charset parameter"
    elif charset in ("us-ascii", "ascii"):
        rule, source, text = "8bit-in-us-ascii", "RFC 2046 §4.1.2", "8-bit octets in text labelled us-ascii"
    elif charset in ("utf-8", "utf8") and not _valid_utf8(octets[part.body.start : part.body.end]):
        rule, source, text = "invalid-utf8", "RFC 3629 §3", "octets that are not UTF-8 in text labelled utf-8"
    else:
        return
    findings.append(Finding(rule, source, text, note_at, part.number))


def _valid_utf8(octets: bytes) -> bool:
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
