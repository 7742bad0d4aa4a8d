"""The relay gate: may these octets travel the next hop? Accept, Convert or Refuse.

Invariants: judged by octets, never by labels; what is sent is legal for what the hop offers, or nothing is sent; the
conversion of a conversion is itself. `emulate` shows what other servers do to the same message instead.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import msgspec

from mailsandbox.encoding.classify import Inspection, Needs, is_clean, judged_parts, needs_of, offences
from mailsandbox.encoding.conversion import Conversion, Target, Unconvertible
from mailsandbox.encoding.edits import apply_edits
from mailsandbox.encoding.lint import lint
from mailsandbox.encoding.utf8_headers import survey
from mailsandbox.encoding.verdicts import (
    Accept,
    Convert,
    DkimKey,
    Emulation,
    OnNeed,
    Refuse,
    RelayPolicy,
    Verdict,
    bounded,
    refusal,
)
from mailsandbox.message.addresses import ascii_address
from mailsandbox.message.envelope import Envelope
from mailsandbox.message.findings import Edit, Finding
from mailsandbox.message.spans import Part, scan
from mailsandbox.smtp.extensions import Offers
from mailsandbox.smtp.replies import Reply

# A type without parts, in a header of small letters.
_LEAF: Final = re.compile(rb"content-type[ \t]*:[ \t]*(?:text|image|audio|video|font|application)/")


def prepare(octets: bytes, *, offers: Offers, envelope: Envelope, policy: RelayPolicy, clean: bool = False) -> Verdict:
    """What to send to a hop with these `offers`, and with which parameters. Never raises for any octets.

    `clean`: `is_clean` has been asked about them, and said yes.
    """
    match policy.emulate:
        case Emulation.STRICT:
            return _strict(octets, offers, envelope, policy, clean=clean)
        case Emulation.POSTFIX | Emulation.SENDMAIL | Emulation.EXIM:
            from mailsandbox.encoding.emulations import emulate  # they are rarely asked for

            return emulate(octets, offers=offers, envelope=envelope, policy=policy)


class Paths(msgspec.Struct, frozen=True):
    """The envelope's addresses on this hop: in A-labels, or refused; `smtputf8`: some need SMTPUTF8 and may have it."""

    addresses: Mapping[str, str]
    refused: Mapping[str, Reply]
    fatal: Finding | None
    smtputf8: bool


_UNCHANGED: Final = Target()
_ALL_ASCII: Final = Paths({}, {}, None, False)


def paths_for(envelope: Envelope, offers: Offers) -> Paths:
    """RFC 6531 §3.2: non-ASCII addresses go with SMTPUTF8 only; a domain has an ASCII form, a local part has none."""
    paths = [envelope.reverse_path, *envelope.addresses]
    if all(map(str.isascii, paths)):
        return _ALL_ASCII
    non_ascii = [path for path in paths if not path.isascii()]
    if "SMTPUTF8" in offers:
        return Paths({}, {}, None, True)
    addresses: dict[str, str] = {}
    refused: dict[str, Reply] = {}
    fatal = None
    for path in non_ascii:
        converted = ascii_address(path)
        if converted is not None:
            addresses[path] = converted
            continue
        text = f"address {path[:100]!r} has no ASCII form and the next hop does not offer SMTPUTF8"
        finding = Finding("non-ascii-address", "RFC 6531 §3.2", text, enhanced="5.6.7", fatal=True)
        refused[path] = Reply(553, "5.6.7", (f"{text} [{finding.rule}, {finding.source}]",))
        if path == envelope.reverse_path or len(refused) == len(envelope.recipients):
            fatal = fatal or finding
    return Paths(addresses, refused, fatal, False)


