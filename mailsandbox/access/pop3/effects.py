"""What a session wants done: values that the server carries out, and answers it with. Pure."""

from collections.abc import Mapping

from msgspec import Struct

from mailsandbox.access.pop3.codec import Framed
from mailsandbox.access.pop3.texts import DEFAULT, TEXTS
from mailsandbox.sasl import Failure, Success
from mailsandbox.store.model import MessageRow, Uid


class Say(Struct, frozen=True):
    """Send this; `shown` is how the transcript has it. `error`: it refuses what the client asked."""

    octets: bytes
    shown: str
    error: bool = False


class Message(Struct, frozen=True):
    """Send a message: the reply's first line, then its framed octets, uncopied."""

    first: bytes
    content: Framed
    shown: str


class Leave(Struct, frozen=True):
    """Send this, and close."""

    say: Say
    outcome: str = "closed"


class Upgrade(Struct, frozen=True):
    """Send this, forget what the client sent already, and begin TLS."""

    say: Say


class TryPassword(Struct, frozen=True):
    """Does the password open the account?"""

    login: str
    password: str


class TryDigest(Struct, frozen=True):
    """Is this the MD5 of `stamp` and the account's password (RFC 1939 §7, APOP)?"""

    login: str
    digest: str
    stamp: str


class TrySasl(Struct, frozen=True):
    """A SASL exchange ended so."""

    step: Success | Failure


class Fetch(Struct, frozen=True):
    """Send the message: all of it, or its header and `lines` lines of its body."""

    number: int
    row: MessageRow
    lines: int | None = None


class Commit(Struct, frozen=True):
    """UPDATE: remove `doomed`, mark `read`."""

    doomed: list[Uid]
    read: list[Uid]


Effect = Say | Leave | Upgrade | TryPassword | TryDigest | TrySasl | Fetch | Commit


class Voice:
    """Replies in the language chosen by LANG."""

    __slots__ = ("_texts", "language")

    def __init__(self) -> None:
        self.language = DEFAULT
        self._texts: Mapping[str, str] = TEXTS[DEFAULT]

    def speak(self, language: str) -> None:
        """Change the language; it must be one of TEXTS."""
        self.language = language
        self._texts = TEXTS[language]

    def ok(self, text: str, **places: object) -> Say:
        """A positive reply."""
        return line(f"+OK {self._texts[text].format(**places)}")

    def error(self, text: str, code: str = "", **places: object) -> Say:
        """A negative reply, with a response code (RFC 2449 §8, RFC 3206) if one is given."""
        words = self._texts[text].format(**places)
        return line(f"-ERR [{code}] {words}" if code else f"-ERR {words}", error=True)

    def lines(self, text: str, body: bytes, shown: str, **places: object) -> Say:
        """A positive multi-line reply; `body` needs no stuffing and may be empty."""
        first = f"+OK {self._texts[text].format(**places)}"
        return Say(b"%b\r\n%b.\r\n" % (first.encode(), body), f"{first} {shown}")


def line(text: str, *, error: bool = False) -> Say:
    """A one-line reply."""
    return Say(text.encode() + b"\r\n", text, error)
