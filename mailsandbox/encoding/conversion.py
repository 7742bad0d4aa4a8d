"""Conversion of a message to what the next hop can carry: a walk over the span tree that writes an edit list.

Invariants: only offending leaves are re-encoded, only their Content-Transfer-Encoding is patched, containers are
relabelled, every other octet stays (RFC 2045 §6, RFC 6152 §3); nothing between the delimiters of a signed or encrypted
part is changed unless the policy says so (RFC 1847 §2.1); no composite type is ever encoded (RFC 2045 §6.4).
"""

import re
from dataclasses import dataclass
from typing import Final, NoReturn

from mailsandbox.encoding.classify import MAX_LINE, Inspection, Offences, is_protected_container, long_line
from mailsandbox.encoding.edits import EditList
from mailsandbox.encoding.header_fields import Problem, convert_field
from mailsandbox.encoding.header_text import OFFENDING
from mailsandbox.encoding.leaves import choose_encoding, encode_leaf, repair_leaf
from mailsandbox.encoding.verdicts import OnNeed, RelayPolicy
from mailsandbox.message.findings import Finding
from mailsandbox.message.parameters import first_token, skip_comments
from mailsandbox.message.spans import Part, Span
from mailsandbox.message.transfer import IDENTITY

_LOST: Final = re.compile(rb"[\x80-\xff\0]|\r(?!\n)")
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")
_DASHES: Final = re.compile(rb"(?m)^--")
_MESSAGE_RULE: Final = "RFC 2045 §6.4"


@dataclass(frozen=True, slots=True)
class Target:
    """What may be left in the message. `utf8_header`: it goes out with SMTPUTF8."""

    eight_bit: bool = False
    binary: bool = False
    utf8_header: bool = False

    def allows(self, found: Offences) -> bool:
        """Whether a body with these offences may stay as it is."""
        return (found.eight_bit < 0 or self.eight_bit) and (not found.binary or self.binary)


class Unconvertible(Exception):  # a verdict on its way out of the walk, never seen outside this package
    """The message cannot be converted; `finding` says why, `code` is the reply's."""

    def __init__(self, finding: Finding, code: int = 554) -> None:
        super().__init__(finding.text)
        self.finding = finding
        self.code = code


