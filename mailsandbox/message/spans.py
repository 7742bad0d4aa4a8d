"""The scanner: octets of a message to a tree of byte ranges, copying nothing.

Invariants: any octets give a tree, nothing is raised; time is linear in the octets (each line is looked at once,
whatever the nesting); memory is bounded by the limits. What is tolerated is noted as a finding on its part.
A part ends before the CRLF that belongs to the delimiter after it (RFC 2046 §5.1.1). Knows nothing of gates.
"""

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from mailsandbox.message.findings import Finding
from mailsandbox.message.parameters import first_token, join_parameters, media_type, raw_parameters
from mailsandbox.message.remembered import remembered
from mailsandbox.message.transfer import IDENTITY

MAX_DEPTH: Final = 100  # nested parts; Postfix mime_nesting_limit
MAX_HEADER: Final = 102_400  # octets of one header up to its blank line; Postfix header_size_limit
MAX_PARTS: Final = 10_000  # of one message; mox and Dovecot bound it likewise
MAX_FIELDS: Final = 100_000  # of one message, all parts together
MAX_LINE: Final = 1_100  # octets of a line that is looked at as a delimiter; boundaries have 70 (RFC 2046 §5.1.1)

# RFC 5322 §2.2: printable ASCII but colon; blanks before the colon are §4.5.8 (obsolete, and seen).
# Possessive throughout: there is nothing to go back for, and a long header would cost memory for each line.
_FIELD: Final = re.compile(rb"([\x21-\x39\x3b-\x7e]++)[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*+\n?+)")
_FOLD: Final = re.compile(rb"\r?\n(?=[ \t])")
_ENCODING_ALIASES: Final = {"8-bit": "8bit", "7-bit": "7bit"}
_MESSAGE_TYPES: Final = frozenset({"rfc822", "global", "news"})
# Names as nearly everybody spells them, to their keys.
_USUAL_NAMES: Final = {
    name: name.decode("ascii").lower()
    for name in b"""Received Return-Path Delivered-To From Sender Reply-To To Cc Bcc Subject Date Message-ID Message-Id
        In-Reply-To References MIME-Version Mime-Version Content-Type Content-Transfer-Encoding Content-Disposition
        Content-ID Content-Id Content-Description Content-Language DKIM-Signature ARC-Seal ARC-Message-Signature
        ARC-Authentication-Results Authentication-Results Received-SPF X-Received X-Mailer User-Agent Precedence
        Auto-Submitted List-Id List-Unsubscribe List-Post List-Help List-Archive List-Subscribe Errors-To""".split()
}
_TRIED: Final = 256  # lines that looked like delimiters and were none, before a pattern is made to pass them by


class Span(msgspec.Struct, frozen=True, gc=False):
    """Octets [start, end)."""

    start: int
    end: int


class Field(msgspec.Struct, frozen=True, gc=False):
    """One header field. `end` includes the line end of its last folded line."""

    name: bytes  # as written
    key: str  # lower case
    start: int
    value_start: int  # after the colon
    end: int


class ContentType(msgspec.Struct, frozen=True):
    """A media type; `explicit` is False where the field is absent and the default stands. Shared: nobody changes it."""

    maintype: str = "text"
    subtype: str = "plain"
    parameters: dict[str, str] = {}  # msgspec gives each its own
    explicit: bool = False
    valid: bool = True

    @property
    def name(self) -> str:
        """ "text/plain"."""
        return f"{self.maintype}/{self.subtype}"


TEXT_PLAIN: Final = ContentType(parameters={"charset": "us-ascii"})  # RFC 2045 §5.2
MALFORMED: Final = ContentType(parameters={"charset": "us-ascii"}, explicit=True, valid=False)
IN_DIGEST: Final = ContentType("message", "rfc822")  # RFC 2046 §5.1.5


