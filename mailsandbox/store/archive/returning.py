"""Messages into a mailbox as they were: with the UIDs they had where these are still to come, else appended."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from mailsandbox.store.messages import Messages
from mailsandbox.store.model import ChangeType, Flags, MessageRow, ModSeq, Uid
from mailsandbox.store.unit import Mailbox, Unit


@dataclass(frozen=True, slots=True)
class Returning:
    """One message as it was. Dates in POSIX seconds."""

    uid: int
    trace: bytes
    octets: bytes
    flags: Flags
    internal_date: float
    save_date: float
    recipient: str
    journey_id: str


def return_messages(
    unit: Unit, messages: Messages, mailbox: Mailbox, items: Sequence[Returning], *, keep_uids: bool
) -> list[tuple[int, Uid]]:
    """Store them all; returns mailbox key and UID of each. `keep_uids` where their UIDs are still to come."""
    if not items:
        return []
    octets = sum(len(item.trace) + len(item.octets) for item in items)
    unseen = sum("\\Seen" not in item.flags for item in items)
    deleted = sum("\\Deleted" in item.flags for item in items)
    first, mod_seq = messages.take(unit, mailbox, 0, octets=octets, unseen=unseen, deleted=deleted, messages=len(items))
    seq, _ = unit.number(mailbox.account, len(items), messages=len(items), octets=octets)
    uids = [Uid(item.uid) for item in items]
    # Somebody may have delivered a message meanwhile; UIDs only grow (RFC 9051 §2.3.1.1).
    if not keep_uids or uids[0] < first or any(one >= other for one, other in pairwise(uids)):
        uids = [Uid(first + index) for index in range(len(items))]
    rows = [_store(unit, messages, mailbox, item, uid, mod_seq) for item, uid in zip(items, uids, strict=True)]
    unit.tx.execute("UPDATE mailboxes SET uid_next = ? WHERE id = ?", (uids[-1] + 1, mailbox.key))
    delta = unit.delta(mailbox)
    delta.added += rows
    delta.uid_next, delta.mod_seq = uids[-1] + 1, mod_seq
    flags = [item.flags for item in items]
    unit.log(seq, ChangeType.MESSAGE_APPEND, mailbox, mod_seq=mod_seq, uids=uids, flags=flags)
    return [(mailbox.key, uid) for uid in uids]


def _store(unit: Unit, messages: Messages, mailbox: Mailbox, item: Returning, uid: Uid, mod_seq: ModSeq) -> MessageRow:
    content = messages.contents.put(unit, item.octets, copies=1)
    email_id = f"M{mailbox.key}-{uid}"
    row = MessageRow(
        uid,
        mailbox.key,
        mod_seq,
        item.flags,
        item.internal_date,
        len(item.trace) + len(item.octets),
        content.key,
        item.save_date,
        email_id,
        messages.thread(unit, mailbox.account, content, email_id),
    )
    messages.insert(unit, row, item.trace, item.journey_id, item.recipient)
    return row
