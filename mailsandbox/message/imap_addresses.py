"""Address fields as IMAP address structures (RFC 9051 §7.5.2): names as stored, never decoded.

Tolerant: any octets give a list; what cannot be an address is shown under Dovecot's placeholder names, since NIL in the
host's place would mean a group. Linear in the field's length. Knows nothing of charsets; `addresses` decodes.
"""

import re
from typing import Final, NamedTuple

from mailsandbox.message.imap_strings import NIL, nstring, one_spaced, string

MISSING_MAILBOX: Final = b"MISSING_MAILBOX"
MISSING_DOMAIN: Final = b"MISSING_DOMAIN"
SYNTAX_ERROR: Final = b"SYNTAX_ERROR"


class ImapAddress(NamedTuple):
    """One address structure. `host` None: start of the group named `mailbox`, or with `mailbox` None its end."""

    name: bytes | None
    route: bytes | None
    mailbox: bytes | None
    host: bytes | None


GROUP_END: Final = ImapAddress(None, None, None, None)

_ATOM: Final = rb"[!#-'*+\-/-9=?A-Z^-~\x80-\xff]"  # RFC 5322 §3.2.3 atext, and 8-bit octets (RFC 6532 §3.2)
_DOT_ATOM: Final = rb"(?:%b|\.)++" % _ATOM
# The form nearly every address has; everything else goes the long way.
_USUAL: Final = re.compile(
    rb'[ \t\r\n]*(?:(?:"(?P<quoted>[^"\\]*)"|(?P<words>%b++(?:[ .]%b++)*\.?))?[ \t\r\n]*<(?P<local>%b)@(?P<host>%b)>'
    rb"|(?P<bare_local>%b)@(?P<bare_host>%b))[ \t\r\n]*(?:(?P<more>,)|$)"
    % (_ATOM, _ATOM, _DOT_ATOM, _DOT_ATOM, _DOT_ATOM, _DOT_ATOM)
)


def parse_addresses(value: bytes) -> list[ImapAddress]:
    """Every address of an address field's value, folded or not."""
    found: list[ImapAddress] = []
    at = 0
    while match := _USUAL.match(value, at):
        quoted, words, local, host, bare_local, bare_host, more = match.groups()
        if local is not None:
            name = quoted if quoted is not None else words
            found.append(ImapAddress(name or None, None, local, host))
        else:
            found.append(ImapAddress(None, None, bare_local, bare_host))
        at = match.end()
        if not more:
            return found
    _Reader(_tokens(value, at), found).read()
    return found


def address_list(addresses: list[ImapAddress]) -> bytes:
    """The parenthesised list, NIL for none."""
    if not addresses:
        return NIL
    return b"(" + b"".join(map(_structure, addresses)) + b")"


def _structure(address: ImapAddress) -> bytes:
    name = NIL if address.name is None else string(one_spaced(address.name))
    return b"(%b %b %b %b)" % (name, nstring(address.route), nstring(address.mailbox), nstring(address.host))


class _Token(NamedTuple):
    kind: str  # word, quoted, literal, comment, or the special character itself
    text: bytes
    spaced: bool  # blanks or a comment before it


_NEXT: Final = re.compile(rb"(?P<blank>[ \t\r\n\0]+)|(?P<word>%b+)|(?P<special>.)" % _ATOM, re.DOTALL)
_QUOTED_END: Final = re.compile(rb'(?:[^"\\]|\\.)*+"?', re.DOTALL)
_LITERAL_END: Final = re.compile(rb"[^\[\]\\]*+(?:\\.[^\[\]\\]*+)*+\]?", re.DOTALL)
_COMMENT_STEP: Final = re.compile(rb"[^()\\]*+(?:\\.[^()\\]*+)*+", re.DOTALL)
_PAIR: Final = re.compile(rb"\\(.)", re.DOTALL)
_FOLD: Final = re.compile(rb"\r?\n")


def _tokens(value: bytes, at: int) -> list[_Token]:
    tokens: list[_Token] = []
    spaced = False
    end = len(value)
    while at < end:
        match = _NEXT.match(value, at)
        assert match is not None  # `special` takes any octet
        kind, text, at = match.lastgroup, match.group(), match.end()
        if kind == "blank":
            spaced = True
            continue
        if kind == "word":
            tokens.append(_Token("word", text, spaced))
        elif text == b'"':
            close = _QUOTED_END.match(value, at)
            assert close is not None  # matches the empty string too
            tokens.append(_Token("quoted", _unquote(close.group().removesuffix(b'"')), spaced))
            at = close.end()
        elif text == b"[":
            close = _LITERAL_END.match(value, at)
            assert close is not None  # matches the empty string too
            tokens.append(_Token("literal", b"[" + _FOLD.sub(b"", close.group()), spaced))
            at = close.end()
        elif text == b"(":
            comment, at = _comment(value, at)
            tokens.append(_Token("comment", comment, spaced))
            spaced = True
            continue
        else:
            tokens.append(_Token(text.decode("latin-1"), text, spaced))
        spaced = False
    return tokens


def _comment(value: bytes, at: int) -> tuple[bytes, int]:
    """The comment's text and where it ends. RFC 5322 §3.2.2: comments nest."""
    start, depth = at, 1
    while True:
        step = _COMMENT_STEP.match(value, at)
        assert step is not None  # matches the empty string too
        at = step.end()
        if at >= len(value):
            return _unquote(value[start:]), len(value)
        depth += {0x28: 1, 0x29: -1}.get(value[at], 0)
        at += 1
        if not depth:
            return _unquote(value[start : at - 1]), at


