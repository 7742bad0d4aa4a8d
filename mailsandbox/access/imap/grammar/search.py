"""SEARCH, SORT and THREAD: keys as a tree of frozen values, result options, charsets. Pure.

RFC 9051 §6.4.4, RFC 4731, 5182, 5256, 5267, 9394 (results), 5032 (WITHIN), 7162 (MODSEQ), 8474, 8514.
"""

import codecs
import re
from datetime import date
from typing import Final

from msgspec import Struct

from mailsandbox.access.imap.dates import parse_date
from mailsandbox.access.imap.grammar.fetch import Attribute, PartialRange, attributes, partial_range
from mailsandbox.access.imap.grammar.scanner import ATOM, Scanner
from mailsandbox.access.imap.responses import GrammarError
from mailsandbox.access.imap.sets import SequenceSet

MAX_KEYS: Final = 2_000  # of one command

_SEQUENCE: Final = re.compile(rb"[0-9*$]")
_DATE_ATOM: Final = re.compile(rb"[0-9]{1,2}-[A-Za-z]{3}-[0-9]{4}")
_SYSTEM_FLAGS: Final = {
    "ANSWERED": "\\Answered",
    "DELETED": "\\Deleted",
    "DRAFT": "\\Draft",
    "FLAGGED": "\\Flagged",
    "SEEN": "\\Seen",
}
_TEXT: Final = {"BCC", "BODY", "CC", "FROM", "SUBJECT", "TEXT", "TO"}
_DATES: Final = {
    prefix + name: (kind, name.lower())
    for prefix, kind in (("", "internal"), ("SENT", "sent"), ("SAVED", "saved"))
    for name in ("BEFORE", "ON", "SINCE")
}
RESULTS: Final = frozenset({"MIN", "MAX", "ALL", "COUNT", "SAVE", "UPDATE", "CONTEXT"})
SORT_KEYS: Final = frozenset(
    {"ARRIVAL", "CC", "DATE", "DISPLAYFROM", "DISPLAYTO", "FROM", "SIZE", "SUBJECT", "TO"}
)  # RFC 5256 §3, RFC 5957
THREADS: Final = frozenset({"ORDEREDSUBJECT", "REFERENCES", "REFS"})


class BadCharset(GrammarError):
    """RFC 9051 §6.4.4: the charset is not known; NO [BADCHARSET], not BAD. `saving`: the result was to be "$"."""

    saving: bool = False


class All(Struct, frozen=True): ...


class And(Struct, frozen=True):
    keys: tuple["Key", ...]


class Or(Struct, frozen=True):
    left: "Key"
    right: "Key"


class Not(Struct, frozen=True):
    key: "Key"


class HasFlag(Struct, frozen=True):
    """A system flag or keyword."""

    flag: str


class Recent(Struct, frozen=True): ...


class InSet(Struct, frozen=True):
    set: SequenceSet
    uid: bool


class Size(Struct, frozen=True):
    """LARGER or SMALLER than `octets`."""

    larger: bool
    octets: int


class Dated(Struct, frozen=True):
    """`kind`: internal, sent, saved; `relation`: before, on, since."""

    kind: str
    relation: str
    day: date


class Age(Struct, frozen=True):
    """OLDER or YOUNGER than `seconds` (RFC 5032)."""

    younger: bool
    seconds: int


class Text(Struct, frozen=True):
    """`scope`: bcc, body, cc, from, subject, text, to; or header with `field`."""

    scope: str
    needle: str
    field: str = ""


class SinceModSeq(Struct, frozen=True):
    """RFC 7162 §3.1.5."""

    mod_seq: int


class ObjectId(Struct, frozen=True):
    """EMAILID or THREADID (RFC 8474 §6)."""

    thread: bool
    id: str


class SaveDateSupported(Struct, frozen=True): ...


Key = (
    All
    | And
    | Or
    | Not
    | HasFlag
    | Recent
    | InSet
    | Size
    | Dated
    | Age
    | Text
    | SinceModSeq
    | ObjectId
    | SaveDateSupported
)


class Returns(Struct, frozen=True):
    """RFC 4731 §3.1 result options, as given; RFC 5267 §4.4 and RFC 9394 PARTIAL."""

    options: frozenset[str]
    partial: PartialRange | None = None
    fetched: tuple[Attribute, ...] = ()  # RFC 5465 §7: of messages that come into an UPDATE's result

    @property
    def only_save(self) -> bool:
        """RFC 5182 §2.1: SAVE alone asks for no answer."""
        return self.options == {"SAVE"} and self.partial is None

    def wants(self, option: str) -> bool:
        """RFC 4731 §3.1: an empty list means ALL."""
        return option in self.options or (
            option == "ALL" and not self.partial and not self.options - {"UPDATE", "CONTEXT"}
        )


