"""The paths of MAIL and RCPT (RFC 5321 §4.1.2): reverse-path and forward-path, quoted local parts, address literals,
source routes, and UTF-8 (RFC 6531 §3.3).

Invariant: a path that is given back is one mailbox, its local part as written (quoting is not ours to change,
RFC 5321 §4.5.4.1), its source route dropped (RFC 5321 Appendix C). Knows no command and no reply.
"""

import ipaddress
import re
from functools import lru_cache
from typing import Final

import msgspec

MAX_DOMAIN: Final = 255  # octets, RFC 5321 §4.5.3.1.2
MAX_LABEL: Final = 63  # octets, RFC 1035 §2.3.4
# No limit on the local part: RFC 5321 §4.5.3.1.1 asks for 64 octets at least, §4.5.3.1 for none where possible;
# VERP and SRS paths exceed 64. The command line's limit bounds it.

_ATEXT: Final = r"A-Za-z0-9!#$%&'*+\-/=?^_`{|}~"
# Classes with everything beyond ASCII (RFC 6531 §3.3) are written as complements: a range up to U+10FFFF takes `re`
# 10 ms to compile, each time that the daemon starts.
_ATOM: Final = r"[^\x00- \"(),.:;<>@\[\\\]\x7f]+"  # atext
_LETTER: Final = r"[^\x00-/:-@\[-`{-\x7f]"  # letters and digits
_LABEL: Final = rf"{_LETTER}(?:[^\x00-,./:-@\[-`{{-\x7f]*{_LETTER})?"  # within: and hyphens
_ASCII_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_LOOSE_LABEL: Final = r"[^\x00-,./:-@\[-^`{-\x7f]+"  # letters, digits, and anywhere hyphens, underscores

# The shape of nearly every path: <atoms@labels, ASCII.
_PLAIN: Final = re.compile(rf"<([{_ATEXT}]+(?:\.[{_ATEXT}]+)*)@({_ASCII_LABEL}(?:\.{_ASCII_LABEL})*)\Z", re.ASCII)
_KEPT: Final = 1_024  # plain paths that are remembered: those of one afternoon's correspondents come again and again
_DOT_STRING: Final = re.compile(rf"{_ATOM}(?:\.{_ATOM})*\Z")
_QUOTED_STRING: Final = re.compile(r'"(?:[^\x00-\x1f"\\\x7f]|\\[ -~])*"\Z')
_DOMAIN: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\Z")
_LOOSE_DOMAIN: Final = re.compile(rf"{_LOOSE_LABEL}(?:\.{_LOOSE_LABEL})*\.?\Z")
_ROUTE: Final = re.compile(rf"@{_LABEL}(?:\.{_LABEL})*(?:,@{_LABEL}(?:\.{_LABEL})*)*:")
_GENERAL_LITERAL: Final = re.compile(r"[A-Za-z0-9-]*[A-Za-z0-9]:[!-Z^-~]+\Z")


class Path(msgspec.Struct, frozen=True):
    """`address` is local@domain as written, "" for <>; `remarks` name what only a tolerant reading let pass."""

    address: str
    remarks: tuple[str, ...] = ()

    @property
    def internationalized(self) -> bool:
        """Whether it needs SMTPUTF8."""
        return not self.address.isascii()


class BadPath(msgspec.Struct, frozen=True):
    """Why it is no path; `in_domain` says which half is wrong, for the status code (5.1.2 or 5.1.3)."""

    reason: str
    in_domain: bool = False


def parse_path(text: str, *, tolerant: bool = False) -> tuple[Path, str] | BadPath:
    """The path at the beginning of `text` ("<bob@beta.test> SIZE=1"), and the parameters after it.

    `tolerant` also takes blanks before the path, a path without angle brackets, underscores, hyphens at the edge of a
    label and a last dot in domains; each leaves a remark. "<>" gives an empty address; a forward-path without domain is
    returned as it is ("Postmaster"): whether either is right, the command knows.
    """
    opened, bracket, rest = text.partition(">")
    if bracket and (not rest or rest[0] == " ") and (plain := _plain(opened)) is not None:
        return plain, rest.strip(" ")
    remarks: list[str] = []
    if tolerant and text[:1] in (" ", "\t"):
        text = text.lstrip()
        remarks.append("blank after the colon (RFC 5321 §3.3)")
    if not text.startswith("<"):
        if not tolerant or not text:
            return BadPath("a path is written in angle brackets (RFC 5321 §4.1.2)")
        bare, _, rest = text.partition(" ")
        remarks.append("path without angle brackets (RFC 5321 §4.1.2)")
        return _finished(bare, rest, remarks, tolerant=tolerant)
    end = _closing_bracket(text)
    if end < 0:
        return BadPath('the path is not closed by ">" (RFC 5321 §4.1.2)')
    rest = text[end + 1 :]
    if rest and not rest.startswith(" "):
        return BadPath("parameters are set off from the path by a space (RFC 5321 §4.1.1.2)")
    inside = text[1:end]
    if route := _ROUTE.match(inside):
        # RFC 5321 Appendix C: source routes MUST be accepted and SHOULD be ignored.
        inside = inside[route.end() :]
        remarks.append("source route ignored (RFC 5321 Appendix C)")
    return _finished(inside, rest, remarks, tolerant=tolerant)


