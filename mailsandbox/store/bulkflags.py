"""Flags of many messages changed at once, kept as one record beside their rows: a STORE of ten thousand is one INSERT.

Invariant: a message has the flags and the mod-sequence of its own row or of a record that names it, whichever
mod-sequence is the highest; so every row that is read passes through `current`. A record goes when a newer one names
all it names; KEPT of one mailbox are written into the rows. Knows no counters and no log.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from mailsandbox.database.tx import Tx
from mailsandbox.store.model import FlagChange, Flags, MessageRow, ModSeq, Uid

MIN_MESSAGES: Final = 256  # fewer are written into their rows in no time
MIN_RUN: Final = 8  # messages in a range, on average: a record of scattered ones would be long
KEPT: Final = 16  # records of one mailbox

Range = tuple[int, int]  # UIDs, both included; without a message in between that is not meant

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[Range]).decode

_READ: Final = "SELECT mod_seq, flags, ranges FROM bulk_flags WHERE mailbox_id = ? ORDER BY mod_seq"
_SETTLE: Final = (
    "UPDATE messages SET flags = ?, mod_seq = ? WHERE mailbox_id = ? AND uid BETWEEN ? AND ? AND mod_seq < ?"
)


class Record(NamedTuple):
    """One record."""

    mod_seq: ModSeq
    flags: Flags
    ranges: list[Range]


def ranges_of(uids: Sequence[Uid]) -> list[Range]:
    """Ascending UIDs as ranges of neighbours."""
    if uids[-1] - uids[0] == len(uids) - 1:
        return [(uids[0], uids[-1])]
    ranges: list[Range] = []
    first = last = uids[0]
    for uid in uids:
        if uid > last + 1:
            ranges.append((first, last))
            first = uid
        last = uid
    return [*ranges, (first, last)]


def is_worth_it(uids: Sequence[Uid], ranges: Sequence[Range]) -> bool:
    """Whether a change of these messages is better recorded than written into their rows."""
    return len(uids) >= MIN_MESSAGES and len(ranges) * MIN_RUN <= len(uids)


def record(tx: Tx, mailbox_key: int, change: FlagChange, ranges: list[Range]) -> None:
    """Record a change, made under the account's lock."""
    older = read(tx, mailbox_key)
    covered = [each for each in older if _covers(ranges, each.ranges)]
    for each in covered:
        tx.execute(
            "DELETE FROM bulk_flags WHERE mailbox_id = ? AND mod_seq = ? AND flags = ?",
            (mailbox_key, each.mod_seq, each.flags.text),
        )
    tx.execute(
        "INSERT INTO bulk_flags (mailbox_id, mod_seq, flags, ranges) VALUES (?, ?, ?, ?)",
        (mailbox_key, change.mod_seq, change.flags.text, _encode(ranges)),
    )
    if len(older) - len(covered) >= KEPT:
        _settle(tx, mailbox_key)


def read(tx: Tx, mailbox_key: int) -> list[Record]:
    """The records of a mailbox, oldest first."""
    rows = tx.execute(_READ, (mailbox_key,)).fetchall()
    return [Record(mod_seq, Flags.parse(flags), _decode(ranges)) for mod_seq, flags, ranges in rows]


def current(tx: Tx, rows: Sequence[MessageRow]) -> None:
    """Bring rows that were just read by the same transaction, of whatever mailboxes in whatever order, up to date."""
    by_mailbox: dict[int, list[MessageRow]] = {}
    for row in rows:
        by_mailbox.setdefault(row.mailbox_key, []).append(row)
    for key, own in by_mailbox.items():
        bring_up(read(tx, key), sorted(own, key=_uid) if len(own) > 1 else own)


def bring_up(records: Sequence[Record], rows: Sequence[MessageRow]) -> None:
    """Bring the rows of one mailbox, ascending, up to date."""
    for mod_seq, flags, ranges in records:
        for first, last in ranges:
            for row in rows[bisect_left(rows, first, key=_uid) : bisect_right(rows, last, key=_uid)]:
                if row.mod_seq < mod_seq:
                    row.flags = flags
                    row.mod_seq = mod_seq


def forget(tx: Tx, mailbox_key: int) -> None:
    """The mailbox has no messages any more."""
    tx.execute("DELETE FROM bulk_flags WHERE mailbox_id = ?", (mailbox_key,))


def _settle(tx: Tx, mailbox_key: int) -> None:
    """Write all records into the rows; the newest first, so that each row is written once."""
    for mod_seq, flags, ranges in reversed(read(tx, mailbox_key)):
        for first, last in ranges:
            tx.execute(_SETTLE, (flags.text, mod_seq, mailbox_key, first, last, mod_seq))
    forget(tx, mailbox_key)


def _covers(ranges: Sequence[Range], others: Sequence[Range]) -> bool:
    """Whether each of `others` lies within one of `ranges`; both ascend."""
    for first, last in others:
        at = bisect_right(ranges, first, key=_first) - 1
        if at < 0 or ranges[at][1] < last:
            return False
    return True


def _first(within: Range) -> int:
    return within[0]


def _uid(row: MessageRow) -> int:
    return row.uid
