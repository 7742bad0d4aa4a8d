"""One session's numbering of one mailbox: what the client was told, and what it is still to be told. Pure.

Invariants: sequence numbers change only when `pull` says so, whatever other sessions do meanwhile (RFC 9051 §7.5.1);
a message that is gone keeps its number until then (it is a ghost); numbers count the first `exists` messages, newer
ones lie behind them untold. While there are no ghosts the mailbox's own list is the numbering: nothing is copied.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mailsandbox.access.imap.sets import Range, SequenceSet, indexes_within
from mailsandbox.store.logrow import LogRow
from mailsandbox.store.model import ChangeType, FlagChange, MessageRow, ModSeq, Uid

_MAX_FLAGGED = 64  # changes of flags kept apart; all but the newest become one then
_NEWEST = 16
_SEVERAL = ModSeq(0)  # flags changed more than once: never taken for our own change


class Mailbox(Protocol):
    """What the view needs of the store's MailboxState."""

    @property
    def uids(self) -> Sequence[Uid]: ...
    @property
    def rows(self) -> Mapping[Uid, MessageRow]: ...


@dataclass(slots=True)
class Pending:
    """What a client is to be told, in this order. Sequence numbers of `expunged` hold one after the other."""

    expunged: list[tuple[int, Uid]] = field(default_factory=list)
    exists: int | None = None
    new: list[Uid] = field(default_factory=list)
    flags: list[tuple[int, MessageRow]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.expunged or self.exists is not None or self.flags)


