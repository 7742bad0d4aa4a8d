"""xtext: how ESMTP parameters carry characters that they may not contain (RFC 3461 §4), and its kin of RFC 6533 §3."""

import re
from typing import Final

_WELL_FORMED: Final = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*\Z")
_HEXCHAR: Final = re.compile(r"\+([0-9A-F]{2})")
_TO_ESCAPE: Final = re.compile(r"[^!-*,-<>-~]")
_EMBEDDED: Final = re.compile(r"\\x\{([0-9A-F]{2,6})\}")
_TO_EMBED: Final = re.compile(r"[^!-*,-<>-\[\]-~]")


def is_xtext(text: str) -> bool:
    """Whether `text` is xtext: printable ASCII without "+" and "=", and "+" with two upper-case hexadecimal digits."""
    return _WELL_FORMED.match(text) is not None


def decode_xtext(text: str) -> str:
    """What xtext stands for. Raises ValueError where it is not xtext. Octets above 127 are read as UTF-8."""
    if not is_xtext(text):
        raise ValueError(f"not xtext: {text!r}")
    if "+" not in text:
        return text
    octets = _HEXCHAR.sub(lambda found: chr(int(found[1], 16)), text).encode("latin-1")
    return octets.decode("utf-8", "replace")


def encode_xtext(text: str) -> str:
    """`text` as xtext; what is not ASCII goes by its UTF-8 octets."""
    return _TO_ESCAPE.sub(lambda found: "".join(f"+{octet:02X}" for octet in found[0].encode("utf-8")), text)


def decode_utf8_address(text: str) -> str:
    """The address of an ORCPT of type utf-8: \\x{HEX} becomes its character, other UTF-8 stands for itself.

    RFC 6533 §3: utf-8-addr-xtext, utf-8-addr-unitext. Raises ValueError where a number is no character.
    """
    return _EMBEDDED.sub(lambda found: chr(int(found[1], 16)), text)


def encode_utf8_address(address: str) -> str:
    """An address as utf-8-addr-xtext: ASCII only, so that it passes servers without SMTPUTF8 (RFC 6533 §3)."""
    return _TO_EMBED.sub(lambda found: f"\\x{{{ord(found[0]):02X}}}", address)
