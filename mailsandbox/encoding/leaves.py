"""Bodies of leaves: which transfer encoding to give them, and repair of those that are encoded but not cleanly.

Invariant: what comes out is 7-bit CRLF text in lines of at most 998 octets and decodes to what went in, to the octet.
"""

import re
from typing import Final

from mailsandbox.encoding.classify import MAX_LINE, Offences, long_line
from mailsandbox.message.spans import ContentType
from mailsandbox.message.transfer import clean_base64, encode_base64, encode_quoted_printable

BASE64_GROWTH: Final = 1.37  # of 76-character lines with CRLF
_PLAIN: Final = bytes(octet for octet in range(0x20, 0x7F) if octet != 0x3D) + b"\t\r\n"  # stand for themselves in QP
_SOFT_BREAK_AT: Final = 75  # octets before the "=" of a soft line break

# A stray "=" before an octet that is about to be encoded would form a new triplet with it.
_STRAY: Final = re.compile(rb"=(?=[0-9A-Fa-f]?(?:[\x80-\xff\0]|\r(?!\n)))")
_RAW: Final = re.compile(rb"[\x80-\xff\0]|\r(?!\n)")
_BARE_LF: Final = re.compile(rb"(=?)[ \t]*(?<!\r)\n")
_TRAILING: Final = re.compile(rb"[ \t]+\Z")


def choose_encoding(octets: bytes, kind: ContentType, found: Offences) -> str:
    """ "quoted-printable" or "base64": the readable one for text unless base64 is smaller; base64 for binary."""
    if found.nul >= 0 or found.bare_cr >= 0 or found.bare_lf >= 0:
        return "base64"
    special = len(octets.translate(None, _PLAIN))
    if kind.maintype == "text" or kind.name == "message/global":
        # Each special octet becomes three; a soft break comes about every 75.
        encoded = len(octets) + 2 * special
        encoded += encoded // _SOFT_BREAK_AT if found.long_line >= 0 else 0
        return "quoted-printable" if encoded <= BASE64_GROWTH * len(octets) + 80 else "base64"
    line_oriented = found.long_line < 0 and b"\r\n" in octets
    return "quoted-printable" if line_oriented and special * 6 < len(octets) else "base64"


def encode_leaf(octets: bytes, encoding: str) -> bytes:
    """The body in that encoding."""
    return encode_base64(octets) if encoding == "base64" else encode_quoted_printable(octets)


def repair_leaf(octets: bytes, encoding: str) -> bytes:
    """A body labelled quoted-printable or base64 that holds what it may not; decodes to the same octets."""
    if encoding == "base64":
        # RFC 2045 §6.8: decoders ignore what is not in the alphabet.
        return clean_base64(octets)
    octets = _STRAY.sub(b"=3D", octets)
    octets = _BARE_LF.sub(_bare_lf, octets)
    octets = _RAW.sub(lambda octet: b"=%02X" % octet[0][0], octets)
    return break_lines(octets) if long_line(octets, 0, len(octets)) >= 0 else octets


def _bare_lf(found: re.Match[bytes]) -> bytes:
    # A soft break stays one; a bare LF that is data is encoded, and the line broken softly after it.
    return b"=\r\n" if found[1] else b"=0A=\r\n"


def break_lines(octets: bytes) -> bytes:
    """Soft line breaks (RFC 2045 §6.7 (5)) in lines beyond 998 octets; blanks at a line's end are not data and go."""
    lines = octets.split(b"\r\n")
    return b"\r\n".join([line if len(line) <= MAX_LINE else _break_line(line) for line in lines])


def _break_line(line: bytes) -> bytes:
    line = _TRAILING.sub(b"", line)
    ending = b""
    if line.endswith(b"="):
        line, ending = line[:-1], b"="
    pieces, position = [], 0
    while len(line) - position > _SOFT_BREAK_AT:
        cut = position + _SOFT_BREAK_AT
        equals = line.find(b"=", cut - 2, cut)
        cut = equals if equals > position else cut
        pieces.append(line[position:cut])
        position = cut
    pieces.append(line[position:] + ending)
    return b"=\r\n".join(pieces)
