"""The mailboxes held in memory: loaded when first opened, kept a while after the last release.

Invariant: one state per mailbox. What commits while a state loads is applied again after it is loaded.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from functools import partial
from typing import Final

from mailsandbox.clock import commit_time_ns
from mailsandbox.database.tx import Database, Tx
from mailsandbox.errors import NoSuchMailbox
from mailsandbox.store.logrow import Changes, LogRow
from mailsandbox.store.messages import COLUMNS, rows_of
from mailsandbox.store.model import ChangeType, Flags, MessageRow, ModSeq, Seq, Uid
from mailsandbox.store.state import MailboxState
from mailsandbox.store.unit import Account, Mailbox, MailboxDelta, Unit

EAGER: Final = 20_000  # messages; a mailbox of up to so many is read whole, in some 30 ms
_ANY: Final = 1 << 62  # above every UID
KEPT_ROWS: Final = 100_000  # messages of released mailboxes kept in memory, about 40 MB


class States:
    """All `MailboxState`s of a process."""

    def __init__(self, database: Database, loaded: Callable[[MailboxState], None]) -> None:
        self._database = database
        self.loaded = loaded  # told of each state that was read
        self._states: dict[int, MailboxState] = {}
        self._released: OrderedDict[int, MailboxState] = OrderedDict()
        self._loading: list[MailboxDelta] | None = None
        self._arriving: Counter[int] = Counter()  # keys of mailboxes being loaded

    def held(self, key: int) -> MailboxState | None:
        """The state of a mailbox, if it is in memory and works run on the thread that keeps it current."""
        return None if self._database.shared else self._states.get(key)

    def keys(self) -> set[int]:
        """Of the mailboxes held, and of those being loaded."""
        return {*self._states, *self._arriving}

    def of_account(self, account_key: int) -> list[MailboxState]:
        """The states of one account."""
        return [state for state in self._states.values() if state.account_key == account_key]

    @property
    def arriving(self) -> Set[int]:
        """Of the mailboxes being loaded."""
        return self._arriving.keys()

    def bring_up(self, account_key: int, anew: Mapping[int, MailboxState]) -> list[LogRow]:
        """Bring the account's states up to what was read of them `anew`, where the log was cut.

        A mailbox that is not there is gone. Returns what that changed, as the log would have it, but without numbers.
        """
        rows: list[LogRow] = []
        for state in self.of_account(account_key):
            fresh = anew.get(state.key)
            if fresh is None:
                self.apply([removal(state)])
                rows.append(log_row(state, ChangeType.MAILBOX_DELETE))
            else:
                rows += self._bring_up(state, fresh)
        return rows

    def _bring_up(self, state: MailboxState, fresh: MailboxState) -> list[LogRow]:
        # Loaded after `fresh` was read, a state may be newer: what came since stays.
        gone = [uid for uid in state.uids if uid < fresh.uid_next and uid not in fresh.rows]
        added = [row for row in fresh.rows.values() if row.uid >= state.uid_next]
        changed = [
            row
            for uid, row in fresh.rows.items()
            if (known := state.rows.get(uid)) is not None and known.mod_seq < row.mod_seq
        ]
        old_name = state.name
        self.apply(
            [
                MailboxDelta(
                    _mailbox(state),
                    added=added,
                    changed=changed,
                    gone=gone,
                    uid_next=fresh.uid_next,
                    mod_seq=fresh.highest_mod_seq,
                    new_name=fresh.name,
                )
            ]
        )
        rows: list[LogRow] = []
        if fresh.name != old_name:
            rows.append(log_row(state, ChangeType.MAILBOX_RENAME, other_name=old_name))
        if gone:
            rows.append(log_row(state, ChangeType.MESSAGE_EXPUNGE, uids=gone))
        for kind, messages in ((ChangeType.MESSAGE_NEW, added), (ChangeType.FLAGS_SET, changed)):
            if messages:
                uids, flags = [row.uid for row in messages], [row.flags for row in messages]
                rows.append(log_row(state, kind, uids=uids, flags=flags))
        return rows

    async def open(self, account: str, name: str) -> MailboxState:
        """The state of a mailbox, with one more user."""
        key = await self._database.read(lambda tx: _key(tx, account, name))
        state = self._states.get(key)
        if state is None:
            state = await self._load(key)
        state.users += 1
        self._released.pop(key, None)
        return state

    def apply(self, deltas: Iterable[MailboxDelta]) -> None:
        """Bring the states up to date with a commit."""
        for delta in deltas:
            if self._loading is not None:
                self._loading.append(delta)
            state = self._states.get(delta.mailbox.key)
            if state is not None:
                state.apply(delta)
                if state.removed:
                    self._states.pop(state.key, None)
                    self._released.pop(state.key, None)

    def clear(self, tell: Callable[[Changes], None]) -> None:
        """Forget all, after the database was put back to a snapshot; `tell` those who look at them."""
        held = list(self._states.values())
        self._states.clear()
        self._released.clear()
        for state in held:
            state.removed = True
            if state.users:
                tell(Changes([log_row(state, ChangeType.MAILBOX_DELETE)]))

    async def _load(self, key: int) -> MailboxState:
        self._arriving[key] += 1
        self._loading = self._loading if self._loading is not None else []
        try:
            state = await self._database.read(lambda tx: self.read(tx, key))
            if state is None:
                raise NoSuchMailbox("the mailbox was just deleted")
            self.loaded(state)
            for delta in self._loading:
                if delta.mailbox.key == key:
                    state.apply(delta)
        finally:
            self._arriving[key] -= 1
            self._arriving = +self._arriving
            if not self._arriving:
                self._loading = None
        return self._states.setdefault(key, state)

    def read(self, tx: Tx, key: int) -> MailboxState | None:
        """A mailbox as it is now, not held here; None where there is none."""
        found = tx.execute(
            "SELECT a.address, b.name, b.uid_validity, b.uid_next, b.mod_seq, b.recent_from, a.id, a.last_seq, "
            "b.messages "
            "FROM mailboxes b JOIN accounts a ON a.id = b.account_id WHERE b.id = ?",
            (key,),
        ).fetchone()
        if found is None:
            return None
        account, name, uid_validity, uid_next, mod_seq, recent_from, account_key, last_seq, messages = found
        # A large mailbox is not read whole, where rows can be read at once when they are asked for.
        lazily = not self._database.shared and messages > EAGER
        rows = [] if lazily else read_rows(tx, key, 0, _ANY)
        if lazily:
            uids = [row[0] for row in tx.execute("SELECT uid FROM messages WHERE mailbox_id = ? ORDER BY uid", (key,))]
        else:
            uids = [row.uid for row in rows]
        return MailboxState(
            account=account,
            account_key=account_key,
            seq=last_seq,
            name=name,
            key=key,
            uid_validity=uid_validity,
            uid_next=uid_next,
            highest_mod_seq=mod_seq,
            recent_from_uid=recent_from,
            uids=uids,
            rows=rows,
            load=partial(self._load_rows, key) if lazily else None,
            released=self._release,
        )

    def _load_rows(self, key: int, low: int, high: int) -> list[MessageRow]:
        return self._database.read_now(lambda tx: read_rows(tx, key, low, high))

    def _release(self, state: MailboxState) -> None:
        if self._states.get(state.key) is not state:
            return
        self._released[state.key] = state
        held = sum(len(each.uids) for each in self._released.values())
        while held > KEPT_ROWS and self._released:
            key, oldest = self._released.popitem(last=False)
            del self._states[key]
            held -= len(oldest.uids)


def read_rows(tx: Tx, key: int, low: int, high: int) -> list[MessageRow]:
    """The messages of a mailbox from one UID to another, both included, in ascending order."""
    sql = f"SELECT {COLUMNS} FROM messages WHERE mailbox_id = ? AND uid BETWEEN ? AND ? ORDER BY uid"
    return rows_of(tx, tx.execute(sql, (key, low, high)))


def removal(state: MailboxState) -> MailboxDelta:
    """The mailbox is gone."""
    return MailboxDelta(_mailbox(state), removed=True)


def log_row(
    state: MailboxState,
    kind: ChangeType,
    *,
    uids: Sequence[Uid] = (),
    flags: Sequence[Flags] = (),
    other_name: str = "",
) -> LogRow:
    """A change that is told where the log does not have it: its number and its mod-sequence are 0."""
    at, place = commit_time_ns(), (state.key, state.name)
    return LogRow(state.account, kind, *place, ModSeq(0), 0.0, at, other_name, Seq(0), uids, flags)


def _mailbox(state: MailboxState) -> Mailbox:
    return Mailbox(state.key, Account(state.account_key, state.account), state.name, state.uid_validity)


def _key(tx: Tx, account: str, name: str) -> int:
    unit = Unit(tx, 0.0)
    return unit.mailbox(unit.account(account), name).key
