"""Accounts and mailboxes: made, listed, renamed, removed, within a unit of work.

Invariant: an account always has an INBOX; a UIDVALIDITY is never given twice; keys of mailboxes never come back.
"""

from collections.abc import Sequence
from typing import Final

from mailsandbox.database.tx import Row
from mailsandbox.errors import BadMailboxName, MailboxExists, NoSuchMailbox
from mailsandbox.store import bulkflags
from mailsandbox.store.contents import Contents
from mailsandbox.store.credentials import canonical
from mailsandbox.store.model import ChangeType, MailboxStatus
from mailsandbox.store.names import INBOX, SEPARATOR, is_below, mailbox_name
from mailsandbox.store.unit import Account, Mailbox, Unit

_MAX_TARGETS: Final = 10_000  # mailboxes, about 3 MB

_STATUS: Final = (
    "SELECT m.name, m.uid_validity, m.uid_next, m.mod_seq, m.messages, m.unseen, m.deleted, m.octets, m.recent_from, "
    "m.id, m.special_use, s.name IS NOT NULL FROM mailboxes m "
    "LEFT JOIN subscriptions s ON s.account_id = m.account_id AND s.name = m.name WHERE"
)
_OF_ACCOUNT: Final = f"{_STATUS} m.account_id = ?"
_OF_ONE: Final = f"{_STATUS} m.account_id = (SELECT id FROM accounts WHERE address = ?) AND m.name = ?"


