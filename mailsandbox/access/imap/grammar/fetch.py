"""FETCH and UID FETCH: attributes, sections, partials, modifiers. Pure.

RFC 9051 §6.4.5; CHANGEDSINCE and VANISHED RFC 7162 §3.1.4.1, §3.2.6; BINARY RFC 3516; PARTIAL RFC 9394 §3.3;
PREVIEW RFC 8970; EMAILID and THREADID RFC 8474; SAVEDATE RFC 8514.
"""

import re
from functools import lru_cache
from typing import Final

from msgspec import Struct

from mailsandbox.access.imap.framing import CommandOctets
from mailsandbox.access.imap.grammar.scanner import MAX_UINT63, Scanner
from mailsandbox.access.imap.responses import GrammarError, astring
from mailsandbox.access.imap.sets import SequenceSet

_NAME: Final = re.compile(rb"[A-Za-z0-9.-]+")
_SECTION_PART: Final = re.compile(rb"([1-9][0-9]{0,9}(?:\.[1-9][0-9]{0,9})*)(?=\]|\.[A-Za-z])")
_BINARY_PART: Final = re.compile(rb"(?:[1-9][0-9]{0,9}(?:\.[1-9][0-9]{0,9})*)?(?=\])")
_SECTION_TEXT: Final = re.compile(rb"HEADER\.FIELDS\.NOT|HEADER\.FIELDS|HEADER|TEXT|MIME", re.IGNORECASE)
_PARTIAL: Final = re.compile(rb"<([0-9]{1,10})\.([1-9][0-9]{0,9})>")
_PARTIAL_RANGE: Final = re.compile(rb"(-?)([1-9][0-9]{0,9}):(-?)([1-9][0-9]{0,9})")
MAX_PART_DEPTH: Final = 100

# Attributes without arguments, each with the capability that brings it ("" for IMAP itself).
PLAIN: Final = {
    "FLAGS": "",
    "UID": "",
    "INTERNALDATE": "",
    "RFC822.SIZE": "",
    "ENVELOPE": "",
    "BODYSTRUCTURE": "",
    "MODSEQ": "CONDSTORE",
    "EMAILID": "OBJECTID",
    "THREADID": "OBJECTID",
    "SAVEDATE": "SAVEDATE",
    "PREVIEW": "PREVIEW",
}
_FAST: Final = ("FLAGS", "INTERNALDATE", "RFC822.SIZE")
_MACROS: Final = {"FAST": _FAST, "ALL": (*_FAST, "ENVELOPE"), "FULL": (*_FAST, "ENVELOPE", "BODY")}


class Plain(Struct, frozen=True):
    """An attribute that is only a name; BODY without a section is one."""

    name: str


class Body(Struct, frozen=True):
    """BODY[section]<partial>, or RFC822, RFC822.HEADER, RFC822.TEXT under `label`.

    `part` is "1.2" or ""; `text` is "", HEADER, HEADER.FIELDS, HEADER.FIELDS.NOT, TEXT or MIME.
    """

    label: bytes
    part: str = ""
    text: str = ""
    fields: tuple[bytes, ...] = ()
    peek: bool = False
    partial: tuple[int, int] | None = None


class Binary(Struct, frozen=True):
    """BINARY[part]<partial> (RFC 3516 §4.2)."""

    part: str
    peek: bool
    partial: tuple[int, int] | None


class BinarySize(Struct, frozen=True):
    """BINARY.SIZE[part]."""

    part: str


Attribute = Plain | Body | Binary | BinarySize


class PartialRange(Struct, frozen=True):
    """RFC 9394 §3: from the beginning, or (both negative) from the end; `first` <= `last` in absolute value."""

    first: int
    last: int

    @property
    def octets(self) -> bytes:
        """As it is echoed."""
        return b"%d:%d" % (self.first, self.last)

    def of(self, numbers: list[int]) -> list[int]:
        """That part of an ascending list."""
        if self.first > 0:
            return numbers[self.first - 1 : self.last]
        count = len(numbers)
        return numbers[max(count + self.last, 0) : max(count + self.first + 1, 0)]


class Fetch(Struct, frozen=True):
    """One FETCH. `attributes` in the order asked for, without repetitions."""

    uid: bool
    set: SequenceSet
    attributes: tuple[Attribute, ...]
    changed_since: int | None = None
    vanished: bool = False
    partial: PartialRange | None = None


def fetch(scanner: Scanner, *, uid: bool = False) -> Fetch:
    scanner.space()
    numbers = scanner.set()
    scanner.space()
    rest = scanner.text[scanner.pos :]
    if b"{" not in rest:
        # Clients repeat the same attributes for hours; the parse is kept.
        attributes, modifiers = _cached(rest)
        scanner.pos = len(scanner.text)
    else:
        attributes, modifiers = _attributes_and_modifiers(scanner)
    if modifiers:
        changed_since, vanished, partial = modifiers
        if vanished and not (uid and changed_since is not None):
            raise GrammarError("VANISHED needs UID FETCH and CHANGEDSINCE")  # RFC 7162 §3.2.6
        if partial is not None and not uid:
            raise GrammarError("PARTIAL needs UID FETCH")  # RFC 9394 §3.3
        return Fetch(uid, numbers, attributes, changed_since, vanished, partial)
    return Fetch(uid, numbers, attributes)


def uid_fetch(scanner: Scanner) -> Fetch:
    return fetch(scanner, uid=True)


_Modifiers = tuple[int | None, bool, PartialRange | None] | None


