"""Contents that will be rendered here a moment later, rendered while the disk writes and the loop has time to spare.

The sites of a sandbox are one process and one store: what one queues another mostly stores. Invariants: found by the
digest of the octets, so what is taken is always right; bounded, so what is never asked for costs little.
"""

from collections.abc import Callable
from typing import Final, TypeVar

from mailsandbox.store.content_rows import ContentRows

T = TypeVar("T")

MAX_OCTETS: Final = 16_384  # of one content, 0.3 ms: so long the loop is kept from what comes meanwhile
MAX_KEPT: Final = 64  # contents waiting, and contents made; the oldest go first


class Ahead:
    """What is expected, and what was made of it."""

    def __init__(self, make: Callable[[bytes], ContentRows]) -> None:
        self._make = make
        self._expected: dict[bytes, bytes] = {}  # octets by sha256
        self._made: dict[bytes, ContentRows] = {}

    def expect(self, octets: bytes, sha256: bytes) -> None:
        """`take` may be asked for these octets."""
        if len(octets) <= MAX_OCTETS:
            _put(self._expected, sha256, octets)

    def make_one(self) -> bool:
        """Make what has been expected for longest; False when there is nothing."""
        if not self._expected:
            return False
        sha256 = next(iter(self._expected))
        _put(self._made, sha256, self._make(self._expected.pop(sha256)))
        return True

    def take(self, sha256: bytes) -> ContentRows | None:
        """What was made for that digest, once; it is expected no longer."""
        self._expected.pop(sha256, None)
        return self._made.pop(sha256, None)


def _put(kept: dict[bytes, T], key: bytes, value: T) -> None:
    kept[key] = value
    if len(kept) > MAX_KEPT:
        del kept[next(iter(kept))]
