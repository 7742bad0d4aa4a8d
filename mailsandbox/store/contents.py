"""Contents of messages: octets stored once, rendered once, released with their last copy.

Invariant: a `contents` row counts the messages that show it and holds one reference to its blob; renderings and texts
live as long as it does. The texts for searching are written later, by `textindex`.
"""

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from hashlib import blake2b
from typing import Final

import msgspec

from mailsandbox.database.blobs import Blobs, Lately
from mailsandbox.database.tx import Tx, Update
from mailsandbox.message.rendering import Rendered
from mailsandbox.store.ahead import Ahead
from mailsandbox.store.content_rows import COLUMNS, ContentRows, content_rows, related
from mailsandbox.store.unit import Unit

Render = Callable[[bytes], Rendered]

_SUMMARY: Final = (
    f"INSERT INTO contents (id, refs, size, {COLUMNS}) VALUES (?, ?, ?{', ?' * (COLUMNS.count(',') + 1)}) "
    "ON CONFLICT (id) DO NOTHING"
)
_SUMMARISE: Final = f"UPDATE contents SET {COLUMNS.replace(',', ' = ?,')} = ? WHERE id = ?"
_RENDERING: Final = "INSERT INTO renderings (content_id, envelope, body, bodystructure, parts) VALUES (?, ?, ?, ?, ?)"
_SHARE: Final = Update(
    "contents", "refs = refs + ?", where="id = ?", tells="size, message_id, in_reply_to, reference_ids"
)
_RELEASE: Final = Update("contents", "refs = refs - ?", where="id = ?", tells="refs")


class Content(msgspec.Struct, frozen=True, gc=False):
    """A stored content, and what threading needs of it. The ids are Message-IDs without angle brackets or with."""

    key: int
    size: int
    message_id: str
    related: tuple[str, ...]  # References, then In-Reply-To


class Contents:
    """Stores and releases contents within a unit of work."""

    def __init__(self, render: Render) -> None:
        self._render = render
        self.lately = Lately()
        self._blobs = Blobs(self.lately)
        self._prepared: dict[bytes, ContentRows] = {}  # by sha256
        self.ahead = Ahead(self._rows)

    def prepared(self, octets: bytes, sha256: bytes | None = None) -> AbstractContextManager[None]:
        """Hash and render before the transaction, while another waits for the disk; may be called in any thread.

        As long as the context is entered, `put` of the same octets takes what was made.
        """
        digest = sha256 or hashlib.sha256(octets).digest()
        return _Prepared(self._prepared, digest, self.ahead.take(digest) or self._rows(octets))

    def _rows(self, octets: bytes) -> ContentRows:
        return content_rows(self._render(octets))

    def put(self, unit: Unit, octets: bytes, *, copies: int, sha256: bytes | None = None) -> Content:
        """Store `octets` for `copies` messages; rendered only when they were not there yet."""
        tx = unit.tx
        digest = sha256 or hashlib.sha256(octets).digest()
        key, met = self._blobs.put_or_meet(tx, octets, sha256=digest)
        rows = self._prepared.get(digest)
        # What is rendered already is mostly new here, and its octets are there for the queue it comes from.
        if rows is None and met and (shared := self._add_copies(tx, key, copies)) is not None:
            return shared
        if rows is None:
            rows = self._rows(octets)
        if not tx.change(_SUMMARY, (key, copies, len(octets), *rows.summary)).rowcount:
            shared = self._add_copies(tx, key, copies)
            assert shared is not None  # the blob is locked, and so the row stays
            return shared
        self._insert_rendering(unit, key, rows)
        return Content(key, len(octets), rows.message_id, rows.related)

    def _add_copies(self, tx: Tx, key: int, copies: int) -> Content | None:
        """Count `copies` more of a content whose blob was put once more; None where only the blob is there."""
        row = tx.update(_SHARE, (copies,), (key,))
        if row is None:
            return None
        self._blobs.release(tx, key)  # the contents row holds one already
        size, message_id, in_reply_to, references = row
        return Content(key, size, message_id, related(references.split(), in_reply_to))

    def share(self, tx: Tx, counts: dict[int, int]) -> None:
        """Count further copies: by content key."""
        counted = [(counts[key], key) for key in sorted(counts)]
        tx.executemany("UPDATE contents SET refs = refs + ? WHERE id = ?", counted)

    def release(self, tx: Tx, counts: dict[int, int]) -> None:
        """Give copies back: by content key; contents that nobody shows any more are removed."""
        keys = sorted(counts)
        if tx.for_update:  # the blob before the content, as `put` does: so no deadlock with one that comes
            tx.execute(f"SELECT 1 FROM blobs WHERE id = ANY(?) ORDER BY id{tx.for_update}", (keys,))
        unused = []
        for key in keys:
            row = tx.update(_RELEASE, (counts[key],), (key,))
            if row is not None and row[0] <= 0:
                unused.append(key)
        for table, column in (("contents", "id"), ("renderings", "content_id"), ("texts", "content_id")):
            tx.executemany(f"DELETE FROM {table} WHERE {column} = ?", [(key,) for key in unused])
        for key in unused:
            self._blobs.release(tx, key)

    def replace_rendering(self, unit: Unit, key: int, octets: bytes) -> None:
        """Render a stored content again (`mailsandbox reindex`)."""
        tx = unit.tx
        rows = self._rows(octets)
        # The row stays, and so does what other daemons count in it meanwhile.
        if not tx.execute(_SUMMARISE, (*rows.summary, key)).rowcount:
            return
        for table in ("renderings", "texts"):
            tx.execute(f"DELETE FROM {table} WHERE content_id = ?", (key,))
        self._insert_rendering(unit, key, rows)

    def _insert_rendering(self, unit: Unit, key: int, rows: ContentRows) -> None:
        unit.tx.change(_RENDERING, (key, *rows.rendering))
        unit.texts.append((key, *rows.texts))


class _Prepared:
    """A rendering that is there meanwhile."""

    __slots__ = ("_all", "_digest", "_rows")

    def __init__(self, every: dict[bytes, ContentRows], digest: bytes, rows: ContentRows) -> None:
        self._all = every
        self._digest = digest
        self._rows = rows

    def __enter__(self) -> None:
        self._all[self._digest] = self._rows

    def __exit__(self, *exception: object) -> None:
        # The same octets may have come twice at once, and the other one may be done already.
        self._all.pop(self._digest, None)


def message_key(message_id: str) -> int:
    """63 bits for a Message-ID: the key of the table of threads."""
    return int.from_bytes(blake2b(message_id.encode("utf-8", "replace"), digest_size=8).digest(), "big") >> 1
