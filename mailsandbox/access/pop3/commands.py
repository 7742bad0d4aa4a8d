"""Lines to commands: one frozen value per command, and the table of states and requirements behind them. Pure.

Invariant: any line gives a command or `Bad`, never an exception. Knows no maildrop.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType
from typing import Final

from msgspec import Struct


class State(Enum):
    """RFC 1939 §3."""

    AUTHORIZATION = auto()
    TRANSACTION = auto()
    UPDATE = auto()
    CLOSED = auto()


class User(Struct, frozen=True):
    """`verb` as sent is not kept: commands compare without case (RFC 1939 §3)."""

    name: str


class Pass(Struct, frozen=True):
    password: str


class Apop(Struct, frozen=True):
    name: str
    digest: str


class Auth(Struct, frozen=True):
    """`mechanism` "": list them. `initial` None: no initial response; still in base64."""

    mechanism: str
    initial: str | None = None


class Lang(Struct, frozen=True):
    """`tag` "": list them."""

    tag: str = ""


class List(Struct, frozen=True):
    number: int | None


class Uidl(Struct, frozen=True):
    number: int | None


class Retr(Struct, frozen=True):
    number: int


class Dele(Struct, frozen=True):
    number: int


class Top(Struct, frozen=True):
    number: int
    lines: int


class Simple(Enum):
    """Commands without arguments."""

    STLS = "STLS"
    CAPA = "CAPA"
    UTF8 = "UTF8"
    STAT = "STAT"
    NOOP = "NOOP"
    RSET = "RSET"
    QUIT = "QUIT"


class Bad(Struct, frozen=True):
    """No command. `text`: key of `texts`."""

    text: str


Command = User | Pass | Apop | Auth | Lang | List | Uidl | Retr | Dele | Top | Simple

_NUMBER: Final = re.compile(r"[0-9]{1,10}")  # RFC 1939 §3: decimal; 10 digits hold any 32-bit number
_WRONG_NUMBER: Final = Bad("wrong-number")
_MISSING: Final = Bad("missing-argument")
_EXTRA: Final = Bad("extra-argument")


@dataclass(frozen=True, slots=True)
class Rule:
    """One command: how its argument is read, where it is valid, which capability it belongs to ("": always there)."""

    parse: Callable[[str], Command | Bad]
    states: frozenset[State]
    capability: str
    source: str


def _simple(command: Simple) -> Callable[[str], Command | Bad]:
    return lambda argument: _EXTRA if argument else command


def _number(make: Callable[[int], Command]) -> Callable[[str], Command | Bad]:
    def parse(argument: str) -> Command | Bad:
        if not argument:
            return _MISSING
        return make(int(argument)) if _NUMBER.fullmatch(argument) else _WRONG_NUMBER

    return parse


def _maybe_number(make: Callable[[int | None], Command]) -> Callable[[str], Command | Bad]:
    def parse(argument: str) -> Command | Bad:
        if not argument:
            return make(None)
        return make(int(argument)) if _NUMBER.fullmatch(argument) else _WRONG_NUMBER

    return parse


def _top(argument: str) -> Command | Bad:
    words = argument.split()
    if len(words) != 2:
        return _MISSING if len(words) < 2 else _EXTRA
    if not all(_NUMBER.fullmatch(word) for word in words):
        return _WRONG_NUMBER
    return Top(int(words[0]), int(words[1]))


def _apop(argument: str) -> Command | Bad:
    name, found, digest = argument.rpartition(" ")
    return Apop(name, digest) if found and name and len(digest) == 32 else Bad("apop-syntax")


def _auth(argument: str) -> Command | Bad:
    words = argument.split()
    return Auth(*words) if words and len(words) <= 2 else (_EXTRA if words else Auth(""))


def _lang(argument: str) -> Command | Bad:
    return _EXTRA if " " in argument else Lang(argument)


_BEFORE: Final = frozenset({State.AUTHORIZATION})
_AFTER: Final = frozenset({State.TRANSACTION})
_BOTH: Final = _BEFORE | _AFTER

COMMANDS: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        "USER": Rule(lambda name: User(name) if name else _MISSING, _BEFORE, "USER", "RFC 1939 §7"),
        # RFC 1939 §7: the one argument of PASS may hold spaces; an empty password is a password.
        "PASS": Rule(Pass, _BEFORE, "USER", "RFC 1939 §7"),
        "APOP": Rule(_apop, _BEFORE, "APOP", "RFC 1939 §7"),
        "AUTH": Rule(_auth, _BEFORE, "SASL", "RFC 5034 §4"),
        "STLS": Rule(_simple(Simple.STLS), _BEFORE, "STLS", "RFC 2595 §4"),
        "UTF8": Rule(_simple(Simple.UTF8), _BEFORE, "UTF8", "RFC 6856 §2"),
        "LANG": Rule(_lang, _BOTH, "LANG", "RFC 6856 §3"),
        "CAPA": Rule(_simple(Simple.CAPA), _BOTH, "CAPA", "RFC 2449 §5"),
        "QUIT": Rule(_simple(Simple.QUIT), _BOTH, "", "RFC 1939 §5, §6"),
        "STAT": Rule(_simple(Simple.STAT), _AFTER, "", "RFC 1939 §5"),
        "LIST": Rule(_maybe_number(List), _AFTER, "", "RFC 1939 §5"),
        "UIDL": Rule(_maybe_number(Uidl), _AFTER, "UIDL", "RFC 1939 §7"),
        "RETR": Rule(_number(Retr), _AFTER, "", "RFC 1939 §5"),
        "TOP": Rule(_top, _AFTER, "TOP", "RFC 1939 §7"),
        "DELE": Rule(_number(Dele), _AFTER, "", "RFC 1939 §5"),
        "NOOP": Rule(_simple(Simple.NOOP), _AFTER, "", "RFC 1939 §5"),
        "RSET": Rule(_simple(Simple.RSET), _AFTER, "", "RFC 1939 §5"),
    }
)


class Parsed(Struct, frozen=True):
    """A line taken apart. `rule` None: no such command. `shown`: the line for transcripts, secrets as ***."""

    verb: str
    rule: Rule | None
    command: Command | Bad
    shown: str


def parse(octets: bytes) -> Parsed:
    """Take a command line apart."""
    text = decoded(octets)
    word, _, argument = text.partition(" ")
    verb = word.upper()
    rule = COMMANDS.get(verb)
    if rule is None:
        return Parsed(verb, None, Bad("unknown-command"), text)
    if "\0" in argument:
        return Parsed(verb, rule, Bad("nul"), text.replace("\0", "\\0"))
    if verb == "PASS":
        return Parsed(verb, rule, rule.parse(argument), f"{word} ***")
    command = rule.parse(argument.strip(" "))
    match command:
        case Apop(name=name):
            return Parsed(verb, rule, command, f"{word} {name} ***")
        case Auth(mechanism=mechanism, initial=str()):
            return Parsed(verb, rule, command, f"{word} {mechanism} ***")
        case _:
            return Parsed(verb, rule, command, text)


def decoded(octets: bytes) -> str:
    """UTF-8 (RFC 6856 §2), else each octet a character: a login in another charset is not found, but is no error."""
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        return octets.decode("latin-1")
