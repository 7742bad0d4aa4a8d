"""Parameters of structured MIME fields (RFC 2045 §5.1, RFC 2231): where each stands, and what all together mean.

Invariant: never raises, linear in the value's length. `raw_parameters` gives spans, so that one parameter can be
replaced and every other octet kept.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from mailsandbox.message.charset import decode_text

_TOKEN: Final = re.compile(rb"[^\s()<>@,;:\\\"/\[\]?=]+")
_BLANK: Final = re.compile(rb"[ \t\r\n]*")
_NAME: Final = re.compile(rb"[^\s=;\"(]+")
_PAREN: Final = re.compile(rb"[()]|\\.", re.DOTALL)
_QUOTED: Final = re.compile(rb'"((?:[^"\\]|\\.)*)(?:"|\\?\Z)', re.DOTALL)
_BARE_VALUE: Final = re.compile(rb"[^;\"\s(]+")
_LINE_END: Final = re.compile(rb"\r?\n")
_PAIR: Final = re.compile(rb"\\(.)", re.DOTALL)
_TYPE: Final = re.compile(rb"[!#$%&'*+.0-9A-Z^_`a-z{|}~-]+")
_SECTION: Final = re.compile(r"(.+?)(?:\*(\d{1,4}))?(\*)?\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class RawParameter:
    """One `name=value`; [start, end) from the name's first octet to the value's last, as offsets into the value."""

    name: str  # lower case, with any RFC 2231 asterisks
    value: bytes  # without quotes and folding
    start: int
    end: int
    value_start: int
    quoted: bool


def skip_comments(value: bytes, position: int) -> int:
    """The offset after blanks, line ends and comments (RFC 5322 §3.2.2, they nest)."""
    while True:
        blank = _BLANK.match(value, position)
        position = blank.end() if blank else position
        if value[position : position + 1] != b"(":
            return position
        depth = 0
        for paren in _PAREN.finditer(value, position):
            if paren[0] == b"(":
                depth += 1
            elif paren[0] == b")":
                depth -= 1
                if not depth:
                    position = paren.end()
                    break
        else:
            return len(value)


def unquote(octets: bytes) -> bytes:
    """The inside of a quoted-string without folding and backslashes (RFC 5322 §3.2.4)."""
    if b"\n" in octets:
        octets = _LINE_END.sub(b"", octets)
    return _PAIR.sub(rb"\1", octets) if b"\\" in octets else octets


def raw_parameters(value: bytes, start: int = 0) -> list[RawParameter]:
    """Every parameter after the first semicolon at or after `start`, in order, as written."""
    found: list[RawParameter] = []
    position = value.find(b";", start)
    while 0 <= position < len(value):
        position = skip_comments(value, position + 1)
        name = _NAME.match(value, position)
        if name is not None:
            parameter = _one(value, name)
            if parameter is not None:
                found.append(parameter)
                position = parameter.end
            else:
                position = name.end()
        position = _next_semicolon(value, position)
    return found


def _one(value: bytes, name: re.Match[bytes]) -> RawParameter | None:
    position = skip_comments(value, name.end())
    if value[position : position + 1] != b"=":
        return None
    position = skip_comments(value, position + 1)
    key = name[0].decode("latin-1").lower()
    quoted = _QUOTED.match(value, position)
    if quoted is not None:
        return RawParameter(key, unquote(quoted[1]), name.start(), quoted.end(), position, True)
    bare = _BARE_VALUE.match(value, position)
    end = bare.end() if bare else position
    # Unquoted values with blanks ("name=my file.txt") are common: they run to the semicolon.
    stop = value.find(b";", end)
    rest = value[position : stop if stop >= 0 else len(value)]
    if b"(" not in rest and b'"' not in rest and b"=" not in rest[end - position :]:
        rest = rest.rstrip()
        return RawParameter(key, _LINE_END.sub(b"", rest), name.start(), position + len(rest), position, False)
    return RawParameter(key, value[position:end], name.start(), end, position, False)


def _next_semicolon(value: bytes, position: int) -> int:
    """The next semicolon outside quotes; -1 where there is none."""
    while True:
        semicolon = value.find(b";", position)
        quote = value.find(b'"', position, semicolon if semicolon >= 0 else len(value))
        if quote < 0:
            return semicolon
        quoted = _QUOTED.match(value, quote)
        position = quoted.end() if quoted else len(value)


def join_parameters(raw: Iterable[RawParameter]) -> dict[str, str]:
    """Names in lower case to decoded values; RFC 2231 continuations joined, charsets decoded; the first one wins."""
    plain: dict[str, str] = {}
    sections: dict[str, dict[int, tuple[bytes, bool]]] = {}
    for parameter in raw:
        match = _SECTION.match(parameter.name)
        name, number, star = (match[1], match[2], bool(match[3])) if match else (parameter.name, None, False)
        if number is None and not star:
            plain.setdefault(name, decode_text(parameter.value, ""))
        else:
            sections.setdefault(name, {}).setdefault(int(number or 0), (parameter.value, star))
    for name, numbered in sections.items():
        plain[name] = _join(numbered)  # RFC 2231 §3: extended form is preferred by those who understand it
    return plain


def _join(numbered: dict[int, tuple[bytes, bool]]) -> str:
    charset, pieces = "", []
    for index in range(len(numbered)):
        if index not in numbered:
            break
        octets, extended = numbered[index]
        if extended and index == 0 and octets.count(b"'") >= 2:
            label, _, octets = octets.split(b"'", 2)
            charset = label.decode("latin-1")
        pieces.append(unquote_to_bytes(octets) if extended else octets)
    if not pieces:
        octets, extended = numbered[min(numbered)]
        pieces.append(unquote_to_bytes(octets) if extended else octets)
    return decode_text(b"".join(pieces), charset)


def first_token(value: bytes) -> str:
    """The first token of a structured value, comments skipped, in lower case: a Content-Transfer-Encoding."""
    position = skip_comments(value, 0)
    if value[position : position + 1] == b'"':
        quoted = _QUOTED.match(value, position)
        return unquote(quoted[1]).strip().decode("latin-1").lower() if quoted else ""
    token = _TOKEN.match(value, position)
    return token[0].decode("latin-1").lower() if token else ""


def media_type(value: bytes) -> tuple[str, str, int] | None:
    """Type and subtype in lower case and the offset after them; None where the value is malformed."""
    position = skip_comments(value, 0)
    main = _TYPE.match(value, position)
    if main is None:
        return None
    position = skip_comments(value, main.end())
    if value[position : position + 1] != b"/":
        return None
    sub = _TYPE.match(value, skip_comments(value, position + 1))
    if sub is None:
        return None
    return main[0].decode("ascii").lower(), sub[0].decode("ascii").lower(), sub.end()
