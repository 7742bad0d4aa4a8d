"""The rows of a mailbox held in memory: all of a small one; of a large one those that were asked for.

Invariant: to whoever looks this is a dict of every message of the mailbox; rows that are not there yet are read from
the database when they are asked for, with their neighbours. Memory is bounded by MAX_LOADED, not by the mailbox.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, ItemsView, Iterator, ValuesView
from typing import Any, Final

from mailsandbox.store.model import MessageRow, Uid, row_of_expunged

BLOCK: Final = 512  # UIDs read at once
MAX_LOADED: Final = 50_000  # rows of one mailbox, about 20 MB

Load = Callable[[int, int], list[MessageRow]]  # rows from one UID to another, both included


class Rows(dict[Uid, MessageRow]):
    """Rows by UID, in ascending order. `uids` is the state's own list; `load` None: everything is here already."""

    __slots__ = ("_blocks", "_key", "_load", "_uids")

    def __init__(self, key: int, uids: list[Uid], rows: list[MessageRow], load: Load | None) -> None:
        super().__init__((row.uid, row) for row in rows)
        self._key = key
        self._uids = uids
        self._load = load
        self._blocks: list[int] = []  # numbers of the blocks that were read, oldest first

    def __missing__(self, uid: Uid) -> MessageRow:
        if self._load is None or not self._has(uid):
            raise KeyError(uid)
        self._read(uid // BLOCK)
        found = dict.get(self, uid)
        if found is None:
            found = row_of_expunged(self._key, uid)
        return found

    def peek(self, uid: Uid) -> MessageRow | None:
        """The row if it is in memory."""
        return dict.get(self, uid)

    def get(self, uid: Uid, default: Any = None) -> Any:  # Any: as dict.get
        found = dict.get(self, uid)
        if found is not None:
            return found
        return self[uid] if self._load is not None and self._has(uid) else default

    def __contains__(self, uid: object) -> bool:
        if dict.__contains__(self, uid):
            return True
        return self._load is not None and isinstance(uid, int) and self._has(uid)

    def __len__(self) -> int:
        return len(self._uids)

    def __iter__(self) -> Iterator[Uid]:
        return iter(self._uids)

    def keys(self) -> Any:  # Any: an ordered view of the keys
        return dict.fromkeys(self._uids).keys()

    def values(self) -> ValuesView[MessageRow]:  # type: ignore[override]
        return self._whole().values()

    def items(self) -> ItemsView[Uid, MessageRow]:  # type: ignore[override]
        return self._whole().items()

    def __eq__(self, other: object) -> bool:
        return self._whole() == other

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None

    def _whole(self) -> dict[Uid, MessageRow]:
        """All rows, those not in memory read at once and not kept."""
        if self._load is None or dict.__len__(self) == len(self._uids):
            held = dict.copy(self)
            return held if list(dict.__iter__(held)) == self._uids else {uid: held[uid] for uid in self._uids}
        read = {row.uid: row for row in self._load(self._uids[0], self._uids[-1])}
        return {uid: dict.get(self, uid) or read.get(uid) or self[uid] for uid in self._uids}

    def _has(self, uid: int) -> bool:
        at = bisect_left(self._uids, uid)
        return at < len(self._uids) and self._uids[at] == uid

    def _read(self, block: int) -> None:
        assert self._load is not None
        low, high = block * BLOCK, block * BLOCK + BLOCK - 1
        known = self._uids[bisect_left(self._uids, low) : bisect_right(self._uids, high)]
        read = {row.uid: row for row in self._load(low, high)}
        for uid in known:
            if not dict.__contains__(self, uid) and uid in read:
                dict.__setitem__(self, uid, read[uid])
        self._blocks.append(block)
        while dict.__len__(self) > MAX_LOADED and len(self._blocks) > 1:
            self._drop(self._blocks.pop(0))

    def _drop(self, block: int) -> None:
        low, high = block * BLOCK, block * BLOCK + BLOCK - 1
        for uid in self._uids[bisect_left(self._uids, low) : bisect_right(self._uids, high)]:
            dict.pop(self, uid, None)
