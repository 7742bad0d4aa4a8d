"""The store's contents as a zip, made while it is sent: nothing is written twice, and nothing has to be sought in.

What arrives while it is made is not in it: a mailbox ends where it ended when the export began.
"""

import asyncio
import io
import os
import tempfile
import time
import zipfile
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from msgspec import Raw

from mailsandbox.database.tx import Row, Tx
from mailsandbox.errors import NoSuchMailbox, StoreError
from mailsandbox.journey.model import FirstShown, JourneyEvent
from mailsandbox.store.archive.manifest import (
    INDEX,
    JOURNEYS,
    MANIFEST,
    MESSAGES,
    PER_INDEX,
    SHOWN,
    AccountEntry,
    JourneyEntry,
    MailboxEntry,
    Manifest,
    MessageEntry,
    encode,
    numbered,
)
from mailsandbox.store.credentials import canonical
from mailsandbox.store.journeys import NAMES, JourneyLedger, journeys_after, read_events
from mailsandbox.store.messages import COLUMNS, rows_of
from mailsandbox.store.model import MailboxStatus
from mailsandbox.store.reading import read_contents
from mailsandbox.store.store import Store
from mailsandbox.store.unit import Unit

CHUNK: Final = 100  # messages in memory
CHUNK_OCTETS: Final = 16 << 20  # or so many octets of them; one that is larger comes alone
JOURNEYS_CHUNK: Final = 100

Progress = Callable[[int, int], None]
_Part = list[tuple[MessageEntry, bytes]]


@dataclass(frozen=True, slots=True)
class _Place:
    """A mailbox to export, as it was when the export began."""

    address: str
    status: MailboxStatus
    entry: MailboxEntry