def _strict(octets: bytes, offers: Offers, envelope: Envelope, policy: RelayPolicy, *, clean: bool) -> Verdict:
    paths = paths_for(envelope, offers)
    if paths.fatal is not None:
        return Refuse(refusal(553, paths.fatal), (paths.fatal,))
    binary = "BINARYMIME" in offers.keywords and "CHUNKING" in offers.keywords
    if (clean or is_clean(octets)) and (binary or not _may_say_binary(octets)):
        return _outcome(octets, (), [], offers, paths, _UNCHANGED)
    root = scan(octets)
    inspect = Inspection(octets)
    needs = needs_of(inspect, root)
    findings = lint(inspect, root, eight_bit=True, binary_allowed=envelope.body == "BINARYMIME")
    utf8_header, refused = _utf8_header(octets, root, needs, envelope, offers, policy)
    if refused is not None:
        return _refuse(refused, 553 if refused.enhanced == "5.6.7" else 554, findings)
    target = Target(eight_bit="8BITMIME" in offers or binary, binary=binary, utf8_header=utf8_header)
    conversion = Conversion(inspect, root, target, policy)
    try:
        conversion.run()
    except Unconvertible as refused_by:
        return _refuse(refused_by.finding, refused_by.code, findings)
    edits = conversion.edits.sorted()
    sent = apply_edits(octets, edits) if edits else octets
    if edits and not (conversion.edits.consistent and _sound(sent, root, target)):
        text = "the conversion does not give what the next hop can carry"
        return _refuse(Finding("conversion-failed", "RFC 3463 §3.7", text, enhanced="5.6.5"), 554, findings)
    findings += conversion.findings
    if edits and policy.on_need is OnNeed.BOUNCE and not needs.none:
        finding = _conversion_forbidden(octets, needs)
        return _refuse(finding, 554, findings)
    paths = msgspec.structs.replace(paths, smtputf8=paths.smtputf8 or utf8_header)
    if edits:
        findings += _signatures(octets, root, sent, policy)
        if policy.sign_after_convert is not None:
            signature = _sign(sent, policy.sign_after_convert)
            sent, edits = signature.after + sent, (signature, *edits)
    return _outcome(sent, edits, findings, offers, paths, target)


def _sound(sent: bytes, root: Part, target: Target) -> bool:
    """Nothing leaves that the hop cannot carry, whatever the octets were: the last line of defence."""
    if target.binary or target.utf8_header:
        return True
    found = offences(sent, 0, len(sent))
    return not found.binary and (target.eight_bit or found.eight_bit < 0) and _same_shape(root, scan(sent))


def _same_shape(one: Part, other: Part) -> bool:
    """Whether both trees have the same parts; a message/global may have been encoded as a whole (RFC 6532 §3.7)."""
    if one.content_type.name == "message/global" and not other.children:
        return True
    return len(one.children) == len(other.children) and all(map(_same_shape, one.children, other.children))


def _refuse(finding: Finding, code: int, findings: list[Finding]) -> Refuse:
    fatal = replace(finding, fatal=True)
    return Refuse(refusal(code, fatal), bounded([fatal, *(other for other in findings if other != finding)]))


def _may_say_binary(octets: bytes) -> bool:
    """Whether a Content-Transfer-Encoding could say binary, which only a BINARYMIME hop may see (RFC 3030 §3)."""
    header = octets[: octets.find(b"\r\n\r\n") + 1 or len(octets)].lower()
    types = header.count(b"content-type")
    if not types or types == len(_LEAF.findall(header)):
        return header.find(b"binary") >= 0  # no parts, so no fields anywhere else
    return octets.find(b"inary") >= 0 or octets.find(b"BINARY") >= 0


