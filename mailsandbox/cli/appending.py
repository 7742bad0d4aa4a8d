"""Messages put into a mailbox by IMAP APPEND, pipelined and octet for octet: how `import` keeps flags and dates.

A few lines of our own, as imaplib rewrites line ends. Knows nothing of archives.
"""

import re
import socket
import time
from collections.abc import Sequence
from typing import Final

import click

from mailsandbox.access.imap.names import encode_utf7
from mailsandbox.cli.printing import clean

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_FLAG: Final = re.compile(r"\\?[!#$&'+,\-./0-9:;<=>?@A-Z^_`a-z|}~]+")  # RFC 9051 §9: flag
_TIMEOUT: Final = 60.0  # seconds for one answer


class Refusal(click.ClickException):
    """The server said no; the connection is good for more."""


class Appender:
    """One logged-in connection. Use it as a context manager. Raises click.ClickException for every refusal."""

    def __init__(self, place: tuple[str, int], account: str, password: str) -> None:
        self._account = account
        self._tag = 0
        self._made: set[str] = set()
        try:
            self._socket = socket.create_connection(place, timeout=_TIMEOUT)
        except OSError as error:
            where = f"{place[0]}:{place[1]}"
            raise click.ClickException(
                f"no IMAP server answers at {where} ({error.strerror or error}); start one with `mailsandbox serve`,"
                " or name it with --url or --ready-file"
            ) from None
        self._file = self._socket.makefile("rb")
        try:
            self._line()
            self._command(b"LOGIN %b %b" % (_literal(account.encode()), _literal(password.encode())), "log in")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Appender":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; what was appended is stored."""
        self._file.close()
        self._socket.close()

    def append(
        self, mailbox: str, octets: bytes, *, flags: Sequence[str] = (), received_at: float | None = None
    ) -> None:
        """Store one message; the mailbox is made if it is missing."""
        if mailbox.upper() != "INBOX" and mailbox not in self._made:
            self._made.add(mailbox)
            self._command(b"CREATE " + _mailbox(mailbox), f"make the mailbox {mailbox!r}", may_fail=True)
        words = [b"APPEND", _mailbox(mailbox)]
        kept = [flag for flag in flags if _FLAG.fullmatch(flag) and flag != "\\Recent"]
        if kept:
            words.append(b"(" + " ".join(kept).encode("ascii") + b")")
        if received_at is not None:
            words.append(_date_time(received_at))
        # RFC 7888: a non-synchronising literal needs no round trip. RFC 3516 §4.4: NUL needs a literal8.
        words.append(b"%b{%d+}\r\n%b" % (b"~" if b"\0" in octets else b"", len(octets), octets))
        self._command(b" ".join(words), f"append to {mailbox!r}")

    def _command(self, command: bytes, what: str, *, may_fail: bool = False) -> None:
        self._tag += 1
        tag = b"a%d " % self._tag
        try:
            self._socket.sendall(tag + command + b"\r\n")
            while not (line := self._line()).startswith(tag):
                if line.startswith(b"* BYE"):
                    raise click.ClickException(f"IMAP: {clean(line[2:].decode('utf-8', 'replace').strip())}")
        except OSError as error:
            raise click.ClickException(f"IMAP: the connection broke: {error.strerror or error}") from None
        answer = line[len(tag) :].decode("utf-8", "replace").strip()
        if not answer.upper().startswith("OK") and not may_fail:
            raise Refusal(f"{clean(self._account)}: cannot {what}: {clean(answer)}")

    def _line(self) -> bytes:
        line = self._file.readline(1_000_000)
        if not line:
            raise click.ClickException("IMAP: the server closed the connection")
        return line


def _literal(octets: bytes) -> bytes:
    return b"{%d+}\r\n%b" % (len(octets), octets)


def _mailbox(name: str) -> bytes:
    """In modified UTF-7, which every server understands before UTF8=ACCEPT is enabled."""
    return _literal(encode_utf7(name))


def _date_time(at: float) -> bytes:
    """RFC 9051 §9 date-time, in UTC."""
    t = time.gmtime(at)
    day = f"{t.tm_mday:2d}-{_MONTHS[t.tm_mon - 1]}-{t.tm_year:04d} {t.tm_hour:02d}:{t.tm_min:02d}:{t.tm_sec:02d} +0000"
    return f'"{day}"'.encode("ascii")
