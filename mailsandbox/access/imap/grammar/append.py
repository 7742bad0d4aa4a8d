"""APPEND with MULTIAPPEND, CATENATE, BINARY and UTF8, and REPLACE. Pure.

RFC 9051 §6.3.12, RFC 3502, RFC 4469, RFC 3516 §4.4, RFC 6855 §4, RFC 8508.
"""

from dataclasses import dataclass, field
from typing import Final

from msgspec import Struct

from mailsandbox.access.imap.dates import parse_date_time
from mailsandbox.access.imap.grammar.scanner import Scanner
from mailsandbox.access.imap.responses import GrammarError

MAX_PARTS: Final = 1_000  # of one CATENATE


@dataclass(frozen=True, slots=True)
class TextPart:
    """Octets of a CATENATE."""

    octets: bytes = field(repr=False)


class UrlPart(Struct, frozen=True):
    """An IMAP URL of a CATENATE (RFC 5092)."""

    url: str


class AppendMessage(Struct, frozen=True):
    """One message: `parts` is one TextPart unless CATENATE was used."""

    flags: tuple[str, ...]
    internal_date: float | None
    parts: tuple[TextPart | UrlPart, ...]
    catenate: bool = False


class Append(Struct, frozen=True):
    mailbox: str
    messages: tuple[AppendMessage, ...]


class Replace(Struct, frozen=True):
    """RFC 8508 §3."""

    uid: bool
    number: int  # 0: "*"
    mailbox: str
    message: AppendMessage


def append(scanner: Scanner) -> Append:
    scanner.space()
    mailbox = scanner.mailbox()
    messages = []
    while scanner.skip(b" ") and not scanner.at_end:
        messages.append(_message(scanner))
    if not messages:
        raise GrammarError("APPEND without a message")
    return Append(mailbox, tuple(messages))


def replace(scanner: Scanner, *, uid: bool = False) -> Replace:
    scanner.space()
    number = 0 if scanner.skip(b"*") else scanner.nz_number()
    scanner.space()
    mailbox = scanner.mailbox()
    scanner.space()
    return Replace(uid, number, mailbox, _message(scanner))


def uid_replace(scanner: Scanner) -> Replace:
    return replace(scanner, uid=True)


def _message(scanner: Scanner) -> AppendMessage:
    flags: tuple[str, ...] = ()
    internal_date = None
    if scanner.at(b"("):
        flags = scanner.flags()
        scanner.space()
    if scanner.at(b'"'):
        quoted = scanner.quoted()
        if quoted is None:
            raise GrammarError(f"Expected a date-time{scanner.here()}")
        internal_date = parse_date_time(quoted.decode("ascii", "replace"))
        scanner.space()
    octets = scanner.literal(binary=True)
    if octets is not None:
        return AppendMessage(flags, internal_date, (TextPart(octets),))
    keyword = scanner.word("a literal")
    scanner.space()
    match keyword:
        case "CATENATE":
            parts = scanner.group(lambda: _part(scanner))
            if len(parts) > MAX_PARTS:
                raise GrammarError(f"More than {MAX_PARTS} parts")
            return AppendMessage(flags, internal_date, parts, catenate=True)
        case "UTF8":
            # RFC 6855 §4: UTF8 (~{n} ...)
            (part,) = scanner.group(lambda: TextPart(_literal(scanner)))
            return AppendMessage(flags, internal_date, (part,))
    raise GrammarError(f"Unknown APPEND data {keyword}")


def _part(scanner: Scanner) -> TextPart | UrlPart:
    kind = scanner.word("TEXT or URL")
    scanner.space()
    if kind == "TEXT":
        return TextPart(_literal(scanner))
    if kind == "URL":
        return UrlPart(scanner.text_of(scanner.astring()))
    raise GrammarError(f"Unknown CATENATE part {kind}")


def _literal(scanner: Scanner) -> bytes:
    octets = scanner.literal(binary=True)
    if octets is None:
        raise GrammarError(f"Expected a literal{scanner.here()}")
    return octets
