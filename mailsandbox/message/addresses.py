"""Addresses: paths of the envelope (RFC 5321 §4.1.2), mailbox lists of header fields (RFC 5322 §3.4), IDNA domains.

Invariants: paths are judged strictly, header fields read tolerantly; nothing here raises for bad input, and time is
linear. Knows nothing of accounts.
"""

import re
from dataclasses import dataclass
from typing import Final

import idna

from mailsandbox.message.words import decode_header_text

MAX_LOCAL_PART: Final = 64  # octets, RFC 5321 §4.5.3.1.1
MAX_DOMAIN: Final = 255  # octets, §4.5.3.1.2
MAX_PATH: Final = 256  # octets with angle brackets, §4.5.3.1.3

_ATEXT: Final = r"[^\x00- \"(),.:;<>@\[\\\]\x7f]"
_DOT_STRING: Final = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*")
_QUOTED_STRING: Final = re.compile(r'"(?:[^\x00-\x1f"\\\x7f]|\\[ -~])*"')
# Everything beyond ASCII is written as a complement: a range up to U+10FFFF takes `re` 10 ms to compile.
_LETTER: Final = r"[^\x00-/:-@\[-`{-\x7f]"  # letters and digits
_LABEL: Final = rf"{_LETTER}(?:[^\x00-,./:-@\[-^`{{-\x7f]*{_LETTER})?"  # within: hyphens and underscores too
_DOMAIN: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_LITERAL: Final = re.compile(
    r"\[(?:\d{1,3}(?:\.\d{1,3}){3}|IPv6:[0-9A-Fa-f:.]+|[A-Za-z0-9-]*[A-Za-z0-9]:[!-Z^-~]+)\]", re.I
)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """One mailbox of a header field; `name` is decoded, `domain` "" where there is no "@"."""

    name: str
    local: str
    domain: str

    @property
    def address(self) -> str:
        return f"{self.local}@{self.domain}" if self.domain else self.local


@dataclass(frozen=True, slots=True)
class Group:
    """`name: member, member;` (RFC 5322 §3.4)."""

    name: str
    members: tuple[Mailbox, ...]


def parse_path(address: str) -> tuple[str, str] | None:
    """Local part (as written) and domain of a valid Mailbox (RFC 5321 §4.1.2, RFC 6531 §3.3); else None."""
    local_part = _QUOTED_STRING.match(address) or _DOT_STRING.match(address)
    if local_part is None or address[local_part.end() : local_part.end() + 1] != "@":
        return None
    domain = address[local_part.end() + 1 :]
    if not (_DOMAIN.fullmatch(domain) or _LITERAL.fullmatch(domain)):
        return None
    if any(len(label) > 63 for label in domain.split(".")) and not domain.startswith("["):
        return None
    octets = [len(piece.encode("utf-8", "surrogatepass")) for piece in (local_part[0], domain)]
    if octets[0] > MAX_LOCAL_PART or octets[1] > MAX_DOMAIN or sum(octets) + 3 > MAX_PATH:
        return None
    return local_part[0], domain


def valid_path(address: str) -> bool:
    """Whether `address` is a Mailbox as the envelope allows it. Non-ASCII is allowed here; the gate judges it."""
    return parse_path(address) is not None


def ascii_domain(domain: str) -> str | None:
    """The domain in A-labels (RFC 5891 §4, mapped by UTS 46 first); None where it has no such form."""
    if domain.isascii():
        return domain
    try:
        return idna.encode(domain, uts46=True, transitional=False).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        return None


def ascii_address(address: str) -> str | None:
    """The address with its domain in A-labels; None where the local part is not ASCII: no such form exists."""
    local, at, domain = address.rpartition("@")
    if not local.isascii() or (not at and not address.isascii()):
        return None
    converted = ascii_domain(domain)
    return None if converted is None else f"{local}{at}{converted}"


# --- header fields -----------------------------------------------------------------------------------------------

