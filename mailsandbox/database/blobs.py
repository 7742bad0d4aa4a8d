"""Octets stored once, whoever refers to them: addressed by sha256, counted by reference.

Invariant: a blob lives exactly as long as its count is above zero; `put` and `release` come in pairs.
Shared by the store (contents of messages) and the queue (messages in transit).
"""

import hashlib
from typing import Final

from mailsandbox.database.schema import Migration
from mailsandbox.database.tx import Tx
from mailsandbox.errors import NoSuchMessage

MIGRATIONS: Final[list[Migration]] = [
    [
        # AUTOINCREMENT: an id is never given twice, so caches keyed by it need no invalidation.
        """CREATE TABLE blobs (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            sha256 BLOB NOT NULL UNIQUE,
            refs INTEGER NOT NULL,
            size INTEGER NOT NULL,
            octets BLOB NOT NULL
        )""",
    ],
    [
        # SQLite reads and compares a whole row to change a number in it: 13 ms for a reference to 5 MB.
        "CREATE TABLE blob_octets (id INTEGER PRIMARY KEY, octets BLOB NOT NULL)",
        "INSERT INTO blob_octets (id, octets) SELECT id, octets FROM blobs",
        "ALTER TABLE blobs DROP COLUMN octets",
    ],
]

_PUT: Final = "INSERT INTO blobs (sha256, refs, size) VALUES (?, 1, ?) ON CONFLICT (sha256) DO NOTHING"
_COUNT: Final = "UPDATE blobs SET refs = refs + 1 WHERE sha256 = ? RETURNING id, refs"


class Blobs:
    """Puts, gets and releases blobs within a transaction of the caller."""

    def put(self, tx: Tx, octets: bytes, *, sha256: bytes | None = None) -> int:
        """Store `octets`, or count one more reference to them; returns their id. `sha256` spares hashing again."""
        return self.put_counted(tx, octets, sha256=sha256)[0]

    def put_counted(self, tx: Tx, octets: bytes, *, sha256: bytes | None = None) -> tuple[int, int]:
        """`put`; returns the id and how many references there are now: 1 when the octets are new."""
        digest = sha256 or hashlib.sha256(octets).digest()
        while True:
            key = tx.insert(_PUT, (digest, len(octets)))
            if key is not None:
                tx.execute("INSERT INTO blob_octets (id, octets) VALUES (?, ?)", (key, octets))
                return key, 1
            row: tuple[int, int] | None = tx.execute(_COUNT, (digest,)).fetchone()
            if row is not None:
                return row
            # Another daemon released the last reference between the two statements.

    def get(self, tx: Tx, content_id: int) -> bytes:
        """The octets; raises NoSuchMessage when they are gone."""
        row = tx.execute("SELECT octets FROM blob_octets WHERE id = ?", (content_id,)).fetchone()
        if row is None:
            raise NoSuchMessage(f"content {content_id} is no longer stored")
        return bytes(row[0])

    def release(self, tx: Tx, content_id: int) -> None:
        """Give one reference back; the last one removes the octets."""
        row = tx.execute("UPDATE blobs SET refs = refs - 1 WHERE id = ? RETURNING refs", (content_id,)).fetchone()
        if row is not None and row[0] <= 0:
            tx.execute("DELETE FROM blobs WHERE id = ?", (content_id,))
            tx.execute("DELETE FROM blob_octets WHERE id = ?", (content_id,))
