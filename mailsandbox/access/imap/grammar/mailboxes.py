"""Commands on mailboxes: SELECT, CREATE, LIST, STATUS and their kin. Pure."""

from functools import lru_cache
from typing import Final

from msgspec import Struct

from mailsandbox.access.imap.framing import CommandOctets
from mailsandbox.access.imap.grammar.scanner import Scanner
from mailsandbox.access.imap.responses import GrammarError
from mailsandbox.access.imap.sets import SequenceSet

# RFC 9051 §6.3.11; RECENT RFC 3501; HIGHESTMODSEQ RFC 7162 §3.1.8; MAILBOXID RFC 8474 §4.3; APPENDLIMIT RFC 7889 §3.1;
# DELETED and DELETED-STORAGE RFC 9208 §4.1.4
STATUS_ITEMS: Final = frozenset(
    {
        "MESSAGES",
        "RECENT",
        "UIDNEXT",
        "UIDVALIDITY",
        "UNSEEN",
        "DELETED",
        "SIZE",
        "HIGHESTMODSEQ",
        "MAILBOXID",
        "APPENDLIMIT",
        "DELETED-STORAGE",
    }
)
SELECTIONS: Final = frozenset({"SUBSCRIBED", "REMOTE", "RECURSIVEMATCH", "SPECIAL-USE"})
SPECIAL_USES: Final = {
    name.lower(): name
    for name in ("\\All", "\\Archive", "\\Drafts", "\\Flagged", "\\Junk", "\\Sent", "\\Trash", "\\Important")
}  # RFC 6154 §2, RFC 8457 §3


class Resync(Struct, frozen=True):
    """RFC 7162 §3.2.5: what the client knows of the mailbox."""

    uid_validity: int
    mod_seq: int
    known_uids: SequenceSet | None = None
    known_sequence: SequenceSet | None = None
    known_sequence_uids: SequenceSet | None = None


class Select(Struct, frozen=True):
    """SELECT or EXAMINE (RFC 9051 §6.3.2, §6.3.3)."""

    mailbox: str
    read_only: bool = False
    condstore: bool = False
    resync: Resync | None = None


class Create(Struct, frozen=True):
    """RFC 9051 §6.3.4; USE by RFC 6154 §3. `hierarchy_only`: the name ended with the separator."""

    mailbox: str
    special_uses: tuple[str, ...] = ()
    hierarchy_only: bool = False


class Delete(Struct, frozen=True):
    mailbox: str


class Rename(Struct, frozen=True):
    source: str
    target: str


class Subscribe(Struct, frozen=True):
    mailbox: str


class Unsubscribe(Struct, frozen=True):
    mailbox: str


class StatusItems(Struct, frozen=True):
    """RFC 9051 §6.3.11 status-att."""

    names: tuple[str, ...]


class Status(Struct, frozen=True):
    mailbox: str
    items: StatusItems


class ListReturn(Struct, frozen=True):
    """RFC 5258 §3.2; STATUS by RFC 5819, SPECIAL-USE by RFC 6154, METADATA by RFC 9590, MYRIGHTS is not offered."""

    subscribed: bool = False
    children: bool = False
    special_use: bool = False
    status: StatusItems | None = None
    metadata: tuple[str, ...] = ()


class List(Struct, frozen=True):
    """RFC 9051 §6.3.9. `extended`: any of the forms of RFC 5258 was used."""

    reference: str
    patterns: tuple[str, ...]
    selection: frozenset[str] = frozenset()
    returns: ListReturn = ListReturn()  # frozen
    extended: bool = False


class Lsub(Struct, frozen=True):
    """RFC 3501 §6.3.9."""

    reference: str
    pattern: str


def select(scanner: Scanner) -> Select:
    return _select(scanner, read_only=False)


def examine(scanner: Scanner) -> Select:
    return _select(scanner, read_only=True)


def _select(scanner: Scanner, *, read_only: bool) -> Select:
    scanner.space()
    mailbox = scanner.mailbox()
    condstore = False
    resync = None
    if scanner.skip(b" "):
        # RFC 4466 §2.1: select parameters
        parameters = dict(scanner.group(lambda: _select_parameter(scanner)))
        condstore = "CONDSTORE" in parameters
        resync = parameters.get("QRESYNC")
    return Select(mailbox, read_only, condstore, resync)


def _select_parameter(scanner: Scanner) -> tuple[str, Resync | None]:
    name = scanner.word("a SELECT parameter")
    if name == "CONDSTORE":
        return name, None
    if name == "QRESYNC":
        scanner.space()
        return name, _resync(scanner)
    raise GrammarError(f"Unknown SELECT parameter {name}")


def _resync(scanner: Scanner) -> Resync:
    scanner.expect(b"(")
    uid_validity = scanner.nz_number()
    scanner.space()
    mod_seq = scanner.mod_seq()
    if not mod_seq:
        raise GrammarError("Mod-sequence 0 in QRESYNC")  # RFC 7162 §7: mod-sequence-value
    known_uids = known_sequence = known_sequence_uids = None
    if scanner.skip(b" ") and not scanner.at(b"("):
        known_uids = _known(scanner)
        scanner.skip(b" ")
    if scanner.skip(b"("):
        known_sequence = _known(scanner)
        scanner.space()
        known_sequence_uids = _known(scanner)
        if _size(known_sequence) != _size(known_sequence_uids):
            raise GrammarError("As many sequence numbers as UIDs must be known")  # RFC 7162 §3.2.5.2
        scanner.expect(b")")
    scanner.expect(b")")
    return Resync(uid_validity, mod_seq, known_uids, known_sequence, known_sequence_uids)