# Tokens of RFC 5322 §3.2, tolerant: an unclosed string or literal runs to the end. An encoded-word is one atom, though
# senders put ":" and ")" into it, which RFC 2047 §5 (3) forbids.
_WORD: Final = rb"=\?[!->@-~]{1,64}\?[bBqQ]\?[^? \t\r\n]*\?="
_TOKEN: Final = re.compile(
    rb'(?P<blank>[ \t\r\n]+)|(?P<string>"(?:[^"\\]|\\.)*(?:"|\\?\Z))|(?P<literal>\[[^\]]*(?:\]|\Z))'
    rb"|(?P<special>[<>,;:@()])|(?P<word>" + _WORD + rb")"
    rb"|(?P<atom>(?:[^ \t\r\n\"<>,;:@()\[=]|=(?!\?[!->@-~]{1,64}\?[bBqQ]\?))+|=)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Token:
    """A lexical token of an address field: [start, end) in the value, its kind and its octets."""

    kind: str  # blank, string, literal, special, atom, comment
    octets: bytes
    start: int
    end: int


def tokens(value: bytes) -> list[Token]:
    """The value as tokens that cover it without gaps; nested comments are one token (RFC 5322 §3.2.2)."""
    found: list[Token] = []
    position = 0
    while position < len(value):
        match = _TOKEN.match(value, position)
        if match is None:  # every octet begins some token; kept for safety
            found.append(Token("atom", value[position:], position, len(value)))
            break
        kind, end = match.lastgroup or "atom", match.end()
        if kind == "word":
            kind = "atom"
        if kind == "special" and match[0] == b"(":
            kind, end = "comment", _comment_end(value, position)
        found.append(Token(kind, value[position:end], position, end))
        position = end
    return found


_PAREN: Final = re.compile(rb"\\.|[()]", re.DOTALL)


def _comment_end(value: bytes, start: int) -> int:
    depth = 0
    for paren in _PAREN.finditer(value, start):
        if paren[0] == b"(":
            depth += 1
        elif paren[0] == b")":
            depth -= 1
            if not depth:
                return paren.end()
    return len(value)


def parse_mailboxes(value: bytes) -> list[Mailbox | Group]:
    """The members of an address list, tolerantly: what has no "@" is a Mailbox without domain."""
    found: list[Mailbox | Group] = []
    group_name: str | None = None
    members: list[Mailbox] = []
    words: list[Token] = []
    in_angle = False
    for token in tokens(value):
        if token.kind == "special" and token.octets in (b"<", b">"):
            in_angle = token.octets == b"<"
        elif (
            token.kind == "special"
            and token.octets == b":"
            and not in_angle
            and group_name is None
            and not _has_at(words)
        ):
            group_name, words = _phrase(words), []
            continue
        elif token.kind == "special" and token.octets in (b",", b";") and not (in_angle and token.octets == b","):
            mailbox = _mailbox(words)
            (members if group_name is not None else found).extend([mailbox] if mailbox else [])
            words, in_angle = [], False
            if token.octets == b";" and group_name is not None:
                found.append(Group(group_name, tuple(members)))
                group_name, members = None, []
            continue
        words.append(token)
    mailbox = _mailbox(words)
    if group_name is not None:
        found.append(Group(group_name, (*members, mailbox) if mailbox else tuple(members)))
    elif mailbox:
        found.append(mailbox)
    return found


def mailboxes(value: bytes) -> list[Mailbox]:
    """The same, with groups replaced by their members."""
    flat: list[Mailbox] = []
    for entry in parse_mailboxes(value):
        flat.extend(entry.members if isinstance(entry, Group) else [entry])
    return flat


def _has_at(words: list[Token]) -> bool:
    return any(token.kind == "special" and token.octets == b"@" for token in words)


def _mailbox(words: list[Token]) -> Mailbox | None:
    opening = next((i for i, token in enumerate(words) if token.kind == "special" and token.octets == b"<"), None)
    if opening is None:
        address = [token for token in words if token.kind not in ("blank", "comment")]
        comments = [token for token in words if token.kind == "comment"]
        # RFC 822's `bob@example.org (Bob)`: the comment names the person.
        name = decode_header_text(comments[-1].octets[1:-1]).strip() if comments else ""
        if not _has_at(address) and len(address) > 1:
            return Mailbox(_phrase(words), "", "")
    else:
        name = _phrase(words[:opening])
        closing = next((i for i, t in enumerate(words) if i > opening and t.octets == b">"), len(words))
        address = [token for token in words[opening + 1 : closing] if token.kind not in ("blank", "comment")]
        address = _without_route(address)
    if not address:
        return Mailbox(name, "", "") if name else None
    at = max((i for i, token in enumerate(address) if token.octets == b"@"), default=len(address))
    return Mailbox(
        name, _local(address[:at]), b"".join(token.octets for token in address[at + 1 :]).decode("utf-8", "replace")
    )


def _without_route(address: list[Token]) -> list[Token]:
    # RFC 5322 §4.4: obs-route, "@a,@b:" before the address.
    if address and address[0].octets == b"@":
        colon = next((i for i, token in enumerate(address) if token.octets == b":"), None)
        if colon is not None:
            return address[colon + 1 :]
    return address


def _local(words: list[Token]) -> str:
    return b"".join(_unquoted(token.octets) if token.kind == "string" else token.octets for token in words).decode(
        "utf-8", "replace"
    )


def _unquoted(octets: bytes) -> bytes:
    inner = octets[1:-1] if len(octets) > 1 and octets.endswith(b'"') else octets[1:]
    return re.sub(rb"\\(.)", rb"\1", re.sub(rb"\r?\n(?=[ \t])", b"", inner), flags=re.DOTALL)


def _phrase(words: list[Token]) -> str:
    pieces = [
        _unquoted(token.octets) if token.kind == "string" else b" " if token.kind == "blank" else token.octets
        for token in words
        if token.kind != "comment"
    ]
    return " ".join(decode_header_text(b"".join(pieces)).split())
