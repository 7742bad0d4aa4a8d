"""Values of the MIME fields as stored: type, disposition, languages, with their parameters (RFC 2045 §5.1, RFC 2183).

Spelling and order are the message's own; comments and folding are gone, RFC 2231 continuations are joined, and their
percent-encoding stays (RFC 2231 §6: what an IMAP server shows). Tolerant and linear; `spans` has the decoded view.
"""

import re
from typing import Final, NamedTuple

from mailsandbox.message.imap_strings import unfolded

Parameters = list[tuple[bytes, bytes]]

_TOKEN: Final = rb"[^\x00-\x20()<>@,;:\\\"/\[\]?=\x7f]"  # RFC 2045 §5.1; 8-bit octets are let through
_TYPE: Final = re.compile(rb"[ \t]*(%b+)[ \t]*/[ \t]*(%b+)[ \t]*" % (_TOKEN, _TOKEN))
_WORD: Final = re.compile(rb"[ \t]*(%b+)[ \t]*" % _TOKEN)
# An unquoted value runs to the next ";": file names with blanks, brackets or an encoded-word are common and meant.
_PARAMETER: Final = re.compile(
    rb'[ \t]*;[ \t]*(%b+)[ \t]*=[ \t]*(?:"([^"\\]*+(?:\\.[^"\\]*+)*+)(?:"|\\?$)|([^;]*+))[^;]*+' % _TOKEN, re.DOTALL
)
_PAIR: Final = re.compile(rb"\\(.)", re.DOTALL)
_SECTION: Final = re.compile(rb"(.+?)\*(\d{1,9})(\*?)", re.DOTALL)  # RFC 2231 §3: name*0, name*0*
_PIECE: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[^"()]++|[()]', re.DOTALL)
_LANGUAGE: Final = re.compile(rb"[A-Za-z0-9*_.-]+")


class TypedValue(NamedTuple):
    """`kind` is "text" of text/plain or a disposition type; `subtype` is empty for dispositions."""

    kind: bytes
    subtype: bytes
    parameters: Parameters


def parse_type(value: bytes) -> TypedValue | None:
    """A Content-Type's value; None where it has no type and subtype (RFC 2045 §5.2: then the default counts)."""
    value = _plain(value)
    match = _TYPE.match(value)
    if match is None:
        return None
    return TypedValue(match[1], match[2], _parameters(value, match.end()))


def parse_disposition(value: bytes) -> TypedValue | None:
    """A Content-Disposition's value; None without a type (RFC 2183 §2)."""
    value = _plain(value)
    match = _WORD.match(value)
    if match is None:
        return None
    return TypedValue(match[1], b"", _parameters(value, match.end()))


def parse_token(value: bytes) -> bytes | None:
    """A Content-Transfer-Encoding's value (RFC 2045 §6.1); None where there is none."""
    match = _WORD.match(_plain(value))
    return match[1] if match else None


def parse_languages(value: bytes) -> list[bytes]:
    """The tags of a Content-Language's value (RFC 3282 §2)."""
    return _LANGUAGE.findall(_plain(value))


def _plain(value: bytes) -> bytes:
    """Without folding and comments (RFC 2045 §5.1 allows comments between the tokens)."""
    value = unfolded(value).strip(b" \t\r\n")
    if b"(" not in value:
        return value
    kept: list[bytes] = []
    depth = 0
    for piece in _PIECE.findall(value):
        if piece == b"(":
            depth += 1
        elif piece == b")" and depth:
            depth -= 1
        elif not depth:
            kept.append(piece)
    # A parenthesis that never closes is not a comment but part of a sloppy value.
    return b"".join(kept) if not depth else value


def _parameters(value: bytes, at: int) -> Parameters:
    found: Parameters = []
    sections: dict[bytes, list[tuple[int, bool, bytes]]] = {}
    while at < len(value):
        match = _PARAMETER.match(value, at)
        if match is None:
            skipped = value.find(b";", at + 1)
            at = len(value) if skipped < 0 else skipped
            continue
        at = match.end()
        name = match[1]
        text = _PAIR.sub(rb"\1", match[2]) if match[2] is not None else match[3].rstrip(b" \t")
        section = _SECTION.fullmatch(name)
        if section is None:
            found.append((name, text))
        else:
            sections.setdefault(section[1], []).append((int(section[2]), bool(section[3]), text))
    if sections:
        taken = {name.rstrip(b"*").lower() for name, _ in found}
        found.extend(_joined(name, pieces) for name, pieces in sections.items() if name.lower() not in taken)
    return found


def _joined(name: bytes, pieces: list[tuple[int, bool, bytes]]) -> tuple[bytes, bytes]:
    """RFC 2231 §3 and §6: pieces in the order of their numbers; the name keeps its "*" if any piece is encoded."""
    pieces.sort(key=lambda piece: piece[0])
    extended = any(encoded for _, encoded, _ in pieces)
    return name + (b"*" if extended else b""), b"".join(text for _, _, text in pieces)
