"""Sets, names, dates, strings: the small values of the wire, and their laws."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsandbox.access.imap.dates import parse_date_time, write_date_time
from mailsandbox.access.imap.envelopes import CC, FROM, TO, FirstAddress, first_address
from mailsandbox.access.imap.framing import CommandOctets
from mailsandbox.access.imap.grammar.scanner import Scanner
from mailsandbox.access.imap.names import BROKEN, ListPattern, decode_utf7, encode_utf7, why_invalid
from mailsandbox.access.imap.responses import GrammarError, astring, string
from mailsandbox.access.imap.sets import SequenceSet, merge, to_ranges, write_numbers, write_pairs_in_order

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@pytest.mark.rfc(3501, "5.1.3")
@given(NAMES)
def test_modified_utf7_decodes_to_what_was_encoded(name: str) -> None:
    encoded = encode_utf7(name)
    assert re.fullmatch(rb"[\x20-\x7e]*", encoded)
    assert decode_utf7(encoded) == name


@pytest.mark.parametrize(
    ("octets", "name"),
    [
        (b"&AOk-t&AOk-", "été"),
        (b"R&-D", "R&D"),
        (b"&", BROKEN),
        (b"&AGE-", BROKEN),
        (b"&bad", BROKEN),
        (b"&!!-", BROKEN),
    ],
)
def test_each_name_has_one_spelling(octets: bytes, name: str) -> None:
    assert decode_utf7(octets) == name
    assert bool(why_invalid(name)) == (BROKEN in name)


@pytest.mark.rfc(9051, "6.3.9")
@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("*", "a/b/c", True),
        ("%", "a/b", False),
        ("%/%", "a/b", True),
        ("a*c", "a/b/c", True),
        ("a%c", "a/b/c", False),
        ("a", "ab", False),
        ("inbox", "INBOX", True),
        ("INB%", "INBOX", True),
        ("inbox", "Inbox2", False),
        ("A", "a", False),
        ("%*%*%*b", "a/a/ab", True),
        ("a.c", "abc", False),
    ],
)
def test_patterns_are_anchored(pattern: str, name: str, fits: bool) -> None:
    assert ListPattern("", pattern).fits(name) is fits


@given(st.text("ab/*%", max_size=12), st.text("ab/", max_size=12))
def test_both_ways_of_matching_agree(pattern: str, name: str) -> None:
    expression = "".join({"*": ".*", "%": "[^/]*"}.get(character, re.escape(character)) for character in pattern)
    assert ListPattern("", pattern).fits(name) == bool(re.fullmatch(expression, name, re.DOTALL))


def test_a_pattern_of_many_wildcards_takes_no_exponential_time() -> None:
    assert not ListPattern("", "*a" * 200 + "b").fits("a" * 900)


@given(st.sets(st.integers(1, 200)))
def test_a_written_set_reads_as_the_same_numbers(numbers: set[int]) -> None:
    if numbers:
        ranges = SequenceSet.parse(write_numbers(sorted(numbers))).resolve(1)
        assert {number for first, last in ranges for number in range(first, last + 1)} == numbers
        assert to_ranges(sorted(numbers)) == merge(ranges)


def test_a_star_is_the_largest_number_and_order_does_not_matter() -> None:
    assert SequenceSet.parse(b"*:2").resolve(7) == [(2, 7)]
    assert SequenceSet.parse(b"9:*").resolve(7) == [(7, 9)]
    assert SequenceSet.parse(b"5,1:2,3").resolve(9) == [(1, 3), (5, 5)]


@pytest.mark.rfc(4315, "3")
def test_pairs_keep_their_order() -> None:
    assert write_pairs_in_order([3, 4, 1, 9, 8]) == b"3:4,1,9,8"


@given(st.binary(max_size=40).filter(lambda octets: b"\0" not in octets))
def test_a_string_reads_as_what_was_written(octets: bytes) -> None:
    for written in (string(octets), astring(octets), string(octets, utf8=True)):
        marker = re.match(rb"\{(\d+)\}\r\n", written)
        literals = (written[marker.end() :],) if marker else ()
        scanner = Scanner(CommandOctets(marker.group() if marker else written, literals))
        assert scanner.astring() == octets
        scanner.end()


@pytest.mark.rfc(9051, "9")
@given(st.integers(0, 4_000_000_000))
def test_an_internal_date_reads_as_the_same_second(posix: int) -> None:
    assert parse_date_time(write_date_time(posix).decode()[1:-1]) == posix


@pytest.mark.parametrize("text", ["", "x", "32-Jan-2020 00:00:00 +0000", "1-Jan-2020 25:00:00 +0000", "1-Jan-2020"])
def test_a_wrong_date_is_refused(text: str) -> None:
    with pytest.raises(GrammarError):
        parse_date_time(text)


def test_first_addresses_are_read_back_from_an_envelope() -> None:
    envelope = (
        b'("date" {3}\r\na"b ((NIL NIL "a\\"x" "h")("n" NIL "b" "h")) NIL NIL (("=?utf-8?q?=C3=A9?=" NIL {1}\r\nc "h"))'
        b' NIL NIL NIL "<id>")'
    )
    assert first_address(envelope, FROM) == FirstAddress("", 'a"x', "h")
    assert first_address(envelope, TO) == FirstAddress("é", "c", "h")
    assert first_address(envelope, CC) == FirstAddress()
    assert first_address(envelope, TO).display == "é"
    assert first_address(envelope, FROM).display == 'a"x@h'


@given(st.binary(max_size=60), st.sampled_from([FROM, TO, CC]))
def test_any_envelope_gives_an_address(octets: bytes, position: int) -> None:
    first_address(octets, position)