class Export:
    """One archive in the making. Make it with `begin`."""

    def __init__(
        self, store: Store, ledger: JourneyLedger, manifest: Manifest, places: Sequence[_Place], *, everything: bool
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._manifest = manifest
        self._places = places
        self._everything = everything  # journeys of messages that are in no mailbox too
        self._journeys: dict[str, None] = {}
        self._written = 0  # messages
        self._indexes = 0
        self._index: list[MessageEntry] = []
        self._sink = _Sink()
        self._zip = zipfile.ZipFile(self._sink, "w", zipfile.ZIP_DEFLATED, compresslevel=3)

    @classmethod
    async def begin(
        cls, store: Store, ledger: JourneyLedger, *, accounts: Sequence[str] = (), mailbox: str = ""
    ) -> "Export":
        """Of all accounts when none is named. Raises NoSuchAccount, and NoSuchMailbox where nobody has `mailbox`."""
        entries, places = [], []
        for address in dict.fromkeys(map(canonical, accounts)) or await store.accounts():
            kept = []
            for status in await store.mailboxes(address):
                if mailbox in ("", status.name):
                    entry = MailboxEntry(
                        status.name,
                        status.uid_validity,
                        status.uid_next,
                        status.highest_mod_seq,
                        status.special_use,
                        await store.metadata(address, status.name),
                    )
                    kept.append(_Place(address, status, entry))
            places += kept
            entries.append(
                AccountEntry(
                    address,
                    [each.entry for each in kept],
                    await store.subscriptions(address),
                    await store.metadata(address, ""),
                )
            )
        if mailbox and not places:
            raise NoSuchMailbox(f"no account has a mailbox {mailbox}")
        total = sum(each.status.messages for each in places)
        return cls(store, ledger, Manifest(total, entries), places, everything=not accounts and not mailbox)

    @property
    def messages(self) -> int:
        """How many there are to write; once it is done: how many were."""
        return self._manifest.messages

    async def octets(self, progress: Progress = lambda done, total: None) -> AsyncGenerator[bytes, None]:
        """The zip from its first octet to its last. `progress` gets messages done and in all."""
        total = self._manifest.messages
        with self._zip:
            for place in self._places:
                async for piece in self._mailbox(place):
                    progress(self._written, max(total, self._written))
                    yield piece
            async for piece in self._all_journeys():
                yield piece
            self._manifest = Manifest(self._written, self._manifest.accounts)
            self._write(MANIFEST, encode(self._manifest))
        yield self._sink.take()

    async def _mailbox(self, place: _Place) -> AsyncGenerator[bytes, None]:
        after = 0
        read = self._store.database.read
        while part := await read(lambda tx, uid=after: _read(tx, place, uid, self._written), heavy=True):  # type: ignore[misc]
            after = part[-1][0].uid
            await asyncio.to_thread(self._write_messages, part)
            yield self._sink.take()
        self._end_index()
        yield self._sink.take()

    def _write_messages(self, part: _Part) -> None:
        for entry, octets in part:
            self._write(entry.file, octets, entry.received_at)
            self._index.append(entry)
            self._written += 1
            if entry.journey:
                self._journeys[entry.journey] = None
            if len(self._index) >= PER_INDEX:
                self._end_index()

    def _end_index(self) -> None:
        if self._index:
            self._indexes += 1
            self._write(numbered(INDEX, self._indexes, "json"), encode(self._index))
            self._index = []

    async def _all_journeys(self) -> AsyncGenerator[bytes, None]:
        await self._ledger.flush()
        number, after = 0, ""
        chosen: list[str] = list(self._journeys)
        ids: Sequence[str]
        while True:
            if self._everything:
                ids = await self._store.database.read(lambda tx, key=after: journeys_after(tx, key, JOURNEYS_CHUNK))  # type: ignore[misc]
                after = ids[-1] if ids else after
            else:
                ids, chosen = chosen[:JOURNEYS_CHUNK], chosen[JOURNEYS_CHUNK:]
            if not ids:
                return
            number += 1
            entries = await self._store.database.read(lambda tx, wanted=ids: _journeys(tx, wanted), heavy=True)  # type: ignore[misc]
            self._write(numbered(JOURNEYS, number, "json"), encode(entries))
            yield self._sink.take()

    def _write(self, name: str, octets: bytes, at: float | None = None) -> None:
        # The format's times are local, of no named zone, and begin in 1980; everything here is UTC.
        moment = time.gmtime(min(max(self._store.clock.now() if at is None else at, 315_532_800), 4_354_819_199))
        info = zipfile.ZipInfo(name, moment[:6])
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = 0o600 << 16
        self._zip.writestr(info, octets)


async def export_zip(
    store: Store,
    ledger: JourneyLedger,
    path: Path,
    *,
    accounts: Sequence[str] = (),
    mailbox: str = "",
    progress: Progress = lambda done, total: None,
) -> int:
    """Write an archive to `path`, which is there when it is whole and not before; returns how many messages.

    Raises NoSuchAccount, NoSuchMailbox, and StoreError for a file that cannot be written.
    """
    export = await Export.begin(store, ledger, accounts=accounts, mailbox=mailbox)
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            try:
                async for piece in export.octets(progress):
                    await asyncio.to_thread(file.write, piece)
                file.close()
                await asyncio.to_thread(os.replace, file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror or error}") from None
    return export.messages


def _read(tx: Tx, place: _Place, after: int, written: int) -> _Part:
    """The next messages of a mailbox; none where it is gone meanwhile. `written` messages have a number already."""
    unit = Unit(tx, 0.0)
    account = unit.find_account(place.address)
    mailbox = unit.find_mailbox(account, place.status.name) if account else None
    if mailbox is None or mailbox.uid_validity != place.status.uid_validity:
        return []
    found = tx.execute(
        f"SELECT {COLUMNS}, trace_octets, recipient, journey_id FROM messages "
        "WHERE mailbox_id = ? AND uid > ? AND uid < ? ORDER BY uid LIMIT ?",
        (mailbox.key, after, place.status.uid_next, CHUNK),
    ).fetchall()
    rows: list[Row] = []
    size = 0
    for row in found:
        size += row[5]
        if rows and size > CHUNK_OCTETS:
            break
        rows.append(row)
    messages = rows_of(tx, [row[:10] for row in rows])
    part: _Part = []
    for message, row, octets in zip(messages, rows, read_contents(tx, messages), strict=True):
        assert octets is not None, "rows and contents are of one transaction"
        entry = MessageEntry(
            numbered(MESSAGES, written + len(part) + 1, "eml"),
            place.address,
            place.status.name,
            message.uid,
            sorted(message.flags.names),
            message.internal_date,
            message.save_date,
            row[10],
            row[11],
            row[12],
            message.message_id,
        )
        part.append((entry, octets))
    return part


def _journeys(tx: Tx, ids: Sequence[str]) -> list[JourneyEntry]:
    return [JourneyEntry(each, [(_kind(event), Raw(encode(event))) for event in read_events(tx, each)]) for each in ids]


def _kind(event: JourneyEvent) -> str:
    return SHOWN if isinstance(event, FirstShown) else NAMES[type(event)]


class _Sink(io.RawIOBase):
    """What the zip has written since it was last taken."""

    def __init__(self) -> None:
        self._octets = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, octets: "bytes | memoryview") -> int:  # type: ignore[override]  # a buffer is all that comes
        self._octets += octets
        return len(octets)

    def take(self) -> bytes:
        """Those octets, once."""
        taken, self._octets = bytes(self._octets), bytearray()
        return taken
