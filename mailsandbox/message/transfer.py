"""Content transfer encodings (RFC 2045 §6): decoding tolerantly, encoding strictly.

Invariants: decoding never raises; what is encoded is 7-bit CRLF text in lines of at most 76 octets and decodes to
exactly what went in. The work is done by `binascii`; Python looks only at the rare line that needs more.
"""

import binascii
import re
from typing import Final

MAX_ENCODED_LINE: Final = 76  # octets without CRLF, RFC 2045 §6.7 (5) and §6.8
_BASE64_OCTETS_PER_LINE: Final = 57  # become 76 characters
IDENTITY: Final = frozenset({"7bit", "8bit", "binary"})  # RFC 2045 §6.2: no encoding was applied

_BASE64_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
_NOT_BASE64: Final = bytes(sorted(set(range(256)) - set(_BASE64_ALPHABET)))

_TRAILING_SPACE: Final = re.compile(rb"[ \t]+(?=\r?\n|\Z)")
# a2b_qp has ideas of its own about "==" and "=\r".
_STRAY_EQUALS: Final = re.compile(rb"=(?![0-9A-Fa-f]{2}|[ \t]*(?:\r?\n|\Z))")
_UU_BEGIN: Final = re.compile(rb"^begin [0-7]{3,4} [^\r\n]*\r?\n", re.MULTILINE)
_ENCODED_BLANK_AT_END: Final = re.compile(rb"=(?:20|09)(?=\r\n|\Z)")
_RISKY_START: Final = re.compile(rb"(?m)^(?:From |\.)[^\r\n]*")
_TO_ENCODE: Final = re.compile(rb"[^\t\x20-\x3c\x3e-\x7e]")


def decode_transfer(octets: bytes, encoding: str) -> bytes:
    """Decoded octets of a leaf's body; an unknown encoding or identity gives `octets` itself."""
    match encoding:
        case "base64":
            return decode_base64(octets)
        case "quoted-printable":
            return decode_quoted_printable(octets)
        case "x-uuencode" | "uuencode" | "x-uue" | "uue":
            return _decode_uu(octets)
    return octets


def decode_base64(octets: bytes) -> bytes:
    """RFC 2045 §6.8: characters outside the alphabet are ignored; data after the padding, too."""
    try:
        return binascii.a2b_base64(octets)
    except binascii.Error:
        pass
    # Wrong padding: keep every whole octet that is there.
    clean = octets.translate(None, _NOT_BASE64).partition(b"=")[0]
    if len(clean) % 4 == 1:
        clean = clean[:-1]
    return binascii.a2b_base64(clean + b"=" * (-len(clean) % 4))


def decode_quoted_printable(octets: bytes) -> bytes:
    """RFC 2045 §6.7: white space at the end of a line is not data; a stray "=" stands for itself."""
    octets = _STRAY_EQUALS.sub(b"=3D", octets)
    if b" \r\n" in octets or b"\t\r\n" in octets or b" \n" in octets or b"\t\n" in octets or octets[-1:] in b" \t":
        octets = _TRAILING_SPACE.sub(b"", octets)
    return binascii.a2b_qp(octets)


def decode_q(text: bytes) -> bytes:
    """The Q encoding of RFC 2047 §4.2: as quoted-printable, and "_" is a space."""
    return binascii.a2b_qp(_STRAY_EQUALS.sub(b"=3D", text), header=True)


def _decode_uu(octets: bytes) -> bytes:
    begin = _UU_BEGIN.search(octets)
    if begin is None:
        return octets
    decoded = []
    for line in octets[begin.end() :].split(b"\n"):
        line = line.rstrip(b"\r")
        if line == b"end":
            break
        try:
            decoded.append(binascii.a2b_uu(line))
        except binascii.Error:
            continue
    return b"".join(decoded)


def encode_base64(octets: bytes) -> bytes:
    """RFC 2045 §6.8 in lines of 76 characters, each but the last followed by CRLF."""
    encoded = binascii.b2a_base64(octets, newline=False)
    return b"\r\n".join(
        [encoded[i : i + MAX_ENCODED_LINE] for i in range(0, len(encoded), MAX_ENCODED_LINE)],
    )


