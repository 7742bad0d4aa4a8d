"""Reads a server's replies from its octets, in whatever pieces they come (RFC 5321 §4.2).

Invariant: memory is bounded by the limits below, whatever the server sends; what is no reply raises PeerViolation
and nothing else. Knows no commands: which reply answers which is the reader's user's to know.
"""

import re
from functools import lru_cache
from typing import Final

from mailsandbox.errors import PeerViolation
from mailsandbox.smtp.replies import Reply, parse_reply

MAX_LINE: Final = 4096  # octets with line end; RFC 5321 §4.5.3.1.5 asks for 512, real servers exceed it with URLs
MAX_LINES: Final = 256  # of one reply; the longest seen are EHLO and HELP with about 40
_SHORT: Final = 512  # octets; longer lines are read one by one
_KEPT: Final = 256  # a server says the same few lines to message after message
_WHOLE: Final = re.compile(rb"([2-5][0-9]{2}) (?:([245]\.[0-9]{1,3}\.[0-9]{1,3}) ?)?([\x00-\x7f]*)")


class ReplyReader:
    """Feed it octets, get whole replies in order."""

    __slots__ = ("_buffer", "_code", "_lines")

    def __init__(self) -> None:
        self._buffer = b""
        self._code = 0
        self._lines: list[str] = []

    @property
    def incomplete(self) -> bool:
        """Whether part of a reply has come."""
        return bool(self._buffer or self._lines)

    def feed(self, octets: bytes) -> list[Reply]:
        """Replies completed by this piece. Raises PeerViolation where it is not SMTP."""
        *lines, self._buffer = (self._buffer + octets).split(b"\n")
        if len(self._buffer) > MAX_LINE:
            raise PeerViolation(f"reply line longer than {MAX_LINE} octets: {_shown(self._buffer)}")
        # RFC 5321 §2.3.8: lines end with CRLF; a bare LF is read as Postfix reads it, it cannot be misunderstood.
        replies = []
        for ended in lines:
            line = ended.removesuffix(b"\r")
            whole = _whole(line) if not self._lines and len(line) <= _SHORT else None
            if whole is not None or (whole := self._line(line)) is not None:
                replies.append(whole)
        return replies

    def eof(self) -> None:
        """The server closed. Raises PeerViolation in the middle of a reply."""
        if self.incomplete:
            raise PeerViolation("connection closed in the middle of a reply")

    def _line(self, line: bytes) -> Reply | None:
        # RFC 5321 §4.2: Reply-code = %x32-35 %x30-35 %x30-39; the second digit is read more widely, as all clients do.
        code, separator = line[:3], line[3:4]
        if len(line) > MAX_LINE:
            raise PeerViolation(f"reply line longer than {MAX_LINE} octets: {_shown(line)}")
        if not (len(code) == 3 and code.isdigit() and b"2" <= code < b"6" and separator in (b"", b" ", b"-")):
            raise PeerViolation(f"not an SMTP reply: {_shown(line)}")
        number = int(code)
        # RFC 5321 §4.2.1: the code is the same on every line of a reply.
        if self._lines and number != self._code:
            raise PeerViolation(f"reply changes its code from {self._code} to {number}: {_shown(line)}")
        if len(self._lines) >= MAX_LINES:
            raise PeerViolation(f"reply of more than {MAX_LINES} lines")
        self._code = number
        # Octets that are no UTF-8 are shown as \\xNN: replies are stored, and end up in notifications.
        self._lines.append(line[4:].decode("utf-8", "backslashreplace"))
        if separator == b"-":
            return None
        lines, self._lines = self._lines, []
        return parse_reply(number, lines)


@lru_cache(_KEPT)
def _whole(line: bytes) -> Reply | None:
    """A reply of one line in ASCII, as nearly all are; None for any other line."""
    match = _WHOLE.fullmatch(line)
    if match is None:
        return None
    code, enhanced, text = match.groups()
    return Reply(int(code), enhanced.decode("ascii") if enhanced else "", (text.decode("ascii"),))


def _shown(line: bytes) -> str:
    """An excerpt for error texts."""
    return repr(line[:80].decode("utf-8", "backslashreplace"))
