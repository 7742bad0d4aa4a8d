"""One mailbox in memory, shared by all sessions of the process that look at it.

Invariants: `uids` and `rows` ascend and have the same members; commits reach a state before any listener hears of them;
no row has a higher mod-sequence than its mailbox. Applying what a state already has changes nothing, so that a commit
that ends while the state loads does no harm.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from mailsandbox.store.model import FlagChange, MessageRow, ModSeq, Uid
from mailsandbox.store.rows import Load, Rows
from mailsandbox.store.unit import MailboxDelta


class MailboxState:
    """The index of a mailbox: see the module. `removed` once the mailbox was deleted."""

    __slots__ = (
        "_released",
        "account",
        "account_key",
        "derived",
        "highest_mod_seq",
        "key",
        "mailbox_id",
        "name",
        "recent_from_uid",
        "removed",
        "rows",
        "seq",
        "uid_next",
        "uid_validity",
        "uids",
        "users",
    )

    def __init__(
        self,
        *,
        account: str,
        account_key: int,
        seq: int,
        name: str,
        key: int,
        uid_validity: int,
        uid_next: int,
        highest_mod_seq: int,
        recent_from_uid: int,
        uids: list[Uid],
        rows: list[MessageRow],
        load: Load | None,
        released: Callable[["MailboxState"], None],
    ) -> None:
        self.account = account
        self.account_key = account_key
        self.seq = seq  # of the account's log when this was read
        self.name = name
        self.key = key
        self.mailbox_id = f"F{key}"  # RFC 8474 §4.1
        self.uid_validity = uid_validity
        self.uid_next = Uid(uid_next)
        self.highest_mod_seq = ModSeq(highest_mod_seq)
        self.recent_from_uid = Uid(recent_from_uid)
        self.uids = uids
        self.rows: dict[Uid, MessageRow] = (
            {row.uid: row for row in rows} if load is None else Rows(key, uids, rows, load)
        )
        self.derived: dict[str, object] = {}  # what readers worked out of contents, for the next one; theirs to check
        self.removed = False
        self.users = 0
        self._released = released

    def release(self) -> None:
        """Give back one `open_mailbox`."""
        self.users -= 1
        if self.users == 0:
            self._released(self)

    def apply(self, delta: MailboxDelta) -> None:
        """Take over what a commit did."""
        for row in delta.added:
            if row.uid >= self.uid_next:
                self.uids.append(row.uid)
                self.rows[row.uid] = row
        for row in delta.changed:
            current = dict.get(self.rows, row.uid)  # one that is not in memory will be read as it is then
            if current is not None and current.mod_seq < row.mod_seq:
                self.rows[row.uid] = row
        for change in delta.flagged:
            self._flag(change)
        if delta.gone:
            self._drop(delta.gone)
        self.uid_next = max(self.uid_next, Uid(delta.uid_next))
        self.highest_mod_seq = max(self.highest_mod_seq, ModSeq(delta.mod_seq))
        self.name = delta.new_name or self.name
        self.removed = self.removed or delta.removed

    def in_memory(self, uids: Sequence[Uid]) -> Iterable[MessageRow | None]:
        """The rows of `uids` in ascending order, None for each that is not in memory."""
        if uids == self.uids and type(self.rows) is dict:
            return self.rows.values()  # all of them, without looking each up
        return map(partial(dict.get, self.rows), sorted(set(uids)))

    def _flag(self, change: FlagChange) -> None:
        flags, mod_seq = change.flags, change.mod_seq
        for row in self.in_memory(change.uids):
            if row is not None and row.mod_seq < mod_seq:  # one that is not in memory will be read as it is then
                row.flags = flags
                row.mod_seq = mod_seq

    def _drop(self, gone: list[Uid]) -> None:
        for uid in gone:
            dict.pop(self.rows, uid, None)
        if len(gone) > 8:
            gone_set = set(gone)
            self.uids[:] = [uid for uid in self.uids if uid not in gone_set]
            return
        for uid in gone:
            at = bisect_left(self.uids, uid)
            if at < len(self.uids) and self.uids[at] == uid:
                del self.uids[at]
