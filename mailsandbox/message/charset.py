"""Octets of a named charset to text, for display and search only; conversion for transport never decodes text.

Invariant: `decode_text` returns for any octets and any label, and never raises. Knows nothing of MIME structure.
"""

import codecs
from typing import Final

# Python's own codecs that are no mail charsets: some run an interpreter of escapes, all would surprise.
_NOT_CHARSETS: Final = frozenset(
    {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem", "palmos", "charmap"}
)
_UNKNOWN: Final = frozenset({"", "unknown-8bit", "x-unknown", "unknown", "8bit", "binary", "default"})  # RFC 1428 §3
_ALIASES: Final = {
    "utf8": "utf-8",
    "utf-8mb4": "utf-8",
    "ansi_x3.110-1983": "latin-1",
    "cp-850": "cp850",
    "ks_c_5601-1987": "cp949",  # what mailers that write this name mean
    "gb2312": "gb18030",  # a superset; senders use its characters under the old name
    "gbk": "gb18030",
    "iso-8859-8-i": "iso-8859-8",  # RFC 1556: only the direction differs
    "iso-8859-8-e": "iso-8859-8",
    "iso-8859-6-i": "iso-8859-6",
    "iso-8859-6-e": "iso-8859-6",
    "windows-874": "cp874",
    "x-windows-874": "cp874",
    "x-sjis": "cp932",
    "macintosh": "mac-roman",
    "x-mac-roman": "mac-roman",
}


def codec_name(charset: str) -> str | None:
    """The Python codec for a MIME charset label; None where there is none."""
    name = charset.strip().strip("\"'").lower()
    name = _ALIASES.get(name, name)
    if name in _UNKNOWN or not name.isascii() or "\0" in name or len(name) > 64:
        return None
    try:
        found = codecs.lookup(name)
    except (LookupError, ValueError):
        return None
    is_text = getattr(found, "_is_text_encoding", True)  # False for hex, zip, rot13: bytes.decode refuses these too
    return found.name if is_text and found.name.replace("-", "_") not in _NOT_CHARSETS else None


def decode_text(octets: bytes, charset: str) -> str:
    """Text of `octets` under the label `charset`; what cannot be decoded becomes U+FFFD.

    Unlabelled 8-bit (RFC 1428) is taken as UTF-8 where it is valid UTF-8, else as windows-1252.
    """
    label = charset.strip().strip("\"'").lower()
    if octets.isascii() and label in ("", "us-ascii", "utf-8", "ascii"):
        return octets.decode("ascii")
    if label in _UNKNOWN or label in ("us-ascii", "ascii"):
        return decode_unlabelled(octets)
    name = codec_name(label)
    if name is None:
        return octets.decode("ascii", "replace")
    try:
        return octets.decode(name, "replace")
    except (ValueError, LookupError, OverflowError):
        return octets.decode("ascii", "replace")


def decode_unlabelled(octets: bytes) -> str:
    """8-bit octets nobody labelled: UTF-8 if valid, else windows-1252 (its holes as Latin-1 controls)."""
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        pass
    try:
        return octets.decode("cp1252")
    except UnicodeDecodeError:
        return octets.decode("latin-1")
