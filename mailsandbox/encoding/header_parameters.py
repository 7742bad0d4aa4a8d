"""Parameters of Content-Type and Content-Disposition that 7-bit mail cannot carry, in the form of RFC 2231.

Invariant: only offending parameters (8-bit, NUL, bare CR, or too long to fold) are rewritten; no encoded-word is ever
made inside a parameter (RFC 2047 §5).
"""

import re
from typing import Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

from mailsandbox.encoding.header_text import offends
from mailsandbox.message.parameters import RawParameter, raw_parameters
from mailsandbox.message.words import charset_for

_SECTION: Final = re.compile(r"(.+?)(?:\*(\d{1,4}))?(\*)?\Z", re.DOTALL)
MAX_SEGMENT: Final = 60  # characters of one continuation, so that its line stays within 78
MAX_UNFOLDABLE: Final = 900  # octets of a value that still goes on one line
# RFC 2231 §7: attribute-char is any printable ASCII but space, "*", "'", "%" and tspecials.
_ATTRIBUTE_CHARS: Final = "!#$&+-.^_`{}~|"


def convert_parameters(value: bytes) -> bytes:
    """The field's value with offending parameters in extended form; all other octets as they are."""
    raw = raw_parameters(value)
    groups: dict[str, list[tuple[int, bool, RawParameter]]] = {}
    for parameter in raw:
        match = _SECTION.match(parameter.name)
        base, number, star = (match[1], match[2], bool(match[3])) if match else (parameter.name, None, False)
        kind = base if number is not None or star else f"{base} plain"
        groups.setdefault(kind, []).append((int(number or 0), star, parameter))
    edits: list[tuple[int, int, bytes]] = []
    for kind, sections in groups.items():
        # A name that is not ASCII has no other form: what is left of it is the caller's problem.
        if kind.isascii() and any(_offends(value, parameter) for _, _, parameter in sections):
            name = kind.removesuffix(" plain")
            if kind.endswith(" plain"):
                edits.extend(_plain(value, name, sections, has_extended=name in groups))
            else:
                edits.extend(_extended(value, name, sections))
    return _apply(value, sorted(edits))


def _offends(value: bytes, parameter: RawParameter) -> bool:
    return offends(value[parameter.start : parameter.end]) or (
        len(parameter.value) > MAX_UNFOLDABLE and b" " not in parameter.value
    )


def _plain(
    value: bytes, name: str, sections: list[tuple[int, bool, RawParameter]], *, has_extended: bool
) -> list[tuple[int, int, bytes]]:
    edits = []
    for position, (_, _, parameter) in enumerate(sections):
        if not _offends(value, parameter):
            continue
        if has_extended or position:
            # The extended form is there already and counts (RFC 2231 §3); this is its stand-in for old readers.
            replaced = bytes(
                octet if 0x20 <= octet < 0x7F else 0x3F for octet in value[parameter.start : parameter.end]
            )
            edits.append((parameter.start, parameter.end, replaced))
        else:
            edits.append((parameter.start, parameter.end, extended_form(name, parameter.value)))
    return edits


def _extended(value: bytes, name: str, sections: list[tuple[int, bool, RawParameter]]) -> list[tuple[int, int, bytes]]:
    """Continuations: all sections are joined and written anew where the first one stood."""
    in_order = sorted(sections, key=lambda section: section[0])
    charset, octets = None, b""
    for number, star, parameter in in_order:
        piece = parameter.value
        if star and number == in_order[0][0] and piece.count(b"'") >= 2:
            label, _, piece = piece.split(b"'", 2)
            if not label.isascii():
                return []  # a charset of that name cannot be written: the caller's problem
            charset = label.decode("ascii")
        octets += unquote_to_bytes(piece) if star else piece
    spans = sorted((parameter.start, parameter.end) for _, _, parameter in sections)
    edits = [(*spans[0], extended_form(name, octets, charset=charset))]
    for start, end in spans[1:]:
        semicolon = value.rfind(b";", 0, start)
        edits.append((semicolon if semicolon >= 0 else start, end, b""))
    return edits


def extended_form(name: str, octets: bytes, *, charset: str | None = None) -> bytes:
    """`name*=utf-8''%C3%BC`, or `name*0*=...; name*1*=...` where that is long (RFC 2231 §3, §4)."""
    octets = re.sub(rb"\r\n(?=[ \t])", b"", octets)
    label = charset_for(octets) if charset is None else charset
    if charset is None and octets.isascii():
        label = "us-ascii"
    text = quote_from_bytes(octets, safe=_ATTRIBUTE_CHARS)
    if len(name) + len(label) + len(text) + 4 <= MAX_SEGMENT + 10:
        return f"{name}*={label}''{text}".encode("ascii", "replace")
    segments, position = [], 0
    while position < len(text):
        end = min(position + MAX_SEGMENT, len(text))
        # A percent triplet may not be cut.
        percent = text.rfind("%", max(end - 2, position), end)
        if end < len(text) and percent >= 0:
            end = percent
        segments.append(text[position:end])
        position = end
    segments[0] = f"{label}''{segments[0]}"
    rows = [f"{name}*{number}*={segment}" for number, segment in enumerate(segments)]
    return ";\r\n\t".join(rows).encode("ascii", "replace")


def _apply(value: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    out, done = [], 0
    for start, end, after in edits:
        if start < done:
            continue
        out += [value[done:start], after]
        done = end
    return b"".join([*out, value[done:]])
