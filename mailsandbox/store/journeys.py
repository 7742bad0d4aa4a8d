"""The ledger of journeys: what happened to each message, kept as it happened.

Invariant: an event is written in the transaction of what it records, and never changed; those that one work records
together share a row. That a message was first shown is not worth a transaction of its own: such sightings are collected
and written in batches, so a crash may lose the last moment of them. Bounded: what is remembered to have been seen is
forgotten oldest mailbox first, and the table knows.
"""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from operator import attrgetter
from typing import Final

import msgspec

from mailsandbox.clock import Clock, commit_time_ns
from mailsandbox.database.schema import Migration, migrate
from mailsandbox.database.tx import Database, Tx
from mailsandbox.errors import StoreError
from mailsandbox.journey.model import (
    Accepted,
    Attempted,
    Delivered,
    Expanded,
    FirstShown,
    JourneyEvent,
    JourneyId,
    Notified,
    Operated,
    Undelivered,
)
from mailsandbox.store.model import message_id_of, parse_message_id

MIGRATIONS: Final[list[Migration]] = [
    [
        """CREATE TABLE journey_events (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            journey_id TEXT NOT NULL,
            kind TEXT NOT NULL,
            at REAL NOT NULL,
            event BLOB NOT NULL
        )""",
        "CREATE INDEX journey_events_of ON journey_events (journey_id)",
        # Queue ids and message ids by which a journey is found, even when the message itself is gone; not its own id.
        "CREATE TABLE journey_keys (id TEXT PRIMARY KEY, journey_id TEXT NOT NULL)",
        """CREATE TABLE shown (
            mailbox_id INTEGER NOT NULL,
            uid INTEGER NOT NULL,
            protocol TEXT NOT NULL,
            at REAL NOT NULL,
            shown_ns INTEGER NOT NULL,
            PRIMARY KEY (mailbox_id, uid, protocol)
        ) WITHOUT ROWID""",
    ],
    [
        # One tree on SQLite, where a table and its index were two to write for each key.
        "CREATE TABLE keys_of_journeys (id TEXT PRIMARY KEY, journey_id TEXT NOT NULL) WITHOUT ROWID",
        "INSERT INTO keys_of_journeys (id, journey_id) SELECT id, journey_id FROM journey_keys",
        "DROP TABLE journey_keys",
        "ALTER TABLE keys_of_journeys RENAME TO journey_keys",
    ],
]

SIGHTINGS_DELAY: Final = 0.25  # seconds until sightings are written
MAX_REMEMBERED: Final = 200_000  # UIDs, about 12 MB
MAX_WAITING: Final = 20_000  # sightings not yet written; more are not recorded
_CHUNK: Final = 500  # sightings in one transaction

KINDS: Final[dict[str, type[Accepted | Attempted | Delivered | Expanded | Undelivered | Operated | Notified]]] = {
    "accepted": Accepted,
    "attempted": Attempted,
    "delivered": Delivered,
    "expanded": Expanded,
    "undelivered": Undelivered,
    "operated": Operated,
    "notified": Notified,
}
NAMES: Final[dict[type[JourneyEvent], str]] = {kind: name for name, kind in KINDS.items()}
_KEYS: Final = {"accepted": attrgetter("queue_id"), "delivered": attrgetter("message_id")}
_encode: Final = msgspec.msgpack.Encoder().encode

_SIGHTING: Final = (
    "INSERT INTO shown (mailbox_id, uid, protocol, at, shown_ns) SELECT ?, ?, ?, ?, ? "
    "WHERE EXISTS (SELECT 1 FROM journey_keys WHERE id = ?) ON CONFLICT (mailbox_id, uid, protocol) DO NOTHING"
)

_APPEND: Final = "INSERT INTO journey_events (journey_id, kind, at, event) VALUES (?, ?, ?, ?)"
_ADD_KEY: Final = "INSERT INTO journey_keys (id, journey_id) VALUES (?, ?) ON CONFLICT (id) DO NOTHING"

# A journey's own id is that of its first queue, so no row has to say so.
_FIND: Final = (
    "SELECT journey_id FROM journey_events WHERE journey_id = ? "
    "UNION ALL SELECT journey_id FROM journey_keys WHERE id = ? LIMIT 1"
)

_RETURN_SIGHTING: Final = (
    "INSERT INTO shown (mailbox_id, uid, protocol, at, shown_ns) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT (mailbox_id, uid, protocol) DO NOTHING"
)

Sighting = tuple[int, int, str, float, int, str]


