"""Octets of the connection to commands: lines, literals, limits. Pure.

Invariants: what is kept never exceeds the limits, whatever the client sends (an over-long line and a refused literal
are swallowed as they come); feeding whole or octet by octet gives the same commands. Literal markers stay in `text`
with their CRLF, which cannot occur elsewhere, so the grammar can put each literal in its place.
Knows no command's syntax beyond the tag; whoever pulls decides about synchronising literals.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from msgspec import Struct

MAX_LINE: Final = 65_536  # octets of one command without its literals; Dovecot's imap_max_line_length
MAX_LITERAL_MINUS: Final = 4_096  # RFC 7888 §5: LITERAL- allows {n+} up to here
MAX_TOTAL: Final = 4  # times the limit of one literal, for all of one command: MULTIAPPEND
MAX_LITERALS: Final = 1_000  # literals of one command; bounds the list, MULTIAPPEND of mbsync sends far fewer

_LITERAL: Final = re.compile(rb"(~?)\{([0-9]{1,18})(\+?)\}\Z")  # RFC 9051 §9 literal, literal8; RFC 7888
_TAG: Final = re.compile(rb"[^\x00-\x20(){%*\"\\+\x7f-\xff]{1,255}(?= |\Z)")  # RFC 9051 §9: tag
_TAIL: Final = 32  # octets of a swallowed line that may hold a literal marker


class CommandOctets(Struct, frozen=True):
    """One whole command: its lines joined, and its literals in order."""

    text: bytes
    literals: tuple[bytes, ...] = ()
    bare_lf: bool = False  # a line ended without CR: tolerated, and told to the lint


@dataclass(frozen=True, slots=True)
class LiteralAsked:
    """The client waits for "+" before it sends `size` octets: call `accept_literal` or `refuse_literal`."""

    text: bytes
    size: int
    number: int  # from 0, within the command


@dataclass(frozen=True, slots=True)
class Refused:
    """A command that was swallowed. `tag` is b"" where none could be read."""

    tag: bytes
    reason: str
    too_big: bool = False  # a literal over its limit, for NO [TOOBIG] (RFC 7889 §4)
    not_offered: bool = False  # a {n+} that the server does not announce: told to the lint


def tag_of(text: bytes) -> bytes:
    """The tag at the beginning of `text`; b"" where there is none."""
    found = _TAG.match(text)
    return found.group() if found else b""


class Framer:
    """Fed by the connection, pulled by the session's worker.

    `limit(text)` gives the largest literal that a command beginning with `text` may carry, or -1 if it may have none.
    `nonsync_limit`: largest {n+}; None: as `limit` says (LITERAL+), 4096 (LITERAL-), -1 (neither).
    """

    __slots__ = (
        "_bare_lf",
        "_chunks",
        "_data",
        "_line",
        "_literals",
        "_need",
        "_pos",
        "_refusal",
        "_scanned",
        "_swallow",
        "_waiting",
        "limit",
        "nonsync_limit",
    )

    def __init__(self, limit: Callable[[bytes], int], *, nonsync_limit: int | None = None) -> None:
        self.limit = limit
        self.nonsync_limit = nonsync_limit
        self._data = b""
        self._pos = 0
        self._scanned = 0
        self._line = b""  # the command so far, up to and including the last literal marker
        self._literals: list[bytes] = []
        self._chunks: list[bytes] = []
        self._need = 0  # octets still missing of the literal being read
        self._swallow = 0  # octets of a refused literal still to come
        self._waiting = 0  # size of a synchronising literal that was not decided yet; 0: none (an empty one is 1-based)
        self._refusal: Refused | None = None
        self._bare_lf = False

    @property
    def buffered(self) -> int:
        """Octets held that no command has taken yet."""
        return len(self._data) - self._pos

    @property
    def partial(self) -> bool:
        """Whether a command has begun and not ended."""
        return bool(self._line or self._need or self._refusal or self.buffered)

    def feed(self, octets: bytes) -> None:
        """Take what the connection received."""
        if self._swallow and self._pos == len(self._data):
            taken = min(self._swallow, len(octets))
            self._swallow -= taken
            octets = octets[taken:]
        elif self._need and self._pos == len(self._data):
            taken = min(self._need, len(octets))
            self._chunks.append(octets[:taken] if taken < len(octets) else octets)
            self._need -= taken
            octets = octets[taken:]
            if not self._need:
                self._end_literal()
        if octets:
            self._data = self._data[self._pos :] + octets if self._pos < len(self._data) else octets
            self._scanned -= self._pos
            self._pos = 0
            self._scanned = max(self._scanned, 0)

    def next_command(self) -> CommandOctets | LiteralAsked | Refused | None:
        """The next command, a question about its literal, or None: more octets are needed."""
        while not self._waiting:
            if not self._take_literal():
                return None
            line = self._take_line()
            if line is None:
                return None
            if self._refusal is not None:
                if not self._swallow_literal_of(line):
                    return self._end_refused()
                continue
            marker = _LITERAL.search(line)
            if marker is None:
                text = self._line + line if self._line else line
                found = CommandOctets(text, tuple(self._literals), self._bare_lf)
                self._reset()
                return found
            asked = self._begin_literal(line, int(marker[2]), nonsync=bool(marker[3]))
            if asked is not None:
                return asked
        return None

    def next_line(self) -> bytes | Refused | None:
        """The next line as it is, without looking for literals: SASL responses and DONE."""
        line = self._take_line()
        if line is None:
            return None
        self._bare_lf = False
        if self._refusal is not None:
            return self._end_refused()
        return line

    def accept_literal(self) -> None:
        """The literal that was asked for may come."""
        self._need = self._waiting - 1
        self._waiting = 0
        if not self._need:
            self._end_literal()

    def refuse_literal(self) -> None:
        """The command is over; the client does not send the literal (RFC 9051 §4.3)."""
        self._reset()

    def _reset(self) -> None:
        self._line = b""
        self._literals = []
        self._waiting = 0
        self._refusal = None
        self._bare_lf = False

    def _end_refused(self) -> Refused:
        refusal = self._refusal
        assert refusal is not None
        self._reset()
        return refusal

    def _end_literal(self) -> None:
        self._literals.append(b"".join(self._chunks) if len(self._chunks) != 1 else self._chunks[0])
        self._chunks = []

    def _take_literal(self) -> bool:
        """Move octets of the literal from the buffer; False while some are missing."""
        if self._swallow:
            taken = min(self._swallow, self.buffered)
            self._pos += taken
            self._scanned = self._pos
            self._swallow -= taken
            return not self._swallow
        if self._need:
            taken = min(self._need, self.buffered)
            if taken:
                self._chunks.append(self._data[self._pos : self._pos + taken])
                self._pos += taken
                self._scanned = self._pos
                self._need -= taken
            if self._need:
                return False
            self._end_literal()
        return True

    def _take_line(self) -> bytes | None:
        """A line without its end; None while it has not ended. Over-long ones set the refusal."""
        end = self._data.find(b"\n", max(self._scanned, self._pos))
        room = MAX_LINE - len(self._line)
        if end < 0:
            if self.buffered > room + 2:
                self._refuse_line(self._data[self._pos : self._pos + 300])
                self._data = self._data[-_TAIL:]  # a marker may still end this line
                self._pos = 0
            self._scanned = len(self._data)
            return None
        if end - self._pos > room + 1 and self._refusal is None:
            self._refuse_line(self._data[self._pos : self._pos + 300])
        stop = end - 1 if end > self._pos and self._data[end - 1] == 0x0D else end
        # A lone LF is taken for the end of a line, as Dovecot does; RFC 9051 §2.2 wants CRLF.
        self._bare_lf |= stop == end
        line = self._data[self._pos : stop]
        self._pos = self._scanned = end + 1
        return line

    def _refuse_line(self, beginning: bytes) -> None:
        if self._refusal is None:
            self._refusal = Refused(tag_of(self._line + beginning), f"Command line over {MAX_LINE} octets")
            self._literals = []

    def _swallow_literal_of(self, line: bytes) -> bool:
        """In a refused command: whether `line` is followed by a literal that comes unasked, and so by more lines."""
        marker = _LITERAL.search(line[-_TAIL:])
        if marker is None or not marker[3]:
            return False
        self._swallow = int(marker[2])
        return True

    def _refuse_nonsync(self, text: bytes, size: int, limit: int) -> Refused:
        if self.nonsync_limit is not None and size > self.nonsync_limit:
            offered = "LITERAL- allows 4096 octets" if self.nonsync_limit > 0 else "LITERAL+ is not offered"
            return Refused(tag_of(text), f'A literal must wait for "+": {offered}', not_offered=True)
        return Refused(tag_of(text), "Literal too large or not allowed here", too_big=limit >= 0)

    def _begin_literal(self, line: bytes, size: int, *, nonsync: bool) -> LiteralAsked | None:
        text = self._line + line
        limit = self.limit(text)
        if nonsync and self.nonsync_limit is not None:
            limit = min(limit, self.nonsync_limit)
        if len(self._literals) >= MAX_LITERALS:
            limit = -1
        if not nonsync:
            # RFC 9051 §4.3: the client waits; whoever pulls decides, and sees sizes over the limit too.
            self._line = text + b"\r\n"
            self._waiting = size + 1
            return LiteralAsked(text, size, len(self._literals))
        if size > limit or sum(map(len, self._literals)) + size > MAX_TOTAL * limit:
            # RFC 7888 §4: the octets come in any case; they are read and thrown away.
            self._refusal = self._refuse_nonsync(text, size, limit)
            self._literals = []
            self._swallow = size
            return None
        self._line = text + b"\r\n"
        self._need = size
        if not size:
            self._end_literal()
        return None
