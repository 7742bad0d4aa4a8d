"""Encoded-words (RFC 2047): header octets to text, and octets that are not ASCII to encoded-words.

Invariants: decoding never raises; an encoded-word made here has at most 75 characters, holds whole characters, and
all words together decode to the octets that went in.
"""

import binascii
import re
from collections.abc import Iterator
from typing import Final

from mailsandbox.message.charset import decode_text, decode_unlabelled
from mailsandbox.message.transfer import decode_base64, decode_q

MAX_WORD: Final = 75  # characters with delimiters, RFC 2047 §2

# RFC 2047 §2; the text may hold raw 8-bit octets or blanks in mail as it is, RFC 2231 §5 adds *language.
ENCODED_WORD: Final = re.compile(rb"=\?([!-)+->@-~]{1,64}?)(?:\*[!->@-~]*)?\?([bBqQ])\?([^?\r\n]*)\?=")
_BETWEEN: Final = re.compile(rb"[ \t\r\n]+\Z|\Z")
_FOLD: Final = re.compile(rb"\r?\n(?=[ \t])")
_SAFE_IN_PHRASE: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")  # §5 (3)


def decode_header_text(octets: bytes) -> str:
    """The readable text of an unstructured field or phrase.

    Blanks between encoded-words vanish (RFC 2047 §6.2); neighbours in one charset are joined before decoding, as
    some senders split characters. Raw 8-bit octets are read as UTF-8, or else windows-1252.
    """
    if b"\n" in octets:
        octets = _FOLD.sub(b"", octets)
    octets = octets.strip(b"\r\n")
    if b"=?" not in octets:
        return decode_unlabelled(octets)
    out: list[str] = []
    pending, charset, position = bytearray(), "", 0
    for word in ENCODED_WORD.finditer(octets):
        gap = octets[position : word.start()]
        label = word[1].decode("latin-1").lower()
        if pending and (label != charset or gap.strip(b" \t\r\n")):
            out.append(decode_text(bytes(pending), charset))
            pending.clear()
        if gap.strip(b" \t\r\n") or position == 0:
            out.append(decode_unlabelled(gap))
        pending += decode_word(word[2], word[3])
        charset, position = label, word.end()
    if pending:
        out.append(decode_text(bytes(pending), charset))
    out.append(decode_unlabelled(octets[position:]))
    return "".join(out)


def decode_word(encoding: bytes, text: bytes) -> bytes:
    """Octets of an encoded-word's text; `encoding` is B or Q."""
    if encoding in b"bB":
        return decode_base64(text)
    return decode_q(text)


def charset_for(octets: bytes) -> str:
    """The label for raw 8-bit header octets: "utf-8" where valid, else "unknown-8bit" (RFC 1428 §3)."""
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        return "unknown-8bit"
    return "utf-8"


def encode_words(octets: bytes, *, first_room: int = MAX_WORD) -> list[bytes]:
    """Octets as encoded-words for any place that allows them (phrase, comment, unstructured text).

    B or Q, whichever is shorter. Each word has at most 75 characters, the first at most `first_room` (but
    never less than one character's worth).
    """
    charset = charset_for(octets)
    prefix = f"=?{charset}?".encode()
    quoted = sum(1 if octet in _SAFE_IN_PHRASE or octet == 0x20 else 3 for octet in octets)
    use_base64 = (len(octets) + 2) // 3 * 4 < quoted
    words: list[bytes] = []
    room = max(first_room, len(prefix) + 2 + 2 + 12)
    units = list(_characters(octets, charset))
    position = 0
    while position < len(units):
        space = min(room, MAX_WORD) - len(prefix) - 4
        end, piece = position, bytearray()
        length = 0
        while end < len(units):
            grown = (len(piece) + len(units[end]) + 2) // 3 * 4 if use_base64 else length + _quoted_length(units[end])
            if grown > space and end > position:
                break
            length = grown
            piece += units[end]
            end += 1
        words.append(_word(prefix, bytes(piece), use_base64=use_base64))
        position, room = end, MAX_WORD
    return words


def _characters(octets: bytes, charset: str) -> Iterator[bytes]:
    # RFC 2047 §5: a multi-octet character may not be split over encoded-words.
    if charset == "utf-8":
        for character in octets.decode("utf-8"):
            yield character.encode("utf-8")
    else:
        for octet in octets:
            yield bytes((octet,))


def _quoted_length(octets: bytes) -> int:
    return sum(1 if octet in _SAFE_IN_PHRASE or octet == 0x20 else 3 for octet in octets)


def _word(prefix: bytes, piece: bytes, *, use_base64: bool) -> bytes:
    if use_base64:
        return prefix + b"b?" + binascii.b2a_base64(piece, newline=False) + b"?="
    # RFC 2047 §4.2 (2): "_" stands for a space, whatever the charset.
    text = b"".join(
        bytes((octet,)) if octet in _SAFE_IN_PHRASE else b"_" if octet == 0x20 else b"=%02X" % octet for octet in piece
    )
    return prefix + b"q?" + text + b"?="


def encode_header_text(text: str) -> str:
    """Text for an unstructured field we write ourselves: as it is where ASCII, else encoded-words joined by blanks."""
    octets = text.encode("utf-8", "replace")
    plain = octets.isascii() and b"=?" not in octets and all(octet >= 0x20 and octet != 0x7F for octet in octets)
    return text if plain else b" ".join(encode_words(octets)).decode("ascii")
