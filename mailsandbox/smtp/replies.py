"""SMTP replies as values: code, enhanced status code, lines of text (RFC 5321 §4.2, RFC 2034)."""

import re
from dataclasses import dataclass
from typing import Final

MAX_REPLY_LINE: Final = 512  # octets with CRLF, RFC 5321 §4.5.3.1.5

_ENHANCED: Final = re.compile(r"([245]\.\d{1,3}\.\d{1,3}) ?")


@dataclass(frozen=True, slots=True)
class Reply:
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

    def encode(self) -> bytes:
        """Wire form with CRLF; every line but the last has a hyphen after the code (RFC 5321 §4.2.1)."""
        prefix = f"{self.enhanced} " if self.enhanced else ""
        rows = [f"{self.code}-{prefix}{line}\r\n" for line in self.lines[:-1]]
        rows.append(f"{self.code} {prefix}{self.lines[-1] if self.lines else ''}\r\n")
        return "".join(rows).encode("utf-8", "surrogateescape")

    def __str__(self) -> str:
        return f"{self.code} {self.enhanced + ' ' if self.enhanced else ''}{self.text}"


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