class Search(Struct, frozen=True):
    uid: bool
    key: Key
    returns: Returns | None = None  # None: the old SEARCH response


class Sort(Struct, frozen=True):
    """RFC 5256; criteria as (key, reverse)."""

    uid: bool
    criteria: tuple[tuple[str, bool], ...]
    key: Key
    returns: Returns | None = None


class Thread(Struct, frozen=True):
    uid: bool
    algorithm: str
    key: Key


class CancelUpdate(Struct, frozen=True):
    """RFC 5267 §4.3.4."""

    tags: tuple[bytes, ...]


def search(scanner: Scanner, *, uid: bool = False) -> Search:
    scanner.space()
    returns = _returns(scanner)
    charset = "UTF-8"
    if scanner.text[scanner.pos : scanner.pos + 8].upper() == b"CHARSET ":
        scanner.pos += 8
        if scanner.utf8:
            raise GrammarError("CHARSET is not allowed after ENABLE UTF8=ACCEPT")  # RFC 6855 §3
        try:
            charset = _charset(scanner)
        except BadCharset as error:
            error.saving = returns is not None and "SAVE" in returns.options
            raise
        scanner.space()
    return Search(uid, _Keys(scanner, charset).program(), returns)


def uid_search(scanner: Scanner) -> Search:
    return search(scanner, uid=True)


def sort(scanner: Scanner, *, uid: bool = False) -> Sort:
    scanner.space()
    returns = _returns(scanner)
    criteria = []
    reverse = False
    for name in scanner.group(lambda: scanner.word("a sort key")):
        if name == "REVERSE":
            if reverse:
                raise GrammarError("REVERSE twice")
            reverse = True
            continue
        if name not in SORT_KEYS:
            raise GrammarError(f"Unknown sort key {name}")
        criteria.append((name, reverse))
        reverse = False
    if reverse or not criteria:
        raise GrammarError("REVERSE needs a sort key")
    scanner.space()
    charset = _charset(scanner)
    scanner.space()
    return Sort(uid, tuple(criteria), _Keys(scanner, charset).program(), returns)


def uid_sort(scanner: Scanner) -> Sort:
    return sort(scanner, uid=True)


def thread(scanner: Scanner, *, uid: bool = False) -> Thread:
    scanner.space()
    algorithm = scanner.word("a threading algorithm")
    if algorithm not in THREADS:
        raise GrammarError(f"Unknown threading algorithm {algorithm}")
    scanner.space()
    charset = _charset(scanner)
    scanner.space()
    return Thread(uid, algorithm, _Keys(scanner, charset).program())


def uid_thread(scanner: Scanner) -> Thread:
    return thread(scanner, uid=True)


def cancel_update(scanner: Scanner) -> CancelUpdate:
    tags = []
    while scanner.skip(b" "):
        quoted = scanner.quoted()
        if quoted is None:
            raise GrammarError(f"Expected a quoted tag{scanner.here()}")
        tags.append(quoted)
    if not tags:
        raise GrammarError("CANCELUPDATE needs a tag")
    return CancelUpdate(tuple(tags))


def _charset(scanner: Scanner) -> str:
    name = scanner.text_of(scanner.astring())
    try:
        found = codecs.lookup(name)
    except (LookupError, ValueError):
        raise BadCharset("Unknown charset") from None
    # _is_text_encoding keeps out Python's byte transforms such as "zip"; it is what bytes.decode itself asks.
    if not getattr(found, "_is_text_encoding", True) or found.name in (
        "idna",
        "punycode",
        "undefined",
        "unicode-escape",
        "raw-unicode-escape",
        "mbcs",
        "oem",
    ):
        raise BadCharset("Unknown charset")
    return found.name


def _returns(scanner: Scanner) -> Returns | None:
    if scanner.text[scanner.pos : scanner.pos + 8].upper() != b"RETURN (":
        return None
    scanner.pos += 7
    partial: PartialRange | None = None
    fetched: tuple[Attribute, ...] = ()

    def option() -> str:
        nonlocal partial, fetched
        name = scanner.word("a result option")
        if name == "PARTIAL":
            if partial is not None:
                raise GrammarError("PARTIAL twice")  # RFC 5267 §4.4
            scanner.space()
            partial = partial_range(scanner)
        elif name == "UPDATE" and scanner.text.startswith(b" (", scanner.pos):
            scanner.space()
            fetched = attributes(scanner, macros=False)
        elif name not in RESULTS:
            raise GrammarError(f"Unknown result option {name}")
        return name

    options = frozenset(scanner.group(option, empty=True)) - {"PARTIAL"}
    if partial is not None and "ALL" in options:
        raise GrammarError("PARTIAL and ALL together")  # RFC 9394 §3.1
    scanner.space()
    return Returns(options, partial, fetched)


