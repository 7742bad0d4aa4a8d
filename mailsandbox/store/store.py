"""The store as its readers and writers see it: accounts, mailboxes, messages, and the log of their changes.

A thin rim: each method is a unit of work on the database, and what it did reaches the open `MailboxState`s and then the
`listeners`, in commit order, on the loop's thread. Knows no protocol; raises the errors of `errors.StoreError`.
"""

import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from mailsandbox.clock import Clock, SystemClock
from mailsandbox.database import blobs
from mailsandbox.database.files import LARGE
from mailsandbox.database.schema import migrate
from mailsandbox.database.tx import Database, Row, Tx
from mailsandbox.errors import NoSuchMailbox, StoreError
from mailsandbox.message.rendering import render
from mailsandbox.store import changelog, expunges, listing, metadata, reading, reindexing
from mailsandbox.store.contents import Content, Contents, Render
from mailsandbox.store.credentials import canonical
from mailsandbox.store.flagging import store_flags
from mailsandbox.store.following import TOPIC, Following
from mailsandbox.store.logrow import Changes
from mailsandbox.store.mailboxes import Mailboxes
from mailsandbox.store.maildrops import Maildrops
from mailsandbox.store.messages import Messages, Quota
from mailsandbox.store.model import (
    AppendItem,
    ChangePage,
    CopyResult,
    Delivery,
    FlagsResult,
    Landed,
    MailboxStatus,
    MessageRow,
    ModSeq,
    Seq,
    Uid,
)
from mailsandbox.store.names import INBOX
from mailsandbox.store.schema import MIGRATIONS
from mailsandbox.store.search import Scope, search_mailbox
from mailsandbox.store.state import MailboxState
from mailsandbox.store.states import States
from mailsandbox.store.textindex import TextIndex
from mailsandbox.store.unit import CloseGap, Unit, lock_account, lock_accounts
from mailsandbox.store.views import MessagePage, MessageQuery, StoredMessage

T = TypeVar("T")

Listener = Callable[[Changes], None]

_log = logging.getLogger(__name__)


