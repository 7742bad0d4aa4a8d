"""A reader of IMAP lists that was not written beside the code under test's writer, and where real mail lies."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from private_dovecot import dovecot  # noqa: F401

_TOKEN = re.compile(rb'[ ]?(?:(\()|(\))|"((?:[^"\\\r\n\x80-\xff\0]|\\["\\])*)"|\{(\d+)\}\r\n|(NIL|\d+))')


def read_list(wire: bytes) -> list:
    """Strings as bytes, numbers as int, NIL as None; anything that RFC 9051 §9 does not allow fails."""
    stack: list[list] = [[]]
    at = 0
    while at < len(wire):
        token = _TOKEN.match(wire, at)
        assert token, f"not IMAP at {at}: {wire[max(0, at - 30) : at + 30]!r}"
        at = token.end()
        opened, closed, quoted, literal, atom = token.groups()
        if opened:
            stack.append([])
        elif closed:
            done = stack.pop()
            stack[-1].append(done)
        elif quoted is not None:
            stack[-1].append(re.sub(rb"\\(.)", rb"\1", quoted))
        elif literal is not None:
            octets = wire[at : at + int(literal)]
            assert len(octets) == int(literal)
            assert b"\0" not in octets
            stack[-1].append(octets)
            at += int(literal)
        else:
            stack[-1].append(None if atom == b"NIL" else int(atom))
    assert len(stack) == 1, "parentheses do not match"
    assert len(stack[0]) == 1, "more than one item"
    return stack[0][0]


@pytest.fixture(scope="session")
def imap_list() -> Callable[[bytes], list]:
    return read_list


def _corpus() -> list[Path]:
    places = [os.environ.get("MAIL_CORPUS", ""), Path(__file__).resolve().parents[3] / "shared" / "corpus"]
    for place in places:
        if place and (root := Path(place)).is_dir():
            return sorted(root.rglob("*.eml"))
    return []


@pytest.fixture(scope="session")
def corpus() -> list[Path]:
    """Every message of the corpus of real mail."""
    messages = _corpus()
    if not messages:
        pytest.skip("the corpus of real mail is not here")
    return messages
