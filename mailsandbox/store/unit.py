"""One unit of work on the store: its transaction, its moment, and what it did, collected for those who watch.

Invariant: every change of an account goes through `Unit.log`, which numbers it in the same transaction. Numbers are
given under the account's row lock, held until the commit, so they are in commit order.
That lock is taken before anything of the account is read in order to change it, and is the only one that its mailboxes
and messages need: what a unit has read stays so, whatever other daemons are about. Several accounts are locked in the
order of their keys, contents after accounts, so that daemons wait for each other and rarely deadlock.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from mailsandbox.clock import commit_time_ns
from mailsandbox.database.tx import Tx, Update
from mailsandbox.errors import NoSuchAccount, NoSuchMailbox
from mailsandbox.store.credentials import canonical
from mailsandbox.store.logrow import LogRow
from mailsandbox.store.model import ChangeType, Delivery, FlagChange, Flags, MessageRow, ModSeq, Seq, Uid
from mailsandbox.store.names import mailbox_name

if TYPE_CHECKING:
    from mailsandbox.store.following import Missed

_encode: Final = msgspec.msgpack.Encoder().encode


_NUMBER: Final = Update(
    "accounts",
    "last_seq = last_seq + ?, messages = messages + ?, octets = octets + ?",
    where="id = ?",
    tells="last_seq, octets",
)
_LOG: Final = (
    "INSERT INTO changes (account_id, seq, first_seq, type, mailbox_id, mailbox, other_name, mod_seq, at, "
    "committed_ns, items) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


@dataclass(frozen=True, slots=True)
class Account:
    """An account within a transaction."""

    key: int
    address: str


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A mailbox within a transaction."""

    key: int
    account: Account
    name: str
    uid_validity: int


class MailboxDelta(msgspec.Struct):
    """What a unit did to one mailbox, for those who hold it in memory. `changed` rows are whole."""

    mailbox: Mailbox
    added: list[MessageRow] = []  # msgspec gives each delta its own
    changed: list[MessageRow] = []
    flagged: list[FlagChange] = []
    gone: list[Uid] = []
    uid_next: int = 0
    mod_seq: int = 0
    removed: bool = False
    new_name: str = ""


def lock_account(tx: Tx, key: int) -> None:
    """Wait for other daemons that change the account: what is read of it from now on stays so until the commit."""
    if tx.for_update:
        tx.execute(f"SELECT 1 FROM accounts WHERE id = ?{tx.for_update}", (key,))


def lock_accounts(tx: Tx, deliveries: Iterable[Delivery]) -> None:
    """`lock_account` for those accounts that exist."""
    if tx.for_update:
        keys = [canonical(each.account) for each in deliveries]
        tx.execute(f"SELECT 1 FROM accounts WHERE address = ANY(?) ORDER BY id{tx.for_update}", (keys,))


CloseGap = Callable[["Unit", Account, int], None]