class Store:
    """The facade. Every method names the account by its address, in any case."""

    def __init__(
        self,
        database: Database,
        *,
        clock: Clock | None = None,
        quota: Quota = lambda address: None,
        initial: Sequence[tuple[str, str]] = ((INBOX, ""),),
        render: Render = render,
    ) -> None:
        self.database = database
        self.listeners: list[Listener] = []
        self.clock = clock or SystemClock()
        self._render = render
        self.contents_of = Contents(render)
        self.mailboxes_of = Mailboxes(self.contents_of, initial)
        self._states = States(database, self._loaded)
        self.messages = Messages(self.contents_of, quota, self._states.held)
        self._following: Following | None = None
        self._close_gap: CloseGap | None = None
        if database.shared:
            self._following = Following(database, self._states, self._tell, self._forget_all)
            self._close_gap = self._following.close_gap
        self._texts = TextIndex(database)
        self._maildrops = Maildrops(database)

    async def start(self) -> None:
        """Make or migrate the tables of a started database, and index what a crash left unindexed."""

        def work(tx: Tx) -> None:
            blobs.create_in(tx)
            migrate(tx, "store", MIGRATIONS)

        await self.database.write(work)
        await self._texts.recover(self._render)
        self.database.on_leisure(self.contents_of.ahead.make_one)
        if self._following is not None:
            self._following.start()

    async def aclose(self) -> None:
        """Write what waits. The database is its owner's to close."""
        if self._following is not None:
            await self._following.aclose()
        self._texts.close()
        with contextlib.suppress(StoreError):  # the next start writes them
            await self._texts.flush()

    async def flush_texts(self) -> None:
        """Write the texts that searches read now, instead of shortly."""
        await self._texts.flush()

    async def snapshot(self) -> object:
        """Everything as it is now, in memory; for `restore`. The journeys and the queues lie in the same database."""
        await self._texts.flush()
        return await self.database.snapshot()

    async def restore(self, image: object) -> None:
        """Put everything back to a `snapshot`; open mailboxes are told that they are gone.

        What else remembers things of the database (ledger, queues) has to be told by the caller.
        """
        self._texts.clear()
        await self.database.restore(image)
        self._forget_all()

    async def reindex(self, progress: Callable[[int, int], None] = lambda done, total: None) -> int:
        """Render every content again, after the renderer changed; `progress` gets done and total. Returns how many."""
        return await reindexing.reindex(self.database, self.contents_of, self._texts, progress)

    async def renderings(self) -> int:
        """Grows when contents are rendered anew: what was made of `rendered` holds while this stays the same."""
        return await self.database.read(reindexing.generation)

    # -- accounts and mailboxes

    async def ensure_account(self, address: str) -> None:
        """Make the account with its first mailboxes, if it is new."""
        if await self.database.read(lambda tx: Unit(tx, 0).find_account(address)) is None:
            await self.write(lambda unit: self.mailboxes_of.ensure(unit, address))

    async def accounts(self) -> list[str]:
        """All addresses, sorted."""
        return await self.database.read(
            lambda tx: [row[0] for row in tx.execute("SELECT address FROM accounts ORDER BY address")]
        )

    async def delete_account(self, address: str) -> None:
        """Remove an account with all it has; raises NoSuchAccount."""
        await self.write(lambda unit: self.mailboxes_of.remove_account(unit, unit.account(address)))

    async def reset(self, address: str | None = None) -> None:
        """Empty one account, or remove all (None)."""

        def work(unit: Unit) -> None:
            if address is None:
                for (each,) in unit.tx.execute("SELECT address FROM accounts ORDER BY id").fetchall():
                    if (account := unit.find_account(each)) is not None:
                        self.mailboxes_of.remove_account(unit, account)
            elif (account := unit.find_account(address)) is not None:
                self.mailboxes_of.remove_account(unit, account)
                self.mailboxes_of.ensure(unit, address)

        await self.write(work, heavy=True)

    async def mailboxes(self, account: str) -> list[MailboxStatus]:
        """All mailboxes of the account with their counters, INBOX first."""
        return await self._read(lambda unit: self.mailboxes_of.statuses(unit, unit.account(account)))

    async def status(self, account: str, name: str) -> MailboxStatus:
        """One mailbox's counters; raises NoSuchMailbox."""
        return await self._read(lambda unit: self.mailboxes_of.status(unit, account, name))

    async def create_mailbox(self, account: str, name: str, special_use: str = "") -> None:
        """Raises MailboxExists, BadMailboxName."""
        await self.write(lambda unit: self.mailboxes_of.create(unit, unit.account(account), name, special_use))

    async def delete_mailbox(self, account: str, name: str) -> None:
        """Remove a mailbox with its messages; raises NoSuchMailbox, and BadMailboxName for INBOX."""
        await self.write(lambda unit: self.mailboxes_of.delete(unit, unit.account(account), name))

    async def rename_mailbox(self, account: str, old: str, new: str) -> None:
        """Rename with all below; INBOX hands its messages over and stays. Raises NoSuchMailbox, MailboxExists."""
        await self.write(lambda unit: self.mailboxes_of.rename(unit, unit.account(account), old, new))

    async def set_subscribed(self, account: str, name: str, subscribed: bool) -> None:
        """Subscribe or unsubscribe; the name need not exist."""
        await self.write(
            lambda unit: self.mailboxes_of.set_subscribed(unit, unit.account(account), name, subscribed=subscribed)
        )

    async def subscriptions(self, account: str) -> list[str]:
        """Subscribed names, sorted."""

        def work(unit: Unit) -> list[str]:
            rows = unit.tx.execute(
                "SELECT name FROM subscriptions WHERE account_id = ? ORDER BY name", (unit.account(account).key,)
            )
            return [row[0] for row in rows]

        return await self._read(work)

    async def metadata(self, account: str, mailbox: str, entries: Sequence[str] = ()) -> dict[str, bytes]:
        """RFC 5464 annotations of a mailbox, or of the server (""): those of `entries`, in lower case, or all."""
        return await self._read(lambda unit: metadata.read(unit, account, mailbox, entries))

    async def set_metadata(self, account: str, mailbox: str, entries: dict[str, bytes | None]) -> None:
        """Set annotations; None removes."""
        await self.write(lambda unit: metadata.write(unit, account, mailbox, entries))

    async def octets_used(self, account: str) -> tuple[int, int]:
        """Messages and octets that the account holds (QUOTA)."""

        def work(unit: Unit) -> tuple[int, int]:
            row: tuple[int, int] = unit.tx.execute(
                "SELECT messages, octets FROM accounts WHERE id = ?", (unit.account(account).key,)
            ).fetchone()
            return row

        return await self._read(work)

    # -- messages in

    def prepared(self, octets: bytes, *, sha256: bytes | None = None) -> contextlib.AbstractContextManager[None]:
        """Render what `deliver_in` will be given: outside of the transaction, while others wait for the disk.

        Holds while the context is entered. May be called in any thread. `sha256`: of the octets, where it is known.
        """
        return self.contents_of.prepared(octets, sha256)

    @property
    def lately(self) -> blobs.Lately:
        """What was put into the database lately, to be shared with others who put octets there."""
        return self.contents_of.lately

    def expect(self, octets: bytes, sha256: bytes) -> None:
        """`prepared` will be asked for these octets shortly: they may be rendered while there is nothing else to do."""
        self.contents_of.ahead.expect(octets, sha256)

    def deliver_in(
        self,
        tx: Tx,
        deliveries: Sequence[Delivery],
        octets: bytes,
        *,
        journey_id: str,
        now: float | None = None,
        sha256: bytes | None = None,
    ) -> list[Landed]:
        """Deliver copies inside a work of the caller; accounts come into being. Raises OverQuota.

        States and listeners hear of it by themselves once the work is committed.
        """
        unit = Unit(tx, self.clock.now() if now is None else now, self._close_gap, delivering=True)
        lock_accounts(tx, deliveries)
        content = self.contents_of.put(unit, octets, copies=len(deliveries), sha256=sha256)
        if len(deliveries) == 1:
            landed = [self._deliver_one(unit, deliveries[0], content, journey_id)]
        else:
            landed = self._deliver_several(unit, deliveries, content, journey_id)
        self._watch(unit)
        return landed

    def room_in(self, tx: Tx, address: str) -> tuple[int, int] | None:
        """The account's quota, and what is left of it, in octets; None where it has none."""
        limit = self.messages.limit_of(address)
        if limit is None:
            return None
        row = tx.execute("SELECT octets FROM accounts WHERE address = ?", (canonical(address),)).fetchone()
        return limit, limit - (row[0] if row else 0)

    def _deliver_several(
        self, unit: Unit, deliveries: Sequence[Delivery], content: Content, journey_id: str
    ) -> list[Landed]:
        # In the order of addresses: two daemons that make the same accounts then wait instead of deadlocking.
        order = sorted(range(len(deliveries)), key=lambda index: canonical(deliveries[index].account))
        landed = {index: self._deliver_one(unit, deliveries[index], content, journey_id) for index in order}
        return [landed[index] for index in range(len(deliveries))]

    def _deliver_one(self, unit: Unit, delivery: Delivery, content: Content, journey_id: str) -> Landed:
        """Where it went the last time, without looking; when that is gone, or on the first time, after looking."""
        mailbox = self.mailboxes_of.known_target(delivery.account, delivery.mailbox)
        if mailbox is not None:
            try:
                return self.messages.deliver(unit, mailbox, delivery, content, journey_id)
            except NoSuchMailbox:
                pass
        mailbox = self.mailboxes_of.target(unit, delivery.account, delivery.mailbox)
        return self.messages.deliver(unit, mailbox, delivery, content, journey_id)

    async def deliver(self, deliveries: Sequence[Delivery], octets: bytes, *, journey_id: str = "") -> list[Landed]:
        """Deliver copies, durably, all or none."""
        with self.prepared(octets):
            return await self.database.write(lambda tx: self.deliver_in(tx, deliveries, octets, journey_id=journey_id))

    async def append(self, account: str, mailbox: str, items: Sequence[AppendItem]) -> list[Landed]:
        """All or none. Raises NoSuchMailbox, OverQuota."""
        return await self.write(
            lambda unit: self.messages.append(unit, unit.mailbox(unit.account(account), mailbox), items),
            heavy=any(len(item.octets) > LARGE for item in items),
        )

    async def copy(self, account: str, source: str, uids: Sequence[Uid], target: str) -> CopyResult:
        """Raises NoSuchMailbox, OverQuota; UIDs that do not exist are passed over."""

        def work(unit: Unit) -> CopyResult:
            owner = unit.account(account)
            return self.messages.copy(unit, unit.mailbox(owner, source), uids, unit.mailbox(owner, target))

        return await self.write(work)

    async def move(self, account: str, source: str, uids: Sequence[Uid], target: str) -> CopyResult:
        """`copy` and expunge in one transaction (RFC 6851)."""

        def work(unit: Unit) -> CopyResult:
            owner = unit.account(account)
            return self.messages.move(unit, unit.mailbox(owner, source), uids, unit.mailbox(owner, target))

        return await self.write(work)

    # -- messages changed and removed

    async def store_flags(
        self,
        account: str,
        mailbox: str,
        uids: Sequence[Uid],
        *,
        add: Iterable[str] = (),
        remove: Iterable[str] = (),
        replace: Iterable[str] | None = None,
        unchanged_since: int | None = None,
    ) -> FlagsResult:
        """Change flags. `changed` has the messages whose flags became others; the rest kept their mod-sequence."""
        added, removed = tuple(add), tuple(remove)
        fixed = None if replace is None else tuple(replace)

        def work(unit: Unit) -> FlagsResult:
            place = unit.mailbox(unit.account(account), mailbox)
            return store_flags(
                unit,
                self.messages,
                place,
                uids,
                add=added,
                remove=removed,
                replace=fixed,
                unchanged_since=unchanged_since,
            )

        return await self.write(work)

    async def expunge(self, account: str, mailbox: str, uids: Sequence[Uid] | None) -> list[Uid]:
        """Remove the messages marked \\Deleted: of `uids`, or all (None); returns their UIDs."""

        def work(unit: Unit) -> list[Uid]:
            place = unit.mailbox(unit.account(account), mailbox)
            marked = [row for row in self.messages.select(unit, place, uids) if "\\Deleted" in row.flags]
            return self.messages.expunge(unit, place, marked)

        return await self.write(work)

    async def remove(self, account: str, mailbox: str, uids: Sequence[Uid]) -> list[Uid]:
        """Remove messages whether they are marked \\Deleted or not."""

        def work(unit: Unit) -> list[Uid]:
            place = unit.mailbox(unit.account(account), mailbox)
            return self.messages.expunge(unit, place, self.messages.select(unit, place, uids))

        return await self.write(work)

    # -- reading

    async def open_mailbox(self, account: str, name: str) -> MailboxState:
        """The shared state of a mailbox; `release()` it in the end. Raises NoSuchMailbox."""
        state = await self._states.open(account, name)
        if self._following is not None:
            try:
                await self._following.reach_newest(state.account_key)
            except BaseException:
                state.release()
                raise
        return state

    def claim_recent(self, state: MailboxState) -> Uid:
        """The first UID that is \\Recent for the caller; from now on none of these is for anybody else."""
        first = state.recent_from_uid
        if first < state.uid_next:
            upto = state.uid_next
            state.recent_from_uid = upto

            def work(tx: Tx) -> None:
                lock_account(tx, state.account_key)
                tx.execute(
                    "UPDATE mailboxes SET recent_from = ? WHERE id = ? AND recent_from < ?", (upto, state.key, upto)
                )

            # Nobody waits for it: a crash may show messages as recent once more, which RFC 3501 §2.3.2 allows.
            self.database.submit(work, lambda outcome: None)
        return first

    async def vanished(self, state: MailboxState, since: ModSeq) -> list[Uid]:
        """UIDs expunged after mod-sequence `since`, ascending (RFC 7162 §3.2.5.1)."""
        return await self.database.read(lambda tx: expunges.read(tx, state.key, since))

    async def contents(self, rows: Sequence[MessageRow]) -> list[bytes | None]:
        """Whole messages, trace fields first, in the order of `rows`; None for one that vanished."""
        return await self.database.read(lambda tx: reading.read_contents(tx, rows))

    async def rendered(self, rows: Sequence[MessageRow], columns: Sequence[str]) -> list[Row | None]:
        """Values of `columns` for each row, None for one that vanished; see `reading.read_rendered`."""
        return await self.database.read(lambda tx: reading.read_rendered(tx, rows, columns))

    async def search_text(self, state: MailboxState, needle: str, *, scope: Scope, field: str = "") -> set[Uid]:
        """UIDs of messages whose `scope` contains `needle`, in any case; see `search.search_mailbox`."""
        pending = dict(self._texts.pending)
        found = await self.database.read(
            lambda tx: search_mailbox(tx, state.key, needle, scope=scope, field=field, pending=pending), heavy=True
        )
        return found.intersection(state.rows)

    async def message(self, message_id: str) -> StoredMessage:
        """One message by its id; raises NoSuchMessage."""
        return await self.database.read(lambda tx: listing.read_message(tx, message_id))

    async def list_messages(self, query: MessageQuery) -> MessagePage:
        """A page of messages, newest first."""
        pending = self._texts.pending
        if query.text:
            pending = dict(pending)
        return await self.database.read(lambda tx: listing.list_messages(tx, query, pending), heavy=bool(query.text))

    async def changes(self, account: str, since: Seq, limit: int = 1000) -> ChangePage:
        """The log after a cursor; raises NoSuchAccount."""
        return await self._read(lambda unit: changelog.read_changes(unit.tx, unit.account(account), since, limit))

    async def last_seq(self, account: str) -> Seq:
        """Number of the account's newest change; raises NoSuchAccount."""
        return await self._read(lambda unit: changelog.last_seq(unit.tx, unit.account(account)))

    def maildrop(self, account: str) -> contextlib.AbstractAsyncContextManager[None]:
        """The exclusive lock of a POP3 session (RFC 1939 §4); raises MaildropInUse."""
        return self._maildrops.hold(account)

    # -- the rim

    async def write(self, work: Callable[[Unit], T], *, heavy: bool = False) -> T:
        """A unit of work, durable when it returns; states and listeners have heard of it then."""

        def run(tx: Tx) -> T:
            unit = Unit(tx, self.clock.now(), self._close_gap)
            result = work(unit)
            self._watch(unit)
            return result

        return await self.database.write(run, heavy=heavy)

    async def _read(self, work: Callable[[Unit], T]) -> T:
        return await self.database.read(lambda tx: work(Unit(tx, 0.0)))

    def _watch(self, unit: Unit) -> None:
        """See to it that states and listeners, and other daemons, hear of the unit once it is committed."""
        unit.tx.after_commit(lambda: self._committed(unit))
        for key, (first, last) in unit.numbered.items():
            unit.tx.announce(f"{TOPIC}:{key}:{first}:{last}")

    def _forget_all(self) -> None:
        """The database is another: what is remembered of it no longer holds."""
        self._texts.clear()
        self.mailboxes_of.forget_targets()
        if self._following is not None:
            self._following.forget()
        self._states.clear(self._tell)

    def _loaded(self, state: MailboxState) -> None:
        if self._following is not None:
            self._following.note(state.account_key, state.seq)

    def _committed(self, unit: Unit) -> None:
        """States first, then listeners: whoever is told finds the state as told."""
        if unit.texts:
            self._texts.add(unit.texts)
        deltas, rows = list(unit.deltas.values()), unit.logged
        if self._following is not None:
            deltas, rows = self._following.own(unit)
        self._states.apply(deltas)
        if rows:
            self._tell(Changes(rows))

    def _tell(self, changes: Changes) -> None:
        for listener in tuple(self.listeners):
            try:
                listener(changes)
            except Exception:
                _log.exception("a listener of changes failed")
