"""Octets stored once, whoever refers to them: addressed by sha256, counted by reference.

Invariant: a blob lives exactly as long as its count is above zero; `put` and `release` come in pairs.
Here alone is known where octets lie: in a table, or where the database has files for large ones, in these.
Shared by the store (contents of messages) and the queue (messages in transit).
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Final

from mailsandbox.database.files import LARGE
from mailsandbox.database.schema import Migration, migrate
from mailsandbox.database.tx import Database, Tx, Update
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
    # The file that has them, where the database keeps large octets so; NULL: blob_octets has them.
    ["ALTER TABLE blobs ADD COLUMN file TEXT"],
]

_PUT: Final = "INSERT INTO blobs (sha256, refs, size) VALUES (?, 1, ?) ON CONFLICT (sha256) DO NOTHING"
_CHUNK: Final = 500  # ids in one statement
MAX_LATELY: Final = 2_000  # digests, 0.4 MB
_COUNT: Final = Update("blobs", "refs = refs + 1", where="sha256 = ?", tells="id")
_COUNT_KNOWN: Final = "UPDATE blobs SET refs = refs + 1 WHERE id = ? AND sha256 = ?"
_GIVE_BACK: Final = "UPDATE blobs SET refs = refs - 1 WHERE id = ? AND refs > 1"
_RELEASE: Final = Update("blobs", "refs = refs - 1", where="id = ?", tells="refs, file")


class Lately:
    """The ids of octets put lately, for who puts the same a moment later: mostly beta what alpha sends it.

    A guess: what was put may be undone or released, and then, unless it was committed, its id be given to others.
    """

    def __init__(self) -> None:
        self._ids: dict[bytes, int] = {}  # by sha256
        self.get = self._ids.get

    def note(self, sha256: bytes, key: int) -> None:
        """These octets have that id now."""
        self._ids[sha256] = key
        if len(self._ids) > MAX_LATELY:
            del self._ids[next(iter(self._ids))]


class Blobs:
    """Puts, gets and releases blobs within a transaction of the caller. `lately`: what others put, too."""

    def __init__(self, lately: Lately | None = None) -> None:
        self._lately = lately or Lately()
        self._met = False  # whether the octets put last were there already: those put next mostly are alike in this

    def put(self, tx: Tx, octets: bytes, *, sha256: bytes | None = None) -> int:
        """Store `octets`, or count one more reference to them; returns their id. `sha256` spares hashing again."""
        return self.put_or_meet(tx, octets, sha256=sha256)[0]

    def put_or_meet(self, tx: Tx, octets: bytes, *, sha256: bytes | None = None) -> tuple[int, bool]:
        """`put`; returns the id and whether the octets were there already."""
        digest = sha256 or hashlib.sha256(octets).digest()
        guess = self._lately.get(digest)
        # The index of digests, which are like random numbers, is the dearest to look into.
        if guess is not None and tx.change(_COUNT_KNOWN, (guess, digest)).rowcount:
            return guess, True
        look = self._met
        while True:
            if look and (row := tx.update(_COUNT, (), (digest,))) is not None:
                self._met = True
                return row[0], True
            key = tx.insert(_PUT, (digest, len(octets)))
            if key is not None:
                self._keep(tx, key, octets, digest)
                self._lately.note(digest, key)
                self._met = False
                return key, False
            look = True  # and again, if another daemon releases the last reference between the two statements

    def _keep(self, tx: Tx, key: int, octets: bytes, digest: bytes) -> None:
        if tx.files is None or len(octets) <= LARGE:
            tx.change("INSERT INTO blob_octets (id, octets) VALUES (?, ?)", (key, octets))
            return
        name = tx.files.take(digest) or tx.files.write(octets)
        tx.written.append(name)
        tx.execute("UPDATE blobs SET file = ? WHERE id = ?", (name, key))

    def get(self, tx: Tx, content_id: int) -> bytes:
        """The octets; raises NoSuchMessage when they are gone, DamagedContent when their file is."""
        row = tx.execute("SELECT octets FROM blob_octets WHERE id = ?", (content_id,)).fetchone()
        if row is not None:
            return bytes(row[0])
        for _, octets in in_files(tx, [content_id]):
            return octets
        raise NoSuchMessage(f"content {content_id} is no longer stored")

    def release(self, tx: Tx, content_id: int) -> None:
        """Give one reference back; the last one removes the octets."""
        # Mostly somebody else refers to them too.
        if tx.change(_GIVE_BACK, (content_id,)).rowcount:
            return
        row = tx.update(_RELEASE, (), (content_id,))
        if row is None or row[0] > 0:
            return
        tx.execute("DELETE FROM blobs WHERE id = ?", (content_id,))
        files, name = tx.files, row[1]
        if files is None or name is None:
            tx.execute("DELETE FROM blob_octets WHERE id = ?", (content_id,))
        else:
            tx.after_commit(lambda: files.remove(name))


@contextlib.asynccontextmanager
async def written_ahead(database: Database, octets: bytes, *, sha256: bytes) -> AsyncIterator[None]:
    """Meanwhile `put` of these large octets need not write them: they are on the disk, or stored already.

    Nothing is done ahead where the database keeps octets in a table. Raises StoreFull, StoreUnavailable.
    """
    files = database.files
    if files is None or len(octets) <= LARGE or database.read_now(lambda tx: _stored(tx, sha256)):
        yield
        return
    name = files.ahead()
    try:
        await asyncio.to_thread(files.write_ahead, name, octets, sha256=sha256)
        yield
    finally:
        files.give_up(name)


def _stored(tx: Tx, sha256: bytes) -> bool:
    return tx.execute("SELECT 1 FROM blobs WHERE sha256 = ?", (sha256,)).fetchone() is not None


def create_in(tx: Tx) -> None:
    """Make or update the tables, and remove the files that a crash left without a row."""
    migrate(tx, "blobs", MIGRATIONS)
    if tx.files is not None:
        tx.files.sweep([row[0] for row in tx.execute("SELECT file FROM blobs WHERE file IS NOT NULL")])


def in_files(tx: Tx, keys: Sequence[int], *, first: Mapping[int, int] | None = None) -> Iterator[tuple[int, bytes]]:
    """Those of `keys` whose octets lie in files, with these: all of them, or the `first` so many of each."""
    if tx.files is None:
        return
    for at in range(0, len(keys), _CHUNK):
        chunk = keys[at : at + _CHUNK]
        rows = tx.execute(
            f"SELECT id, file, size FROM blobs WHERE id IN ({','.join('?' * len(chunk))}) AND file IS NOT NULL", chunk
        ).fetchall()
        for key, name, size in rows:
            yield key, tx.files.read(name, size, first=None if first is None else first[key])
