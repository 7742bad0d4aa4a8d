"""The queue on disk: messages, their recipients with status and lease, in the dialect that both databases share.

Invariant: every row is moved as `moves` allows, inside a transaction of the caller; a row's lease belongs to one owner
until it runs out. The last recipient's row takes the message and its reference to the octets along.
Knows nothing of couriers, times to come, or what a message is.
"""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import msgspec

from mailsandbox.database import blobs
from mailsandbox.database.blobs import Blobs, Lately
from mailsandbox.database.schema import Migration, migrate
from mailsandbox.database.tx import Row, Tx
from mailsandbox.errors import NoSuchQueueItem
from mailsandbox.mailqueue.interruptions import INTERRUPTED
from mailsandbox.mailqueue.model import NewItem, QueuedItem, QueuedRecipient, RecipientStatus
from mailsandbox.mailqueue.moves import MOVES, move
from mailsandbox.message.envelope import Envelope, Recipient
from mailsandbox.smtp.replies import Reply

MIGRATIONS: Final[list[Migration]] = [
    [
        """CREATE TABLE queue_messages (
            queue_id TEXT PRIMARY KEY,
            site TEXT NOT NULL,
            journey_id TEXT NOT NULL,
            envelope BLOB NOT NULL,
            received_at REAL NOT NULL,
            content INTEGER NOT NULL,
            octets INTEGER NOT NULL,
            held INTEGER NOT NULL
        ) WITHOUT ROWID""",
        # `due` is when the row next needs attention, `next_attempt` when it is tried: a delay may have to be told,
        # or an end to be made, between two attempts. `held` repeats the message's, so that a claim needs no join.
        """CREATE TABLE queue_recipients (
            queue_id TEXT NOT NULL,
            number INTEGER NOT NULL,
            site TEXT NOT NULL,
            status TEXT NOT NULL,
            held INTEGER NOT NULL,
            attempts INTEGER NOT NULL,
            next_attempt REAL NOT NULL,
            due REAL NOT NULL,
            lease_owner TEXT NOT NULL,
            lease_until REAL NOT NULL,
            warned INTEGER NOT NULL,
            reply BLOB,
            remote TEXT NOT NULL,
            last_attempt REAL,
            PRIMARY KEY (queue_id, number)
        ) WITHOUT ROWID""",
        # Fresh messages are leased from the start and never enter this index.
        "CREATE INDEX queue_due ON queue_recipients (site, due) WHERE status = 'waiting'",
        "CREATE INDEX queue_site ON queue_messages (site, received_at)",
    ],
    # What goes before the content, which so is the same as at the sites before and after this one.
    ["ALTER TABLE queue_messages ADD COLUMN trace BLOB"],
    # Every message had to be put into it and taken out; lists go by the queue id, and with it had to be sorted.
    ["DROP INDEX queue_site"],
]

_MESSAGE: Final = "queue_id, journey_id, site, envelope, received_at, content, octets, held, trace"
_ADD_MESSAGE: Final = f"INSERT INTO queue_messages ({_MESSAGE}) VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?)"
_ACCEPTED: Final = MOVES["accept"][1].value  # a plain str: for a member SQLite's module looks for an adapter
_CHUNK: Final = 500  # items named by one statement
_RECIPIENT: Final = "queue_id, number, status, attempts, next_attempt, warned, reply, remote, last_attempt"


@dataclass(frozen=True, slots=True)
class Stored:
    """A queued item and where its octets are: `trace`, then those of `content`."""

    item: QueuedItem
    content: int
    trace: bytes


class Deferral(NamedTuple):
    """A recipient that waits again, and when it next needs attention."""

    row: QueuedRecipient
    due: float


class Lease(msgspec.Struct, frozen=True):
    """Who works on the rows taken, and until when others keep off (POSIX seconds)."""

    owner: str
    until: float


