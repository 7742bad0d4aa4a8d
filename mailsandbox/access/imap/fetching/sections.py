"""Octets of BODY[...] and BINARY[...]: from a whole message and its part index to what a section names. Pure.

RFC 9051 §6.4.5.1. A part that does not exist is None, never an error. Offsets of the index count from the content;
`trace` is the number of octets of trace fields that were put before it.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from mailsandbox.access.imap.grammar.fetch import Body
from mailsandbox.message.rendering import PartEntry
from mailsandbox.message.transfer import decode_transfer

_DECODABLE: Final = frozenset({"", "7bit", "8bit", "binary", "base64", "quoted-printable"})
_FIELD: Final = re.compile(rb"^[^\n]*\n(?:[ \t][^\n]*\n)*", re.MULTILINE)


class UnknownEncoding(Exception):
    """RFC 3516 §4.3: the part's transfer encoding is not known; NO [UNKNOWN-CTE]."""


def find(parts: Sequence[PartEntry], number: str) -> PartEntry | None:
    """The entry of a part number. "1.1.1" of something that has no such part is None."""
    for entry in parts:
        if entry.number == number:
            return entry
    return None


def section(octets: bytes, parts: Sequence[PartEntry], trace: int, wanted: Body) -> bytes | None:
    """What a BODY section names, without its partial."""
    if not wanted.part:
        return _of_message(octets, parts, trace, wanted)
    entry = find(parts, wanted.part)
    if entry is None:
        return None
    start, end = entry.body_start + trace, entry.body_end + trace
    match wanted.text:
        case "":
            return octets[start:end]
        case "MIME":
            return octets[entry.header_start + trace : entry.header_end + trace]
        case _ if not entry.is_message:
            return None  # RFC 9051 §6.4.5.1: HEADER and TEXT of a part are those of a message within
        case "HEADER":
            return octets[start : entry.text_start + trace]
        case "TEXT":
            return octets[entry.text_start + trace : end]
    return header_fields(octets[start : entry.text_start + trace], wanted)


def _of_message(octets: bytes, parts: Sequence[PartEntry], trace: int, wanted: Body) -> bytes:
    if not wanted.text:
        return octets
    boundary = (parts[0].text_start or parts[0].body_start) + trace if parts else len(octets)
    if wanted.text == "TEXT":
        return octets[boundary:]
    return header_fields(octets[:boundary], wanted)


def header_fields(header: bytes, wanted: Body) -> bytes:
    """The header, or the fields of it that were asked for, as stored, with the blank line (RFC 9051 §6.4.5.1)."""
    if wanted.text == "HEADER":
        return header
    selected = _selector(wanted.fields)
    if wanted.text == "HEADER.FIELDS":
        return b"".join(selected.findall(header)) + b"\r\n"
    kept = [field for field in _FIELD.findall(header) if field.strip() and not selected.match(field)]
    return b"".join(kept) + b"\r\n"


def of_headers(headers: Sequence[bytes], wanted: Body) -> list[bytes]:
    """`header_fields` for many messages: the way most clients list a mailbox."""
    if wanted.text != "HEADER.FIELDS":
        return [header_fields(header, wanted) for header in headers]
    findall = _selector(wanted.fields).findall
    return [b"".join(findall(header)) + b"\r\n" for header in headers]


@lru_cache(maxsize=256)
def _selector(names: tuple[bytes, ...]) -> re.Pattern[bytes]:
    alternatives = b"|".join(re.escape(name) for name in names)
    return re.compile(
        rb"^(?:%b)[ \t]*:[^\n]*(?:\n|\Z)(?:[ \t][^\n]*(?:\n|\Z))*" % alternatives, re.MULTILINE | re.IGNORECASE
    )


def binary(octets: bytes, parts: Sequence[PartEntry], trace: int, number: str) -> bytes | None:
    """RFC 3516 §4.2: a part without its transfer encoding. Raises UnknownEncoding.

    Of the whole message, header included, the encodings are left as they are: BODY[] says what they are.
    """
    if not number:
        return octets
    entry = find(parts, number)
    if entry is None:
        return None
    body = octets[entry.body_start + trace : entry.body_end + trace]
    if entry.encoding not in _DECODABLE:
        raise UnknownEncoding(entry.encoding)
    if entry.is_message or entry.content_type.startswith("multipart/"):
        return body
    return decode_transfer(body, entry.encoding)


def cut(octets: bytes, partial: tuple[int, int] | None) -> bytes:
    """RFC 9051 §6.4.5: `<origin.count>`; beyond the end is empty."""
    return octets if partial is None else octets[partial[0] : partial[0] + partial[1]]


def without_nul(octets: bytes) -> bytes:
    """RFC 9051 §4.3: a literal has no NUL. 0x80 takes its place, as in Dovecot; BINARY gives the octets themselves."""
    return octets.replace(b"\0", b"\x80") if b"\0" in octets else octets