class Unit:
    """A transaction with its moment and its effects.

    `delivering`: it moves counters by `move` only, so that the next such unit of the transaction knows them without
    asking; learning what an UPDATE made of a row takes longer than the UPDATE.
    """

    __slots__ = (
        "addresses",
        "close_gap",
        "committed_ns",
        "counters",
        "deltas",
        "logged",
        "missed",
        "now",
        "numbered",
        "texts",
        "tx",
    )

    def __init__(self, tx: Tx, now: float, close_gap: "CloseGap | None" = None, *, delivering: bool = False) -> None:
        if not delivering:
            tx.memo.clear()
        self.counters = tx.memo if delivering else None
        self.tx = tx
        self.now = now
        self.committed_ns = commit_time_ns()
        self.logged: list[LogRow] = []
        self.deltas: dict[int, MailboxDelta] = {}
        self.texts: list[tuple[int, str, str]] = []  # new contents for the text index: id, header, body
        self.close_gap = close_gap  # where other daemons write too; see `following`
        self.missed: dict[int, Missed] = {}
        self.numbered: dict[int, tuple[int, int]] = {}  # by account key: first and last number taken
        self.addresses: dict[int, str] = {}

    def account(self, address: str) -> Account:
        """The account, locked as by `find_account`; raises NoSuchAccount."""
        found = self.find_account(address)
        if found is None:
            raise NoSuchAccount(f"there is no account {canonical(address)}")
        return found

    def find_account(self, address: str) -> Account | None:
        """The account, if it exists; locked, where other daemons might change it."""
        key = canonical(address)
        row = self.tx.execute(f"SELECT id FROM accounts WHERE address = ?{self.tx.for_update}", (key,)).fetchone()
        return Account(row[0], key) if row else None

    def mailbox(self, account: Account, name: str) -> Mailbox:
        """The mailbox; raises NoSuchMailbox, or BadMailboxName for what cannot be one."""
        found = self.find_mailbox(account, mailbox_name(name))
        if found is None:
            raise NoSuchMailbox(f"{account.address} has no mailbox {name}")
        return found

    def find_mailbox(self, account: Account, name: str) -> Mailbox | None:
        """The mailbox of that canonical name, if it exists."""
        row = self.tx.execute(
            "SELECT id, uid_validity FROM mailboxes WHERE account_id = ? AND name = ?", (account.key, name)
        ).fetchone()
        return Mailbox(row[0], account, name, row[1]) if row else None

    def find_mailbox_of(self, account: Account, key: int) -> Mailbox | None:
        """The mailbox of that key, whatever its name is now; None if it is gone."""
        row = self.tx.execute(
            "SELECT name, uid_validity FROM mailboxes WHERE id = ? AND account_id = ?", (key, account.key)
        ).fetchone()
        return Mailbox(key, account, *row) if row else None

    def delta(self, mailbox: Mailbox) -> MailboxDelta:
        """What was done to `mailbox` so far."""
        found = self.deltas.get(mailbox.key)
        if found is None:
            found = self.deltas[mailbox.key] = MailboxDelta(mailbox)
        return found

    def number(self, account: Account, count: int, *, messages: int = 0, octets: int = 0) -> tuple[int, int]:
        """Take `count` numbers of the account's log; returns the last, and the octets the account now holds."""
        moved = self.move("account", _NUMBER, (count, messages, octets), (account.key,), by=(count, octets))
        if moved is None:
            raise NoSuchAccount(f"there is no account {account.address}")
        last, held = moved
        if self.close_gap is not None:
            first = self.numbered.get(account.key, (last - count + 1,))[0]
            self.numbered[account.key] = (first, last)
            self.addresses[account.key] = account.address
            self.close_gap(self, account, first - 1)
        return last, held

    def move(
        self, kind: str, change: Update, values: tuple[object, ...], where: tuple[object, ...], *, by: tuple[int, int]
    ) -> tuple[int, int] | None:
        """Move two counters of the row `where` by `by`; returns what they are now, None where there is no such row."""
        known = None if self.counters is None else self.counters.get((kind, where))
        moved: tuple[int, int] | None
        if known is None:
            moved = self.tx.update(change, values, where)
        elif self.tx.change(change.sql, (*values, *where)).rowcount:
            moved = known[0] + by[0], known[1] + by[1]
        else:
            moved = None
        if self.counters is not None and moved is not None:
            self.counters[kind, where] = moved
        return moved

    def log(
        self,
        last_seq: int,
        kind: ChangeType,
        mailbox: Mailbox,
        *,
        mod_seq: int = 0,
        uids: Sequence[Uid] = (),
        flags: Sequence[Flags] = (),
        other_name: str = "",
    ) -> None:
        """Write one change for each of `uids` (or one without), the last of which has number `last_seq`.

        `flags`: after the change, one for all or one for each.
        """
        count = max(1, len(uids))
        first = last_seq - count + 1
        account = mailbox.account
        items = _encode((uids, [each.text for each in flags]))
        self.tx.change(
            _LOG,
            (
                account.key,
                last_seq,
                first,
                kind.value,
                mailbox.key,
                mailbox.name,
                other_name,
                mod_seq,
                self.now,
                self.committed_ns,
                items,
            ),
        )
        self.logged.append(
            LogRow(
                account.address,
                kind,
                mailbox.key,
                mailbox.name,
                ModSeq(mod_seq),
                self.now,
                self.committed_ns,
                other_name,
                Seq(first),
                uids,
                flags,
            )
        )