class JourneyLedger:
    """Appends and finds events of journeys."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._seen: dict[tuple[str, int], set[int]] = {}
        self._remembered = 0
        self._waiting: list[Sighting] = []
        self._timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Make the tables."""
        await self._database.write(lambda tx: migrate(tx, "journeys", MIGRATIONS))

    async def aclose(self) -> None:
        """Write what is waiting."""
        try:
            await self.flush()
        except StoreError:
            pass  # sightings are not worth an error at the end

    def append_in(self, tx: Tx, journey_id: str, *events: JourneyEvent) -> None:
        """Record events in the transaction of what they record; several in one row, which costs little more than one.

        Not a FirstShown: see `shown`.
        """
        kinds = []
        keys = []
        for event in events:
            kind = NAMES[type(event)]
            kinds.append(kind)
            if kind in _KEYS and (key := _KEYS[kind](event)) and key != journey_id:
                keys.append((key, journey_id))
        octets = _encode(events if len(events) > 1 else events[0])
        tx.change(_APPEND, (journey_id, " ".join(kinds), self._clock.now(), octets))
        if keys:
            tx.executemany(_ADD_KEY, keys)

    async def append(self, journey_id: str, *events: JourneyEvent) -> None:
        """Record events on their own."""
        await self._database.write(lambda tx: self.append_in(tx, journey_id, *events))

    async def events(self, journey_id: str) -> list[JourneyEvent]:
        """All events in the order they were recorded, first sightings last; empty when there is no such journey."""
        await self.flush()
        return await self._database.read(lambda tx: read_events(tx, journey_id))

    def find_in(self, tx: Tx, key: str) -> JourneyId | None:
        """The journey of a queue id, message id or journey id, within a transaction."""
        row = tx.execute(_FIND, (key, key)).fetchone()
        return JourneyId(row[0]) if row else None

    async def find(self, any_id: str) -> JourneyId | None:
        """The journey that a queue id, a message id or a journey id belongs to."""

        def work(tx: Tx) -> JourneyId | None:
            if (known := self.find_in(tx, any_id)) is not None:
                return known
            if (place := parse_message_id(any_id)) is None:
                return None
            row = tx.execute(
                "SELECT journey_id FROM messages WHERE mailbox_id = ? AND uid = ? AND journey_id <> ''", place
            ).fetchone()
            return JourneyId(row[0]) if row else None

        return await self._database.read(work)

    async def recent(self, limit: int = 50) -> list[JourneyId]:
        """The journeys that began last, newest first."""

        def work(tx: Tx) -> list[JourneyId]:
            rows = tx.execute(
                "SELECT journey_id FROM journey_events GROUP BY journey_id ORDER BY min(id) DESC LIMIT ?", (limit,)
            )
            return [JourneyId(row[0]) for row in rows]

        return await self._database.read(work)

    def first_shown(self, message_ids: Iterable[str], protocol: str) -> None:
        """Note that `protocol` showed these messages now; nearly free when it did before."""
        by_mailbox: dict[int, list[int]] = {}
        for message_id in message_ids:
            if (place := parse_message_id(message_id)) is not None:
                by_mailbox.setdefault(place[0], []).append(place[1])
        for key, uids in by_mailbox.items():
            self.shown(key, uids, protocol)

    def shown(self, mailbox_key: int, uids: Collection[int], protocol: str) -> None:
        """`first_shown` for messages of one mailbox (`MailboxState.key`)."""
        seen = self._seen.get((protocol, mailbox_key))
        if seen is None:
            seen = self._seen[protocol, mailbox_key] = set()
        new = [uid for uid in uids if uid not in seen] if len(uids) < 8 else set(uids).difference(seen)
        if not new:
            return
        seen.update(new)
        self._remembered += len(new)
        self._forget_oldest()
        at, shown_ns = self._clock.now(), commit_time_ns()
        room = MAX_WAITING - len(self._waiting)
        for uid in sorted(new)[: max(0, room)]:
            self._waiting.append((mailbox_key, uid, protocol, at, shown_ns, message_id_of(mailbox_key, uid)))
        self._arm(SIGHTINGS_DELAY)

    @property
    def remembered(self) -> int:
        """How many sightings are known to have been noted."""
        return self._remembered

    @property
    def waiting(self) -> int:
        """How many sightings are not yet written."""
        return len(self._waiting)

    def forget(self) -> None:
        """Forget which sightings were noted, after the database was put back to a snapshot."""
        self._disarm()
        self._seen.clear()
        self._remembered = 0
        self._waiting.clear()

    async def flush(self) -> None:
        """Write the sightings that wait."""
        self._disarm()
        while self._waiting:
            chunk, self._waiting = self._waiting[:_CHUNK], self._waiting[_CHUNK:]
            await self._database.write(lambda tx, rows=chunk: _write_sightings(tx, rows))  # type: ignore[misc]

    def _write(self) -> None:
        self._timer = None
        chunk, self._waiting = self._waiting[:_CHUNK], self._waiting[_CHUNK:]
        if chunk:
            self._database.submit(lambda tx: _write_sightings(tx, chunk), self._written)

    def _written(self, outcome: object) -> None:
        if self._waiting:
            self._arm(5.0 if isinstance(outcome, Exception) else 0.0)

    def _arm(self, delay: float) -> None:
        if self._timer is None and self._waiting:
            self._timer = asyncio.get_running_loop().call_later(delay, self._write)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _forget_oldest(self) -> None:
        while self._remembered > MAX_REMEMBERED and len(self._seen) > 1:
            self._remembered -= len(self._seen.pop(next(iter(self._seen))))
        if self._remembered > 2 * MAX_REMEMBERED:
            self._seen.clear()
            self._remembered = 0


