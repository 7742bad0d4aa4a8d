"""Results of parsing short values, kept: the same addresses and media types come with message after message.

Invariant: bounded in number and in octets, so that a hostile sender can push values out but never make it grow. Only
for pure functions whose results nobody changes.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Final, TypeVar

T = TypeVar("T")

MAX_VALUES: Final = 1_024  # of each function
MAX_OCTETS: Final = 256  # of one value; a longer one is parsed each time


def remembered(function: Callable[[bytes], T]) -> Callable[[bytes], T]:
    """`function`, whose results for short values are kept."""
    kept = lru_cache(MAX_VALUES)(function)

    def call(value: bytes) -> T:
        return kept(value) if len(value) <= MAX_OCTETS else function(value)

    return call
