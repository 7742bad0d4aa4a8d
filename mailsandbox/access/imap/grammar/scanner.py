"""The tokenizer: compiled expressions walk over a command's text, literals are put in their places. Pure.

RFC 9051 §9 is the grammar; where peers are known to be lax (an atom with "]" or "%"), so are we, if it cannot be
misunderstood.
"""

import re
from collections.abc import Callable
from typing import Final, TypeVar

from mailsandbox.access.imap.framing import CommandOctets
from mailsandbox.access.imap.names import decode_name
from mailsandbox.access.imap.responses import GrammarError
from mailsandbox.access.imap.sets import SAVED, SET, SequenceSet

T = TypeVar("T")

MAX_NESTING: Final = 50  # parentheses within one command
MAX_LIST: Final = 10_000  # items of one list

TAG: Final = re.compile(rb"[^\x00-\x20(){%*\"\\+\x7f-\xff]+")
WORD: Final = re.compile(rb"[A-Za-z0-9][A-Za-z0-9.=+/_-]*")  # command names, search keys, item names
ATOM: Final = re.compile(rb"[^\x00-\x20(){%*\"\\\]\x7f-\xff]+")  # RFC 9051 §9 atom
ASTRING_ATOM: Final = re.compile(rb"[^\x00-\x20(){%*\"\\\x7f]+")  # ... with "]", and 8-bit octets taken for UTF-8
LIST_ATOM: Final = re.compile(rb"[^\x00-\x20(){\"\\\x7f]+")  # ... with the wildcards
QUOTED: Final = re.compile(rb'"((?:[^"\\\x00\r\n]|\\["\\])*)"')
LITERAL: Final = re.compile(rb"(~?)\{([0-9]{1,18})\+?\}\r\n")
NUMBER: Final = re.compile(rb"[0-9]{1,20}")
FLAG: Final = re.compile(rb"\\?[^\x00-\x20(){%*\"\\\]\x7f-\xff]+")
FLAG_PERM: Final = re.compile(rb"\\\*|\\?[^\x00-\x20(){%*\"\\\]\x7f-\xff]+")
_ESCAPED: Final = re.compile(rb"\\(.)")
MAX_UINT32: Final = 4_294_967_295
MAX_UINT63: Final = 9_223_372_036_854_775_807  # RFC 7162 §3.1: mod-sequences are 63 bits


