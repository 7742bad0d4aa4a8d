"""What octets need of a transport, from the octets alone; labels are never asked.

Invariant: one pass per question, by C loops only: a clean 7-bit message costs no copy of its body. Knows no policy.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from mailsandbox.message.spans import Part, scan

MAX_LINE: Final = 998  # octets without CRLF, RFC 5322 §2.1.1

_PIECE: Final = 1 << 18  # octets looked at as text at a time


@dataclass(frozen=True, slots=True)
class Offences:
    """The first octet of each kind that a 7-bit line-oriented transport cannot carry; -1 where there is none."""

    eight_bit: int = -1
    nul: int = -1
    bare_cr: int = -1
    bare_lf: int = -1
    long_line: int = -1  # start of the line

    @property
    def binary(self) -> bool:
        """RFC 2045 §2.9: only a binary transport carries these."""
        return self.nul >= 0 or self.bare_cr >= 0 or self.bare_lf >= 0 or self.long_line >= 0

    @property
    def any(self) -> bool:
        return self.eight_bit >= 0 or self.binary


CLEAN: Final = Offences()


@dataclass(frozen=True, slots=True)
class Needs:
    """What a message asks of the next hop."""

    eight_bit_body: bool = False
    eight_bit_header: bool = False
    utf8_address: bool = False
    binary: bool = False
    long_header_line: bool = False

    @property
    def none(self) -> bool:
        return not (
            self.eight_bit_body or self.eight_bit_header or self.utf8_address or self.binary or self.long_header_line
        )


def is_clean(octets: bytes) -> bool:
    """7-bit, CRLF only, no NUL, no line longer than 998: any SMTP server can carry it."""
    return octets.isascii() and 0 not in octets and _only_crlf(octets) and long_line(octets, 0, len(octets)) < 0


def _only_crlf(ascii_octets: bytes) -> bool:
    # The decoder of text files notes which line ends it has met: four times faster than counting CR, LF and CRLF.
    seen = io.IncrementalNewlineDecoder(None, translate=False)
    last = len(ascii_octets) - _PIECE
    start = 0
    while start < last:
        seen.decode(ascii_octets[start : start + _PIECE].decode("ascii"))
        start += _PIECE
    seen.decode(ascii_octets[start:].decode("ascii"), final=True)  # a CR at the very end waits for no LF
    return seen.newlines in (None, "\r\n")


def offences(octets: bytes, start: int, end: int) -> Offences:
    """The first offence of each kind in octets [start, end). A final CR is bare only if it does not end a line."""
    if start >= end:
        return CLEAN
    pairs = octets.count(b"\r\n", start, end)
    line_feeds, returns = octets.count(b"\n", start, end), octets.count(b"\r", start, end)
    return Offences(
        eight_bit=first_eight_bit(octets, start, end),
        nul=octets.find(b"\0", start, end),
        bare_cr=first_bare_cr(octets, start, end) if returns != pairs else -1,
        bare_lf=first_bare_lf(octets, start, end) if line_feeds != pairs else -1,
        long_line=long_line(octets, start, end),
    )


class Inspection:
    """`offences` of one message, remembered: both gates ask about the same spans several times."""

    __slots__ = ("_found", "octets")

    def __init__(self, octets: bytes) -> None:
        self.octets = octets
        self._found: dict[tuple[int, int], Offences] = {}

    def __call__(self, start: int, end: int) -> Offences:
        found = self._found.get((start, end))
        if found is None:
            found = self._found[start, end] = offences(self.octets, start, end)
        return found


def first_eight_bit(octets: bytes, start: int, end: int) -> int:
    """Offset of the first octet above 127; -1 where there is none."""
    piece = octets[start:end]
    if piece.isascii():
        return -1
    try:
        piece.decode("ascii")
    except UnicodeDecodeError as error:
        return start + error.start
    return -1


def first_bare_lf(octets: bytes, start: int, end: int) -> int:
    """Offset of the first LF without CR before it."""
    position = octets.find(b"\n", start, end)
    while position >= 0:
        if position == start or octets[position - 1] != 0x0D:
            return position
        position = octets.find(b"\n", position + 1, end)
    return -1


def first_bare_cr(octets: bytes, start: int, end: int) -> int:
    """Offset of the first CR without LF after it."""
    position = octets.find(b"\r", start, end)
    while position >= 0:
        if position + 1 >= end or octets[position + 1] != 0x0A:
            return position
        position = octets.find(b"\r", position + 1, end)
    return -1


def long_line(octets: bytes, start: int, end: int) -> int:
    """Start of the first line of more than 998 octets; -1 where there is none.

    Looks for the last line end within reach and jumps there: one step per 1,000 octets, not one per line.
    """
    find_last = octets.rfind
    position = start
    while end - position > MAX_LINE:
        newline = find_last(b"\n", position, position + MAX_LINE + 2)
        if newline < 0 or (newline == position + MAX_LINE + 1 and octets[newline - 1] != 0x0D):
            # None in reach; or one octet further than a bare LF may stand.
            earlier = find_last(b"\n", position, position + MAX_LINE + 1)
            if earlier < 0:
                return position
            newline = earlier
        position = newline + 1
    return -1


def needs(octets: bytes) -> Needs:
    """Classify a whole message."""
    return Needs() if is_clean(octets) else needs_of(Inspection(octets), scan(octets))


def needs_of(inspect: Inspection, root: Part) -> Needs:
    """The same where the tree is there already. Headers of parts and embedded messages count as header."""
    from mailsandbox.encoding.utf8_headers import survey  # it is built on this module

    body = header = Offences()
    for part in judged_parts(root):
        header = _merge(header, inspect(part.header.start, part.header.end))
        for start, end in _content(part):
            body = _merge(body, inspect(start, end))
    return Needs(
        eight_bit_body=body.eight_bit >= 0,
        eight_bit_header=header.eight_bit >= 0,
        utf8_address=header.eight_bit >= 0 and survey(inspect.octets, judged_parts(root)).address,
        binary=body.binary or header.nul >= 0 or header.bare_cr >= 0 or header.bare_lf >= 0,
        long_header_line=header.long_line >= 0,
    )


def judged_parts(root: Part) -> Iterator[Part]:
    """The parts whose headers are header for transport: none inside a message/global, which is a leaf where UTF-8 is
    at home (RFC 6532 §3.7), none between the delimiters of a signed or encrypted part, which is one sealed body.
    """
    stack = [root]
    while stack:
        part = stack.pop()
        yield part
        if part.content_type.name != "message/global" and not is_protected_container(part):
            stack.extend(reversed(part.children))


def is_protected_container(part: Part) -> bool:
    """Whether what lies between this part's delimiters may not be changed (RFC 1847 §2.1, §2.2)."""
    return part.is_multipart and part.content_type.subtype in ("signed", "encrypted")


def _merge(one: Offences, other: Offences) -> Offences:
    if not other.any:
        return one
    return Offences(
        *(
            mine if mine >= 0 else theirs
            for mine, theirs in (
                (one.eight_bit, other.eight_bit),
                (one.nul, other.nul),
                (one.bare_cr, other.bare_cr),
                (one.bare_lf, other.bare_lf),
                (one.long_line, other.long_line),
            )
        )
    )


def _content(part: Part) -> list[tuple[int, int]]:
    """Octets of a part that are neither header nor inside a child."""
    if not part.children or is_protected_container(part) or part.content_type.name == "message/global":
        return [(part.body.start, part.body.end)]
    pieces, position = [], part.body.start
    for child in part.children:
        pieces.append((position, child.start))
        position = child.end
    pieces.append((position, part.body.end))
    return pieces