class _Keys:
    """The recursive part: search keys, with their strings in one charset."""

    def __init__(self, scanner: Scanner, charset: str) -> None:
        self.scanner = scanner
        self.charset = charset
        self.count = 0

    def program(self) -> Key:
        """All keys up to the end of the command."""
        keys = [self.key()]
        while self.scanner.skip(b" ") and not self.scanner.at_end:
            keys.append(self.key())
        return keys[0] if len(keys) == 1 else And(tuple(keys))

    def key(self) -> Key:
        """RFC 9051 §9 search-key."""
        self.count += 1
        if self.count > MAX_KEYS:
            raise GrammarError("Too many search keys")
        scanner = self.scanner
        if scanner.at(b"("):
            keys = scanner.group(self.key)
            return keys[0] if len(keys) == 1 else And(keys)
        if _SEQUENCE.match(scanner.text, scanner.pos):
            return InSet(scanner.set(), uid=False)
        name = scanner.word("a search key")
        if name in _SYSTEM_FLAGS:
            return HasFlag(_SYSTEM_FLAGS[name])
        if name[:2] == "UN" and name[2:] in _SYSTEM_FLAGS:
            return Not(HasFlag(_SYSTEM_FLAGS[name[2:]]))
        if name in _TEXT:
            return Text(name.lower(), self._string())
        if name in _DATES:
            kind, relation = _DATES[name]
            return Dated(kind, relation, self._date())
        return self._other(name)

    def _other(self, name: str) -> Key:
        match name:
            case "ALL":
                return All()
            case "NEW":
                return And((Recent(), Not(HasFlag("\\Seen"))))
            case "OLD":
                return Not(Recent())
            case "RECENT":
                return Recent()
            case "SAVEDATESUPPORTED":
                return SaveDateSupported()
            case "NOT" | "OR":
                return self._combined(name)
            case _:
                return self._with_argument(name)

    def _combined(self, name: str) -> Key:
        self.scanner.enter()
        self.scanner.space()
        left = self.key()
        found: Key = Not(left)
        if name == "OR":
            self.scanner.space()
            found = Or(left, self.key())
        self.scanner.nesting -= 1
        return found

    def _with_argument(self, name: str) -> Key:
        scanner = self.scanner
        scanner.space()
        match name:
            case "KEYWORD":
                return HasFlag(scanner.must(ATOM, "a keyword").decode("ascii"))
            case "UNKEYWORD":
                return Not(HasFlag(scanner.must(ATOM, "a keyword").decode("ascii")))
            case "UID":
                return InSet(scanner.set(), uid=True)
            case "LARGER" | "SMALLER":
                return Size(name == "LARGER", scanner.number(2**63 - 1))
            case "OLDER" | "YOUNGER":
                return Age(name == "YOUNGER", scanner.nz_number())
            case "HEADER":
                field = scanner.text_of(scanner.astring())
                scanner.space()
                return Text("header", self._string(spaced=True), field)
            case "MODSEQ":
                return self._mod_seq()
            case "EMAILID" | "THREADID":
                return ObjectId(name == "THREADID", scanner.text_of(scanner.astring()))
        raise GrammarError(f"Unknown search key {name}")

    def _mod_seq(self) -> Key:
        # RFC 7162 §3.1.5: entry name and type are read and, as flags have no mod-sequences of their own, ignored.
        scanner = self.scanner
        if scanner.at(b'"'):
            entry = scanner.quoted()
            if entry is None or not entry.lower().startswith(b"/flags/"):
                raise GrammarError("Unknown MODSEQ entry")
            scanner.space()
            if scanner.word("an entry type") not in ("ALL", "PRIV", "SHARED"):
                raise GrammarError("Unknown MODSEQ entry type")
            scanner.space()
        return SinceModSeq(scanner.mod_seq())

    def _string(self, *, spaced: bool = False) -> str:
        if not spaced:
            self.scanner.space()
        octets = self.scanner.astring()
        try:
            return octets.decode(self.charset)
        except (UnicodeDecodeError, LookupError):
            if self.charset == "UTF-8" and not self.scanner.utf8:
                return octets.decode("latin-1")  # 8-bit without CHARSET: undefined, take it as most old clients mean it
            raise GrammarError("String does not fit the charset") from None

    def _date(self) -> date:
        self.scanner.space()
        quoted = self.scanner.quoted()
        octets = quoted if quoted is not None else self.scanner.must(_DATE_ATOM, "a date")
        return parse_date(octets.decode("ascii", "replace"))
