"""Reads addresses back out of a rendered ENVELOPE: SORT needs the first of From, To and Cc. Pure."""

import re
from dataclasses import dataclass
from typing import Final

from mailsandbox.message.words import decode_header_text

FROM: Final = 2  # positions in the envelope, RFC 9051 §7.5.2
TO: Final = 5
CC: Final = 6

_TOKEN: Final = re.compile(rb' *(?:(\()|(\))|"((?:[^"\\]|\\.)*)"|\{([0-9]+)\}\r\n|([^ ()"{]+))', re.DOTALL)
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class FirstAddress:
    """The first address of a field; empty texts where there is none. `name` is decoded."""

    name: str = ""
    mailbox: str = ""
    host: str = ""

    @property
    def display(self) -> str:
        """RFC 5957 §3: the display name, or else the address."""
        return self.name or (f"{self.mailbox}@{self.host}" if self.host else self.mailbox)


_NONE: Final = FirstAddress()


def first_address(envelope: bytes, position: int) -> FirstAddress:
    """The first address of the field at a position."""
    at = depth = index = 0
    strings: list[bytes] = []
    while at < len(envelope):
        found = _TOKEN.match(envelope, at)
        if found is None:
            return _NONE
        at = found.end()
        opened, closed, quoted, size, atom = found.groups()
        if opened:
            depth += 1
            continue
        if closed:
            depth -= 1
            if depth == 2 and index == position:
                return _address(strings)
        elif size is not None:
            at += int(size)
        if depth == 3:
            if index == position:
                strings.append(_value(envelope, found, size, quoted, atom))
        elif depth == 1:
            if index == position:
                return _NONE
            index += 1
    return _NONE


def _value(
    envelope: bytes, found: re.Match[bytes], size: bytes | None, quoted: bytes | None, atom: bytes | None
) -> bytes:
    if size is not None:
        return envelope[found.end() : found.end() + int(size)]
    if quoted is not None:
        return _ESCAPED.sub(rb"\1", quoted)
    return b"" if atom is None or atom.upper() == b"NIL" else atom


def _address(strings: list[bytes]) -> FirstAddress:
    if len(strings) != 4:
        return _NONE
    name, _, mailbox, host = strings
    return FirstAddress(decode_header_text(name), mailbox.decode("utf-8", "replace"), host.decode("utf-8", "replace"))