def _utf8_header(
    octets: bytes, root: Part, needs: Needs, envelope: Envelope, offers: Offers, policy: RelayPolicy
) -> tuple[bool, Finding | None]:
    """Whether the header goes out in UTF-8; or why this message cannot go at all."""
    if not needs.eight_bit_header:
        return False, None
    everywhere = survey(octets, judged_parts(root))
    # For a hop with 8BITMIME headers inside the body are body, which may hold any octet (RFC 6152 §2).
    found = survey(octets, [root]) if "8BITMIME" in offers else everywhere
    # Not asked for, but an address that only SMTPUTF8 can carry: better sent so than not at all.
    if (envelope.smtputf8 or found.local_part >= 0) and "SMTPUTF8" in offers and found.utf8:
        return True, None
    if envelope.smtputf8 and not policy.downgrade_utf8 and everywhere.text >= 0 and found.local_part < 0:
        # RFC 6531 §3.2: a relay may not downgrade; only a submission server may.
        text = "UTF-8 header, but the next hop does not offer SMTPUTF8"
        return False, Finding("utf8-header", "RFC 6531 §3.2", text, everywhere.text, enhanced="5.6.9")
    if found.local_part >= 0:
        text = "an address in the header has no ASCII form, and the next hop does not offer SMTPUTF8"
        return False, Finding("non-ascii-local-part", "RFC 6531 §3.3", text, found.local_part, enhanced="5.6.7")
    return False, None


def _conversion_forbidden(octets: bytes, needs: Needs) -> Finding:
    what = ", ".join(
        name
        for name, present in (
            ("8-bit body", needs.eight_bit_body),
            ("8-bit header", needs.eight_bit_header),
            ("binary content", needs.binary),
            ("overlong header line", needs.long_header_line),
        )
        if present
    )
    text = f"{what or 'content'} needs a conversion that this site does not do"
    return Finding("conversion-off", "RFC 6152 §3", text, _first_offence(octets), enhanced="5.6.3")


def _first_offence(octets: bytes) -> int:
    found = offences(octets, 0, len(octets))
    places = (found.eight_bit, found.nul, found.bare_cr, found.bare_lf, found.long_line)
    return min((at for at in places if at >= 0), default=0)


def _signatures(octets: bytes, root: Part, sent: bytes, policy: RelayPolicy) -> list[Finding]:
    """RFC 6376 §5.3: a conversion en route breaks what was signed before it."""
    names = ("dkim-signature", "arc-message-signature")
    signature = next((field for field in root.fields if field.key in names), None)
    if signature is None:
        return []
    text = f"the conversion breaks {signature.name.decode('ascii')}"
    if policy.verify is not None:
        text = f"dkim: {policy.verify(octets)} before, {policy.verify(sent)} after conversion"
    return [Finding("signature-broken", "RFC 6376 §5.3", text, signature.start)]


def _sign(sent: bytes, key: DkimKey) -> Edit:
    from mailsandbox.encoding.signatures import sign  # needs the optional extra

    return Edit(0, 0, sign(sent, key), "dkim-signed", "RFC 6376 §5.3")


def _outcome(
    sent: bytes, edits: tuple[Edit, ...], findings: list[Finding], offers: Offers, paths: Paths, target: Target
) -> Verdict:
    """The verdict for what will be sent, if the hop takes that many octets (RFC 1870 §6)."""
    limit = offers.size
    if limit is not None and len(sent) > limit:
        text = f"message of {len(sent)} octets{' after conversion' if edits else ''}, the next hop takes {limit}"
        return _refuse(Finding("too-big", "RFC 1870 §6", text, enhanced="5.3.4"), 552, findings)
    binary = target.binary and not is_clean(sent) and offences(sent, 0, len(sent)).binary
    body = "BINARYMIME" if binary else "" if sent.isascii() else "8BITMIME"
    if body == "8BITMIME" and "8BITMIME" not in offers:
        # A hop with BINARYMIME and CHUNKING alone; or one with SMTPUTF8, which has to offer it (RFC 6531 §3.1).
        body, binary = ("BINARYMIME", True) if target.binary else ("", False)
    common = (bounded(findings), body, paths.smtputf8, binary, paths.addresses, paths.refused)
    return Convert(sent, edits, *common) if edits else Accept(sent, *common)