def clean_base64(octets: bytes) -> bytes:
    """Base64 text without characters outside the alphabet, wrapped anew; decodes to the same."""
    kept = octets.translate(None, _NOT_BASE64)
    return b"\r\n".join([kept[i : i + MAX_ENCODED_LINE] for i in range(0, len(kept), MAX_ENCODED_LINE)])


def encode_quoted_printable(octets: bytes) -> bytes:
    """RFC 2045 §6.7 of text whose lines end in CRLF; bare CR and bare LF are data and become =0D, =0A.

    Also guards what transport changes: trailing blanks, "From " and "." at the start of a line (RFC 2049 §3).
    """
    if not octets:
        return b""
    if _has_bare(octets):
        return _encode_with_bare(octets)
    encoded = binascii.b2a_qp(octets, istext=True)
    if b"\r\n" not in octets:
        encoded = encoded.replace(b"\n", b"\r\n")  # b2a_qp takes its line ends from the input, here it saw none
    encoded = encoded.replace(b"\x7f", b"=7F") if b"\x7f" in encoded else encoded
    return _guard_lines(encoded)


def _has_bare(octets: bytes) -> bool:
    pairs = octets.count(b"\r\n")
    return octets.count(b"\n") != pairs or octets.count(b"\r") != pairs


def _encode_with_bare(octets: bytes) -> bytes:
    """The rare case: encode line by line, so that only CRLF is a line end."""
    return _guard_lines(b"\r\n".join([_encode_line(line) for line in octets.split(b"\r\n")]))


def _encode_line(line: bytes) -> bytes:
    # Not b2a_qp(istext=False): beside a CR or LF it makes lines of 77 octets.
    encoded = _TO_ENCODE.sub(lambda octet: b"=%02X" % octet[0][0], line)
    if encoded[-1:] in (b" ", b"\t"):
        encoded = encoded[:-1] + b"=%02X" % encoded[-1]
    pieces, position = [], 0
    while len(encoded) - position > MAX_ENCODED_LINE:
        cut = position + MAX_ENCODED_LINE - 1
        equals = encoded.find(b"=", cut - 2, cut)
        cut = equals if equals >= 0 else cut
        pieces.append(encoded[position:cut])
        position = cut
    pieces.append(encoded[position:])
    return b"=\r\n".join(pieces)


def _guard_lines(encoded: bytes) -> bytes:
    if encoded.startswith((b".", b"From ")) or b"\n." in encoded or b"\nFrom " in encoded:
        encoded = _RISKY_START.sub(_guard_start, encoded)
    if b"=20" in encoded or b"=09" in encoded:
        encoded = _break_overlong(encoded)
    return encoded


def _guard_start(line: re.Match[bytes]) -> bytes:
    """A line that begins with "." or "From ": its first octet encoded, broken where that makes it too long."""
    rest, out = line[0], list[bytes]()
    while rest.startswith((b".", b"From ")):
        guarded = b"=%02X" % rest[0] + rest[1:]
        if len(guarded) <= MAX_ENCODED_LINE:
            return b"".join([*out, guarded])
        out.append(guarded[:3] + b"=\r\n")
        rest = rest[1:]
    return b"".join([*out, rest])


def _break_overlong(encoded: bytes) -> bytes:
    """b2a_qp encodes a blank at the end of a full line without looking at its length: break before it."""
    cuts = [
        blank.start()
        for blank in _ENCODED_BLANK_AT_END.finditer(encoded)
        if blank.end() - (encoded.rfind(b"\n", 0, blank.start()) + 1) > MAX_ENCODED_LINE
    ]
    if not cuts:
        return encoded
    pieces, done = [], 0
    for cut in cuts:
        pieces.append(encoded[done:cut])
        done = cut
    pieces.append(encoded[done:])
    return b"=\r\n".join(pieces)
