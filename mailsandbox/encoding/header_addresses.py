"""Address fields that 7-bit mail cannot carry: names and comments to encoded-words, domains to A-labels.

Invariant: nothing is ever put inside an addr-spec but the A-label form of its own domain (RFC 2047 §5 (3), RFC 5891); a
local part that is not ASCII has no 7-bit form and is reported.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from mailsandbox.encoding.header_text import encode_comment, encode_run, is_encoded_word, offends
from mailsandbox.message.addresses import Token, ascii_domain, tokens
from mailsandbox.message.parameters import unquote

_FOLD: Final = re.compile(rb"\r?\n(?=[ \t])")


@dataclass(slots=True)
class Converted:
    """A converted value, and what was met: text that was encoded, domains, local parts that cannot be."""

    value: bytes = b""
    text: bool = False
    domain: bool = False
    local_part: bytes | None = None  # the first one that has no 7-bit form
    pieces: list[bytes] = field(default_factory=list)


def convert_addresses(value: bytes) -> Converted:
    """Any field made of mailboxes, groups or phrases. ASCII parts stay octet for octet."""
    result = Converted()
    for item in _items(tokens(value)):
        if any(offends(token.octets) for token in item):
            _convert_item(item, result)
        else:
            result.pieces.extend(token.octets for token in item)
    result.value = b"".join(result.pieces)
    return result


def _items(found: list[Token]) -> Iterator[list[Token]]:
    """Tokens up to and with each separator that is not inside angle brackets."""
    item: list[Token] = []
    in_angle = False
    for token in found:
        item.append(token)
        if token.kind != "special":
            continue
        if token.octets in (b"<", b">"):
            in_angle = token.octets == b"<"
        elif not in_angle and token.octets in (b",", b";", b":"):
            yield item
            item = []
    if item:
        yield item


def _convert_item(item: list[Token], result: Converted) -> None:
    opening = next((i for i, token in enumerate(item) if token.kind == "special" and token.octets == b"<"), None)
    if opening is not None:
        closing = next((i for i in range(opening + 1, len(item)) if item[i].octets == b">"), len(item))
        _phrase(item[:opening], item[opening], result)
        result.pieces.append(b"<")
        _address(item[opening + 1 : closing], result)
        if closing < len(item):
            result.pieces.append(b">")
            _phrase(item[closing + 1 :], None, result)
        return
    start = 0
    while start < len(item):
        first, last = _bare_address(item, start)
        _phrase(item[start:first], item[first] if first < len(item) else None, result)
        _address(item[first:last], result)
        start = last


def _bare_address(item: list[Token], start: int) -> tuple[int, int]:
    """The next run of tokens without blanks around an "@": an addr-spec without brackets. Empty at the end if none."""
    at = next((i for i in range(start, len(item)) if item[i].kind == "special" and item[i].octets == b"@"), None)
    if at is None:
        return len(item), len(item)
    first = at
    while first > start and item[first - 1].kind in ("atom", "string"):
        first -= 1
    last = at + 1
    while last < len(item) and (item[last].kind in ("atom", "literal") or item[last].octets == b"@"):
        last += 1
    return first, last


def _address(words: list[Token], result: Converted) -> None:
    """An addr-spec, perhaps with a route and comments."""
    at = max((i for i, token in enumerate(words) if token.octets == b"@"), default=-1)
    for index, token in enumerate(words):
        if token.kind == "comment" and offends(token.octets):
            result.pieces.append(encode_comment(token.octets))
            result.text = True
        elif not offends(token.octets):
            result.pieces.append(token.octets)
        elif index == at + 1 > 0 and token.kind == "atom" and (converted := _domain(token.octets)) is not None:
            result.pieces.append(converted)
            result.domain = True
        else:
            result.local_part = result.local_part or token.octets
            result.pieces.append(token.octets)


def _domain(octets: bytes) -> bytes | None:
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        return None
    converted = ascii_domain(text)
    return None if converted is None else converted.encode("ascii")


def _phrase(words: list[Token], following: Token | None, result: Converted) -> None:
    """A display name, or words that stand where one may: runs between comments, each encoded as a whole."""
    run: list[Token] = []
    for token in words:
        if token.kind == "comment" or token.octets in (b",", b";", b":"):
            _run(run, token, result)
            run = []
            if offends(token.octets):
                result.text = True
                result.pieces.append(encode_comment(token.octets))
            else:
                result.pieces.append(token.octets)
        else:
            run.append(token)
    _run(run, following, result)


def _run(run: list[Token], following: Token | None, result: Converted) -> None:
    bad = [i for i, token in enumerate(run) if offends(token.octets)]
    if not bad:
        result.pieces.extend(token.octets for token in run)
        return
    result.text = True
    first, last = bad[0], bad[-1]
    # What stands beside it without a blank goes into the words too, as they need blanks around them.
    while first > 0 and run[first - 1].kind != "blank" and not is_encoded_word(run[first - 1].octets):
        first -= 1
    while last + 1 < len(run) and run[last + 1].kind != "blank" and not is_encoded_word(run[last + 1].octets):
        last += 1
    text = b"".join(
        unquote(_inside(token)) if token.kind == "string" else token.octets for token in run[first : last + 1]
    )
    before, after = run[:first], run[last + 1 :]
    # RFC 2047 §6.2: a blank between two encoded-words is not shown, so one that was shown goes into ours.
    if len(before) > 1 and before[-1].kind == "blank" and is_encoded_word(before[-2].octets):
        text = before[-1].octets + text
    if len(after) > 1 and after[0].kind == "blank" and is_encoded_word(after[1].octets):
        text += after[0].octets
    result.pieces.extend(token.octets for token in before)
    # RFC 2047 §5 (3): in a phrase, an encoded-word is separated from its neighbours by blanks.
    if result.pieces and result.pieces[-1][-1:] not in (b" ", b"\t", b"\n", b""):
        result.pieces.append(b" ")
    result.pieces.append(encode_run(_FOLD.sub(b"", text)))
    neighbour = after[0] if after else following
    if neighbour is not None and neighbour.kind != "blank":
        result.pieces.append(b" ")
    result.pieces.extend(token.octets for token in after)


def _inside(token: Token) -> bytes:
    octets = token.octets[1:]
    return octets[:-1] if octets.endswith(b'"') else octets