@lru_cache(maxsize=256)
def _cached(rest: bytes) -> tuple[tuple[Attribute, ...], _Modifiers]:
    return _attributes_and_modifiers(Scanner(CommandOctets(rest)))


def _attributes_and_modifiers(scanner: Scanner) -> tuple[tuple[Attribute, ...], _Modifiers]:
    found = attributes(scanner)
    modifiers: _Modifiers = None
    if scanner.skip(b" ") and not scanner.at_end:
        named = dict(scanner.group(lambda: _modifier(scanner)))
        changed_since = named.get("CHANGEDSINCE")
        partial = named.get("PARTIAL")
        modifiers = (
            changed_since if isinstance(changed_since, int) else None,
            "VANISHED" in named,
            partial if isinstance(partial, PartialRange) else None,
        )
        # RFC 7162 §3.1.4.1: CHANGEDSINCE adds MODSEQ to the answer.
        if modifiers[0] is not None and Plain("MODSEQ") not in found:
            found = (*found, Plain("MODSEQ"))
    scanner.end()
    return found, modifiers


def attributes(scanner: Scanner, *, macros: bool = True) -> tuple[Attribute, ...]:
    """One attribute, a macro, or a parenthesized list."""
    if scanner.at(b"("):
        listed = scanner.group(lambda: attribute(scanner))
        return tuple(dict.fromkeys(listed))
    before = scanner.pos
    name = scanner.must(_NAME, "a FETCH attribute").decode("ascii").upper()
    if macros and name in _MACROS:
        return tuple(Plain(item) for item in _MACROS[name])
    scanner.pos = before
    return (attribute(scanner),)


def attribute(scanner: Scanner) -> Attribute:
    """RFC 9051 §9 fetch-att with its extensions."""
    name = scanner.must(_NAME, "a FETCH attribute").decode("ascii").upper()
    match name:
        case "BODY" | "BODY.PEEK" if scanner.at(b"["):
            return _section(scanner, peek=name == "BODY.PEEK")
        case "BODY":
            return Plain("BODY")
        case "BINARY" | "BINARY.PEEK" | "BINARY.SIZE":
            scanner.expect(b"[")
            part = scanner.must(_BINARY_PART, "a part number").decode("ascii")
            scanner.expect(b"]")
            if name == "BINARY.SIZE":
                return BinarySize(_bounded(part))
            return Binary(_bounded(part), name == "BINARY.PEEK", _partial(scanner))
        case "RFC822":
            return Body(b"RFC822")
        case "RFC822.HEADER":
            return Body(b"RFC822.HEADER", text="HEADER", peek=True)
        case "RFC822.TEXT":
            return Body(b"RFC822.TEXT", text="TEXT")
        case "PREVIEW":
            if scanner.text[scanner.pos : scanner.pos + 7].upper() == b" (LAZY)":
                scanner.pos += 7  # RFC 8970 §3.1: previews are made at delivery, so LAZY never has to wait
            return Plain("PREVIEW")
        case _ if name in PLAIN:
            return Plain(name)
    raise GrammarError(f"Unknown FETCH attribute {name}")


def _section(scanner: Scanner, *, peek: bool) -> Body:
    scanner.expect(b"[")
    part = scanner.take(_SECTION_PART) or b""
    if part and not scanner.at(b"]"):
        scanner.expect(b".")
    text = (scanner.take(_SECTION_TEXT) or b"").decode("ascii").upper()
    if text == "MIME" and not part:
        raise GrammarError("MIME needs a part number")  # RFC 9051 §9 section-text
    fields: tuple[bytes, ...] = ()
    label = part + (b"." if part and text else b"") + text.encode("ascii")
    if text.startswith("HEADER.FIELDS"):
        scanner.space()
        fields = scanner.group(scanner.astring)
        label += b" (%b)" % b" ".join(astring(field.upper()) for field in fields)
    scanner.expect(b"]")
    partial = _partial(scanner)
    label = b"BODY[%b]" % label
    if partial is not None:
        label += b"<%d>" % partial[0]
    lowered = tuple(dict.fromkeys(field.lower() for field in fields))
    return Body(label, _bounded(part.decode("ascii")), text, lowered, peek, partial)


def _bounded(part: str) -> str:
    if part.count(".") >= MAX_PART_DEPTH:
        raise GrammarError("Part number too deep")
    return part


def _partial(scanner: Scanner) -> tuple[int, int] | None:
    if not scanner.at(b"<"):
        return None
    found = _PARTIAL.match(scanner.text, scanner.pos)
    if found is None:
        raise GrammarError(f"Invalid partial{scanner.here()}")
    scanner.pos = found.end()
    return int(found[1]), int(found[2])


def partial_range(scanner: Scanner) -> PartialRange:
    """RFC 9394 §4 partial-range; "4:2" is read as "2:4" (RFC 5267 §4.4 as Dovecot reads it)."""
    found = _PARTIAL_RANGE.match(scanner.text, scanner.pos)
    if found is None or found[1] != found[3]:
        raise GrammarError(f"Invalid partial range{scanner.here()}")
    scanner.pos = found.end()
    first, last = sorted((int(found[2]), int(found[4])))
    return PartialRange(-first, -last) if found[1] else PartialRange(first, last)


def _modifier(scanner: Scanner) -> tuple[str, int | PartialRange | None]:
    name = scanner.word("a FETCH modifier")
    match name:
        case "CHANGEDSINCE":
            scanner.space()
            return name, scanner.number(MAX_UINT63)
        case "VANISHED":
            return name, None
        case "PARTIAL":
            scanner.space()
            return name, partial_range(scanner)
    raise GrammarError(f"Unknown FETCH modifier {name}")