def _unquote(octets: bytes) -> bytes:
    return _PAIR.sub(rb"\1", _FOLD.sub(b"", octets))


class _Reader:
    """address-list of RFC 5322 §3.4 with the obsolete forms of §4.4, element by element; recovers at commas."""

    def __init__(self, tokens: list[_Token], found: list[ImapAddress]) -> None:
        self._tokens = tokens
        self._found = found
        self._at = 0
        self._in_group = False

    def read(self) -> None:
        while self._at < len(self._tokens):
            self._element()
        if self._in_group:
            self._found.append(GROUP_END)

    def _kind(self) -> str:
        """What comes next, comments skipped; "" at the end."""
        while self._at < len(self._tokens):
            kind = self._tokens[self._at].kind
            if kind != "comment":
                return kind
            self._at += 1
        return ""

    def _element(self) -> None:
        first = self._at
        words: list[_Token] = []
        while (kind := self._kind()) in ("word", "quoted", "."):
            words.append(self._tokens[self._at])
            self._at += 1
        match kind:
            case ":" if words and not self._in_group:
                self._at += 1
                self._in_group = True
                self._found.append(ImapAddress(None, None, _phrase(words), None))
            case "<":
                self._at += 1
                self._angle(_phrase(words) or None)
                self._resume()
            case "@":
                self._at += 1
                host = self._domain()
                self._resume()
                name, local = _split_name(words)
                self._found.append(ImapAddress(self._last_comment(first) or name, None, local, host or MISSING_DOMAIN))
            case _:
                start = self._at
                self._resume()
                if not words and self._at > start:
                    self._found.append(ImapAddress(None, None, MISSING_MAILBOX, MISSING_DOMAIN))
                else:
                    self._bare(words, self._last_comment(first))
        if (ended := self._kind()) == ";" and self._in_group:
            self._in_group = False
            self._found.append(GROUP_END)
        if ended in (",", ";"):
            self._at += 1

    def _resume(self) -> None:
        """Go to where the next element can begin."""
        while (kind := self._kind()) and kind != "," and not (kind == ";" and self._in_group):
            self._at += 1

    def _last_comment(self, first: int) -> bytes | None:
        """RFC 5322 §3.4: a display name was once given as a comment: user@host (Name)."""
        comments = [token.text for token in self._tokens[first : self._at] if token.kind == "comment"]
        return comments[-1] if comments and comments[-1].strip() else None

    def _bare(self, words: list[_Token], comment: bytes | None) -> None:
        """An element without any @: one word is a local user, several are a name without an address."""
        if not words:
            return  # RFC 5322 §4.4 obs-addr-list: elements may be empty, or hold a comment only
        if comment or (words[0].kind == "word" and not any(word.spaced for word in words[1:])):
            self._found.append(ImapAddress(comment, None, _joined(words), MISSING_DOMAIN))
        else:
            self._found.append(ImapAddress(_phrase(words), None, MISSING_MAILBOX, MISSING_DOMAIN))

    def _angle(self, name: bytes | None) -> None:
        """After "<": [route ":"] local-part "@" domain ">"."""
        route = self._route() if self._kind() == "@" else None
        words: list[_Token] = []
        while self._kind() in ("word", "quoted", "."):
            words.append(self._tokens[self._at])
            self._at += 1
        host = b""
        if words and self._kind() == "@":
            self._at += 1
            host = self._domain()
        local = _joined(words) if words else MISSING_MAILBOX
        if self._kind() == ">":
            self._at += 1
            self._found.append(ImapAddress(name, route, local, host or MISSING_DOMAIN))
        else:
            self._found.append(ImapAddress(name, route, local, SYNTAX_ERROR))

    def _route(self) -> bytes | None:
        """RFC 5322 §4.4 obs-route: "@one,@two:", shown in the structure's second place."""
        start, hops = self._at, []
        while self._kind() in ("@", ","):
            if self._kind() == ",":
                self._at += 1
                continue
            self._at += 1
            hops.append(b"@" + self._domain())
        if self._kind() == ":":
            self._at += 1
            return b",".join(hops)
        self._at = start + 1
        return None

    def _domain(self) -> bytes:
        if self._kind() == "literal":
            self._at += 1
            return self._tokens[self._at - 1].text
        labels: list[bytes] = []
        after_word = False
        # RFC 5322 §4.4 obs-domain allows blanks around the dots, not between two words.
        while (kind := self._kind()) == "." or (kind == "word" and not after_word):
            labels.append(self._tokens[self._at].text)
            after_word = kind == "word"
            self._at += 1
        return b"".join(labels)


def _split_name(words: list[_Token]) -> tuple[bytes | None, bytes]:
    """Name and local part of "Some Name user@host", which lacks its angle brackets: the last blank parts them."""
    for place in range(len(words) - 1, 0, -1):
        # RFC 5322 §4.4 obs-local-part: blanks around a dot do not part anything.
        if words[place].spaced and words[place].kind != "." and words[place - 1].kind != ".":
            return _phrase(words[:place]), _joined(words[place:])
    return None, _joined(words) or MISSING_MAILBOX


def _phrase(words: list[_Token]) -> bytes:
    """A display name: words joined as they stood, one space for any blank between them."""
    return b"".join((b" " if word.spaced and place else b"") + word.text for place, word in enumerate(words))


def _joined(words: list[_Token]) -> bytes:
    """A local part: blanks around dots are obsolete syntax and mean nothing (RFC 5322 §4.4)."""
    return b"".join(word.text for word in words)
