"""Reading an account's log of changes, and cutting it.

Invariant: a page holds whole commits' rows in order without gaps; a cursor older than the cut is told so (`reset`).
"""

from typing import Final

import msgspec

from mailsandbox.database.tx import Tx
from mailsandbox.errors import NoSuchAccount
from mailsandbox.store.logrow import LogRow
from mailsandbox.store.model import Change, ChangePage, ChangeType, Flags, Seq, Uid
from mailsandbox.store.unit import Account, lock_account

_decode: Final = msgspec.msgpack.Decoder(tuple[list[Uid], list[str]]).decode

_PAGE: Final = (
    "SELECT type, mailbox_id, mailbox, mod_seq, at, committed_ns, other_name, first_seq, items FROM changes "
    "WHERE account_id = ? AND seq > ? ORDER BY seq LIMIT ?"
)


def last_seq(tx: Tx, account: Account) -> Seq:
    """Number of the newest change; 0 before the first."""
    row = tx.execute("SELECT last_seq FROM accounts WHERE id = ?", (account.key,)).fetchone()
    if row is None:
        raise NoSuchAccount(f"there is no account {account.address}")
    return Seq(row[0])


def read_changes(tx: Tx, account: Account, since: int, limit: int) -> ChangePage:
    """At most `limit` changes after `since`, and the cursor to go on with.

    `reset` when the log has been cut after `since`, or when `since` is of a former account of the same address. A
    reader without any state begins with 0.
    """
    row = tx.execute("SELECT last_seq, born_seq, cut_seq FROM accounts WHERE id = ?", (account.key,)).fetchone()
    if row is None:
        raise NoSuchAccount(f"there is no account {account.address}")
    newest, born, cut = row
    if since == 0:
        since = born
    if since < cut or since > newest:
        return ChangePage([], Seq(newest), reset=True)
    changes: list[Change] = []
    for row in rows_between(tx, account, since, newest, limit):
        changes += row.changes()
        if len(changes) >= limit:
            break
    del changes[limit:]
    return ChangePage(changes, changes[-1].seq if changes else Seq(newest))


def rows_between(tx: Tx, account: Account, since: int, upto: int, limit: int) -> list[LogRow]:
    """At most `limit` rows of the log, with their changes after `since`; none that begins after `upto`."""
    found = []
    for kind, key, name, mod_seq, at, committed_ns, other_name, first, items in tx.execute(
        _PAGE, (account.key, since, limit)
    ):
        if first > upto:
            break
        uids, texts = _decode(items)
        flags = [Flags.parse(text) for text in texts]
        row = LogRow(
            account.address,
            ChangeType(kind),
            key,
            name,
            mod_seq,
            at,
            committed_ns,
            other_name,
            first,
            uids,
            flags,
        )
        found.append(row.after(since))
    return found


def cut_changes(tx: Tx, account_key: int, *, keep: int, older_than: float) -> int:
    """Forget all but the newest `keep` changes, and those before `older_than` (POSIX); returns the rows removed."""
    lock_account(tx, account_key)
    row = tx.execute(
        "SELECT max(seq) FROM changes WHERE account_id = ? AND "
        "(seq <= (SELECT last_seq FROM accounts WHERE id = ?) - ? OR at < ?)",
        (account_key, account_key, keep, older_than),
    ).fetchone()
    if row is None or row[0] is None:
        return 0
    removed = tx.execute("DELETE FROM changes WHERE account_id = ? AND seq <= ?", (account_key, row[0])).rowcount
    tx.execute("UPDATE accounts SET cut_seq = ? WHERE id = ?", (row[0], account_key))
    return removed
