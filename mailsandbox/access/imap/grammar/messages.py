"""STORE, COPY, MOVE, EXPUNGE and their UID forms. Pure."""

from msgspec import Struct

from mailsandbox.access.imap.grammar.scanner import Scanner
from mailsandbox.access.imap.responses import GrammarError
from mailsandbox.access.imap.sets import SequenceSet


class Store(Struct, frozen=True):
    """RFC 9051 §6.4.6; UNCHANGEDSINCE RFC 7162 §3.1.3. `action` is "", "+" or "-"."""

    uid: bool
    set: SequenceSet
    action: str
    flags: tuple[str, ...]
    silent: bool
    unchanged_since: int | None = None


class Copy(Struct, frozen=True):
    """RFC 9051 §6.4.7."""

    uid: bool
    set: SequenceSet
    mailbox: str


class Move(Struct, frozen=True):
    """RFC 9051 §6.4.8."""

    uid: bool
    set: SequenceSet
    mailbox: str


class Expunge(Struct, frozen=True):
    """RFC 9051 §6.4.3; with `set` UID EXPUNGE (§6.4.9)."""

    set: SequenceSet | None = None


def store(scanner: Scanner, *, uid: bool = False) -> Store:
    scanner.space()
    numbers = scanner.set()
    scanner.space()
    unchanged_since = None
    if scanner.at(b"("):
        modifiers = dict(scanner.group(lambda: _store_modifier(scanner)))
        unchanged_since = modifiers.get("UNCHANGEDSINCE")
        scanner.space()
    action = "+" if scanner.skip(b"+") else "-" if scanner.skip(b"-") else ""
    item = scanner.word("FLAGS")
    if item not in ("FLAGS", "FLAGS.SILENT"):
        raise GrammarError(f"Unknown STORE item {item}")
    scanner.space()
    if scanner.at(b"("):
        flags = scanner.flags()
    else:
        listed = [scanner.flag()]
        while scanner.skip(b" ") and not scanner.at_end:
            listed.append(scanner.flag())
        flags = tuple(listed)
    return Store(uid, numbers, action, flags, item == "FLAGS.SILENT", unchanged_since)


def uid_store(scanner: Scanner) -> Store:
    return store(scanner, uid=True)


def _store_modifier(scanner: Scanner) -> tuple[str, int]:
    name = scanner.word("a STORE modifier")
    if name != "UNCHANGEDSINCE":
        raise GrammarError(f"Unknown STORE modifier {name}")
    scanner.space()
    return name, scanner.mod_seq()


def copy(scanner: Scanner, *, uid: bool = False) -> Copy:
    scanner.space()
    numbers = scanner.set()
    scanner.space()
    return Copy(uid, numbers, scanner.mailbox())


def uid_copy(scanner: Scanner) -> Copy:
    return copy(scanner, uid=True)


def move(scanner: Scanner, *, uid: bool = False) -> Move:
    found = copy(scanner, uid=uid)
    return Move(uid, found.set, found.mailbox)


def uid_move(scanner: Scanner) -> Move:
    return move(scanner, uid=True)


def uid_expunge(scanner: Scanner) -> Expunge:
    scanner.space()
    return Expunge(scanner.set())