class Mailboxes:
    """Operations on accounts and mailboxes. `initial`: names and special uses of what a new account has."""

    def __init__(self, contents: Contents, initial: Sequence[tuple[str, str]] = ((INBOX, ""),)) -> None:
        self._contents = contents
        self._initial = initial
        self._targets: dict[tuple[str, str], Mailbox] = {}  # committed ones, by account and name as given

    def ensure(self, unit: Unit, address: str) -> Account:
        """The account, made if it is new."""
        found = unit.find_account(address)
        if found is not None:
            return found
        row = unit.tx.execute(
            "INSERT INTO accounts (address, created_at, last_seq, born_seq, cut_seq, messages, octets) "
            f"SELECT ?, ?, value, value, value, 0, 0 FROM meta WHERE name = 'seq_floor'{unit.tx.for_update} "
            "ON CONFLICT (address) DO UPDATE SET address = excluded.address RETURNING id",
            (canonical(address), unit.now),
        ).fetchone()
        account = Account(row[0], canonical(address))
        for name, special_use in self._initial:
            if unit.find_mailbox(account, name) is None:
                self._insert(unit, account, name, special_use)
                self._subscribe(unit, account, name)
        return account

    def known_target(self, address: str, name: str) -> Mailbox | None:
        """Where deliveries went before. It may be gone: then `Messages.deliver` raises NoSuchMailbox."""
        return self._targets.get((address, name))

    def target(self, unit: Unit, address: str, name: str) -> Mailbox:
        """Where a delivery goes: the mailbox, or INBOX when there is none of that name."""
        account = self.ensure(unit, address)
        canonical_name = mailbox_name(name)
        found = unit.find_mailbox(account, canonical_name)
        if found is None:
            return unit.mailbox(account, INBOX)
        unit.tx.after_commit(lambda: self._remember((address, name), found))
        return found

    def forget_targets(self) -> None:
        """The database was put back to a snapshot: keys may be given again."""
        self._targets.clear()

    def _remember(self, key: tuple[str, str], mailbox: Mailbox) -> None:
        # Only once committed: keys of a transaction that was undone are given again.
        if len(self._targets) >= _MAX_TARGETS:
            self._targets.clear()
        self._targets[key] = mailbox

    def create(self, unit: Unit, account: Account, name: str, special_use: str = "") -> Mailbox:
        """Raises MailboxExists, BadMailboxName."""
        name = mailbox_name(name)
        if unit.find_mailbox(account, name) is not None:
            raise MailboxExists(f"{account.address} has a mailbox {name} already")
        return self._insert(unit, account, name, special_use)

    def delete(self, unit: Unit, account: Account, name: str) -> None:
        """Remove a mailbox and its messages; those below it stay. Raises NoSuchMailbox, BadMailboxName for INBOX."""
        if mailbox_name(name) == INBOX:
            raise BadMailboxName("INBOX cannot be deleted")  # RFC 9051 §6.3.5
        self._drop(unit, unit.mailbox(account, name))

    def bring_back(
        self, unit: Unit, account: Account, name: str, *, special_use: str, uid_validity: int, mod_seq: int
    ) -> Mailbox | None:
        """A mailbox as it was in another store; None where one of that name has held messages.

        One that never did is replaced rather than changed: who has it open cannot be told of a new UIDVALIDITY
        (RFC 9051 §2.3.1.1), but can be told that it is gone.
        """
        name = mailbox_name(name)
        found = unit.find_mailbox(account, name)
        if found is not None:
            if unit.tx.execute("SELECT 1 FROM mailboxes WHERE id = ? AND uid_next > 1", (found.key,)).fetchone():
                return None
            self._drop(unit, found)
        made = self._insert(unit, account, name, special_use)
        # RFC 7162 §3.1.2.2: to a reader who knows this UIDVALIDITY the highest mod-sequence must not seem to fall.
        unit.tx.execute(
            "UPDATE mailboxes SET uid_validity = ?, mod_seq = ? WHERE id = ?", (uid_validity, mod_seq, made.key)
        )
        # What takes this name later must have a greater one.
        unit.tx.execute(
            "UPDATE meta SET value = ? WHERE name = 'uid_validity' AND value < ?", (uid_validity, uid_validity)
        )
        return Mailbox(made.key, account, name, uid_validity)

    def rename(self, unit: Unit, account: Account, old: str, new: str) -> None:
        """Rename a mailbox and all below it; of INBOX, move its messages to a new mailbox (RFC 9051 §6.3.6).

        A name that is no mailbox, and only stands above some in lists, can be renamed with these.
        """
        new, old = mailbox_name(new), mailbox_name(old)
        mailbox = unit.find_mailbox(account, old)
        if unit.find_mailbox(account, new) is not None:
            raise MailboxExists(f"{account.address} has a mailbox {new} already")
        if mailbox is not None and old == INBOX:
            self._hand_over_inbox(unit, mailbox, new)
            return
        if is_below(new, old):
            raise BadMailboxName(f"{old} cannot become part of itself")
        prefix = old + SEPARATOR
        rows = unit.tx.execute(
            "SELECT id, name, uid_validity FROM mailboxes WHERE account_id = ? AND substr(name, 1, ?) = ?",
            (account.key, len(prefix), prefix),
        ).fetchall()
        if mailbox is not None:
            self._rename_one(unit, mailbox, new)
        elif not rows:
            raise NoSuchMailbox(f"{account.address} has no mailbox {old}")
        for key, name, uid_validity in rows:
            below = Mailbox(key, account, name, uid_validity)
            target = new + SEPARATOR + name.removeprefix(prefix)
            if unit.find_mailbox(account, target) is not None:
                raise MailboxExists(f"{account.address} has a mailbox {target} already")
            self._rename_one(unit, below, target)

    def set_subscribed(self, unit: Unit, account: Account, name: str, *, subscribed: bool) -> None:
        """Subscribe to a name, which need not exist (RFC 9051 §6.3.7: a server may not remove such names itself)."""
        name = mailbox_name(name)
        mailbox = unit.find_mailbox(account, name) or Mailbox(0, account, name, 0)
        if subscribed:
            changed = self._subscribe(unit, account, name)
        else:
            changed = unit.tx.execute(
                "DELETE FROM subscriptions WHERE account_id = ? AND name = ?", (account.key, name)
            ).rowcount
        if changed:
            seq, _ = unit.number(account, 1)
            kind = ChangeType.MAILBOX_SUBSCRIBE if subscribed else ChangeType.MAILBOX_UNSUBSCRIBE
            unit.log(seq, kind, mailbox)

    def statuses(self, unit: Unit, account: Account) -> list[MailboxStatus]:
        """Counters of all mailboxes by name, INBOX first."""
        rows = unit.tx.execute(_OF_ACCOUNT, (account.key,)).fetchall()
        rows.sort(key=lambda row: (row[0] != INBOX, row[0]))
        return [_status_of(row) for row in rows]

    def status(self, unit: Unit, address: str, name: str) -> MailboxStatus:
        """Counters of one mailbox; raises NoSuchAccount, NoSuchMailbox."""
        row = unit.tx.execute(_OF_ONE, (canonical(address), mailbox_name(name))).fetchone()
        if row is None:
            unit.account(address)
            raise NoSuchMailbox(f"there is no mailbox {name}")
        return _status_of(row)

    def remove_account(self, unit: Unit, account: Account) -> None:
        """Remove an account with all it has."""
        tx = unit.tx
        rows = tx.execute(
            "SELECT id, name, uid_validity FROM mailboxes WHERE account_id = ?", (account.key,)
        ).fetchall()
        for key, name, uid_validity in rows:
            mailbox = Mailbox(key, account, name, uid_validity)
            self.empty(unit, mailbox)
            tx.execute("DELETE FROM expunged WHERE mailbox_id = ?", (key,))
            seq, _ = unit.number(account, 1)
            unit.log(seq, ChangeType.MAILBOX_DELETE, mailbox)  # nobody will read it, but listeners hear of it
            unit.delta(mailbox).removed = True
        tx.execute(
            "UPDATE meta SET value = (SELECT last_seq FROM accounts WHERE id = ?) "
            "WHERE name = 'seq_floor' AND value < (SELECT last_seq FROM accounts WHERE id = ?)",
            (account.key, account.key),
        )
        for table in ("mailboxes", "subscriptions", "metadata", "threads", "changes"):
            tx.execute(f"DELETE FROM {table} WHERE account_id = ?", (account.key,))
        tx.execute("DELETE FROM accounts WHERE id = ?", (account.key,))

    def empty(self, unit: Unit, mailbox: Mailbox) -> tuple[int, int]:
        """Drop all messages of a mailbox, unlogged; returns how many and their octets."""
        tx = unit.tx
        counts: dict[int, int] = {}
        messages = octets = 0
        for content_id, count, size in tx.execute(
            "SELECT content_id, count(*), sum(octets) FROM messages WHERE mailbox_id = ? GROUP BY content_id",
            (mailbox.key,),
        ).fetchall():
            counts[content_id] = count
            messages += count
            octets += int(size)
        tx.execute("DELETE FROM messages WHERE mailbox_id = ?", (mailbox.key,))
        tx.execute("DELETE FROM traces WHERE mailbox_id = ?", (mailbox.key,))
        bulkflags.forget(tx, mailbox.key)
        self._contents.release(tx, counts)
        return messages, octets

    def _insert(self, unit: Unit, account: Account, name: str, special_use: str) -> Mailbox:
        # Seconds since 1970 where that is still free: then a UIDVALIDITY grows even if the whole store is thrown away.
        uid_validity = unit.tx.execute(
            "UPDATE meta SET value = CASE WHEN value < ? THEN ? ELSE value + 1 END WHERE name = 'uid_validity' "
            "RETURNING value",
            (int(unit.now), int(unit.now)),
        ).fetchone()[0]
        uid_validity &= 0xFFFFFFFF
        key = unit.tx.execute(
            "INSERT INTO mailboxes (account_id, name, uid_validity, uid_next, mod_seq, recent_from, messages, unseen, "
            "deleted, octets, special_use) VALUES (?, ?, ?, 1, 1, 1, 0, 0, 0, 0, ?) RETURNING id",
            (account.key, name, uid_validity, special_use),
        ).fetchone()[0]
        mailbox = Mailbox(key, account, name, uid_validity)
        seq, _ = unit.number(account, 1)
        unit.log(seq, ChangeType.MAILBOX_CREATE, mailbox)
        return mailbox

    def _drop(self, unit: Unit, mailbox: Mailbox) -> None:
        messages, octets = self.empty(unit, mailbox)
        for table in ("mailboxes WHERE id", "metadata WHERE mailbox_id", "expunged WHERE mailbox_id"):
            unit.tx.execute(f"DELETE FROM {table} = ?", (mailbox.key,))
        seq, _ = unit.number(mailbox.account, 1, messages=-messages, octets=-octets)
        unit.log(seq, ChangeType.MAILBOX_DELETE, mailbox)
        unit.delta(mailbox).removed = True

    def _rename_one(self, unit: Unit, mailbox: Mailbox, new: str) -> None:
        unit.tx.execute("UPDATE mailboxes SET name = ? WHERE id = ?", (new, mailbox.key))
        seq, _ = unit.number(mailbox.account, 1)
        renamed = Mailbox(mailbox.key, mailbox.account, new, mailbox.uid_validity)
        unit.log(seq, ChangeType.MAILBOX_RENAME, renamed, other_name=mailbox.name)
        unit.delta(mailbox).new_name = new

    def _hand_over_inbox(self, unit: Unit, inbox: Mailbox, new: str) -> None:
        """INBOX takes the new name with its messages, UIDs and those who have it open; an empty one takes its place.

        Its UIDVALIDITY is new, as RFC 9051 §6.3.6 leaves open: UIDs that clients know went with the messages.
        """
        self._rename_one(unit, inbox, new)
        self._insert(unit, inbox.account, INBOX, "")

    def _subscribe(self, unit: Unit, account: Account, name: str) -> int:
        return unit.tx.execute(
            "INSERT INTO subscriptions (account_id, name) VALUES (?, ?) ON CONFLICT (account_id, name) DO NOTHING",
            (account.key, name),
        ).rowcount


def _status_of(row: Row) -> MailboxStatus:
    return MailboxStatus(*(*row[:9], f"F{row[9]}", row[10], bool(row[11])))
