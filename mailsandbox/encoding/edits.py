"""The list of edits between a message as received and as sent on.

Invariants: edits do not overlap; every octet outside them is identical in both messages.
"""

import itertools
from collections.abc import Iterable, Sequence

from mailsandbox.message.findings import Edit


class EditList:
    """Collects edits in any order. Insertions at one place keep the order in which they were added."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._edits: list[Edit] = []

    def replace(self, start: int, end: int, after: bytes, *, rule: str, source: str, part: str) -> None:
        """Octets [start, end) become `after`; what both have in common at either end is left out of the edit."""
        before = self._octets[start:end]
        if before == after:
            return
        if before and len(after) < 200_000:
            start, end, after = _trim(before, after, start, end)
        self._edits.append(Edit(start, end, after, rule, source, part))

    def line_end(self, start: int, end: int, *, part: str) -> None:
        """Octets [start, end), a line end, become CRLF; whole, so that an insertion before it stays before it."""
        if self._octets[start:end] != b"\r\n":
            self._edits.append(Edit(start, end, b"\r\n", "bare-lf", "RFC 5322 §2.3", part))

    def insert(self, at: int, octets: bytes, *, rule: str, source: str, part: str) -> None:
        self._edits.append(Edit(at, at, octets, rule, source, part))

    def discard(self, start: int, end: int) -> None:
        """Forget edits of octets [start, end), which are about to be replaced as a whole."""
        self._edits = [edit for edit in self._edits if edit.end <= start or edit.start >= end]

    @property
    def consistent(self) -> bool:
        """Whether no two edits change the same octets."""
        edits = self.sorted()
        return all(one.end <= other.start for one, other in itertools.pairwise(edits))

    def sorted(self) -> tuple[Edit, ...]:
        """In order of place; sorting is stable, so insertions at one place stay in order, before a replacement."""
        return tuple(sorted(self._edits, key=lambda edit: (edit.start, edit.end)))


def _trim(before: bytes, after: bytes, start: int, end: int) -> tuple[int, int, bytes]:
    limit = min(len(before), len(after))
    head = _common_prefix(before, after, limit)
    tail = _common_prefix(before[head:][::-1], after[head:][::-1], limit - head)
    return start + head, end - tail, after[head : len(after) - tail]


def _common_prefix(one: bytes, other: bytes, limit: int) -> int:
    """Length of the common beginning, by halving: no loop over octets."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def apply_edits(octets: bytes, edits: Sequence[Edit]) -> bytes:
    """The message with its edits, which are sorted and do not overlap."""
    pieces: list[bytes] = []
    done = 0
    for edit in edits:
        pieces.append(octets[done : edit.start])
        pieces.append(edit.after)
        done = edit.end
    pieces.append(octets[done:])
    return b"".join(pieces)


def touched(edits: Iterable[Edit], start: int, end: int) -> bool:
    """Whether any edit changes octets of [start, end)."""
    return any((edit.start < end and edit.end > start) or start < edit.start == edit.end < end for edit in edits)