@lru_cache(_KEPT)
def _plain(opened: str) -> Path | None:
    """A path without its closing bracket, where it has the usual shape; None where it has to be looked at closely."""
    match = _PLAIN.match(opened)
    return Path(opened[1:]) if match and len(match[2]) <= MAX_LABEL else None


def _finished(inside: str, rest: str, remarks: list[str], *, tolerant: bool) -> tuple[Path, str] | BadPath:
    if inside and (bad := check_mailbox(inside, tolerant=tolerant)) is not None:
        return bad
    if "@" in inside:
        remarks.extend(_loose(inside.rpartition("@")[2]))
    return Path(inside, tuple(remarks)), rest.strip(" ")


def _loose(domain: str) -> list[str]:
    """What only a tolerant reading lets pass in a domain."""
    if domain.startswith("[") or _DOMAIN.match(domain):
        return []
    # RFC 5321 §4.1.2: sub-domain = Let-dig [Ldh-str], Ldh-str ends with a letter or digit.
    found = ["underscore in a domain (RFC 5321 §4.1.2)"] if "_" in domain else []
    if any(label[:1] == "-" or label[-1:] == "-" for label in domain.split(".")):
        found.append("label that begins or ends with a hyphen (RFC 5321 §4.1.2)")
    if domain.endswith("."):
        found.append("domain that ends with a dot (RFC 5321 §4.1.2)")
    return found


def _closing_bracket(text: str) -> int:
    """Index of the ">" that ends the path, those in a quoted string passed over; -1 without one."""
    quoted = False
    index = 1
    while index < len(text):
        character = text[index]
        if quoted and character == "\\":
            index += 1
        elif character == '"':
            quoted = not quoted
        elif character == ">" and not quoted:
            return index
        index += 1
    return -1


def check_mailbox(text: str, *, tolerant: bool = False) -> BadPath | None:
    """What is wrong with `local@domain`, or with a local part alone; None where it is well-formed."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        return BadPath("the address is not UTF-8 (RFC 6531 §3.3)")
    # The domain is after the last "@": a quoted local part may contain others, a domain none.
    local, at, domain = text.rpartition("@")
    if not at:
        local = text
    if local.startswith('"'):
        if not _QUOTED_STRING.match(local):
            return BadPath("the quoted local part is malformed (RFC 5321 §4.1.2)")
    elif not _DOT_STRING.match(local):
        return BadPath("the local part is malformed (RFC 5321 §4.1.2)" if local else "the local part is missing")
    return check_domain(domain, tolerant=tolerant) if at else None


def check_domain(domain: str, *, tolerant: bool = False) -> BadPath | None:
    """What is wrong with a domain or address literal; None where it is well-formed."""
    if domain.startswith("["):
        return _check_literal(domain)
    if not domain:
        return BadPath("the domain is missing", in_domain=True)
    if not (_LOOSE_DOMAIN if tolerant else _DOMAIN).match(domain):
        return BadPath("the domain is malformed (RFC 5321 §4.1.2)", in_domain=True)
    if not domain.isascii():
        return _check_u_labels(domain)
    if len(domain) > MAX_DOMAIN or any(len(label) > MAX_LABEL for label in domain.split(".")):
        return BadPath("the domain or one of its labels is too long (RFC 5321 §4.5.3.1.2)", in_domain=True)
    return None


def _check_u_labels(domain: str) -> BadPath | None:
    import idna  # only for the rare address that needs its tables

    try:
        idna.encode(domain, uts46=True)
    except idna.IDNAError as error:
        return BadPath(f"the domain is not a valid internationalized one: {error} (RFC 6531 §3.3)", in_domain=True)
    return None


def _check_literal(domain: str) -> BadPath | None:
    """RFC 5321 §4.1.3: [192.0.2.1], [IPv6:2001:db8::1], [tag:content]."""
    inside = domain[1:-1]
    wrong = BadPath("the address literal is malformed (RFC 5321 §4.1.3)", in_domain=True)
    if not domain.endswith("]") or not inside.isascii():
        return wrong
    try:
        if inside[:5].lower() == "ipv6:":
            ipaddress.IPv6Address(inside[5:])
        elif ":" not in inside:
            ipaddress.IPv4Address(inside)
        elif not _GENERAL_LITERAL.match(inside):
            return wrong
    except ValueError:
        return wrong
    return None
