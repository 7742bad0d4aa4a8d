"""What the server writes, as octets: strings, lists, tagged results. Pure.

Invariant: everything made here is well-formed whatever the value: octets that a quoted string cannot carry become a
literal. Knows no command.
"""

import re
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

CRLF: Final = b"\r\n"
_QUOTABLE: Final = re.compile(rb"[\x01-\x09\x0b\x0c\x0e-\x7f]*")  # RFC 9051 §9 QUOTED-CHAR, 7-bit
_ATOM: Final = re.compile(rb"[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]+")  # RFC 9051 §9 ATOM-CHAR (with "]" left out)
_SPECIAL: Final = re.compile(rb'(["\\])')
MAX_QUOTED: Final = 1_000  # octets; longer strings go as literals, kinder to clients with line limits


class GrammarError(Exception):
    """The client's octets do not fit the grammar; the text says where. Becomes BAD; never leaves the package."""


class Result(Struct, frozen=True):
    """How a command ended: RFC 9051 §7.1. `code` is the response code without brackets."""

    status: str  # OK, NO, BAD
    text: str
    code: str = ""

    def octets(self, tag: bytes) -> bytes:
        """The tagged line."""
        code = f"[{self.code}] " if self.code else ""
        return b"%b %b %b\r\n" % (tag, self.status.encode(), f"{code}{self.text}".encode("utf-8", "replace"))


def ok(text: str, code: str = "") -> Result:
    """The command succeeded."""
    return Result("OK", text, code)


def no(text: str, code: str = "") -> Result:
    """The command was understood and not done."""
    return Result("NO", text, code)


def bad(text: str, code: str = "") -> Result:
    """The command was not understood, or is not allowed now."""
    return Result("BAD", text, code)


def literal(octets: bytes) -> bytes:
    """RFC 9051 §9 literal, as servers send it."""
    return b"{%d}\r\n%b" % (len(octets), octets)


def quote(octets: bytes) -> bytes:
    """A quoted string of octets that are known to fit one."""
    return b'"%b"' % _SPECIAL.sub(rb"\\\1", octets)


def string(octets: bytes, *, utf8: bool = False) -> bytes:
    """A quoted string if the octets allow, else a literal. `utf8`: the client takes UTF-8 in quotes (RFC 6855 §3)."""
    if len(octets) <= MAX_QUOTED:
        if _QUOTABLE.fullmatch(octets):
            return quote(octets)
        if utf8 and b"\0" not in octets and b"\r" not in octets and b"\n" not in octets:
            try:
                octets.decode("utf-8")
            except UnicodeDecodeError:
                return literal(octets)
            return quote(octets)
    return literal(octets)


def nstring(octets: bytes | None, *, utf8: bool = False) -> bytes:
    """A string or NIL."""
    return b"NIL" if octets is None else string(octets, utf8=utf8)


def astring(octets: bytes, *, utf8: bool = False) -> bytes:
    """An atom if possible, else a string. NIL is quoted, as it would read as nothing."""
    if _ATOM.fullmatch(octets) and octets.upper() != b"NIL":
        return octets
    return string(octets, utf8=utf8)


def parenthesized(items: Iterable[bytes]) -> bytes:
    """A list."""
    return b"(%b)" % b" ".join(items)


def untagged(octets: bytes) -> bytes:
    """One untagged response."""
    return b"* %b\r\n" % octets


def status_line(status: str, text: str, code: str = "") -> bytes:
    """An untagged OK, NO, BAD, BYE or PREAUTH."""
    return Result(status, text, code).octets(b"*")
