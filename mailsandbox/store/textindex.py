"""The texts that searches read, written after their messages were acknowledged.

Invariant: a search sees every message: what is not yet in the `texts` table is in `pending`, and what a crash kept from
being written is rendered again at the next start. Bounded: `pending` beyond MAX_PENDING is written at once.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable
from typing import Final

from mailsandbox.database.blobs import Blobs
from mailsandbox.database.tx import Database, Tx
from mailsandbox.errors import DamagedContent
from mailsandbox.store.content_rows import storable
from mailsandbox.store.contents import Render

_log = logging.getLogger(__name__)

DELAY: Final = 0.2  # seconds; messages of a burst share a transaction
MAX_PENDING: Final = 16 << 20  # characters
_CHUNK: Final = 200  # texts in one transaction, so that a delivery waits for few of them

_INSERT: Final = "INSERT INTO texts (content_id, header, body) SELECT id, ?, ? FROM contents WHERE id = ?"
_OR_ANEW: Final = " ON CONFLICT (content_id) DO UPDATE SET header = excluded.header, body = excluded.body"


class TextIndex:
    """Collects texts and writes them in batches."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.pending: dict[int, tuple[str, str]] = {}
        self._characters = 0
        self._timer: asyncio.TimerHandle | None = None
        self._writing = False

    def add(self, texts: list[tuple[int, str, str]]) -> None:
        """Take texts of contents just committed."""
        for key, header, body in texts:
            self._drop(key)
            self.pending[key] = (header, body)
            self._characters += len(header) + len(body)
        if self._characters > MAX_PENDING:
            self._write()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(DELAY, self._write)

    async def flush(self) -> None:
        """Write all that is pending."""
        while self.pending:
            chunk = list(itertools.islice(self.pending.items(), _CHUNK))
            await self._database.write(writing(chunk))
            self._forget(chunk)

    async def recover(self, render: Render) -> None:
        """Write the texts that a crash kept from being written."""
        while missing := await self._database.read(_missing):
            chunk = [(key, _texts(render, octets)) for key, octets in missing]
            await self._database.write(writing(chunk))

    def clear(self) -> None:
        """Forget what is pending, after the database was put back to a snapshot."""
        self.close()
        self.pending.clear()
        self._characters = 0

    def close(self) -> None:
        """No more timers."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _write(self) -> None:
        self.close()
        if self._writing or not self.pending:
            return
        self._writing = True
        chunk = list(itertools.islice(self.pending.items(), _CHUNK))

        def done(outcome: object) -> None:
            self._writing = False
            delay = 0.0
            if isinstance(outcome, Exception):
                delay = 5.0  # the database is unwell; `recover` or a later round makes good for it
            else:
                self._forget(chunk)
            if self.pending and self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(delay, self._write)

        self._database.submit(writing(chunk), done)

    def _forget(self, chunk: list[tuple[int, tuple[str, str]]]) -> None:
        for key, written in chunk:
            if self.pending.get(key) is written:  # else rendered anew meanwhile, and still to be written
                self._drop(key)

    def _drop(self, key: int) -> None:
        header, body = self.pending.pop(key, ("", ""))
        self._characters -= len(header) + len(body)


def writing(chunk: list[tuple[int, tuple[str, str]]]) -> Callable[[Tx], None]:
    """A work that writes texts, header and body, of those contents that are still there."""

    def work(tx: Tx) -> None:
        # Another daemon must not remove a content meanwhile, but may count in its row.
        held = " FOR KEY SHARE" if tx.dialect == "postgresql" else ""
        tx.executemany(f"{_INSERT}{held}{_OR_ANEW}", [(header, body, key) for key, (header, body) in sorted(chunk)])

    return work


def _missing(tx: Tx) -> list[tuple[int, bytes]]:
    rows = tx.execute(
        "SELECT c.id FROM contents c LEFT JOIN texts t ON t.content_id = c.id WHERE t.content_id IS NULL LIMIT ?",
        (_CHUNK,),
    ).fetchall()
    blobs = Blobs()
    found = []
    for (key,) in rows:
        try:
            octets = blobs.get(tx, key)
        except DamagedContent as error:
            _log.error("not searched any more: %s", error)
            octets = b""
        found.append((key, octets))
    return found


def _texts(render: Render, octets: bytes) -> tuple[str, str]:
    rendered = render(octets)
    return storable(rendered.search_header), storable(rendered.search_text)
