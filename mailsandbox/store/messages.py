"""Messages within a unit of work: inserted, copied, flagged, expunged. SQL and counters; no cache, no waiting.

Invariants: a UID is taken by an UPDATE of the mailbox's row, so UIDs and mod-sequences are given in commit
order; each operation gives one new mod-sequence to all it touches in a mailbox (RFC 7162 §3.1).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from mailsandbox.database.tx import Row, Tx, Update
from mailsandbox.errors import NoSuchMailbox, OverQuota
from mailsandbox.store import bulkflags
from mailsandbox.store.contents import Content, Contents, message_key
from mailsandbox.store.model import (
    AppendItem,
    ChangeType,
    CopyResult,
    Delivery,
    Flags,
    Landed,
    MessageRow,
    ModSeq,
    Seq,
    Uid,
    message_id_of,
)
from mailsandbox.store.state import MailboxState
from mailsandbox.store.unit import Account, Mailbox, Unit

Quota = Callable[[str], int | None]  # octets an account may hold
Held = Callable[[int], MailboxState | None]  # by key of the mailbox

_MANY: Final = 64  # messages; fewer are read from the database in no time

COLUMNS: Final = "uid, mailbox_id, mod_seq, flags, internal_date, octets, content_id, save_date, email_id, thread_id"
_TAKE: Final = Update(
    "mailboxes",
    "uid_next = uid_next + ?, mod_seq = mod_seq + 1, messages = messages + ?, unseen = unseen + ?, "
    "deleted = deleted + ?, octets = octets + ?",
    where="id = ? AND name = ?",
    tells="uid_next, mod_seq",
)
_INSERT: Final = (
    f"INSERT INTO messages ({COLUMNS}, trace_octets, journey_id, recipient) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_NEW_KEY: Final = (
    "INSERT INTO threads (account_id, message_key, thread_id) VALUES (?, ?, ?) "
    "ON CONFLICT (account_id, message_key) DO NOTHING"
)
_BY_UID: Final = "mailbox_id = ? AND uid = ?"
_IN_RANGE: Final = "mailbox_id = ? AND uid BETWEEN ? AND ?"
_pack: Final = msgspec.msgpack.Encoder().encode


def rows_of(tx: Tx, rows: Iterable[Row]) -> list[MessageRow]:
    """Messages from rows of COLUMNS, just read by `tx`."""
    parse = Flags.parse
    found = [
        MessageRow(uid, mailbox, mod_seq, parse(flags), date, octets, content, saved, email, thread)
        for uid, mailbox, mod_seq, flags, date, octets, content, saved, email, thread in rows
    ]
    bulkflags.current(tx, found)
    return found


class Messages:
    """Operations on the messages of mailboxes. `quota` gives an account's limit, `held` a mailbox held in memory."""

    def __init__(self, contents: Contents, quota: Quota, held: Held) -> None:
        self.contents = contents
        self._quota = quota
        self._held = held

    def limit_of(self, address: str) -> int | None:
        """The account's quota in octets."""
        return self._quota(address)

    def deliver(self, unit: Unit, mailbox: Mailbox, delivery: Delivery, content: Content, journey_id: str) -> Landed:
        """One copy into `mailbox`. Raises OverQuota."""
        octets = len(delivery.trace) + content.size
        uid, mod_seq = self.take(unit, mailbox, 1, octets=octets, unseen=1)
        seq = self._count(unit, mailbox.account, 1, octets)
        email_id = f"M{mailbox.key}-{uid}"
        thread_id = self.thread(unit, mailbox.account, content, email_id)
        row = MessageRow(
            uid, mailbox.key, mod_seq, Flags.parse(""), unit.now, octets, content.key, unit.now, email_id, thread_id
        )
        self.insert(unit, row, delivery.trace, journey_id, delivery.recipient)
        unit.log(seq, ChangeType.MESSAGE_NEW, mailbox, mod_seq=mod_seq, uids=(uid,), flags=(row.flags,))
        delta = unit.delta(mailbox)
        delta.added.append(row)
        delta.uid_next, delta.mod_seq = uid + 1, mod_seq
        return self._landed(unit, mailbox, row, seq, delivery.recipient)

    def append(self, unit: Unit, mailbox: Mailbox, items: Sequence[AppendItem]) -> list[Landed]:
        """All items or none. Raises OverQuota."""
        if not items:
            return []
        total = sum(len(item.octets) for item in items)
        unseen = sum("\\Seen" not in item.flags for item in items)
        deleted = sum("\\Deleted" in item.flags for item in items)
        first, mod_seq = self.take(unit, mailbox, len(items), octets=total, unseen=unseen, deleted=deleted)
        last_seq = self._count(unit, mailbox.account, len(items), total)
        delta = unit.delta(mailbox)
        landed: list[Landed] = []
        for index, item in enumerate(items):
            uid = Uid(first + index)
            content = self.contents.put(unit, item.octets, copies=1)
            email_id = f"M{mailbox.key}-{uid}"
            thread_id = self.thread(unit, mailbox.account, content, email_id)
            date = unit.now if item.internal_date is None else item.internal_date
            saved = unit.now if item.save_date is None else item.save_date
            row = MessageRow(
                uid, mailbox.key, mod_seq, item.flags, date, content.size, content.key, saved, email_id, thread_id
            )
            self.insert(unit, row, b"", "", "")
            delta.added.append(row)
            landed.append(self._landed(unit, mailbox, row, Seq(last_seq - len(items) + 1 + index), ""))
        delta.uid_next, delta.mod_seq = first + len(items), mod_seq
        uids = [each.uid for each in landed]
        flags = [item.flags for item in items]
        unit.log(last_seq, ChangeType.MESSAGE_APPEND, mailbox, mod_seq=mod_seq, uids=uids, flags=flags)
        return landed

    def copy(
        self, unit: Unit, source: Mailbox, uids: Sequence[Uid], target: Mailbox, *, moving: bool = False
    ) -> CopyResult:
        """Copies keep flags, internal date, EMAILID and trace fields; SAVEDATE is now (RFC 8514 §4)."""
        found = self.select(unit, source, uids)
        if not found:
            return CopyResult(target.uid_validity, [], [])
        octets = sum(row.octets for row in found)
        unseen = sum("\\Seen" not in row.flags for row in found)
        deleted = sum("\\Deleted" in row.flags for row in found)
        first, mod_seq = self.take(unit, target, len(found), octets=octets, unseen=unseen, deleted=deleted)
        last_seq = self._count(unit, target.account, len(found), octets, limited=not moving)
        rows = [
            MessageRow(
                Uid(first + index),
                target.key,
                mod_seq,
                row.flags,
                row.internal_date,
                row.octets,
                row.content_id,
                unit.now,
                row.email_id,
                row.thread_id,
            )
            for index, row in enumerate(found)
        ]
        unit.tx.executemany(
            f"INSERT INTO messages ({COLUMNS}, trace_octets, journey_id, recipient) "
            f"SELECT ?, ?, ?, ?, internal_date, octets, content_id, ?, email_id, thread_id, trace_octets, "
            f"journey_id, recipient FROM messages WHERE {_BY_UID}",
            [
                (new.uid, target.key, mod_seq, new.flags.text, unit.now, source.key, old.uid)
                for new, old in zip(rows, found, strict=True)
            ],
        )
        unit.tx.executemany(
            f"INSERT INTO traces (mailbox_id, uid, octets) SELECT ?, ?, octets FROM traces WHERE {_BY_UID}",
            [(target.key, new.uid, source.key, old.uid) for new, old in zip(rows, found, strict=True)],
        )
        if not moving:  # else the originals give their references to the copies
            self.contents.share(unit.tx, _counted(found))
        delta = unit.delta(target)
        delta.added += rows
        delta.uid_next, delta.mod_seq = first + len(found), mod_seq
        sources, targets = [row.uid for row in found], [row.uid for row in rows]
        flags = [row.flags for row in rows]
        unit.log(last_seq, ChangeType.MESSAGE_APPEND, target, mod_seq=mod_seq, uids=targets, flags=flags)
        return CopyResult(target.uid_validity, sources, targets)

    def move(self, unit: Unit, source: Mailbox, uids: Sequence[Uid], target: Mailbox) -> CopyResult:
        """Copy, then expunge the originals, so that no quota refuses a move within an account (RFC 6851 §3.3)."""
        rows = self.select(unit, source, uids)
        result = self.copy(unit, source, [row.uid for row in rows], target, moving=True)
        self.expunge(unit, source, rows, moving=True)
        return result

    def expunge(self, unit: Unit, mailbox: Mailbox, rows: Sequence[MessageRow], *, moving: bool = False) -> list[Uid]:
        """Remove messages for good. `moving`: their contents are another's already."""
        if not rows:
            return []
        tx = unit.tx
        uids = [row.uid for row in rows]
        octets = sum(row.octets for row in rows)
        unseen = sum("\\Seen" not in row.flags for row in rows)
        deleted = sum("\\Deleted" in row.flags for row in rows)
        _, mod_seq = self.take(unit, mailbox, 0, messages=-len(rows), octets=-octets, unseen=-unseen, deleted=-deleted)
        seq, _ = unit.number(mailbox.account, len(rows), messages=-len(rows), octets=-octets)
        removed = (
            tx.execute(f"DELETE FROM messages WHERE {_IN_RANGE}", (mailbox.key, uids[0], uids[-1])).rowcount
            if self.is_whole_range(unit, mailbox, uids)
            else None
        )
        if removed is None:
            tx.executemany(f"DELETE FROM messages WHERE {_BY_UID}", [(mailbox.key, uid) for uid in uids])
            tx.executemany(f"DELETE FROM traces WHERE {_BY_UID}", [(mailbox.key, uid) for uid in uids])
        else:
            tx.execute(f"DELETE FROM traces WHERE {_IN_RANGE}", (mailbox.key, uids[0], uids[-1]))
        if not moving:
            self.contents.release(tx, _counted(rows))
        tx.execute(
            "INSERT INTO expunged (mailbox_id, mod_seq, uids) VALUES (?, ?, ?)", (mailbox.key, mod_seq, _pack(uids))
        )
        unit.log(seq, ChangeType.MESSAGE_EXPUNGE, mailbox, mod_seq=mod_seq, uids=uids)
        delta = unit.delta(mailbox)
        delta.gone += uids
        delta.mod_seq = mod_seq
        return uids

    def select(self, unit: Unit, mailbox: Mailbox, uids: Sequence[Uid] | None) -> list[MessageRow]:
        """The rows of those `uids` that exist, in ascending order; None: all. Not to be changed: others see them."""
        tx = unit.tx
        if uids is None:
            found = tx.execute(f"SELECT {COLUMNS} FROM messages WHERE mailbox_id = ? ORDER BY uid", (mailbox.key,))
            return rows_of(tx, found)
        if not uids:
            return []
        if len(uids) > _MANY and (state := self._current_state(unit, mailbox)) is not None:
            return [row for row in state.in_memory(uids) if row is not None]
        wanted = set(uids)
        low, high = min(wanted), max(wanted)
        if high - low < 4 * len(wanted) + 16:
            found = tx.execute(
                f"SELECT {COLUMNS} FROM messages WHERE {_IN_RANGE} ORDER BY uid", (mailbox.key, low, high)
            )
            return rows_of(tx, [row for row in found if row[0] in wanted])
        each = (
            tx.execute(f"SELECT {COLUMNS} FROM messages WHERE {_BY_UID}", (mailbox.key, uid)).fetchone()
            for uid in sorted(wanted)
        )
        return rows_of(tx, [row for row in each if row is not None])

    def _current_state(self, unit: Unit, mailbox: Mailbox) -> MailboxState | None:
        """The mailbox in memory, if it has all rows as this transaction would read them: it must be just as new."""
        state = self._held(mailbox.key)
        if state is None or mailbox.key in unit.deltas or type(state.rows) is not dict:
            return None
        mod_seq = unit.tx.execute("SELECT mod_seq FROM mailboxes WHERE id = ?", (mailbox.key,)).fetchone()
        return state if mod_seq == (state.highest_mod_seq,) else None

    def is_whole_range(self, unit: Unit, mailbox: Mailbox, uids: Sequence[Uid]) -> bool:
        """Whether the (ascending) UIDs are all messages between the first and the last, so that one statement does."""
        if len(uids) < 8:
            return False
        count = unit.tx.execute(
            f"SELECT count(*) FROM messages WHERE {_IN_RANGE}", (mailbox.key, uids[0], uids[-1])
        ).fetchone()[0]
        return bool(count == len(uids))

    def take(
        self,
        unit: Unit,
        mailbox: Mailbox,
        uids: int,
        *,
        octets: int = 0,
        unseen: int = 0,
        deleted: int = 0,
        messages: int | None = None,
    ) -> tuple[Uid, ModSeq]:
        """Take `uids` UIDs and one mod-sequence, and move the counters; returns the first UID and the mod-sequence."""
        number = uids if messages is None else messages
        values = (uids, number, unseen, deleted, octets)
        moved = unit.move("mailbox", _TAKE, values, (mailbox.key, mailbox.name), by=(uids, 1))
        if moved is None:
            raise NoSuchMailbox(f"{mailbox.account.address} has no mailbox {mailbox.name}")
        return Uid(moved[0] - uids), ModSeq(moved[1])

    def _count(self, unit: Unit, account: Account, messages: int, octets: int, *, limited: bool = True) -> Seq:
        """Number `messages` new ones and hold them against the quota; returns the last number."""
        seq, held = unit.number(account, messages, messages=messages, octets=octets)
        limit = self._quota(account.address)
        if limited and limit is not None and held > limit:
            raise OverQuota(f"{account.address} would hold {held} octets of {limit}")
        return Seq(seq)

    def insert(self, unit: Unit, row: MessageRow, trace: bytes, journey_id: str, recipient: str) -> None:
        unit.tx.change(
            _INSERT,
            (
                row.uid,
                row.mailbox_key,
                row.mod_seq,
                row.flags.text,
                row.internal_date,
                row.octets,
                row.content_id,
                row.save_date,
                row.email_id,
                row.thread_id,
                len(trace),
                journey_id,
                recipient,
            ),
        )
        if trace:
            unit.tx.change(
                "INSERT INTO traces (mailbox_id, uid, octets) VALUES (?, ?, ?)", (row.mailbox_key, row.uid, trace)
            )

    def thread(self, unit: Unit, account: Account, content: Content, email_id: str) -> str:
        """RFC 8474 §5.2: the thread of the messages this one refers to, or its own."""
        thread_id = "T" + email_id[1:]
        keys = [message_key(each) for each in content.related[:64]]
        if keys:
            marks = ",".join("?" * len(keys))
            row = unit.tx.execute(
                f"SELECT thread_id FROM threads WHERE account_id = ? AND message_key IN ({marks}) LIMIT 1",
                (account.key, *keys),
            ).fetchone()
            thread_id = row[0] if row else thread_id
        if content.message_id:
            # A root that arrives after its reply joins it: the reply left the root's key here.
            thread_id = self._join(unit, account, message_key(content.message_id), thread_id)
        if keys:
            self._join(unit, account, keys[0], thread_id)
        return thread_id

    def _join(self, unit: Unit, account: Account, key: int, thread_id: str) -> str:
        """The thread that `key` belongs to: its own if it has one, else this."""
        # Nearly always it has none. Nobody else can give it one meanwhile: the account's row is locked.
        if unit.tx.change(_NEW_KEY, (account.key, key, thread_id)).rowcount:
            return thread_id
        found: str = unit.tx.execute(
            "SELECT thread_id FROM threads WHERE account_id = ? AND message_key = ?", (account.key, key)
        ).fetchone()[0]
        return found

    def _landed(self, unit: Unit, mailbox: Mailbox, row: MessageRow, seq: Seq, recipient: str) -> Landed:
        return Landed(
            mailbox.account.address,
            mailbox.name,
            mailbox.uid_validity,
            row.uid,
            message_id_of(mailbox.key, row.uid),
            seq,
            row.octets,
            unit.now,
            unit.committed_ns,
            recipient,
        )


def _counted(rows: Sequence[MessageRow]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for row in rows:
        counts[row.content_id] = counts.get(row.content_id, 0) + 1
    return counts
