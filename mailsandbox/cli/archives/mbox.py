"""mbox (RFC 4155) in the mboxrd manner, which alone can be undone: every line of ">"s and "From " gets one more ">".

Read are the other kinds too, as far as they can be told: mboxo quotes "From " alone, and loses nothing here. Flags
stand in Status and X-Status, keywords in X-Keywords, as Dovecot, UW IMAP and mutt have them; such fields belong to the
file and not to the message, so those of the message itself are left out.
"""

import re
import time
from collections.abc import Iterator
from typing import BinaryIO, Final

from mailsandbox.cli.archives.model import MAX_MESSAGE, SYSTEM_FLAGS, Kept, Unreadable, with_crlf, with_lf
from mailsandbox.message.dates import parse_date

FROM_LINE: Final = re.compile(rb"From \S.*\d{4}", re.DOTALL)
_QUOTED: Final = re.compile(rb"^>(>*From )", re.MULTILINE)
_TO_QUOTE: Final = re.compile(rb"^(>*From )", re.MULTILINE)
_STATUS: Final = re.compile(rb"^(?:X-)?Status:[ \t]*([A-Za-z]*)[ \t]*\r?\n", re.MULTILINE | re.IGNORECASE)
_KEYWORDS: Final = re.compile(rb"^X-Keywords:[ \t]*([^\r\n]*)\r?\n", re.MULTILINE | re.IGNORECASE)
_EMPTY_LINE: Final = re.compile(rb"^\r?\n", re.MULTILINE)
_LETTERS: Final = {"R": "\\Seen", "A": "\\Answered", "F": "\\Flagged", "T": "\\Draft", "D": "\\Deleted"}
_STATUS_LETTERS: Final = "R"  # the others stand in X-Status


def read_mbox(file: BinaryIO, name: str) -> Iterator[Kept | Unreadable]:
    """Every message of an open file."""
    lines: list[bytes] = []
    envelope, blank, count, size = b"", True, 0, 0
    while line := file.readline(MAX_MESSAGE):
        if blank and line.startswith(b"From ") and (FROM_LINE.match(line) or not count):
            if count:
                yield _message(lines, envelope, f"{name}, message {count}", size)
            lines, envelope, count, size, blank = [], line, count + 1, 0, False
            continue
        if not count:
            yield Unreadable(name, 'no mbox: its first line does not begin with "From " (RFC 4155)')
            return
        size += len(line)
        if size <= MAX_MESSAGE:
            lines.append(line)
        blank = line in (b"\n", b"\r\n")
    if count:
        yield _message(lines, envelope, f"{name}, message {count}", size)


def _message(lines: list[bytes], envelope: bytes, source: str, size: int) -> Kept | Unreadable:
    if size > MAX_MESSAGE:
        return Unreadable(source, f"longer than {MAX_MESSAGE} octets")
    if lines and lines[-1] in (b"\n", b"\r\n"):
        lines = lines[:-1]  # the blank line before the next "From "
    header, rest = _split(b"".join(lines))
    letters = b"".join(_STATUS.findall(header)).decode("ascii").upper()
    words = b" ".join(_KEYWORDS.findall(header)).decode("utf-8", "replace").split()
    octets = _QUOTED.sub(rb"\1", _without_status(header) + rest)
    flags = [flag for letter, flag in _LETTERS.items() if letter in letters]
    return Kept(with_crlf(octets), [*flags, *dict.fromkeys(words)], _moment(envelope), source=source)


def _split(octets: bytes) -> tuple[bytes, bytes]:
    """The header, and the rest from its empty line on."""
    found = _EMPTY_LINE.search(octets)
    at = found.start() if found else len(octets)
    return octets[:at], octets[at:]


def _without_status(header: bytes) -> bytes:
    return _KEYWORDS.sub(b"", _STATUS.sub(b"", header))


def _moment(envelope: bytes) -> float | None:
    words = envelope.decode("latin-1").split()
    parsed = parse_date(" ".join(words[2:]))
    return parsed.at if parsed else None


def write_mbox(file: BinaryIO, message: Kept) -> None:
    """One more message at the end of an open file."""
    status = "".join(letter for letter, flag in _LETTERS.items() if flag in message.flags)
    keywords = " ".join(flag for flag in message.flags if flag not in SYSTEM_FLAGS)
    fields = {
        "Status": "".join(letter for letter in status if letter in _STATUS_LETTERS),
        "X-Status": "".join(letter for letter in status if letter not in _STATUS_LETTERS),
        "X-Keywords": keywords,
    }
    header, rest = _split(with_lf(message.octets))
    if header and not header.endswith(b"\n"):
        header += b"\n"
    header = _without_status(header)
    header += "".join(f"{name}: {text}\n" for name, text in fields.items() if text).encode()
    at = time.asctime(time.gmtime(message.received_at or 0))
    # RFC 4155: an addr-spec, the time in UTC, and after the last line's end an empty line.
    file.write(f"From mailsandbox@localhost {at}\n".encode("ascii"))
    whole = _TO_QUOTE.sub(rb">\1", header + rest)
    file.write(whole + (b"\n" if whole.endswith(b"\n") else b"\n\n"))
