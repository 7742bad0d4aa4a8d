"""Keeps this daemon's view current with what other daemons commit to a shared database.

Invariant: the changes of an account reach states and listeners in the order of their numbers, each once. `known` is the
last number that did; a commit of our own that finds numbers missing before its own reads them from the log in its own
transaction, under the account's lock, so the gap is closed before it is told itself.
A state has the messages that the log up to `known` leaves in it, also where newer changes are committed already: to
those who look at it no message goes that did not come.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from mailsandbox.database.tx import Database, Row, Tx
from mailsandbox.errors import StoreError
from mailsandbox.store.changelog import rows_between
from mailsandbox.store.logrow import Changes, LogRow
from mailsandbox.store.messages import COLUMNS, rows_of
from mailsandbox.store.model import ChangeType, MessageRow, Uid, row_of_expunged
from mailsandbox.store.state import MailboxState
from mailsandbox.store.states import States, log_row, removal
from mailsandbox.store.unit import Account, Mailbox, MailboxDelta, Unit
from mailsandbox.tasks import Tasks

MAX_KNOWN: Final = 50_000  # accounts
TOPIC: Final = "changes"
RESTORED: Final = "restored"  # announced by the database itself
_PAGE: Final = 1_000  # rows of the log in one read
_COMING: Final = (ChangeType.MESSAGE_NEW, ChangeType.MESSAGE_APPEND)

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Missed:
    """Changes of one account that others made, and what they did to the mailboxes held here."""

    account_key: int
    upto: int
    newest: int = 0  # number of the log when it was read
    rows: list[LogRow] = field(default_factory=list)
    deltas: list[MailboxDelta] = field(default_factory=list)
    lost: bool = False  # the log no longer reaches back
    anew: dict[int, MailboxState] = field(default_factory=dict)  # the mailboxes held, where it is lost
    account_gone: bool = False


class Following:
    """Follows the accounts that are open here."""

    def __init__(
        self,
        database: Database,
        states: States,
        tell: Callable[[Changes], None],
        restored: Callable[[], None],
    ) -> None:
        self._database = database
        self._states = states
        self._tell = tell
        self._restored = restored  # another daemon put the database back to a snapshot
        self._known: OrderedDict[int, int] = OrderedDict()
        self._catching: set[int] = set()
        self._again: set[int] = set()
        self._tasks = Tasks()

    def start(self) -> None:
        """Listen to the other daemons."""
        self._database.listen(self._heard)

    async def aclose(self) -> None:
        """Stop catching up."""
        await self._tasks.aclose()

    def note(self, account_key: int, seq: int) -> None:
        """A state of the account was read at `seq`; follow it from there."""
        self._known.setdefault(account_key, seq)
        if len(self._known) > MAX_KNOWN:
            oldest = next(iter(self._known))
            if oldest == account_key or self._states.of_account(oldest):  # what is held is followed without a gap
                self._known.move_to_end(oldest)
            else:
                del self._known[oldest]

    async def reach_newest(self, account_key: int) -> None:
        """Follow up to what is committed now: a client that was told OK by another daemon finds here what it did."""
        newest: int | None = None
        while (known := self._known.get(account_key)) is not None and (newest is None or known < newest):
            missed = await self._read(account_key, known)
            newest = newest or missed.newest
            self.apply([missed])
            if missed.upto <= known:
                return

    def forget(self) -> None:
        """The database was put back to a snapshot: what was known is no longer so."""
        self._known.clear()

    def close_gap(self, unit: Unit, account: Account, prior: int) -> None:
        """Within `unit`, which took the numbers after `prior`: read what others did since we knew."""
        known = self._known.get(account.key)
        if known is not None and known < prior and account.key not in unit.missed:
            missed = read_missed(unit.tx, account.key, known, prior, self._states.keys())
            if not missed.lost:  # the mailboxes show what the unit has begun to do: they are read when it is done
                unit.missed[account.key] = missed

    def apply(self, missed: Iterable[Missed]) -> None:
        """Bring states up to date, and tell, with what is still new."""
        for each in missed:
            known = self._known.get(each.account_key, 0)
            if each.upto <= known and not each.account_gone:
                continue
            if each.account_gone:
                self._account_gone(each.account_key)
                continue
            self._known[each.account_key] = each.upto
            if each.lost:
                new = self._states.bring_up(each.account_key, each.anew)
            else:
                self._states.apply(each.deltas)
                new = [row.after(known) for row in each.rows if row.last > known]
            if new:
                self._tell(Changes(new))

    def own(self, unit: Unit) -> tuple[list[MailboxDelta], list[LogRow]]:
        """What is still to be applied and told of our own commit, after what it found missing."""
        self.apply(unit.missed.values())
        skipped: set[int] = set()
        news: dict[str, int] = {}
        for key, (first, last) in unit.numbered.items():
            known = self._known.get(key)
            if known is None:
                continue
            if known < first - 1:  # followed only since the unit ran: the log is read from where we are
                skipped.add(key)
                self._start_catching(key)
                continue
            news[unit.addresses[key]] = known  # what is not newer was read from the log already
            self._known[key] = max(known, last)
        late = {unit.addresses[key] for key in skipped}
        rows = [
            row.after(news.get(row.account, 0))
            for row in unit.logged
            if row.account not in late and row.last > news.get(row.account, 0)
        ]
        return [delta for delta in unit.deltas.values() if delta.mailbox.account.key not in skipped], rows

    def _heard(self, topic: str) -> None:
        if topic == RESTORED:
            self._restored()
            return
        if not topic:
            for key in list(self._known):
                self._start_catching(key)
            return
        kind, *numbers = topic.split(":")
        if kind != TOPIC or len(numbers) != 3:
            return
        key, first, last = map(int, numbers)
        self.note(key, first - 1)
        if self._known.get(key, last) < last:
            self._start_catching(key)

    def _start_catching(self, key: int) -> None:
        if key in self._catching:
            self._again.add(key)  # its read may have begun before what is announced now
        else:
            self._catching.add(key)
            self._tasks.spawn(self._catch_up(key), name="following another daemon")

    async def _catch_up(self, key: int) -> None:
        try:
            while (known := self._known.get(key)) is not None:
                self._again.discard(key)
                missed = await self._read(key, known)
                self.apply([missed])
                if missed.account_gone or (missed.upto <= known and key not in self._again):
                    return
        except StoreError as error:
            _log.warning("cannot follow other daemons at the moment: %s", error)
        finally:
            self._catching.discard(key)

    async def _read(self, key: int, known: int) -> Missed:
        """A page of the log, with what it did to every mailbox that is held now that it can be applied.

        A mailbox opened while the page was read may be older than the page, and would miss it: it is read again. So it
        is where a mailbox is still arriving, and cannot be compared with what was read in place of the log.
        """
        while True:
            held = self._states.keys()
            missed = await self._database.read(partial(self._read_page, key, known, held))
            if self._states.keys() <= held and self._states.arriving.isdisjoint(missed.anew):
                return missed

    def _read_page(self, key: int, known: int, held: set[int], tx: Tx) -> Missed:
        missed = read_missed(tx, key, known, None, held)
        if missed.lost:
            own = tx.execute("SELECT id FROM mailboxes WHERE account_id = ?", (key,)).fetchall()
            read = (self._states.read(tx, mailbox) for (mailbox,) in own if mailbox in held)
            missed.anew = {state.key: state for state in read if state is not None}
        return missed

    def _account_gone(self, key: int) -> None:
        """Another daemon removed the account: its mailboxes are gone."""
        self._known.pop(key, None)
        for state in self._states.of_account(key):
            self._states.apply([removal(state)])
            self._tell(Changes([log_row(state, ChangeType.MAILBOX_DELETE)]))


def read_missed(tx: Tx, account_key: int, since: int, upto: int | None, held: set[int]) -> Missed:
    """The log after `since` up to `upto` (None: a page of it), with the rows of mailboxes that are `held`."""
    found = tx.execute("SELECT address, last_seq, cut_seq FROM accounts WHERE id = ?", (account_key,)).fetchone()
    if found is None:
        return Missed(account_key, since, account_gone=True)
    address, newest, cut = found
    last = newest if upto is None else upto
    if since < cut:
        return Missed(account_key, last, newest, lost=True)
    missed = Missed(account_key, since, newest)
    deltas: dict[int, MailboxDelta] = {}
    touched: dict[int, dict[Uid, LogRow]] = {}
    for row in rows_between(tx, Account(account_key, address), since, last, _PAGE):
        missed.rows.append(row)
        missed.upto = row.last
        if row.mailbox_key in held:
            mailbox = Mailbox(row.mailbox_key, Account(account_key, address), row.mailbox, 0)
            delta = deltas.setdefault(row.mailbox_key, MailboxDelta(mailbox))
            _collect(delta, row, touched.setdefault(row.mailbox_key, {}))
    for mailbox_key, delta in deltas.items():
        _fill(tx, delta, touched[mailbox_key])
    missed.deltas = list(deltas.values())
    return missed


def _collect(delta: MailboxDelta, row: LogRow, touched: dict[Uid, LogRow]) -> None:
    """What `row` did. `touched`: by UID what brought a message or, for one that was there, changed it."""
    delta.mod_seq = max(delta.mod_seq, row.mod_seq)
    match row.type:
        case ChangeType.MESSAGE_NEW | ChangeType.MESSAGE_APPEND:
            delta.uid_next = max(delta.uid_next, row.uids[-1] + 1)
            touched.update(dict.fromkeys(row.uids, row))
        case ChangeType.FLAGS_SET | ChangeType.FLAGS_CLEAR:
            touched.update({uid: row for uid in row.uids if uid not in touched})
        case ChangeType.MESSAGE_EXPUNGE:
            delta.gone += row.uids
        case ChangeType.MAILBOX_DELETE:
            delta.removed = True
        case ChangeType.MAILBOX_RENAME:
            delta.new_name = row.mailbox
        case _:
            pass


def _fill(tx: Tx, delta: MailboxDelta, touched: Mapping[Uid, LogRow]) -> None:
    """Rows as they are now: what a state holds already it passes over.

    A message may have come on this page and be gone, by an expunge on a later one. Until then it is there as it came.
    """
    key = delta.mailbox.key
    found: list[Row] = []
    expunged: list[MessageRow] = []
    for uid in sorted(touched.keys() - set(delta.gone)):
        row = tx.execute(f"SELECT {COLUMNS} FROM messages WHERE mailbox_id = ? AND uid = ?", (key, uid)).fetchone()
        if row is not None:
            found.append(row)
        elif (change := touched[uid]).type in _COMING:
            expunged.append(row_of_expunged(key, uid, change.mod_seq, change.flags_of(uid)))
    delta.added = rows_of(tx, found)
    delta.changed = delta.added
    if expunged:
        delta.added = sorted([*delta.added, *expunged], key=lambda row: row.uid)
