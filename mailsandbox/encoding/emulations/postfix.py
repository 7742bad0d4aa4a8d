"""Postfix: decides by labels, knows quoted-printable only, never touches header text, and rewrites inside signed parts.

From Postfix's documentation (disable_mime_output_conversion, detect_8bit_encoding_header, smtp_line_length_limit) and
the comments of its mime_state and smtp_proto: a message counts as 8-bit if the client said BODY=8BITMIME or any
Content-Transfer-Encoding field says 8bit or binary; only then, and only for a hop without 8BITMIME, each entity so
labelled becomes quoted-printable, and each multipart or message/rfc822 so labelled becomes 7bit. Everything else
passes.
"""

import re
from typing import Final

from mailsandbox.encoding.classify import first_eight_bit, long_line
from mailsandbox.encoding.edits import EditList
from mailsandbox.encoding.emulations.outcome import outcome, refused_for_utf8
from mailsandbox.encoding.verdicts import Refuse, RelayPolicy, Verdict, refusal
from mailsandbox.message.envelope import Envelope
from mailsandbox.message.findings import Edit, Finding
from mailsandbox.message.spans import Part, scan
from mailsandbox.smtp.extensions import Offers

LINE_LIMIT: Final = 998  # smtp_line_length_limit
SOFT_BREAK_AFTER: Final = 72  # octets of output on a line, beyond which a soft break is made
_TO_ENCODE: Final = re.compile(rb"[^\t\x20-\x3c\x3e-\x7e]")
_SOURCE: Final = "Postfix 8BITMIME_README"


def prepare(octets: bytes, *, offers: Offers, envelope: Envelope, policy: RelayPolicy) -> Verdict:
    """What Postfix's smtp client would send. `policy` gives nothing: Postfix adds no trace of a conversion."""
    root = scan(octets)
    limit = next((finding for finding in root.all_findings() if finding.rule == "nesting-limit"), None)
    utf8_header = first_eight_bit(octets, 0, root.header.end) >= 0
    refused = refused_for_utf8(envelope, offers, utf8_header=utf8_header)
    if refused is not None:
        return refused
    labelled = envelope.body in ("8BITMIME", "BINARYMIME") or any(
        part.encoding in ("8bit", "binary") for part in root.walk()
    )
    edits = EditList(octets)
    # smtp_proto: a host that offers SMTPUTF8 is taken to carry 8-bit.
    carries = "8BITMIME" in offers or "SMTPUTF8" in offers
    if labelled and not carries:
        if limit is not None:
            finding = Finding(
                limit.rule, limit.source, "MIME nesting exceeds safety limit", limit.offset, "", "5.6.0", True
            )
            return Refuse(refusal(554, finding), (finding,))
        _downgrade(octets, root, edits)
    made = edits.sorted()
    made = _split_long_lines(octets, root, made) if long_line(octets, 0, len(octets)) >= 0 else made
    body = "8BITMIME" if labelled and "8BITMIME" in offers else ""
    return outcome(octets, root, made, offers, body=body, smtputf8=envelope.smtputf8 and "SMTPUTF8" in offers)


def _downgrade(octets: bytes, root: Part, edits: EditList) -> None:
    for part in root.walk():
        if part.encoding not in ("8bit", "binary"):
            continue
        kind = part.content_type
        composite = part.is_multipart or (kind.maintype == "message" and kind.subtype != "global")
        label = b"7bit" if composite else b"quoted-printable"
        for field in part.fields_of("content-transfer-encoding"):
            edits.replace(field.start, field.end, b"", rule="relabelled", source=_SOURCE, part=part.number)
        new = b"Content-Transfer-Encoding: %b\r\n" % label
        edits.insert(part.fields_end, new, rule="relabelled", source=_SOURCE, part=part.number)
        # message/partial and message/external-body: labelled 7bit, and their text is encoded all the same.
        if not part.is_multipart and not (composite and part.children):
            body = octets[part.body.start : part.body.end]
            edits.replace(
                part.body.start,
                part.body.end,
                quoted_printable(body),
                rule=f"{part.encoding}-to-quoted-printable",
                source=_SOURCE,
                part=part.number,
            )


def quoted_printable(octets: bytes) -> bytes:
    """Postfix's encoder: soft breaks after 72 octets, blanks encoded at the end of a line, nothing else guarded."""
    return b"\r\n".join([_line(line) for line in octets.split(b"\r\n")])


def _line(line: bytes) -> bytes:
    encoded = _TO_ENCODE.sub(lambda octet: b"=%02X" % octet[0][0], line)
    if encoded[-1:] in (b" ", b"\t"):
        encoded = encoded[:-1] + b"=%02X" % encoded[-1]
    pieces, position = [], 0
    while len(encoded) - position > SOFT_BREAK_AFTER + 1:
        cut = position + SOFT_BREAK_AFTER + 1
        # A triplet that began within the limit is finished on its line.
        equals = encoded.find(b"=", cut - 2, cut)
        cut = equals + 3 if equals >= 0 else cut
        if cut >= len(encoded):
            break
        pieces.append(encoded[position:cut])
        position = cut
    pieces.append(encoded[position:])
    return b"=\r\n".join(pieces)


def _split_long_lines(octets: bytes, root: Part, made: tuple[Edit, ...]) -> tuple[Edit, ...]:
    """smtp_line_length_limit: CRLF and a space put into longer lines, whatever they hold."""
    edits = EditList(octets)
    for edit in made:
        edits.replace(edit.start, edit.end, edit.after, rule=edit.rule, source=edit.source, part=edit.part)
    replaced = [(edit.start, edit.end) for edit in made if edit.end > edit.start]
    at = long_line(octets, 0, len(octets))
    while at >= 0:
        end = octets.find(b"\r\n", at)
        end = end if end >= 0 else len(octets)
        if not any(start <= at < stop for start, stop in replaced):
            for cut in range(at + LINE_LIMIT, end, LINE_LIMIT - 1):
                edits.insert(
                    cut, b"\r\n ", rule="line-split", source="Postfix smtp_line_length_limit", part=root.number
                )
        at = long_line(octets, end, len(octets)) if end < len(octets) else -1
    return edits.sorted()
