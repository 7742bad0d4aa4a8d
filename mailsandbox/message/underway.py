"""Large messages that are being sent, and what is known of them, so that who receives one need not find it out again.

The sites of a sandbox are one process, so what one relays another mostly receives. To see that two messages of 5 MB are
the same takes 0.3 ms; to hash and examine one takes 7, and a second copy of it 5 MB of fresh memory, which is 3 more.
Invariant: octets are called known only where they are the same, octet for octet; nothing is held longer than `sending`
lasts. Knows neither who sends nor who receives.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

LARGE: Final = 1 << 18  # octets; below that comparing saves nothing worth the trouble


_NOTHING: Final = contextlib.nullcontext()


class Known(msgspec.Struct, frozen=True):
    """`octets`, with the `trace` that goes before them.

    `clean`: both are known to be 7-bit, without NUL, in lines of at most 998 octets that end with CRLF.
    """

    trace: bytes
    octets: bytes
    sha256: bytes | None  # of `octets`, where it is known
    whole_sha256: str  # of both together, in hex
    clean: bool
    whole: bytes = b""  # both together, where they are so in memory


class Underway:
    """What is being sent now."""

    def __init__(self) -> None:
        self._by_size: dict[int, list[Known]] = {}

    def sending(self, known: Known) -> contextlib.AbstractContextManager[None]:
        """`known` is underway meanwhile."""
        return _NOTHING if len(known.octets) < LARGE else self._listed(known)

    @contextlib.contextmanager
    def _listed(self, known: Known) -> Iterator[None]:
        size = len(known.octets)
        same_size = self._by_size.setdefault(size, [])
        same_size.append(known)
        try:
            yield
        finally:
            # By identity: equal ones would be compared octet by octet.
            same_size[:] = [other for other in same_size if other is not known]
            if not same_size:
                self._by_size.pop(size, None)

    def find(self, octets: bytes, start: int) -> Known | None:
        """Whose octets are those of `octets` from `start` on."""
        for known in self._by_size.get(len(octets) - start, ()):
            if octets is known.whole or octets.endswith(known.octets):
                return known
        return None

    def whole(self, size: int, is_same: Callable[[bytes], bool]) -> bytes | None:
        """What is being sent and is the same as something that is `size` octets long but not in one piece yet."""
        for same_size in self._by_size.values():
            for known in same_size:
                if len(known.whole) == size and is_same(known.whole):
                    return known.whole
        return None
