"""SMTP replies as values: code, enhanced status code, lines of text (RFC 5321 §4.2, RFC 2034)."""

import re
from functools import lru_cache
from typing import Final

import msgspec

MAX_REPLY_LINE: Final = 512  # octets with CRLF, RFC 5321 §4.5.3.1.5
_SHORT: Final = 490  # octets of text that fit into such a line with both codes
_KEPT: Final = 64  # replies whose octets are kept: most of what a server says is the same few lines

# RFC 5321 §4.2: text is printable; a line end in what we quote must not begin another reply.
_UNPRINTABLE: Final = bytes.maketrans(bytes((*range(9), *range(10, 32), 127)), b"?" * 32)

_ENHANCED: Final = re.compile(r"([245]\.\d{1,3}\.\d{1,3}) ?")


class Reply(msgspec.Struct, frozen=True):
    """One reply, of one or several lines.

    `enhanced` is the enhanced status code ("5.6.1", RFC 3463) or "" where none is given (greeting, EHLO).
    `lines` never contain CR or LF, nor the codes.
    """

    code: int
    enhanced: str
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        """All lines, joined by a space."""
        return " ".join(self.lines)

    @property
    def positive(self) -> bool:
        """2yz or 3yz: done, or go on."""
        return self.code < 400

    @property
    def transient(self) -> bool:
        """4yz: worth another try."""
        return 400 <= self.code < 500

    @property
    def permanent(self) -> bool:
        """5yz: will not become better."""
        return self.code >= 500

    def in_one_line(self) -> tuple[str, bytes] | None:
        """As text without CRLF, and as octets with it, where it is one short line of ASCII, as nearly all are."""
        return _in_one_line(self.code, self.enhanced, self.lines[0]) if len(self.lines) == 1 else None

    def encode(self, *, utf8: bool = False) -> bytes:
        """Wire form with CRLF; every line but the last has a hyphen after the code (RFC 5321 §4.2.1).

        Reply text is ASCII unless the client asked for SMTPUTF8 (RFC 5321 §4.2, RFC 6531 §3.7.4.1), and no line is
        longer than 512 octets (RFC 5321 §4.5.3.1.5): what is longer goes on in another line.
        """
        if (one := self.in_one_line()) is not None:
            return one[1]
        prefix = f"{self.enhanced} " if self.enhanced else ""
        texts = [piece for line in self.lines for piece in _pieces(line, utf8=utf8)] or [b""]
        code, before = b"%d" % self.code, prefix.encode("ascii")
        rows = [b"".join((code, b"-", before, text, b"\r\n")) for text in texts[:-1]]
        rows.append(b"".join((code, b" ", before, texts[-1], b"\r\n")))
        return b"".join(rows)

    def __str__(self) -> str:
        return f"{self.code} {self.enhanced + ' ' if self.enhanced else ''}{self.text}"


@lru_cache(_KEPT)
def _in_one_line(code: int, enhanced: str, text: str) -> tuple[str, bytes] | None:
    if len(text) < _SHORT and text.isascii() and text.isprintable():
        line = f"{code} {enhanced} {text}" if enhanced else f"{code} {text}"
        return line, f"{line}\r\n".encode("ascii")
    return None


def _pieces(line: str, *, utf8: bool) -> list[bytes]:
    """One line of text as octets, in as many pieces as the length asks for."""
    octets = (line.encode("utf-8", "surrogateescape") if utf8 else _ascii(line)).translate(_UNPRINTABLE)
    if len(octets) <= _SHORT:
        return [octets]
    pieces = []
    while len(octets) > _SHORT:
        cut = octets.rfind(b" ", 1, _SHORT)
        if cut < 0:
            cut = _SHORT
            while utf8 and octets[cut] & 0xC0 == 0x80:  # not within a character
                cut -= 1
        pieces.append(octets[:cut])
        octets = octets[cut:].removeprefix(b" ")
    return [*pieces, octets]


def _ascii(line: str) -> bytes:
    line = line.replace("§", "section ")
    return line.encode("ascii") if line.isascii() else "".join(map(_in_ascii, line)).encode("ascii")


def _in_ascii(character: str) -> str:
    """Characters by their number, octets that are no UTF-8 by theirs: which of the two was said can be told."""
    code = ord(character)
    if code < 0x80:
        return character
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def reply(code: int, enhanced: str, *lines: str) -> Reply:
    """Short form: `reply(250, "2.1.0", "Sender ok")`."""
    return Reply(code, enhanced, lines or ("",))


def parse_reply(code: int, raw_lines: list[str]) -> Reply:
    """A reply from its code and its lines as received without code and separator; finds the enhanced code."""
    enhanced = ""
    if raw_lines and (match := _ENHANCED.match(raw_lines[0])):
        enhanced = match[1]
    lines = tuple(line.removeprefix(enhanced).removeprefix(" ") if enhanced else line for line in raw_lines)
    return Reply(code, enhanced, lines or ("",))