class Part(msgspec.Struct):
    """A node of the tree: the message, a body part, or an embedded message.

    `number` is the IMAP part number (RFC 9051 §6.4.5.1): "" for the message, "1.2" below a multipart. An embedded
    message bears the number of the part that holds it ("1" where that is the root); its own parts count below that.
    `header` ends where `body` starts; it includes the blank line, which begins at `fields_end`.
    """

    number: str
    start: int
    end: int
    header: Span
    body: Span
    fields: list[Field]
    fields_end: int
    content_type: ContentType
    encoding: str
    boundary: bytes = b""
    children: list["Part"] = []  # msgspec gives each part its own
    preamble: Span | None = None
    epilogue: Span | None = None
    delimiters: list[Span] = []  # whole lines, with their line ends
    closed: bool = False
    findings: list[Finding] = []

    @property
    def is_multipart(self) -> bool:
        return self.content_type.maintype == "multipart"

    @property
    def is_message(self) -> bool:
        """A part that holds an embedded message in clear."""
        return self.content_type.maintype == "message" and bool(self.children)

    @property
    def has_blank_line(self) -> bool:
        return self.fields_end < self.header.end

    def field(self, key: str) -> Field | None:
        """The first field of that name (lower case)."""
        for candidate in self.fields:
            if candidate.key == key:
                return candidate
        return None

    def fields_of(self, key: str) -> list[Field]:
        """All fields of that name (lower case), in order."""
        return [candidate for candidate in self.fields if candidate.key == key]

    def walk(self) -> Iterator["Part"]:
        """This part and all below it, in the order of the octets."""
        stack = [self]
        while stack:
            part = stack.pop()
            yield part
            stack.extend(reversed(part.children))

    def all_findings(self) -> list[Finding]:
        """Findings of this part and all below it, in the order of the octets."""
        return [finding for part in self.walk() for finding in part.findings]


def scan(
    octets: bytes,
    *,
    max_depth: int = MAX_DEPTH,
    max_header: int = MAX_HEADER,
    max_parts: int = MAX_PARTS,
    max_fields: int = MAX_FIELDS,
) -> Part:
    """The tree of a whole message. Limits that are met are findings, and what lies beyond them stays unsplit."""
    return _Scanner(octets, max_depth, max_header, max_parts, max_fields).part(0, "", TEXT_PLAIN, 0)


class Scanner:
    """The same for a message that arrives in pieces: however it is cut, the tree is that of the whole."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def feed(self, octets: bytes) -> None:
        self._pieces.append(octets)

    def close(self) -> tuple[bytes, Part]:
        """The whole message and its tree."""
        octets = b"".join(self._pieces)
        return octets, scan(octets)


def unfold(octets: bytes, field: Field) -> bytes:
    """The field's value in one line: line ends before white space removed (RFC 5322 §2.2.3), ends stripped."""
    value = octets[field.value_start : field.end].strip(b" \t\r\n")
    return _FOLD.sub(b"", value) if b"\n" in value else value


class _Delimiter(msgspec.Struct, frozen=True, gc=False):
    start: int  # of the line
    end: int  # after its line end
    level: int  # which multipart it belongs to; -1: the end of the octets
    close: bool


