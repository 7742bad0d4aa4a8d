"""Octets to lines and messages to octets: POP3's framing (RFC 1939 §3). Pure.

Invariants: `framed` undone by a client gives the message back, octet for octet (a final CRLF added where it had none);
feeding a reader whole or octet by octet gives the same lines; a reader keeps at most MAX_LINE octets beyond what it
was fed last. Knows no commands.
"""

import re
from collections.abc import Iterator
from enum import Enum, auto
from typing import Final

from msgspec import Struct

CRLF: Final = b"\r\n"
MAX_LINE: Final = (
    16_384  # octets without CRLF. RFC 2449 §4 asks for 255; bearer tokens in AUTH need more (Dovecot 8192)
)
MAX_SKIPPED: Final = 1_048_576  # octets of one line thrown away before the connection is given up
CHUNK: Final = 262_144  # octets of a message handed to the transport at once


class Unusable(Enum):
    """What is heard instead of a line."""

    TOO_LONG = auto()  # over MAX_LINE: the rest of it is thrown away as it comes
    FLOOD = auto()  # over MAX_SKIPPED: no end in sight, give up


class LineReader:
    """Octets in, lines out, in order. `bare`: the line given out last ended by LF alone."""

    __slots__ = ("_buffer", "_position", "_skipped", "bare")

    def __init__(self) -> None:
        self._buffer = b""
        self._position = 0
        self.bare = False
        self._skipped = 0  # octets of the over-long line being thrown away, 0 when none is

    def feed(self, octets: bytes) -> None:
        """More from the client."""
        if self._position < len(self._buffer):
            self._buffer = self._buffer[self._position :] + octets
        else:
            self._buffer = octets
        self._position = 0

    def next(self) -> bytes | Unusable | None:
        """The next line without its end, None until more is fed."""
        end = self._buffer.find(b"\n", self._position)
        if self._skipped:
            return self._skip(end)
        if end < 0:
            return self._over_long() if len(self._buffer) - self._position > MAX_LINE + 1 else None
        start, self._position = self._position, end + 1
        self.bare = end == start or self._buffer[end - 1] != 0x0D
        if not self.bare:
            end -= 1
        return self._buffer[start:end] if end - start <= MAX_LINE else Unusable.TOO_LONG

    def _over_long(self) -> Unusable:
        self._skipped = len(self._buffer) - self._position
        self.clear()
        return Unusable.TOO_LONG

    def _skip(self, end: int) -> bytes | Unusable | None:
        if end >= 0:
            self._position = end + 1
            self._skipped = 0
            return self.next()
        self._skipped += len(self._buffer) - self._position
        self.clear()
        return Unusable.FLOOD if self._skipped > MAX_SKIPPED else None

    @property
    def waiting(self) -> int:
        """Octets fed and not yet given out."""
        return len(self._buffer) - self._position

    def clear(self) -> None:
        """Forget what was fed and not given out."""
        self._buffer = b""
        self._position = 0


class Framed(Struct, frozen=True):
    """A message as the lines of a multi-line response, and the termination octets.

    `misleading`: a client that takes a bare LF for a line's end would see the message end before its end.
    """

    lines: bytes
    end: bytes
    misleading: bool = False


def framed(octets: bytes) -> Framed:
    """Stuff and terminate (RFC 1939 §3).

    A line that begins with the termination octet gets another one. Lines end by CRLF only: a dot after a bare LF is no
    line's first octet, and a client that undoes the stuffing by the book must find it as it was.
    """
    end = _end(octets)
    lines, misleading = octets, False
    if _DOTTED.search(octets) is not None:  # this scan takes half the time of `in`, and most messages have none
        lines = octets.replace(b"\r\n.", b"\r\n..")
        misleading = any(octets[found.start() - 1 : found.start()] != b"\r" for found in _LONE_DOT.finditer(octets))
    return Framed(b"." + lines if lines[:1] == b"." else lines, end, misleading)


_DOTTED: Final = re.compile(rb"\n\.")
_LONE_DOT: Final = re.compile(rb"\n\.\r?\n")


def _end(octets: bytes) -> bytes:
    return b".\r\n" if octets.endswith(CRLF) or not octets else b"\r\n.\r\n"


def stuffed_in_chunks(octets: bytes) -> Iterator[bytes | memoryview]:
    """`framed` for a large message: pieces of about CHUNK octets, never a second copy of the whole.

    Whether it is misleading is not looked for: that would double the time.
    """
    start, length = 0, len(octets)
    while length - start > CHUNK:
        end = start + CHUNK
        # A cut must not come between CR, LF and the dot: move it back to before the CR.
        if octets[end - 1] == 0x0D:
            end -= 1
        elif octets[end - 2 : end] == CRLF:
            end -= 2
        yield _piece(octets, start, end)
        start = end
    yield _piece(octets, start, length)
    yield _end(octets)


def _piece(octets: bytes, start: int, end: int) -> bytes | memoryview:
    if _DOTTED.search(octets, start, end) is None and octets[start : start + 1] != b".":
        return memoryview(octets)[start:end]  # nothing to stuff, nothing to copy
    piece = octets[start:end].replace(b"\r\n.", b"\r\n..")
    return b"." + piece if start == 0 and piece[:1] == b"." else piece


def top(octets: bytes, lines: int) -> bytes:
    """The header, the blank line, and the first `lines` lines of the body (RFC 1939 §7)."""
    if octets.startswith(CRLF):  # no header at all
        position = 2
    else:
        blank = octets.find(b"\r\n\r\n")
        if blank < 0:
            return octets  # all of it is header
        position = blank + 4
    for _ in range(lines):
        end = octets.find(CRLF, position)
        if end < 0:
            return octets
        position = end + 2
    return octets[:position]
