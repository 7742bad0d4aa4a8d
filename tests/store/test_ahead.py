"""Contents are rendered ahead of being asked for: the right ones, once, and not too many."""

import hashlib

import pytest

from mailsandbox.message.rendering import render
from mailsandbox.store.ahead import MAX_KEPT, MAX_OCTETS, Ahead
from mailsandbox.store.content_rows import ContentRows, content_rows


def digest(octets: bytes) -> bytes:
    return hashlib.sha256(octets).digest()


def letter(number: int, size: int = 0) -> bytes:
    return b"Subject: %d\r\n\r\n" % number + b"x" * size


@pytest.fixture
def made() -> list[bytes]:
    return []


@pytest.fixture
def ahead(made: list[bytes]) -> Ahead:
    def make(octets: bytes) -> ContentRows:
        made.append(octets)
        return content_rows(render(octets))

    return Ahead(make)


def test_what_was_expected_first_is_made_first_and_taken_once(ahead: Ahead, made: list[bytes]) -> None:
    for number in (1, 2):
        ahead.expect(letter(number), digest(letter(number)))
    assert ahead.make_one()
    assert made == [letter(1)]
    assert ahead.take(digest(letter(1))) == content_rows(render(letter(1)))
    assert ahead.take(digest(letter(1))) is None


def test_what_was_asked_for_before_it_was_made_is_expected_no_longer(ahead: Ahead, made: list[bytes]) -> None:
    ahead.expect(letter(1), digest(letter(1)))
    assert ahead.take(digest(letter(1))) is None
    assert not ahead.make_one()
    assert made == []


def test_a_content_that_takes_long_is_not_made_ahead(ahead: Ahead) -> None:
    large = letter(1, MAX_OCTETS)
    ahead.expect(large, digest(large))
    assert not ahead.make_one()


def test_what_is_expected_in_vain_is_bounded_before_and_after_it_is_made(ahead: Ahead, made: list[bytes]) -> None:
    numbers = range(3 * MAX_KEPT)
    for number in numbers:
        ahead.expect(letter(number), digest(letter(number)))
    while ahead.make_one():
        pass
    assert made == [letter(number) for number in numbers[-MAX_KEPT:]]
    for number in range(1_000, 1_010):
        ahead.expect(letter(number), digest(letter(number)))
        ahead.make_one()
    taken = [number for number in [*numbers, *range(1_000, 1_010)] if ahead.take(digest(letter(number))) is not None]
    assert taken == [*numbers[-MAX_KEPT + 10 :], *range(1_000, 1_010)]