class _Scanner:
    """One pass. `_found` is the delimiter that ended the last part and has not been used up yet."""

    __slots__ = (
        "_boundaries",
        "_fields",
        "_found",
        "_octets",
        "_parts",
        "_pattern",
        "_size",
        "_tried",
        "max_depth",
        "max_fields",
        "max_header",
        "max_parts",
    )

    def __init__(self, octets: bytes, max_depth: int, max_header: int, max_parts: int, max_fields: int) -> None:
        self._octets = octets
        self._size = len(octets)
        self._boundaries: dict[bytes, int] = {}  # boundary -> level of the innermost open multipart that uses it
        self._found: _Delimiter | None = None
        self._tried = 0  # lines that looked like delimiters and were none, since a pattern was made
        self._pattern: tuple[frozenset[bytes], re.Pattern[bytes]] | None = None  # of delimiters, and for which
        self._parts = 0
        self._fields = 0
        self.max_depth = max_depth
        self.max_header = max_header
        self.max_parts = max_parts
        self.max_fields = max_fields

    def part(self, start: int, number: str, default: ContentType, depth: int) -> Part:
        self._parts += 1
        part = self._header(start, number, default)
        kind = part.content_type
        if kind.maintype == "multipart":
            if depth >= self.max_depth:
                _note(part, "nesting-limit", "RFC 2046 §5.1", f"nested deeper than {self.max_depth} parts", part.start)
            elif not part.boundary:
                _note(part, "no-boundary", "RFC 2046 §5.1.1", "multipart without a boundary parameter", part.start)
            else:
                self._multipart(part, depth)
                return part
        elif kind.maintype == "message" and kind.subtype in _MESSAGE_TYPES and part.encoding in IDENTITY:
            if depth >= self.max_depth:
                _note(
                    part, "nesting-limit", "RFC 2046 §5.2.1", f"nested deeper than {self.max_depth} parts", part.start
                )
            else:
                child = self.part(part.body.start, number or "1", TEXT_PLAIN, depth + 1)
                part.children.append(child)
                self._close(part, child.end)
                return part
        delimiter = self._delimiter(part.body.start)
        self._close(part, self._content_end(delimiter, part.body.start))
        return part

    def _close(self, part: Part, end: int) -> None:
        part.end = end
        part.body = Span(part.body.start, end)

    def _multipart(self, part: Part, depth: int) -> None:
        level, boundary = depth, part.boundary
        outer = self._boundaries.get(boundary)
        self._boundaries[boundary] = level
        delimiter = self._delimiter(part.body.start)
        part.preamble = Span(part.body.start, self._content_end(delimiter, part.body.start))
        default = IN_DIGEST if part.content_type.subtype == "digest" else TEXT_PLAIN
        prefix = f"{part.number}." if part.number else ""
        while delimiter.level == level and not delimiter.close:
            if self._parts >= self.max_parts:
                _note(part, "part-limit", "RFC 2046 §5.1", f"more than {self.max_parts} parts", delimiter.start)
                break
            self._found = None
            part.delimiters.append(Span(delimiter.start, delimiter.end))
            number = f"{prefix}{len(part.children) + 1}"
            part.children.append(self.part(delimiter.end, number, default, depth + 1))
            delimiter = self._delimiter(part.children[-1].end)
        if outer is None:
            del self._boundaries[boundary]
        else:
            self._boundaries[boundary] = outer
        end = self._content_end(delimiter, part.body.start)
        if delimiter.level == level:
            part.closed = delimiter.close
            part.delimiters.append(Span(delimiter.start, delimiter.end))
            self._found = None
            floor = delimiter.end
            end = self._content_end(self._delimiter(floor), floor)
            part.epilogue = Span(floor, end)
        if not part.children:
            _note(part, "no-delimiter", "RFC 2046 §5.1.1", "multipart without any part", part.body.start)
        elif not part.closed:
            _note(part, "missing-close-delimiter", "RFC 2046 §5.1.1", "multipart without its closing delimiter", end)
        if not part.delimiters:
            part.preamble = None
        self._close(part, end)

    def _delimiter(self, position: int) -> _Delimiter:
        """The next delimiter line of any open multipart that begins at or after `position`, a start of a line."""
        found = self._found
        if found is not None and found.start >= position:
            return found
        if self._boundaries:
            # The line end before the line is part of what is looked for, so look from one octet before.
            at = self._octets.find(b"\n--", max(position - 1, 0))
            pattern = self._pattern_of_open()
            while at >= 0:
                found = self._match(at + 1)
                if found is not None:
                    self._found = found
                    return found
                if pattern is None:
                    self._tried += 1
                    at = self._octets.find(b"\n--", at + 1)
                    pattern = self._pattern_of_open()
                else:
                    likely = pattern.search(self._octets, at + 1)
                    at = likely.start() if likely else -1
        self._found = end = _Delimiter(self._size, self._size, -1, False)
        return end

    def _pattern_of_open(self) -> re.Pattern[bytes] | None:
        """What begins and ends like a delimiter of an open multipart; None while it is not worth making.

        Hardly any line that begins with "--" is no delimiter. Only where many were not is the pattern made, which takes
        as long as trying some lines for each octet of the boundaries: so the time stays linear whatever is nested.
        """
        if self._tried <= _TRIED and self._pattern is None:
            return None
        open_now = frozenset(self._boundaries)
        if self._pattern is not None and self._pattern[0] == open_now:
            return self._pattern[1]
        if self._tried <= _TRIED + 2 * sum(map(len, open_now)):
            return None
        self._tried = 0
        pattern = re.compile(rb"\n--(?:%b)[ \t]*+(?:--)?+[ \t\r]*+(?:\n|\Z)" % b"|".join(map(re.escape, open_now)))
        self._pattern = open_now, pattern
        return pattern

    def _match(self, start: int) -> _Delimiter | None:
        """The delimiter line at `start`, if it is one of an open multipart: a whole line, blanks after it allowed."""
        octets = self._octets
        newline = octets.find(b"\n", start)
        end = newline + 1 if newline >= 0 else self._size
        text = octets[start + 2 : end].rstrip(b" \t\r\n") if end - start < MAX_LINE else b""
        level = self._boundaries.get(text)
        if level is not None:
            return _Delimiter(start, end, level, False)
        if text.endswith(b"--"):
            level = (
                self._boundaries.get(text[:-2].rstrip(b" \t"))
                if text[-3:-2] in b" \t"
                else self._boundaries.get(text[:-2])
            )
            if level is not None:
                return _Delimiter(start, end, level, True)
        return None

    def _content_end(self, delimiter: _Delimiter, floor: int) -> int:
        """RFC 2046 §5.1.1: the line end before a delimiter belongs to the delimiter."""
        end = delimiter.start
        if delimiter.level < 0:
            return end
        if end > floor and self._octets[end - 1] == 0x0A:
            end -= 1
            if end > floor and self._octets[end - 1] == 0x0D:
                end -= 1
        return end

    def _header(self, start: int, number: str, default: ContentType) -> Part:
        octets = self._octets
        findings: list[Finding] = []
        fields, position = self._header_fields(start, number, findings)
        if octets.startswith(b"\r\n", position):
            body = position + 2
        elif octets.startswith(b"\n", position):
            body = position + 1
        else:
            body = position
        content_type, boundary = self._content_type(fields, number, default, findings)
        encoding = self._encoding(fields, number, findings)
        return Part(
            number, start, body, Span(start, body), Span(body, body), fields, position,
            content_type, encoding, boundary, findings=findings,
        )  # fmt: skip

    def _header_fields(self, start: int, number: str, findings: list[Finding]) -> tuple[list[Field], int]:
        """The fields, and where they end.

        Lines that are no fields (an mbox separator, say) are passed over if a field or blank line ends the header, as
        GMime and Perl's Email::MIME do; otherwise the body begins at the first of them.
        """
        octets, fields, position = self._octets, list[Field](), start
        limit = start + self.max_header
        match, junk, before_junk = _FIELD.match, -1, 0
        ended, too_many = True, False  # ended: by what ends a header, if it ended here
        while position < self._size:
            if octets.startswith(b"--", position) and (self._match(position) or self._own(fields, position)):
                break
            if junk >= 0 and position >= limit:
                ended = False
                break
            found = match(octets, position)
            if found is not None:
                value_start, end = found.span(2)
                if end > limit or self._fields >= self.max_fields:
                    # What is beyond is not taken apart: a Content-Type of megabytes would take seconds.
                    too_many = end <= limit
                    position = self._past_fields(end)
                    break
                self._fields += 1
                name = found[1]
                key = _USUAL_NAMES.get(name) or name.decode("ascii").lower()
                fields.append(Field(name, key, position, value_start, end))
                position, ended = end, True
                continue
            if octets.startswith((b"\r\n", b"\n"), position):
                ended = True
                break
            ended = False
            if junk < 0:
                junk, before_junk = position, len(fields)
            newline = octets.find(b"\n", position)
            position = newline + 1 if newline >= 0 else self._size
        if junk >= 0:
            text = "a line in the header is neither a field nor blank"
            findings.append(Finding("malformed-header", "RFC 5322 §2.2", text, junk, number, "5.6.0"))
            if not ended and not self._own(fields, position):
                del fields[before_junk:]
                position = junk
        if position > limit or too_many:
            findings.append(self._too_large(position if too_many else limit, number, many=too_many))
        return fields, position

    def _past_fields(self, position: int) -> int:
        """The end of the fields that follow one another from there."""
        while (found := _FIELD.match(self._octets, position)) is not None:
            position = found.end()
        return position

    def _too_large(self, at: int, number: str, *, many: bool) -> Finding:
        """One field or all of them together, folded or not: the limit is that of the whole header."""
        text = f"more than {self.max_fields} header fields" if many else f"header larger than {self.max_header} octets"
        return Finding("header-limit", "RFC 5322 §2.2", text, at, number, "5.6.0")

    def _own(self, fields: list[Field], position: int) -> bool:
        """Whether a line in the header is the delimiter that this header's own Content-Type announces."""
        octets = self._octets
        found = next((field for field in fields if field.key == "content-type"), None)
        if found is None or not octets.startswith(b"--", position):
            return False
        boundary = self._content_type([found], "", TEXT_PLAIN, [])[1]
        newline = octets.find(b"\n", position)
        line = octets[position + 2 : newline if newline >= 0 else self._size] if newline - position < MAX_LINE else b""
        return bool(boundary) and line.rstrip(b" \t\r") == boundary

    def _content_type(
        self, fields: list[Field], number: str, default: ContentType, findings: list[Finding]
    ) -> tuple[ContentType, bytes]:
        found = _first("content-type", fields, number, findings)
        if found is None:
            return default, b""
        parsed = _typed(self._octets[found.value_start : found.end])
        if parsed is None:
            # RFC 2045 §5.2: the default is assumed for a malformed field.
            text = "Content-Type cannot be parsed: text/plain is assumed"
            findings.append(Finding("malformed-content-type", "RFC 2045 §5.1", text, found.start, number))
            return MALFORMED, b""
        return parsed

    def _encoding(self, fields: list[Field], number: str, findings: list[Finding]) -> str:
        found = _first("content-transfer-encoding", fields, number, findings)
        if found is None:
            return "7bit"  # RFC 2045 §6.1
        return _encoding(self._octets[found.value_start : found.end])