def read_events(tx: Tx, journey_id: str) -> list[JourneyEvent]:
    """The events of a journey; see `JourneyLedger.events`."""
    events: list[JourneyEvent] = []
    for kind, octets in tx.execute(
        "SELECT kind, event FROM journey_events WHERE journey_id = ? ORDER BY id", (journey_id,)
    ):
        kinds = kind.split()
        each = [octets] if len(kinds) == 1 else msgspec.msgpack.decode(octets, type=list[msgspec.Raw])
        events += [msgspec.msgpack.decode(one, type=KINDS[name]) for name, one in zip(kinds, each, strict=True)]
    for delivered in [event for event in events if isinstance(event, Delivered)]:
        place = parse_message_id(delivered.message_id)
        if place is None:
            continue
        for protocol, at, shown_ns in tx.execute(
            "SELECT protocol, at, shown_ns FROM shown WHERE mailbox_id = ? AND uid = ? ORDER BY shown_ns", place
        ):
            after = (shown_ns - delivered.committed_ns) / 1e6
            events.append(FirstShown(delivered.message_id, protocol, at, after))
    return events


def journeys_after(tx: Tx, after: str, limit: int) -> list[JourneyId]:
    """The next ids of journeys, in their own order."""
    rows = tx.execute(
        "SELECT DISTINCT journey_id FROM journey_events WHERE journey_id > ? ORDER BY journey_id LIMIT ?",
        (after, limit),
    )
    return [JourneyId(row[0]) for row in rows]


def return_journey(ledger: JourneyLedger, tx: Tx, journey_id: str, events: Sequence[JourneyEvent]) -> bool:
    """Put a journey back as it was; False where it is here already. A copy without a message id is in no mailbox."""
    known = tx.execute("SELECT 1 FROM journey_events WHERE journey_id = ? LIMIT 1", (journey_id,)).fetchone()
    if known is not None:
        return False
    committed: dict[str, int] = {}
    for event in events:
        match event:
            case FirstShown(message_id, protocol, at, after_ms):
                place = parse_message_id(message_id)
                if place is not None and message_id in committed:
                    shown_ns = committed[message_id] + int(after_ms * 1e6)
                    tx.execute(_RETURN_SIGHTING, (*place, protocol, at, shown_ns))
            case _:
                ledger.append_in(tx, journey_id, event)
                if isinstance(event, Delivered):
                    committed[event.message_id] = event.committed_ns
    return True


def forget_journeys(tx: Tx, *, keep: int, older_than: float) -> int:
    """Forget some journeys of which something is older than the newest `keep` rows or than `older_than` (POSIX)."""
    newest = tx.execute("SELECT max(id) FROM journey_events").fetchone()[0] or 0
    rows = tx.execute(
        "SELECT DISTINCT journey_id FROM (SELECT journey_id, id, at FROM journey_events ORDER BY id LIMIT ?) AS oldest "
        "WHERE id <= ? OR at < ?",
        (_CHUNK, newest - keep, older_than),
    ).fetchall()
    for (journey_id,) in rows:
        for event in read_events(tx, journey_id):
            match event:
                case Accepted(queue_id=key) | Delivered(message_id=key):
                    tx.execute("DELETE FROM journey_keys WHERE id = ? AND journey_id = ?", (key, journey_id))
                    tx.execute("DELETE FROM shown WHERE mailbox_id = ? AND uid = ?", parse_message_id(key) or (0, 0))
                case _:
                    pass
    tx.executemany("DELETE FROM journey_events WHERE journey_id = ?", rows)
    return len(rows)


def _write_sightings(tx: Tx, rows: list[Sighting]) -> None:
    tx.executemany(_SIGHTING, rows)