def _known(scanner: Scanner) -> SequenceSet:
    found = scanner.set()
    if found.saved or any(0 in pair for pair in found.ranges):
        raise GrammarError('"*" in a QRESYNC set')  # RFC 7162 §7 known-uids
    return found


def _size(known: SequenceSet) -> int:
    return sum(abs(last - first) + 1 for first, last in known.ranges)


def create(scanner: Scanner) -> Create:
    scanner.space()
    name = scanner.mailbox()
    uses: tuple[str, ...] = ()
    if scanner.skip(b" "):
        for parameter, values in scanner.group(lambda: _create_parameter(scanner)):
            if parameter != "USE":
                raise GrammarError(f"Unknown CREATE parameter {parameter}")
            uses += values
    # RFC 9051 §6.3.4: a trailing separator declares that the client will create names below.
    return Create(name.rstrip("/") if name.strip("/") else name, uses, name.endswith("/"))


def _create_parameter(scanner: Scanner) -> tuple[str, tuple[str, ...]]:
    name = scanner.word("a CREATE parameter")
    scanner.space()
    if name != "USE":
        raise GrammarError(f"Unknown CREATE parameter {name}")
    return name, tuple(SPECIAL_USES.get(use.lower(), use) for use in scanner.group(scanner.flag, empty=True))


def delete(scanner: Scanner) -> Delete:
    scanner.space()
    return Delete(scanner.mailbox())


def rename(scanner: Scanner) -> Rename:
    scanner.space()
    source = scanner.mailbox()
    scanner.space()
    return Rename(source, scanner.mailbox())


def subscribe(scanner: Scanner) -> Subscribe:
    scanner.space()
    return Subscribe(scanner.mailbox())


def unsubscribe(scanner: Scanner) -> Unsubscribe:
    scanner.space()
    return Unsubscribe(scanner.mailbox())


def status_items(scanner: Scanner) -> StatusItems:
    """The list of STATUS and of RETURN (STATUS ...)."""
    names = scanner.group(lambda: scanner.word("a STATUS item"))
    for name in names:
        if name not in STATUS_ITEMS:
            raise GrammarError(f"Unknown STATUS item {name}")
    return StatusItems(names)


def status(scanner: Scanner) -> Status:
    scanner.space()
    mailbox = scanner.mailbox()
    scanner.space()
    rest = scanner.text[scanner.pos :]
    if b"{" in rest:
        return Status(mailbox, status_items(scanner))
    scanner.pos = len(scanner.text)
    return Status(mailbox, _cached_items(rest))


@lru_cache(maxsize=64)
def _cached_items(rest: bytes) -> StatusItems:
    """Clients repeat the same items for each mailbox; the parse is kept."""
    scanner = Scanner(CommandOctets(rest))
    items = status_items(scanner)
    scanner.end()
    return items


def list_(scanner: Scanner) -> List:
    scanner.space()
    extended = False
    selection: frozenset[str] = frozenset()
    if scanner.at(b"("):
        extended = True
        selection = frozenset(scanner.group(lambda: scanner.word("a selection option"), empty=True))
        for option in selection - SELECTIONS:
            raise GrammarError(f"Unknown LIST selection option {option}")
        # RFC 5258 §3.1: RECURSIVEMATCH alone, or with REMOTE only, is an error.
        if "RECURSIVEMATCH" in selection and not selection & {"SUBSCRIBED", "SPECIAL-USE"}:
            raise GrammarError("RECURSIVEMATCH needs another selection option")
        scanner.space()
    reference = scanner.mailbox()
    scanner.space()
    if scanner.at(b"("):
        extended = True
        patterns = scanner.group(scanner.list_mailbox)
    else:
        patterns = (scanner.list_mailbox(),)
    returns = ListReturn()
    if scanner.skip(b" "):
        extended = True
        if scanner.word("RETURN") != "RETURN":
            raise GrammarError("Expected RETURN")
        scanner.space()
        returns = _list_return(scanner)
    return List(reference, patterns, selection, returns, extended)


def _list_return(scanner: Scanner) -> ListReturn:
    found: dict[str, StatusItems | tuple[str, ...] | None] = {}

    def option() -> None:
        name = scanner.word("a return option")
        match name:
            case "SUBSCRIBED" | "CHILDREN" | "SPECIAL-USE":
                found[name] = None
            case "STATUS":
                scanner.space()
                found[name] = status_items(scanner)
            case "METADATA":
                scanner.space()
                found[name] = scanner.group(lambda: scanner.astring().decode("ascii", "replace").lower())
            case _:
                raise GrammarError(f"Unknown LIST return option {name}")

    scanner.group(option, empty=True)
    status_ = found.get("STATUS")
    metadata = found.get("METADATA")
    return ListReturn(
        subscribed="SUBSCRIBED" in found,
        children="CHILDREN" in found,
        special_use="SPECIAL-USE" in found,
        status=status_ if isinstance(status_, StatusItems) else None,
        metadata=metadata if isinstance(metadata, tuple) else (),
    )


def lsub(scanner: Scanner) -> Lsub:
    scanner.space()
    reference = scanner.mailbox()
    scanner.space()
    return Lsub(reference, scanner.list_mailbox())