class Conversion:
    """One walk. `edits` and `findings` are its result; raises Unconvertible."""

    def __init__(self, inspect: Inspection, root: Part, target: Target, policy: RelayPolicy) -> None:
        self.inspect = inspect
        self.octets = octets = inspect.octets
        self.root = root
        self.target = target
        self.policy = policy
        self.edits = EditList(octets)
        self.findings: list[Finding] = []
        self._boundaries: list[bytes] = []  # of the multiparts around the part at hand

    def run(self) -> None:
        for finding in self.root.all_findings():
            if finding.rule in ("nesting-limit", "header-limit", "part-limit"):
                raise Unconvertible(finding)
        self._entity(self.root, is_message=True)

    def _refuse(
        self, part: Part, rule: str, source: str, text: str, offset: int, enhanced: str, code: int = 554
    ) -> NoReturn:
        raise Unconvertible(Finding(rule, source, text, offset, part.number, enhanced, True), code)

    def _entity(self, part: Part, *, is_message: bool) -> None:
        self._fields(part)
        if part.is_multipart:
            self._multipart(part)
        elif part.is_message and part.content_type.subtype != "global":
            self._relabel(part)
            if not part.has_blank_line and not self._passes(part.body):
                self._blank_line(part)
            self._entity(part.children[0], is_message=True)
        else:
            self._leaf(part, is_message=is_message)

    def _passes(self, span: Span) -> bool:
        return self.target.allows(self.inspect(span.start, span.end))

    def _is_binary(self, start: int, end: int) -> bool:
        return self.inspect(start, end).binary

    # --- header ---------------------------------------------------------------------------------------------------

    def _fields(self, part: Part) -> None:
        found = self.inspect(part.header.start, part.header.end)
        if not found.any or (self.target.utf8_header and not found.binary):
            return
        for field in part.fields:
            if self.target.utf8_header and not self._is_binary(field.start, field.end):
                continue
            converted = convert_field(self.octets, field, repair=self.policy.repair)
            if converted is None:
                continue
            problem = converted.problem
            if problem is None and field.key == "content-type" and not part.boundary.isascii():
                text = "boundary parameter with 8-bit octets"
                problem = Problem("8bit-boundary", "RFC 2046 §5.1.1", text, "5.6.0")
            if problem is not None:
                if self.target.eight_bit and part is not self.root and not self._is_binary(field.start, field.end):
                    continue  # body octets to this hop, so better left than refused
                code = 553 if problem.enhanced == "5.6.7" else 554
                self._refuse(part, problem.rule, problem.source, problem.text, field.start, problem.enhanced, code)
            if converted.loss:
                self._loss(part, field.start, f"octets of {field.name.decode('ascii')[:60]} replaced by '?'")
            if converted.rule == "bare-lf":
                for found_lf in _BARE_LF.finditer(self.octets, field.start, field.end):
                    self.edits.line_end(found_lf.start(), found_lf.end(), part=part.number)
                continue
            self.edits.replace(
                field.start, field.end, converted.octets, rule=converted.rule, source=converted.source, part=part.number
            )
        self._between_fields(part)
        if self.octets[part.fields_end : part.header.end] == b"\n":
            self.edits.line_end(part.fields_end, part.header.end, part=part.number)

    def _between_fields(self, part: Part) -> None:
        """Lines of the header that are no fields: nothing but their line ends can be mended."""
        ends = [part.start, *(field.end for field in part.fields)]
        starts = [*(field.start for field in part.fields), part.fields_end]
        for start, end in zip(ends, starts, strict=True):
            found = self.inspect(start, end)
            if not found.any or (
                not found.binary and (self.target.utf8_header or (self.target.eight_bit and part is not self.root))
            ):
                continue
            junk = _BARE_LF.sub(b"\r\n", self.octets[start:end])
            if OFFENDING.search(junk) or long_line(junk, 0, len(junk)) >= 0:
                if not self.policy.repair:
                    text = "a line in the header that is no field cannot be converted"
                    self._refuse(part, "malformed-header", "RFC 5322 §2.2", text, _first(found), "5.6.0")
                self._loss(part, _first(found), "a header line that is no field dropped")
                junk = b""
            self.edits.replace(start, end, junk, rule="bare-lf", source="RFC 5322 §2.3", part=part.number)

    def _loss(self, part: Part, offset: int, text: str) -> None:
        self.findings.append(Finding("conversion-with-loss", "RFC 3463 §3.7", text, offset, part.number, "2.6.4"))

    # --- multipart ------------------------------------------------------------------------------------------------

    def _multipart(self, part: Part) -> None:
        if not part.children:
            self._opaque(part)
            return
        self._relabel(part)
        if part.preamble:
            self._text_outside_parts(part, part.preamble.start, part.preamble.end, at_start=True)
        if is_protected_container(part) and not self.policy.break_signatures:
            self._protected(part)
        else:
            self._boundaries.append(part.boundary)
            self._parts(part)
            self._boundaries.pop()
        if part.epilogue:
            self._text_outside_parts(part, part.epilogue.start, part.epilogue.end, at_start=False)

    def _parts(self, part: Part) -> None:
        position = part.preamble.end if part.preamble else part.body.start
        for number, delimiter in enumerate(part.delimiters):
            self._gap(part, position, delimiter.start, delimiter.end)
            if number < len(part.children):
                child = part.children[number]
                self._entity(child, is_message=False)
                position = child.end
            else:
                position = delimiter.end

    def _gap(self, part: Part, start: int, delimiter_start: int, end: int) -> None:
        """A delimiter line with the line end before it: only its line ends are ours to mend."""
        self._line_end_before(part, start, delimiter_start)
        octets = self.octets
        line = octets[delimiter_start:end]
        text = line.rstrip(b" \t\r\n")
        if self.inspect(delimiter_start, end).any or len(line) > MAX_LINE:
            at = delimiter_start + len(text)
            ending = b"\r\n" if line.endswith(b"\n") else b""
            self.edits.replace(at, end, ending, rule="delimiter", source="RFC 2046 §5.1.1", part=part.number)

    def _line_end_before(self, part: Part, start: int, delimiter_start: int) -> None:
        if self.octets[start:delimiter_start] == b"\n":
            self.edits.line_end(start, delimiter_start, part=part.number)

    def _opaque(self, part: Part) -> None:
        """A multipart that cannot be split: it may not be encoded either, so it passes as it is or not at all."""
        found = self.inspect(part.body.start, part.body.end)
        if self.target.allows(found):
            self._relabel(part)
            return
        text = "multipart without boundary or delimiter cannot be converted"
        self._refuse(part, "opaque-multipart", "RFC 2046 §5.1.1", text, _first(found), "5.6.0")

    def _protected(self, part: Part) -> None:
        start = part.delimiters[0].start
        end = part.delimiters[-1].end if part.closed else part.end
        found = self.inspect(start, end)
        if self.target.allows(found):
            self._line_end_before(part, part.preamble.end if part.preamble else start, start)
            return
        # RFC 1847 §2.1: the signer had to encode; changing anything here breaks the signature.
        text = f"{part.content_type.name} needs conversion, which would break it"
        self._refuse(part, "protected-part", "RFC 1847 §2.1", text, _first(found), "5.6.2")

    def _text_outside_parts(self, part: Part, start: int, end: int, *, at_start: bool) -> None:
        """Preamble or epilogue (RFC 2046 §5.1.1: to be ignored): what cannot pass is replaced by "?"."""
        found = self.inspect(start, end)
        if self.target.allows(found):
            return
        text = self.octets[start:end]
        if not self.target.eight_bit or found.nul >= 0 or found.bare_cr >= 0:
            lost = _LOST if not self.target.eight_bit else re.compile(rb"\0|\r(?!\n)")
            if lost.search(text):
                self._loss(
                    part, _first(found), f"octets of the {'preamble' if at_start else 'epilogue'} replaced by '?'"
                )
                # A line may not become a delimiter by it.
                text = lost.sub(b"?", _DASHES.sub(b"??", text))
        text = _BARE_LF.sub(b"\r\n", text)
        if long_line(text, 0, len(text)) >= 0:
            rows = [row if len(row) <= MAX_LINE else _chop(row) for row in text.split(b"\r\n")]
            text = b"\r\n".join(rows)
        source = "RFC 2046 §5.1.1"
        if at_start and not part.has_blank_line and text:
            text = b"\r\n" + text
        self.edits.replace(start, end, text, rule="outside-parts", source=source, part=part.number)

    def _relabel(self, part: Part) -> None:
        """A container says what its parts are now (RFC 2045 §6.4)."""
        if part.encoding not in ("8bit", "binary") or self.target.binary:
            return
        if self.target.eight_bit and part.encoding == "8bit":
            return
        label = b"8bit" if self.target.eight_bit and self._keeps_eight_bit(part) else b"7bit"
        self._set_encoding(part, label, rule="relabelled")

    def _keeps_eight_bit(self, part: Part) -> bool:
        return any(
            self.target.allows(found) and found.eight_bit >= 0
            for leaf in part.walk()
            if not leaf.children
            for found in (self.inspect(leaf.body.start, leaf.body.end),)
        )

    def _set_encoding(self, part: Part, label: bytes, *, rule: str) -> None:
        """The value of every Content-Transfer-Encoding field of the part replaced in place; comments stay."""
        for field in part.fields_of("content-transfer-encoding"):
            value = self.octets[field.value_start : field.end].rstrip(b"\r\n")
            start = skip_comments(value, 0)
            end = start + len(first_token(value))
            if end == start or skip_comments(value, end) < len(value):
                start, end, after = 0, len(value), b" " + label
            else:
                after = label
            at = field.value_start
            if b"\n" in value or b"\r" in value or not value.isascii():
                self.edits.discard(at + start, at + end)
            self.edits.replace(at + start, at + end, after, rule=rule, source=_MESSAGE_RULE, part=part.number)

    # --- leaves ---------------------------------------------------------------------------------------------------

    def _leaf(self, part: Part, *, is_message: bool) -> None:
        found = self.inspect(part.body.start, part.body.end)
        if self.target.allows(found):
            if (part.encoding == "binary" and not self.target.binary) or (
                part.encoding == "8bit" and not self.target.eight_bit
            ):
                keeps = self.target.eight_bit and found.eight_bit >= 0
                self._set_encoding(part, b"8bit" if keeps else b"7bit", rule="relabelled")
            return
        self._check_convertible(part, found)
        if part.encoding in IDENTITY:
            self._encode(part, found, is_message=is_message)
        else:
            self._blank_line(part)
            body = repair_leaf(self.octets[part.body.start : part.body.end], part.encoding)
            for boundary in self._boundaries if part.encoding == "quoted-printable" else ():
                # A soft line break may not make a delimiter of what follows it.
                body = body.replace(b"=\r\n--" + boundary, b"=\r\n=2D-" + boundary)
            body = self._with_line_end(part, body, part.encoding)
            self.edits.replace(
                part.body.start,
                part.body.end,
                body,
                rule=f"repaired-{part.encoding}",
                source="RFC 2045 §6.7",
                part=part.number,
            )

    def _check_convertible(self, part: Part, found: Offences) -> None:
        kind, at = part.content_type, _first(found)
        if (
            kind.maintype == "message"
            and kind.subtype not in ("rfc822", "global", "news")
            and not _is_global(kind.subtype)
        ):
            # RFC 2046 §5.2.2, §5.2.3 and RFC 2045 §6.4; RFC 6532 §3.5 relaxes it for new types only.
            text = f"{kind.name} may not be encoded"
            self._refuse(part, "unencodable-message", "RFC 2046 §5.2.2", text, at, "5.6.3")
        if kind.maintype == "application" and kind.subtype in ("pkcs7-mime", "x-pkcs7-mime"):
            text = "S/MIME content needs conversion, which the sender had to do"
            self._refuse(part, "protected-part", "RFC 8551 §3.1", text, at, "5.6.2")
        if part.encoding not in IDENTITY and part.encoding not in ("quoted-printable", "base64"):
            text = f"cannot convert content with Content-Transfer-Encoding {part.encoding[:40]!r}"
            self._refuse(part, "unknown-encoding", "RFC 2045 §6.4", text, at, "5.6.3")
        unlabelled = not kind.explicit and part.encoding in IDENTITY and found.eight_bit >= 0
        if unlabelled and self.policy.unlabelled is OnNeed.BOUNCE:
            text = "8-bit content without Content-Type"
            self._refuse(part, "unlabelled-8bit", "RFC 2045 §5.2", text, at, "5.6.3")

    def _encode(self, part: Part, found: Offences, *, is_message: bool) -> None:
        body = self.octets[part.body.start : part.body.end]
        encoding = choose_encoding(body, part.content_type, found)
        encoded = encode_leaf(body, encoding)
        if encoding == "quoted-printable" and any(b"=\r\n--" + boundary in encoded for boundary in self._boundaries):
            # A soft line break would make a delimiter of what follows it.
            encoding, encoded = "base64", encode_leaf(body, "base64")
        label = part.encoding if part.field("content-transfer-encoding") else "8bit" if found.eight_bit >= 0 else "7bit"
        self._label(part, label, encoding, found, is_message=is_message)
        self._blank_line(part)
        encoded = self._with_line_end(part, encoded, encoding)
        self.edits.replace(
            part.body.start,
            part.body.end,
            encoded,
            rule=f"{label}-to-{encoding}",
            source="RFC 6152 §3",
            part=part.number,
        )

    def _with_line_end(self, part: Part, encoded: bytes, encoding: str) -> bytes:
        """At the end of the message base64 ends its last line. Before a delimiter that shared the line end of an inner
        one, any body does, as that line end is content of this part now.
        """
        after = self.octets[part.end : part.end + 1]
        missing = after not in (b"\r", b"\n") if after else encoding == "base64" and bool(encoded)
        return encoded + b"\r\n" if missing else encoded

    def _blank_line(self, part: Part) -> None:
        """A body that changes may not begin to look like header."""
        if not part.has_blank_line:
            at, rule = part.fields_end, "missing-blank-line"
            self.edits.insert(at, b"\r\n", rule=rule, source="RFC 5322 §2.1", part=part.number)

    def _label(self, part: Part, label: str, encoding: str, found: Offences, *, is_message: bool) -> None:
        """Content-Transfer-Encoding set or added, X-MIME-Autoconverted after it, what is missing before it."""
        policy = self.policy
        by = f" by {policy.host}" + (f" id {policy.queue_id}" if policy.queue_id else "")
        trace = f"X-MIME-Autoconverted: from {label} to {encoding}{by}\r\n".encode("ascii", "replace")
        rule, source = "content-transfer-encoding", "RFC 2045 §6.1"
        field = part.field("content-transfer-encoding")
        content_type = part.field("content-type")
        added = b""
        if is_message and not part.field("mime-version"):
            added += b"MIME-Version: 1.0\r\n"  # RFC 2045 §4
        if content_type is None and found.eight_bit >= 0:
            charset = policy.unlabelled_charset.encode("ascii", "replace")
            added += b"Content-Type: text/plain; charset=%b\r\n" % charset  # RFC 1428 §3
        if field is not None:
            self._set_encoding(part, encoding.encode(), rule=rule)
            at, inserted = field.end, trace
            if added:
                self.edits.insert(field.start, added, rule=rule, source=source, part=part.number)
        else:
            at = content_type.end if content_type is not None else part.fields_end
            inserted = added + b"Content-Transfer-Encoding: %b\r\n" % encoding.encode() + trace
        self.edits.insert(at, inserted, rule=rule, source=source, part=part.number)


def _is_global(subtype: str) -> bool:
    """RFC 6532 §3.7 and RFC 6533 §4-§6: these message types may be encoded."""
    return subtype == "global" or subtype.startswith("global-")


def _first(found: Offences) -> int:
    return min(at for at in (found.eight_bit, found.nul, found.bare_cr, found.bare_lf, found.long_line) if at >= 0)


def _chop(row: bytes) -> bytes:
    """A line nobody reads, in pieces that cannot be taken for delimiters."""
    return b"\r\n ".join([row[at : at + 900] for at in range(0, len(row), 900)])
