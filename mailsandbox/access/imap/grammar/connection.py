"""Commands on the connection itself: login, ID, ENABLE, COMPRESS and those without arguments. Pure."""

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Final

from msgspec import Struct

from mailsandbox.access.imap.grammar.scanner import ATOM, Scanner
from mailsandbox.access.imap.responses import GrammarError

_BASE64: Final = re.compile(rb"[A-Za-z0-9+/]+={0,2}|=")
MAX_ID_PAIRS: Final = 30  # RFC 2971 §3.3
MAX_ID_VALUE: Final = 1_024  # octets, RFC 2971 §3.3; the field itself 30


class Capability(Struct, frozen=True): ...


class Noop(Struct, frozen=True): ...


class Logout(Struct, frozen=True): ...


class StartTls(Struct, frozen=True): ...


class Idle(Struct, frozen=True): ...


class Namespace(Struct, frozen=True): ...


class Check(Struct, frozen=True): ...


class Close(Struct, frozen=True): ...


class Unselect(Struct, frozen=True): ...


@dataclass(frozen=True, slots=True)
class Login:
    """RFC 9051 §6.2.3."""

    user: bytes
    password: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Authenticate:
    """RFC 9051 §6.2.2; `initial` by SASL-IR (RFC 4959), b"" for "="; None: not given."""

    mechanism: str
    initial: bytes | None = field(repr=False)


class Id(Struct, frozen=True):
    """RFC 2971 §3.1. None for NIL."""

    fields: tuple[tuple[str, str | None], ...] | None


class Enable(Struct, frozen=True):
    """RFC 5161 §3.1."""

    capabilities: tuple[str, ...]


class Compress(Struct, frozen=True):
    """RFC 4978 §3."""

    mechanism: str


def login(scanner: Scanner) -> Login:
    scanner.space()
    user = scanner.astring()
    scanner.space()
    return Login(user, scanner.astring())


def authenticate(scanner: Scanner) -> Authenticate:
    scanner.space()
    mechanism = scanner.word("a mechanism")
    if not scanner.skip(b" "):
        return Authenticate(mechanism, None)
    encoded = scanner.must(_BASE64, "base64")
    return Authenticate(mechanism, b"" if encoded == b"=" else decode_base64(encoded))


def decode_base64(encoded: bytes) -> bytes:
    """RFC 4648 §4, strictly. Raises GrammarError."""
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise GrammarError("Invalid base64") from None


def identify(scanner: Scanner) -> Id:
    scanner.space()
    if scanner.text[scanner.pos :].upper() == b"NIL":
        scanner.pos += 3
        return Id(None)

    def name_or_value() -> bytes | None:
        return scanner.nstring()

    flat = scanner.group(name_or_value, empty=True)
    if len(flat) % 2:
        raise GrammarError("ID field without a value")
    pairs = []
    for name, value in zip(flat[::2], flat[1::2], strict=True):
        if name is None:
            raise GrammarError("NIL as an ID field's name")
        shown = None if value is None else value[:MAX_ID_VALUE].decode("utf-8", "replace")
        pairs.append((name.decode("utf-8", "replace"), shown))
    # RFC 2971 §3.3 limits clients to 30 pairs; more are read and forgotten.
    return Id(tuple(pairs[:MAX_ID_PAIRS]))


def enable(scanner: Scanner) -> Enable:
    names = []
    while scanner.skip(b" "):
        names.append(scanner.must(ATOM, "a capability").decode("ascii").upper())
    if not names:
        raise GrammarError("ENABLE needs a capability")
    return Enable(tuple(names))


def compress(scanner: Scanner) -> Compress:
    scanner.space()
    return Compress(scanner.must(ATOM, "a mechanism").decode("ascii").upper())