class Spool:
    """The rows of one site. Every method runs inside a transaction of the caller."""

    def __init__(self, site: str, lately: Lately | None = None) -> None:
        self._site = site
        self._blobs = Blobs(lately)
        self._packer = msgspec.msgpack.Encoder()
        self._envelopes = msgspec.msgpack.Decoder(Envelope)
        self._replies = msgspec.msgpack.Decoder(Reply)

    def create_in(self, tx: Tx) -> None:
        """Make or update the tables."""
        blobs.create_in(tx)
        migrate(tx, "queue", MIGRATIONS)

    def add_in(self, tx: Tx, item: NewItem, lease: Lease) -> int:
        """Store a new item with its rows leased; returns the id of its content. Its commit is the 250's."""
        content = self._blobs.put(tx, item.octets, sha256=item.sha256)
        tx.change(
            _ADD_MESSAGE,
            (
                item.queue_id,
                item.journey_id,
                self._site,
                self._packer.encode(item.envelope),
                item.received_at,
                content,
                len(item.trace) + len(item.octets),
                item.trace,
            ),
        )
        at = item.received_at
        tx.executemany(
            "INSERT INTO queue_recipients (queue_id, number, site, status, held, attempts, next_attempt, due, "
            "lease_owner, lease_until, warned, reply, remote) VALUES (?, ?, ?, ?, 0, 0, ?, ?, ?, ?, 0, NULL, '')",
            [
                (item.queue_id, number, self._site, _ACCEPTED, at, at, lease.owner, lease.until)
                for number in range(len(item.envelope.recipients))
            ],
        )
        return content

    def content_in(self, tx: Tx, content: int) -> bytes:
        """The octets of an item, without its trace."""
        return self._blobs.get(tx, content)

    # Leases

    def claim_in(self, tx: Tx, lease: Lease, *, now: float, limit: int) -> list[Stored]:
        """Take up to `limit` recipients that are due and not held; items with the recipients taken."""
        # SKIP LOCKED: daemons that share a PostgreSQL database do not wait for each other's rows.
        skip = " FOR UPDATE SKIP LOCKED" if tx.dialect == "postgresql" else ""
        rows = tx.execute(
            "SELECT queue_id, number FROM queue_recipients WHERE site = ? AND status = 'waiting' AND held = 0 "
            f"AND due <= ? ORDER BY due LIMIT ?{skip}",
            (self._site, now, limit),
        ).fetchall()
        status = move(RecipientStatus.WAITING, "claim")
        tx.executemany(
            "UPDATE queue_recipients SET status = ?, lease_owner = ?, lease_until = ? "
            "WHERE queue_id = ? AND number = ?",
            [(status, lease.owner, lease.until, queue_id, number) for queue_id, number in rows],
        )
        numbers: dict[str, set[int]] = {}
        for queue_id, number in rows:
            numbers.setdefault(queue_id, set()).add(number)
        return [
            replace(stored, item=_only(stored.item, numbers[stored.item.queue_id]))
            for stored in self._load(tx, list(numbers))
        ]

    def take_over_in(
        self, tx: Tx, *, expired: float | None = None, dead: str | None = None, mine: Container[str] = ()
    ) -> list[QueuedItem]:
        """Free rows whose lease ran out before `expired`, or that `dead` held, or all of them.

        Not those of `mine`: items that this process has in memory. Returns what was freed, its attempt counted.
        """
        which: str = ""
        parameters: tuple[float | str, ...] = ()
        if expired is not None:
            which, parameters = " AND lease_until <= ?", (expired,)
        elif dead is not None:
            which, parameters = " AND lease_owner = ?", (dead,)
        skip = " FOR UPDATE SKIP LOCKED" if tx.dialect == "postgresql" else ""
        rows = tx.execute(
            f"SELECT queue_id, number, lease_owner FROM queue_recipients WHERE site = ? AND status = 'active'{which}"
            f" ORDER BY queue_id, number{skip}",
            (self._site, *parameters),
        ).fetchall()
        return self._cut_short(tx, [row for row in rows if row[0] not in mine], "take over")

    def interrupt_in(self, tx: Tx, owner: str, rows: Iterable[tuple[str, int]]) -> list[QueuedItem]:
        """Give rows (queue id, number) back in whose attempt `owner` was cut short; returns those it held."""
        held = [
            (queue_id, number, owner)
            for queue_id, number in rows
            if tx.execute(
                "SELECT 1 FROM queue_recipients WHERE queue_id = ? AND number = ? AND lease_owner = ?",
                (queue_id, number, owner),
            ).fetchone()
        ]
        return self._cut_short(tx, held, "interrupt")

    def _cut_short(self, tx: Tx, rows: Sequence[tuple[str, int, str]], event: str) -> list[QueuedItem]:
        """Rows (queue id, number, owner) whose attempt has no outcome wait again, due as they were."""
        status, answer = move(RecipientStatus.ACTIVE, event), self._packer.encode(INTERRUPTED)
        tx.executemany(
            "UPDATE queue_recipients SET status = ?, attempts = attempts + 1, reply = ?, remote = '', lease_owner = '' "
            "WHERE queue_id = ? AND number = ? AND lease_owner = ?",
            [(status, answer, *row) for row in rows],
        )
        numbers: dict[str, set[int]] = {}
        for queue_id, number, _ in rows:
            numbers.setdefault(queue_id, set()).add(number)
        return [_only(one.item, numbers[one.item.queue_id]) for one in self._load(tx, list(numbers))]

    def renew_in(self, tx: Tx, lease: Lease, queue_ids: Sequence[str]) -> list[str]:
        """Hold the rows of these items longer; returns the items of which the owner holds nothing any more."""
        held: set[str] = set()
        for start in range(0, len(queue_ids), _CHUNK):
            chunk = queue_ids[start : start + _CHUNK]
            places = ", ".join("?" * len(chunk))
            rows = tx.execute(
                "UPDATE queue_recipients SET lease_until = ? WHERE lease_owner = ? AND status = 'active' "
                f"AND queue_id IN ({places}) RETURNING queue_id",
                (lease.until, lease.owner, *chunk),
            )
            held.update(row[0] for row in rows)
        return [queue_id for queue_id in queue_ids if queue_id not in held]

    def shed_in(self, tx: Tx, owner: str, rows: Iterable[tuple[str, int]] | None = None) -> None:
        """Give rows back that `owner` has not tried: these (queue id, number), or all of them."""
        status = move(RecipientStatus.ACTIVE, "shed")
        sql = (
            "UPDATE queue_recipients SET status = ?, lease_owner = '' "
            "WHERE site = ? AND lease_owner = ? AND status = 'active'"
        )
        if rows is None:
            tx.execute(sql, (status, self._site, owner))
        else:
            tx.executemany(
                f"{sql} AND queue_id = ? AND number = ?", [(status, self._site, owner, *row) for row in rows]
            )

    def next_due(self, tx: Tx) -> float | None:
        """When the next recipient falls due."""
        due: float | None = tx.execute(
            "SELECT MIN(due) FROM queue_recipients WHERE site = ? AND status = 'waiting' AND held = 0", (self._site,)
        ).fetchone()[0]
        return due

    def next_expiry(self, tx: Tx) -> float | None:
        """When the next lease runs out, if nobody renews it."""
        until: float | None = tx.execute(
            "SELECT MIN(lease_until) FROM queue_recipients WHERE site = ? AND status = 'active'", (self._site,)
        ).fetchone()[0]
        return until

    # Outcomes

    def drop_in(self, tx: Tx, queue_id: str, content: int, numbers: Sequence[int]) -> int:
        """Remove recipients that are done with, whoever holds them; the last one takes the message along.

        Returns how many were still there.
        """
        if tx.for_update:  # two daemons that drop one each of the last two recipients must not both leave the message
            tx.execute(f"SELECT 1 FROM queue_messages WHERE queue_id = ?{tx.for_update}", (queue_id,))
        dropped = tx.executemany(
            "DELETE FROM queue_recipients WHERE queue_id = ? AND number = ?", [(queue_id, number) for number in numbers]
        ).rowcount
        gone = tx.change(
            "DELETE FROM queue_messages WHERE queue_id = ? "
            "AND NOT EXISTS (SELECT 1 FROM queue_recipients WHERE queue_id = ?)",
            (queue_id, queue_id),
        ).rowcount
        if gone:
            self._blobs.release(tx, content)
        return dropped

    def defer_in(self, tx: Tx, queue_id: str, rows: Iterable[Deferral], *, owner: str) -> int:
        """Let recipients that `owner` holds wait for another attempt; returns how many it did hold."""
        status = move(RecipientStatus.ACTIVE, "defer")
        return tx.executemany(
            "UPDATE queue_recipients SET status = ?, attempts = ?, next_attempt = ?, due = ?, warned = ?, reply = ?, "
            "remote = ?, last_attempt = ?, lease_owner = '' WHERE queue_id = ? AND number = ? AND lease_owner = ?",
            [
                (
                    status,
                    row.attempts,
                    row.next_attempt,
                    due,
                    int(row.warned),
                    self._packer.encode(row.reply),
                    row.remote,
                    row.last_attempt,
                    queue_id,
                    row.number,
                    owner,
                )
                for row, due in rows
            ],
        ).rowcount

    # What operators ask for

    def hold_in(self, tx: Tx, queue_id: str, *, held: bool) -> None:
        """Keep an item from being tried, or let it go again. Raises NoSuchQueueItem."""
        changed = tx.execute(
            "UPDATE queue_messages SET held = ? WHERE queue_id = ? AND site = ?", (int(held), queue_id, self._site)
        ).rowcount
        if not changed:
            raise NoSuchQueueItem(f"{self._site}: no message {queue_id} in the queue")
        tx.execute("UPDATE queue_recipients SET held = ? WHERE queue_id = ?", (int(held), queue_id))

    def retry_in(self, tx: Tx, *, now: float, queue_id: str | None = None) -> int:
        """Make recipients due that wait and are not held: of one item, or of all; returns how many."""
        which, parameters = (" AND queue_id = ?", (queue_id,)) if queue_id is not None else ("", ())
        return tx.execute(
            "UPDATE queue_recipients SET next_attempt = ?, due = ? "
            f"WHERE site = ? AND status = 'waiting' AND held = 0{which}",
            (now, now, self._site, *parameters),
        ).rowcount

    def item_in(self, tx: Tx, queue_id: str) -> Stored:
        """One item. Raises NoSuchQueueItem."""
        found = [stored for stored in self._load(tx, [queue_id]) if stored.item.site == self._site]
        if not found:
            raise NoSuchQueueItem(f"{self._site}: no message {queue_id} in the queue")
        return found[0]

    def items_in(self, tx: Tx, *, limit: int, after: str = "") -> list[QueuedItem]:
        """Items in the order of their queue ids, from behind `after`."""
        rows = tx.execute(
            "SELECT queue_id FROM queue_messages WHERE site = ? AND queue_id > ? ORDER BY queue_id LIMIT ?",
            (self._site, after, limit),
        ).fetchall()
        return [stored.item for stored in self._load(tx, [row[0] for row in rows])]

    def count_in(self, tx: Tx) -> int:
        """How many messages are queued."""
        count: int = tx.execute("SELECT COUNT(*) FROM queue_messages WHERE site = ?", (self._site,)).fetchone()[0]
        return count

    def _load(self, tx: Tx, queue_ids: Sequence[str]) -> list[Stored]:
        """Items with all their rows, in the order of `queue_ids`."""
        stored = []
        for queue_id in queue_ids:
            row = tx.execute(f"SELECT {_MESSAGE} FROM queue_messages WHERE queue_id = ?", (queue_id,)).fetchone()
            if row is None:
                continue
            recipients = tx.execute(
                f"SELECT {_RECIPIENT} FROM queue_recipients WHERE queue_id = ? ORDER BY number", (queue_id,)
            ).fetchall()
            stored.append(self._stored(row, recipients))
        return stored

    def _stored(self, row: Row, recipients: Sequence[Row]) -> Stored:
        queue_id, journey_id, site, envelope_octets, received_at, content, octets, held, trace = row
        envelope = self._envelopes.decode(bytes(envelope_octets))
        queued = tuple(self._recipient(envelope.recipients, recipient) for recipient in recipients)
        item = QueuedItem(queue_id, journey_id, site, envelope, received_at, octets, bool(held), queued)
        return Stored(item, content, bytes(trace or b""))

    def _recipient(self, recipients: Sequence[Recipient], row: Row) -> QueuedRecipient:
        _, number, status, attempts, next_attempt, warned, reply, remote, last_attempt = row
        known: dict[str, Any] = {"reply": self._replies.decode(bytes(reply))} if reply is not None else {}  # Any: **
        return QueuedRecipient(
            number,
            recipients[number],
            RecipientStatus(status),
            attempts,
            next_attempt,
            bool(warned),
            remote=remote,
            last_attempt=last_attempt,
            **known,
        )


def _only(item: QueuedItem, numbers: set[int]) -> QueuedItem:
    """The item with these recipients alone."""
    recipients = tuple(row for row in item.recipients if row.number in numbers)
    return msgspec.structs.replace(item, recipients=recipients)