class Scanner:
    """A place in one command's text. Every method that fails raises GrammarError and may leave the place anywhere."""

    __slots__ = ("_literal", "_literals", "eight_bit", "nesting", "pos", "text", "utf8")

    def __init__(self, command: CommandOctets, pos: int = 0, *, utf8: bool = False) -> None:
        self.text = command.text
        self.pos = pos
        self.utf8 = utf8
        self.nesting = 0
        self.eight_bit = False  # a mailbox name came in UTF-8
        self._literals = command.literals
        self._literal = 0

    def take(self, expression: re.Pattern[bytes]) -> bytes | None:
        """What the expression matches here, or None."""
        found = expression.match(self.text, self.pos)
        if found is None:
            return None
        self.pos = found.end()
        return found.group()

    def must(self, expression: re.Pattern[bytes], what: str) -> bytes:
        """What the expression matches here."""
        found = expression.match(self.text, self.pos)
        if found is None:
            raise GrammarError(f"Expected {what}{self.here()}")
        self.pos = found.end()
        return found.group()

    def here(self) -> str:
        """For error texts: what stands at this place."""
        if self.pos >= len(self.text):
            return " at the end of the command"
        excerpt = self.text[self.pos : self.pos + 20].split(b"\r", 1)[0].decode("ascii", "replace")
        return f" at {''.join(c if ' ' <= c <= '~' else '?' for c in excerpt)!r}"

    def at(self, octet: bytes) -> bool:
        """Whether this octet comes next."""
        return self.text.startswith(octet, self.pos)

    def skip(self, octets: bytes) -> bool:
        """Step over these octets if they come next."""
        if self.text.startswith(octets, self.pos):
            self.pos += len(octets)
            return True
        return False

    def expect(self, octets: bytes) -> None:
        """Step over these octets."""
        if not self.skip(octets):
            raise GrammarError(f"Expected {octets.decode()!r}{self.here()}")

    def space(self) -> None:
        """Exactly one space."""
        if not self.skip(b" "):
            raise GrammarError(f"Expected a space{self.here()}")

    def end(self) -> None:
        """The command must be over; trailing spaces are let go, as Dovecot does."""
        while self.skip(b" "):
            pass
        if self.pos != len(self.text):
            raise GrammarError(f"Extra text{self.here()}")

    @property
    def at_end(self) -> bool:
        return self.pos >= len(self.text)

    def word(self, what: str = "a name") -> str:
        """A name of the grammar, in upper case."""
        return self.must(WORD, what).decode("ascii").upper()

    def number(self, most: int = MAX_UINT32) -> int:
        """RFC 9051 §9 number."""
        value = int(self.must(NUMBER, "a number"))
        if value > most:
            raise GrammarError("Number too large")
        return value

    def nz_number(self, most: int = MAX_UINT32) -> int:
        """A number that is not zero."""
        value = self.number(most)
        if not value:
            raise GrammarError("Expected a number other than 0")
        return value

    def mod_seq(self) -> int:
        """RFC 7162 §7 mod-sequence-valzer."""
        return self.number(MAX_UINT63)

    def literal(self, *, binary: bool = False) -> bytes | None:
        """The literal that stands here, or None. `binary`: a literal8 may stand here (RFC 3516 §4.4)."""
        found = LITERAL.match(self.text, self.pos)
        if found is None or self._literal >= len(self._literals):
            return None
        if found[1] and not binary:
            raise GrammarError("literal8 is not allowed here")
        self.pos = found.end()
        self._literal += 1
        octets = self._literals[self._literal - 1]
        if not found[1] and b"\0" in octets:
            raise GrammarError("NUL in a literal")  # RFC 9051 §9: CHAR8 is %x01-ff
        return octets

    def quoted(self) -> bytes | None:
        """The content of the quoted string that stands here, or None."""
        found = QUOTED.match(self.text, self.pos)
        if found is None:
            return None
        self.pos = found.end()
        content = found[1]
        return _ESCAPED.sub(rb"\1", content) if b"\\" in content else content

    def string(self) -> bytes:
        """RFC 9051 §9 string."""
        found = self.quoted()
        if found is None:
            found = self.literal()
        if found is None:
            raise GrammarError(f"Expected a string{self.here()}")
        return found

    def astring(self) -> bytes:
        """RFC 9051 §9 astring."""
        found = self.take(ASTRING_ATOM)
        return found if found is not None else self.string()

    def nstring(self) -> bytes | None:
        """A string, or None for NIL."""
        if self.text[self.pos : self.pos + 3].upper() == b"NIL":
            self.pos += 3
            return None
        return self.string()

    def mailbox(self) -> str:
        """RFC 9051 §9 mailbox."""
        octets = self.astring()
        self.eight_bit |= not octets.isascii()
        return decode_name(octets, utf8=self.utf8)

    def list_mailbox(self) -> str:
        """RFC 9051 §9 list-mailbox: a pattern."""
        found = self.take(LIST_ATOM)
        return decode_name(found if found is not None else self.string(), utf8=self.utf8)

    def text_of(self, octets: bytes) -> str:
        """A string argument as text."""
        try:
            return octets.decode("utf-8")
        except UnicodeDecodeError:
            raise GrammarError("String is not UTF-8") from None

    def set(self) -> SequenceSet:
        """RFC 9051 §9 sequence-set, or "$"."""
        if self.skip(b"$"):
            return SAVED
        return SequenceSet.parse(self.must(SET, "a set of numbers"))

    def flag(self) -> str:
        """RFC 9051 §9 flag."""
        return self.must(FLAG, "a flag").decode("ascii")

    def flags(self) -> tuple[str, ...]:
        """RFC 9051 §9 flag-list."""
        return self.group(self.flag, empty=True)

    def group(self, item: Callable[[], T], *, empty: bool = False) -> tuple[T, ...]:
        """A parenthesized list of what `item` reads."""
        self.expect(b"(")
        self.enter()
        items: list[T] = []
        if not (empty and self.at(b")")):
            items.append(item())
            while self.skip(b" "):
                if self.at(b")"):  # "(a b )": let go
                    break
                items.append(item())
                if len(items) > MAX_LIST:
                    raise GrammarError("List too long")
        self.expect(b")")
        self.nesting -= 1
        return tuple(items)

    def enter(self) -> None:
        """One level deeper; raises GrammarError where that is too deep."""
        self.nesting += 1
        if self.nesting > MAX_NESTING:
            raise GrammarError(f"Nested more than {MAX_NESTING} levels")
