"""Is the whole store consistent? Counters against rows, references against copies, the log against the mailboxes.

For tests that let daemons, failures or chance loose on a database, and for `scripts/chaos`: `audit` names each thing
that is wrong.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from hashlib import sha256

from mailsandbox.database.blobs import Blobs
from mailsandbox.database.tx import Tx
from mailsandbox.store.changelog import rows_between
from mailsandbox.store.expunges import read as read_expunged
from mailsandbox.store.model import ChangeType
from mailsandbox.store.states import read_rows
from mailsandbox.store.unit import Account

_ALL = 1 << 62
_ADDED = (ChangeType.MESSAGE_NEW, ChangeType.MESSAGE_APPEND)


def audit(tx: Tx, *, queues: bool = False, texts: bool = False) -> list[str]:
    """What is wrong, in words. `queues`: the database has queues, too; `texts`: all texts were flushed."""
    return [*_counters(tx), *_orphans(tx), *_contents(tx, queues=queues, texts=texts), *_logs(tx)]


def _counters(tx: Tx) -> Iterator[str]:
    held: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for key, account, name, uid_next, mod_seq, *counted in tx.execute(
        "SELECT id, account_id, name, uid_next, mod_seq, messages, unseen, deleted, octets FROM mailboxes"
    ).fetchall():
        rows = read_rows(tx, key, 0, _ALL)
        found = [
            len(rows),
            sum("\\Seen" not in row.flags for row in rows),
            sum("\\Deleted" in row.flags for row in rows),
            sum(row.octets for row in rows),
        ]
        held[account][0] += found[0]
        held[account][1] += found[3]
        if counted != found:
            yield f"mailbox {key} {name}: counts messages, unseen, deleted, octets {counted}, has {found}"
        if rows and (rows[-1].uid >= uid_next or max(row.mod_seq for row in rows) > mod_seq):
            yield f"mailbox {key} {name}: UIDNEXT {uid_next} or HIGHESTMODSEQ {mod_seq} is behind its messages"
    for key, address, messages, octets in tx.execute("SELECT id, address, messages, octets FROM accounts").fetchall():
        if [messages, octets] != held[key]:
            yield f"account {address}: counts {[messages, octets]}, has {held[key]}"
        inbox = tx.execute("SELECT 1 FROM mailboxes WHERE account_id = ? AND name = 'INBOX'", (key,)).fetchone()
        if inbox is None:
            yield f"account {address}: has no INBOX"


def _orphans(tx: Tx) -> Iterator[str]:
    belongings = [
        *((table, "mailbox_id", "mailboxes", "id") for table in ("messages", "traces", "bulk_flags", "expunged")),
        *((table, "account_id", "accounts", "id") for table in ("mailboxes", "subscriptions", "threads", "changes")),
        ("metadata", "account_id", "accounts", "id"),
        *((table, "content_id", "contents", "id") for table in ("messages", "renderings", "texts")),
        ("contents", "id", "blobs", "id"),
        ("contents", "id", "renderings", "content_id"),
        ("blob_octets", "id", "blobs", "id"),
    ]
    for table, column, owners, key in belongings:
        count = tx.execute(
            f"SELECT count(*) FROM {table} WHERE NOT EXISTS (SELECT 1 FROM {owners} WHERE {owners}.{key} = {column})"
        ).fetchone()[0]
        if count:
            yield f"{count} rows of {table} without {owners}"
    others = {
        "metadata of no mailbox": "metadata WHERE mailbox_id > 0 AND NOT EXISTS "
        "(SELECT 1 FROM mailboxes WHERE mailboxes.id = mailbox_id)",
        "traces of no message": "traces WHERE NOT EXISTS (SELECT 1 FROM messages WHERE "
        "messages.mailbox_id = traces.mailbox_id AND messages.uid = traces.uid)",
        "messages without their traces": "messages WHERE trace_octets > 0 AND NOT EXISTS (SELECT 1 FROM traces WHERE "
        "traces.mailbox_id = messages.mailbox_id AND traces.uid = messages.uid)",
    }
    for what, which in others.items():
        if count := tx.execute(f"SELECT count(*) FROM {which}").fetchone()[0]:
            yield f"{count} {what}"
    twice = "SELECT uid_validity FROM mailboxes GROUP BY uid_validity HAVING count(*) > 1"
    for (uid_validity,) in tx.execute(twice).fetchall():
        yield f"UIDVALIDITY {uid_validity} was given twice"


def _contents(tx: Tx, *, queues: bool, texts: bool) -> Iterator[str]:
    shown = dict(tx.execute("SELECT content_id, count(*) FROM messages GROUP BY content_id").fetchall())
    contents = dict(tx.execute("SELECT id, refs FROM contents").fetchall())
    for key, refs in contents.items():
        if refs != shown.get(key, 0) or refs < 1:
            yield f"content {key}: {refs} references, {shown.get(key, 0)} messages"
    if texts:
        indexed = {row[0] for row in tx.execute("SELECT content_id FROM texts").fetchall()}
        yield from (f"content {key}: no texts" for key in contents if key not in indexed)
    counted = Counter(contents.keys())
    if queues:
        counted.update(row[0] for row in tx.execute("SELECT content FROM queue_messages").fetchall())
        idle = tx.execute(
            "SELECT queue_id FROM queue_messages q WHERE NOT EXISTS "
            "(SELECT 1 FROM queue_recipients r WHERE r.queue_id = q.queue_id)"
        ).fetchall()
        yield from (f"queued message {row[0]}: no recipients" for row in idle)
    for key, digest, refs, size in tx.execute("SELECT id, sha256, refs, size FROM blobs").fetchall():
        if refs != counted[key]:
            yield f"blob {key}: {refs} references, {counted[key]} users"
        octets = Blobs().get(tx, key)  # raises where they are gone
        if len(octets) != size or sha256(octets).digest() != bytes(digest):
            yield f"blob {key}: has other octets"


def _logs(tx: Tx) -> Iterator[str]:
    for key, address, last, born, cut in tx.execute(
        "SELECT id, address, last_seq, born_seq, cut_seq FROM accounts"
    ).fetchall():
        mailboxes = dict(tx.execute("SELECT id, name FROM mailboxes WHERE account_id = ?", (key,)).fetchall())
        yield from (
            f"log of {address}: {wrong}" for wrong in _log(tx, Account(key, address), last, born, cut, mailboxes)
        )


def _log(tx: Tx, account: Account, last: int, born: int, cut: int, mailboxes: dict[int, str]) -> Iterator[str]:
    expected = cut + 1
    present: dict[int, set[int]] = defaultdict(set)
    gone: dict[int, set[int]] = defaultdict(set)
    highest: dict[int, int] = defaultdict(int)
    mod_seqs: dict[int, int] = defaultdict(int)
    for row in rows_between(tx, account, cut, last, _ALL):
        if row.first != expected:
            yield f"number {row.first} comes where {expected} is due"
        expected = row.last + 1
        if row.mod_seq and row.mod_seq < mod_seqs[row.mailbox_key]:
            yield f"mod-sequences of mailbox {row.mailbox_key} fall at {row.first}"
        mod_seqs[row.mailbox_key] = max(mod_seqs[row.mailbox_key], row.mod_seq)
        if row.type in _ADDED:
            if list(row.uids) != sorted(set(row.uids)) or row.uids[0] <= highest[row.mailbox_key]:
                yield f"UIDs {row.uids} of mailbox {row.mailbox_key} do not ascend"
            highest[row.mailbox_key] = max(row.uids)
            present[row.mailbox_key].update(row.uids)
        elif row.type is ChangeType.MESSAGE_EXPUNGE:
            if again := gone[row.mailbox_key].intersection(row.uids):
                yield f"UIDs {sorted(again)} of mailbox {row.mailbox_key} are expunged twice"
            gone[row.mailbox_key].update(row.uids)
            if row.mailbox_key in mailboxes and not set(row.uids) <= set(read_expunged(tx, row.mailbox_key, 0)):
                yield f"expunged UIDs {row.uids} of mailbox {row.mailbox_key} are not on record"
    if expected != last + 1:
        yield f"ends at {expected - 1} instead of {last}"
    for key in mailboxes if cut == born else ():
        stored = {row.uid for row in read_rows(tx, key, 0, _ALL)}
        if stored != present[key] - gone[key]:
            yield f"mailbox {key} has UIDs {sorted(stored)}, and should have {sorted(present[key] - gone[key])}"
