"""Changing flags within a unit of work: which messages get others, and how that is written down.

Invariant: one mod-sequence for all that one command changes (RFC 7162 §3.1); messages whose flags stay as they are keep
theirs, and nobody is told of them.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from mailsandbox.store import bulkflags
from mailsandbox.store.messages import Messages
from mailsandbox.store.model import ChangeType, FlagChange, Flags, FlagsResult, MessageRow, Uid
from mailsandbox.store.unit import Mailbox, Unit

_SET: Final = "UPDATE messages SET flags = ?, mod_seq = ? WHERE mailbox_id = ? AND"


class _Reflagged(NamedTuple):
    """Messages that had the same flags, and get the same. `uids` ascend."""

    before: Flags
    after: Flags
    uids: list[Uid]


def store_flags(
    unit: Unit,
    messages: Messages,
    mailbox: Mailbox,
    uids: Sequence[Uid],
    *,
    add: Iterable[str],
    remove: Iterable[str],
    replace: Iterable[str] | None,
    unchanged_since: int | None,
) -> FlagsResult:
    """Change flags of those `uids` that exist."""
    added, removed = Flags.of(add).names, Flags.of(remove).names
    fixed = None if replace is None else Flags.of(replace)
    rows = messages.select(unit, mailbox, uids)
    found = len(rows)
    failed: list[Uid] = []
    if unchanged_since is not None:
        # RFC 7162 §3.1.3: what changed after UNCHANGEDSINCE is left alone and reported.
        failed = [row.uid for row in rows if row.mod_seq > unchanged_since]
        rows = [row for row in rows if row.mod_seq <= unchanged_since]
    changes: list[_Reflagged] = []
    for before, own in _by_flags(rows):
        after = Flags.of((before.names | added) - removed) if fixed is None else fixed
        if after != before:
            changes.append(_Reflagged(before, after, own))
    return FlagsResult(_write(unit, messages, mailbox, changes) if changes else [], failed, found)


def _by_flags(rows: Sequence[MessageRow]) -> list[tuple[Flags, list[Uid]]]:
    """UIDs by the flags that the messages have; mostly there are few sets of flags, often one."""
    flags = [row.flags for row in rows]
    if not flags:
        return []
    if _are_one(flags):
        return [(flags[0], [row.uid for row in rows])]
    groups: dict[str, tuple[Flags, list[Uid]]] = {}  # by text: a str keeps its hash
    for row in rows:
        group = groups.get(row.flags.text)
        if group is None:
            group = groups[row.flags.text] = (row.flags, [])
        group[1].append(row.uid)
    return list(groups.values())


def _are_one(flags: Sequence[Flags]) -> bool:
    first = flags[0]
    for each in flags:  # noqa: SIM110  # all() of a generator takes four times as long
        if each is not first:
            return False
    return True


def _write(unit: Unit, messages: Messages, mailbox: Mailbox, changes: Sequence[_Reflagged]) -> list[FlagChange]:
    unseen = deleted = count = 0
    for before, after, uids in changes:
        count += len(uids)
        unseen += len(uids) * (("\\Seen" in before) - ("\\Seen" in after))
        deleted += len(uids) * (("\\Deleted" in after) - ("\\Deleted" in before))
    _, mod_seq = messages.take(unit, mailbox, 0, unseen=unseen, deleted=deleted)
    last_seq, _ = unit.number(mailbox.account, count)
    seq = last_seq - count
    by_result: dict[str, list[Uid]] = {}
    for before, after, uids in changes:
        # RFC 5423 §4.2: one event says that flags were set, another that they were cleared.
        kind = ChangeType.FLAGS_SET if after.names - before.names else ChangeType.FLAGS_CLEAR
        seq += len(uids)
        unit.log(seq, kind, mailbox, mod_seq=mod_seq, uids=uids, flags=(after,))
        known = by_result.setdefault(after.text, uids)
        if known is not uids:
            by_result[after.text] = sorted([*known, *uids])
    changed = [FlagChange(uids, Flags.parse(text), mod_seq) for text, uids in by_result.items()]
    for change in changed:
        _write_change(unit, messages, mailbox, change)
    delta = unit.delta(mailbox)
    delta.flagged += changed
    delta.mod_seq = mod_seq
    return changed


def _write_change(unit: Unit, messages: Messages, mailbox: Mailbox, change: FlagChange) -> None:
    uids, text = change.uids, change.flags.text
    ranges = bulkflags.ranges_of(uids)
    if len(ranges) > 1 and messages.is_whole_range(unit, mailbox, uids):
        ranges = [(uids[0], uids[-1])]
    if bulkflags.is_worth_it(uids, ranges):
        bulkflags.record(unit.tx, mailbox.key, change, ranges)
    elif len(ranges) == 1:
        unit.tx.execute(f"{_SET} uid BETWEEN ? AND ?", (text, change.mod_seq, mailbox.key, *ranges[0]))
    else:
        unit.tx.executemany(f"{_SET} uid = ?", [(text, change.mod_seq, mailbox.key, uid) for uid in uids])
