"""METADATA (RFC 5464) and QUOTA (RFC 9208). Pure."""

import re
from typing import Final

from msgspec import Struct

from mailsandbox.access.imap.grammar.scanner import Scanner
from mailsandbox.access.imap.responses import GrammarError

_ENTRY: Final = re.compile(r"/(?:shared|private)(?:/[^/*%\x00-\x1f\x7f-\U0010ffff]+)*")
MAX_ENTRY: Final = 1_000


class GetMetadata(Struct, frozen=True):
    """`depth`: 0, 1 or -1 for infinity; `max_size` in octets. `mailbox` "": the server's own entries."""

    mailbox: str
    entries: tuple[str, ...]
    max_size: int | None = None
    depth: int = 0


class SetMetadata(Struct, frozen=True):
    """None removes an entry."""

    mailbox: str
    entries: tuple[tuple[str, bytes | None], ...]


class GetQuota(Struct, frozen=True):
    root: str


class GetQuotaRoot(Struct, frozen=True):
    mailbox: str


def get_metadata(scanner: Scanner) -> GetMetadata:
    scanner.space()
    options: dict[str, int] = {}
    if scanner.at(b"("):
        options = dict(scanner.group(lambda: _option(scanner)))
        scanner.space()
    mailbox = scanner.mailbox()
    scanner.space()
    # RFC 5464's examples have the options behind the mailbox, its grammar before it (erratum 1691): both are read.
    if not options and re.compile(rb"\((?:MAXSIZE|DEPTH) ", re.IGNORECASE).match(scanner.text, scanner.pos):
        options = dict(scanner.group(lambda: _option(scanner)))
        scanner.space()
    entries = scanner.group(lambda: _entry(scanner)) if scanner.at(b"(") else (_entry(scanner),)
    return GetMetadata(mailbox, entries, options.get("MAXSIZE"), options.get("DEPTH", 0))


def _option(scanner: Scanner) -> tuple[str, int]:
    name = scanner.word("MAXSIZE or DEPTH")
    scanner.space()
    if name == "MAXSIZE":
        return name, scanner.number()
    if name == "DEPTH":
        depth = scanner.word("a depth")
        if depth not in ("0", "1", "INFINITY"):
            raise GrammarError("DEPTH is 0, 1 or infinity")
        return name, -1 if depth == "INFINITY" else int(depth)
    raise GrammarError(f"Unknown GETMETADATA option {name}")


def _entry(scanner: Scanner) -> str:
    return valid_entry(scanner.text_of(scanner.astring()))


def valid_entry(name: str) -> str:
    """An entry name in lower case (RFC 5464 §3.1: compared without case)."""
    lowered = name.lower()
    if len(name) > MAX_ENTRY or not _ENTRY.fullmatch(lowered):
        raise GrammarError("Invalid entry name")
    return lowered


def set_metadata(scanner: Scanner) -> SetMetadata:
    scanner.space()
    mailbox = scanner.mailbox()
    scanner.space()
    return SetMetadata(mailbox, scanner.group(lambda: _pair(scanner)))


def _pair(scanner: Scanner) -> tuple[str, bytes | None]:
    entry = _entry(scanner)
    if entry.count("/") < 2:
        raise GrammarError("An entry needs a name below /shared or /private")  # RFC 5464 §3.2
    scanner.space()
    octets = scanner.literal(binary=True)
    return entry, octets if octets is not None else scanner.nstring()


def get_quota(scanner: Scanner) -> GetQuota:
    scanner.space()
    return GetQuota(scanner.text_of(scanner.astring()))


def get_quota_root(scanner: Scanner) -> GetQuotaRoot:
    scanner.space()
    return GetQuotaRoot(scanner.mailbox())