class View:
    """Built at SELECT, when the client is told how many messages there are."""

    __slots__ = ("_flagged", "_ghosts", "_merged", "_told_uid", "exists", "mailbox")

    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox
        self.exists = len(mailbox.uids)
        self._told_uid = mailbox.uids[-1] if mailbox.uids else Uid(0)
        self._ghosts: set[Uid] = set()
        self._merged: list[Uid] | None = None
        self._flagged: list[tuple[ModSeq, Sequence[Uid]]] = []  # flags to be told, by the change of them

    @property
    def numbers(self) -> Sequence[Uid]:
        """UIDs by sequence number, from index 0; only the first `exists` have one."""
        if not self._ghosts:
            return self.mailbox.uids
        if self._merged is None:
            # Two ascending runs: sorted() merges them in linear time.
            self._merged = sorted([*self.mailbox.uids, *sorted(self._ghosts)])
        return self._merged

    @property
    def has_pending(self) -> bool:
        """Whether `pull` would tell anything."""
        return bool(self._ghosts or self._flagged) or len(self.mailbox.uids) != self.exists

    @property
    def last_uid(self) -> Uid:
        """The UID of the last message that has a number; 0 for none."""
        return self.numbers[self.exists - 1] if self.exists else Uid(0)

    def sequence_number(self, uid: Uid) -> int:
        """The number of a message; 0 where it has none."""
        numbers = self.numbers
        index = bisect_left(numbers, uid, 0, self.exists)
        return index + 1 if index < self.exists and numbers[index] == uid else 0

    def indexes(self, numbers: SequenceSet, *, uid: bool, saved: Sequence[Uid] = ()) -> list[range] | None:
        """Index ranges of the messages of a set, ascending; None if a sequence number is not in use.

        RFC 9051 §6.4.9: UIDs that do not exist are ignored.
        """
        listed = self.numbers
        if numbers.saved:
            found = [bisect_left(listed, each, 0, self.exists) for each in saved]
            return [
                range(index, index + 1)
                for index, each in zip(found, saved, strict=True)
                if index < self.exists and listed[index] == each
            ]
        if uid:
            ranges = numbers.resolve(self.last_uid or 1)
            return list(indexes_within(listed, ranges, self.exists))
        ranges = numbers.resolve(self.exists)
        if not ranges or ranges[-1][1] > self.exists or ranges[0][0] < 1:
            return None
        return [range(first - 1, last) for first, last in ranges]

    def uid_ranges(self, ranges: Sequence[Range]) -> list[Uid]:
        """The UIDs with a number within ascending UID ranges."""
        listed = self.numbers
        return [
            uid for found in indexes_within(listed, ranges, self.exists) for uid in listed[found.start : found.stop]
        ]

    def note(self, rows: Sequence[LogRow]) -> None:
        """Changes of this mailbox, just committed; the mailbox's lists have them already."""
        told = self._told_uid
        for row in rows:
            # What has no number yet needs no change told.
            match row.type:
                case ChangeType.MESSAGE_EXPUNGE:
                    self._ghosts.update(_up_to(row.uids, told))
                case ChangeType.FLAGS_SET | ChangeType.FLAGS_CLEAR:
                    if numbered := _up_to(row.uids, told):
                        self._flag(row.mod_seq, numbered)
                case _:
                    pass
        if self._ghosts:
            self._merged = None

    def _flag(self, mod_seq: ModSeq, uids: Sequence[Uid]) -> None:
        self._flagged.append((mod_seq, uids))
        if len(self._flagged) > _MAX_FLAGGED:
            # A client that asks nothing while others write: bounded by the mailbox, not by their commands.
            merged = {uid for _, older in self._flagged[:-_NEWEST] for uid in older}
            self._flagged = [(_SEVERAL, sorted(merged)), *self._flagged[-_NEWEST:]]

    def told_flags(self, changes: Sequence[FlagChange]) -> None:
        """The client knows of these changes by an answer of its own, or asked not to be told (.SILENT)."""
        if changes and self._flagged:
            own = changes[0].mod_seq  # of all that one command did
            self._flagged = [each for each in self._flagged if each[0] != own]

    def shown_flags(self, rows: Sequence[MessageRow]) -> None:
        """The client was sent the flags of these rows as they are now."""
        if self._flagged:
            shown = {row.uid for row in rows}
            left = [(mod_seq, [uid for uid in uids if uid not in shown]) for mod_seq, uids in self._flagged]
            self._flagged = [each for each in left if each[1]]

    def pull(self, *, expunge: bool) -> Pending:
        """What is to be told now, and from now on counts as told. Without `expunge` numbers stay as they are."""
        pending = Pending()
        if expunge and self._ghosts:
            numbers = self.numbers
            ghosts = sorted(self._ghosts)
            # Each EXPUNGE moves the numbers behind it (RFC 9051 §7.5.1).
            pending.expunged = [
                (bisect_left(numbers, uid, 0, self.exists) + 1 - before, uid) for before, uid in enumerate(ghosts)
            ]
            self._ghosts.clear()
            self._merged = None
            self.exists -= len(ghosts)
        numbers = self.numbers
        if len(numbers) > self.exists:
            pending.new = list(numbers[self.exists :])
            pending.exists = self.exists = len(numbers)
            self._told_uid = numbers[-1]
        if self._flagged:
            rows = self.mailbox.rows
            for uid in sorted({uid for _, uids in self._flagged for uid in uids}):
                row = rows.get(uid)
                if row is not None:
                    pending.flags.append((bisect_left(numbers, uid, 0, self.exists) + 1, row))
            self._flagged.clear()
        return pending

    def ghosts(self) -> list[Uid]:
        """Messages that are gone and not told so, ascending."""
        return sorted(self._ghosts)

    def forget(self, uids: Sequence[Uid]) -> None:
        """These are told to be gone by other means (VANISHED (EARLIER)): they lose their numbers silently."""
        for uid in uids:
            if uid in self._ghosts:
                self._ghosts.discard(uid)
                self.exists -= 1
        self._merged = None


def _up_to(uids: Sequence[Uid], last: Uid) -> Sequence[Uid]:
    """Those of the ascending `uids` that are not above `last`."""
    return uids if uids[-1] <= last else uids[: bisect_right(uids, last)]


@dataclass(slots=True)
class RecentMarks:
    """Which messages are \\Recent to this session: ranges of UIDs, ascending (RFC 3501 §2.3.2)."""

    ranges: list[tuple[int, int]] = field(default_factory=list)

    def add(self, first: int, last: int) -> None:
        """From `first` to `last`; nothing if that is empty."""
        if first <= last:
            self.ranges.append((first, last))

    def __contains__(self, uid: int) -> bool:
        return any(first <= uid <= last for first, last in self.ranges)

    def count(self, uids: Sequence[Uid]) -> int:
        """How many of the ascending `uids`."""
        return sum(bisect_right(uids, last) - bisect_left(uids, first) for first, last in self.ranges)
