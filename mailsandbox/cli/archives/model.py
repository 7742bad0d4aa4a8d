"""One message as an archive keeps it, what stands for one that cannot be read, and line ends."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MAX_MESSAGE: Final = 256 * 1024 * 1024  # octets of one message
SYSTEM_FLAGS: Final = frozenset(("\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft"))  # RFC 9051 §2.3.2


@dataclass(frozen=True, slots=True)
class Kept:
    """One message. `received_at` in POSIX seconds; None where the archive does not say. `source`: for people."""

    octets: bytes
    flags: Sequence[str] = ()
    received_at: float | None = None
    mailbox: str = ""
    account: str = ""
    source: str = ""
    uid: int = 0  # 0: the archive does not say


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A part of an archive that cannot be read, and why."""

    source: str
    why: str


def with_crlf(octets: bytes) -> bytes:
    """Line ends of the wire for a message from a file of this system; a message that has CRLF stays as it is."""
    if b"\r\n" in octets or b"\n" not in octets:
        return octets
    return octets.replace(b"\n", b"\r\n")


def with_lf(octets: bytes) -> bytes:
    """Line ends of files of this system."""
    return octets.replace(b"\r\n", b"\n")


def read_file(path: Path) -> bytes | Unreadable:
    """A file that holds one message. A link is not followed: it may lead out of the archive."""
    try:
        if path.is_symlink():
            return Unreadable(str(path), "a symbolic link")
        if path.stat().st_size > MAX_MESSAGE:
            return Unreadable(str(path), f"longer than {MAX_MESSAGE} octets")
        return path.read_bytes()
    except OSError as error:
        return Unreadable(str(path), error.strerror or str(error))
