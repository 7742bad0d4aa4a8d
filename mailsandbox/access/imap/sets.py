"""Sequence sets: parsed to ranges, resolved against a view, written as short as can be. Pure.

Invariant: a set stays ranges from the wire to the rows; "1:*" never becomes ten thousand numbers before it must.
`*` is kept as STAR until a view says what it means.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from msgspec import Struct

from mailsandbox.access.imap.responses import GrammarError

STAR: Final = 0  # "*", the largest number in use (RFC 9051 §9, seq-number)
MAX_NUMBER: Final = 4_294_967_295  # RFC 9051 §9: nz-number is a non-zero unsigned 32-bit integer

SET: Final = re.compile(
    rb"(?:[1-9][0-9]{0,9}|\*)(?::(?:[1-9][0-9]{0,9}|\*))?(?:,(?:[1-9][0-9]{0,9}|\*)(?::(?:[1-9][0-9]{0,9}|\*))?)*"
)

Range = tuple[int, int]


class SequenceSet(Struct, frozen=True):
    """Ranges as the client wrote them; `saved` is "$", the result of the last SEARCH RETURN (SAVE) (RFC 5182)."""

    ranges: tuple[Range, ...]
    saved: bool = False

    @classmethod
    def parse(cls, octets: bytes) -> "SequenceSet":
        """From a match of SET. Raises GrammarError for a number over 32 bits."""
        if octets.isdigit() and len(octets) < 10:  # one number, the usual case
            number = int(octets)
            return cls(((number, number),))
        ranges = []
        for item in octets.split(b","):
            low, colon, high = item.partition(b":")
            first = STAR if low == b"*" else int(low)
            last = first if not colon else (STAR if high == b"*" else int(high))
            if first > MAX_NUMBER or last > MAX_NUMBER:
                raise GrammarError("Number over 32 bits in a set")
            ranges.append((first, last))
        return cls(tuple(ranges))

    @property
    def single(self) -> int:
        """The number, where the set is one plain number; else 0."""
        if len(self.ranges) == 1 and not self.saved:
            first, last = self.ranges[0]
            return first if first == last else 0
        return 0

    def resolve(self, largest: int) -> list[Range]:
        """Ascending, non-overlapping ranges with `*` replaced by `largest`. "7:3" is "3:7" (RFC 9051 §9)."""
        if len(self.ranges) == 1:
            first, last = self.ranges[0]
            first, last = first or largest, last or largest
            return [(first, last) if first <= last else (last, first)]
        return merge((first or largest, last or largest) for first, last in self.ranges)


SAVED: Final = SequenceSet((), saved=True)


def merge(ranges: Iterable[Range]) -> list[Range]:
    """Sort, orient and join ranges."""
    merged: list[Range] = []
    for first, last in sorted((low, high) if low <= high else (high, low) for low, high in ranges):
        if merged and first <= merged[-1][1] + 1:
            if last > merged[-1][1]:
                merged[-1] = (merged[-1][0], last)
        else:
            merged.append((first, last))
    return merged


def indexes_within(uids: Sequence[int], ranges: Sequence[Range], count: int) -> Iterator[range]:
    """For UID ranges: the index ranges of the first `count` of the ascending `uids` that they cover."""
    for first, last in ranges:
        low = bisect_left(uids, first, 0, count)
        high = bisect_right(uids, last, low, count)
        if low < high:
            yield range(low, high)


def to_ranges(numbers: Sequence[int]) -> list[Range]:
    """Ascending numbers to ranges."""
    if not numbers:
        return []
    if numbers[-1] - numbers[0] == len(numbers) - 1:  # one run, the usual case
        return [(numbers[0], numbers[-1])]
    ranges = []
    first = previous = numbers[0]
    for number in numbers[1:]:
        if number != previous + 1:
            ranges.append((first, previous))
            first = number
        previous = number
    ranges.append((first, previous))
    return ranges


def write_ranges(ranges: Iterable[Range]) -> bytes:
    """The wire form."""
    return b",".join(b"%d" % first if first == last else b"%d:%d" % (first, last) for first, last in ranges)


def write_numbers(numbers: Sequence[int]) -> bytes:
    """Ascending numbers as the shortest set; b"" for none."""
    return write_ranges(to_ranges(numbers))


def write_pairs_in_order(numbers: Sequence[int]) -> bytes:
    """Numbers in any order as a set that keeps it: only ascending neighbours are joined (COPYUID, RFC 4315 §3)."""
    ranges: list[Range] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return write_ranges(ranges)