@remembered
def _typed(value: bytes) -> tuple[ContentType, bytes] | None:
    """The type of a Content-Type's value, and the boundary of a multipart; None where it is malformed."""
    parsed = media_type(value)
    if parsed is None:
        return None
    maintype, subtype, end = parsed
    raw = raw_parameters(value, end)
    boundary = b""
    if maintype == "multipart":
        plain = [parameter.value for parameter in raw if parameter.name == "boundary"]
        boundary = plain[0] if plain else join_parameters(raw).get("boundary", "").encode()
    return ContentType(maintype, subtype, join_parameters(raw), explicit=True), boundary.rstrip(b" \t")


@remembered
def _encoding(value: bytes) -> str:
    """The encoding that a Content-Transfer-Encoding's value names."""
    token = first_token(value)
    return _ENCODING_ALIASES.get(token, token) or "7bit"


def _first(key: str, fields: list[Field], number: str, findings: list[Finding]) -> Field | None:
    """The first field of a name that may stand once; a second one is a finding."""
    first: Field | None = None
    for candidate in fields:
        if candidate.key != key:
            continue
        if first is not None:
            text = f"a second {candidate.name.decode('ascii')}: the first counts"
            findings.append(Finding("duplicate-field", "RFC 2045 §3", text, candidate.start, number))
            break
        first = candidate
    return first


def _note(part: Part, rule: str, source: str, text: str, offset: int) -> None:
    part.findings.append(Finding(rule, source, text, offset, part.number, "5.6.0"))
