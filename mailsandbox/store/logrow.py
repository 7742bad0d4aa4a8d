"""The log of changes in memory: its rows, and what one commit wrote. Pure.

Invariant: to whoever walks it, a commit is a sequence of changes with numbers without gaps; the changes are made when
somebody walks them, and not before.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import overload

import msgspec

from mailsandbox.store.model import NO_FLAGS, Change, ChangeType, Flags, ModSeq, Seq, Uid


class LogRow(msgspec.Struct, frozen=True):
    """One row of the log: changes of one kind to messages of one mailbox in one commit, numbered on from `first`.

    Without `uids` it is one change of the mailbox itself. `flags`: after the change, one for all messages or one for
    each.
    """

    account: str
    type: ChangeType
    mailbox_key: int
    mailbox: str
    mod_seq: ModSeq
    at: float
    committed_ns: int
    other_name: str
    first: Seq
    uids: Sequence[Uid]
    flags: Sequence[Flags]

    @property
    def last(self) -> Seq:
        """The number of its last change."""
        return Seq(self.first + max(1, len(self.uids)) - 1)

    def after(self, seq: int) -> "LogRow":
        """The row without its changes up to number `seq`, which is below its last."""
        passed = seq - self.first + 1
        if passed <= 0:
            return self
        flags = self.flags[passed:] if len(self.flags) == len(self.uids) else self.flags
        return msgspec.structs.replace(self, first=Seq(seq + 1), uids=self.uids[passed:], flags=flags)

    def flags_of(self, uid: Uid) -> Flags:
        """The flags of one of its `uids` after the change."""
        if len(self.flags) == len(self.uids):
            return self.flags[bisect_left(self.uids, uid)]
        return self.flags[0] if self.flags else NO_FLAGS

    def changes(self) -> list[Change]:
        """Its changes one by one."""
        account, kind, key, name, mod_seq = self.account, self.type, self.mailbox_key, self.mailbox, self.mod_seq
        at, committed_ns, other_name = self.at, self.committed_ns, self.other_name
        uids = self.uids
        if not uids:
            return [Change(self.first, kind, account, name, None, mod_seq, None, at, committed_ns, (), other_name)]
        names = [each.sorted_names for each in self.flags]
        each = names if len(names) == len(uids) else [names[0] if names else ()] * len(uids)
        # Ten thousand at a time: calling a NewType costs as much as making the struct.
        return [
            Change(seq, kind, account, name, uid, mod_seq, f"{key}-{uid}", at, committed_ns, flags, other_name)  # type: ignore[arg-type]
            for seq, uid, flags in zip(range(self.first, self.first + len(uids)), uids, each, strict=True)
        ]


class Changes(Sequence[Change]):
    """What one commit did, in the order of its numbers: one by one for whoever walks it, or as the rows of the log.

    One command may change ten thousand messages; few of those who hear of it look at each.
    """

    __slots__ = ("_expanded", "rows")

    def __init__(self, rows: Sequence[LogRow]) -> None:
        self.rows = rows
        self._expanded: list[Change] | None = None

    def _all(self) -> list[Change]:
        if self._expanded is None:
            self._expanded = [change for row in self.rows for change in row.changes()]
        return self._expanded

    def __len__(self) -> int:
        return sum(max(1, len(row.uids)) for row in self.rows)

    def __iter__(self) -> Iterator[Change]:
        return iter(self._all())

    @overload
    def __getitem__(self, index: int) -> Change: ...
    @overload
    def __getitem__(self, index: slice) -> list[Change]: ...
    def __getitem__(self, index: int | slice) -> Change | list[Change]:
        return self._all()[index]
