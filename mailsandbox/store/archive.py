"""Everything in one zip, and back: accounts, mailboxes, messages with flags and UIDs, journeys.

    manifest.json         what is in it: accounts with their mailboxes, and a row for each message
    messages/000001.eml   whole messages, octet for octet, trace fields first
    events/ID.json        the events of a journey, as they were recorded

Invariant: a mailbox that is not there yet, or never held a message, comes back with its UIDVALIDITY and its UIDs; into
one that was in use the messages are appended. Nothing that an archive names is written outside of the store. A chunk of
messages is in memory at a time.
"""

import asyncio
import dataclasses
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from mailsandbox.errors import StoreError
from mailsandbox.journey.model import Delivered, FirstShown
from mailsandbox.store.journeys import KINDS, NAMES, JourneyLedger
from mailsandbox.store.model import Flags, MailboxStatus, MessageId, MessageRow, Uid, message_id_of
from mailsandbox.store.names import mailbox_name
from mailsandbox.store.restoring import Returning, return_messages
from mailsandbox.store.store import Store
from mailsandbox.store.unit import Unit

VERSION: Final = 1
CHUNK: Final = 100  # messages in memory, and in one transaction
MAX_MESSAGE: Final = 256 << 20  # octets of one message of an archive; a zip can claim anything

Progress = Callable[[int, int], None]


class BadArchive(StoreError):
    """The file is no archive of ours, or a damaged one."""


class MailboxEntry(msgspec.Struct):
    """One mailbox."""

    name: str
    uid_validity: int = 0
    uid_next: int = 1
    special_use: str = ""
    metadata: dict[str, bytes] = {}


class AccountEntry(msgspec.Struct):
    """One account; `metadata` is the server's for it."""

    address: str
    mailboxes: list[MailboxEntry] = []
    subscriptions: list[str] = []
    metadata: dict[str, bytes] = {}


class MessageEntry(msgspec.Struct):
    """One message. `id` is the one it had; journeys refer to it."""

    file: str
    account: str
    mailbox: str
    uid: int = 0
    flags: list[str] = []
    received_at: float = 0.0
    saved_at: float = 0.0
    trace_octets: int = 0
    recipient: str = ""
    journey: str | None = None
    id: str = ""


class Manifest(msgspec.Struct):
    """What an archive holds."""

    messages: list[MessageEntry]
    accounts: list[AccountEntry] = []
    version: int = VERSION


async def export_zip(
    store: Store, ledger: JourneyLedger, path: Path, *, accounts: Sequence[str] = (), progress: Progress | None = None
) -> int:
    """Write the accounts (all when none is named) to `path`; returns how many messages."""
    manifest = Manifest([])
    addresses = list(accounts) or await store.accounts()
    statuses = {address: await store.mailboxes(address) for address in addresses}
    total = sum(status.messages for each in statuses.values() for status in each)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as archive:
        for address, mailboxes in statuses.items():
            manifest.accounts.append(await _account_entry(store, address, mailboxes))
            for status in mailboxes:
                await _export_mailbox(store, archive, manifest, address, status, progress, total)
        for journey in sorted({entry.journey for entry in manifest.messages if entry.journey}):
            events = [
                (NAMES[type(event)], event)
                for event in await ledger.events(journey)
                if not isinstance(event, FirstShown)
            ]
            archive.writestr(f"events/{_safe(journey)}.json", msgspec.json.encode([journey, events]))
        archive.writestr("manifest.json", msgspec.json.encode(manifest))
    return len(manifest.messages)


async def import_zip(store: Store, ledger: JourneyLedger, path: Path, *, progress: Progress | None = None) -> int:
    """Bring an archive's contents back; returns how many messages. Raises BadArchive."""
    try:
        with zipfile.ZipFile(path) as archive:
            return await _import(store, ledger, archive, progress)
    except (zipfile.BadZipFile, msgspec.DecodeError, KeyError, EOFError, NotImplementedError) as error:
        raise BadArchive(f"{path}: not an archive of mailsandbox, or damaged: {error}") from error


async def _account_entry(store: Store, address: str, mailboxes: Sequence[MailboxStatus]) -> AccountEntry:
    entries = [
        MailboxEntry(
            status.name,
            status.uid_validity,
            status.uid_next,
            status.special_use,
            await store.metadata(address, status.name),
        )
        for status in mailboxes
    ]
    return AccountEntry(address, entries, await store.subscriptions(address), await store.metadata(address, ""))


async def _export_mailbox(
    store: Store,
    archive: zipfile.ZipFile,
    manifest: Manifest,
    address: str,
    status: MailboxStatus,
    progress: Progress | None,
    total: int,
) -> None:
    state = await store.open_mailbox(address, status.name)
    try:
        for at in range(0, len(uids := list(state.uids)), CHUNK):
            rows = [row for uid in uids[at : at + CHUNK] if (row := state.rows.get(uid)) is not None]
            contents = await store.contents(rows)
            details = await store.database.read(
                lambda tx, key=state.key, rows=rows: _details(Unit(tx, 0.0), key, rows)  # type: ignore[misc]
            )
            files: list[tuple[str, bytes]] = []
            for row, octets in zip(rows, contents, strict=True):
                if octets is None or row.uid not in details:
                    continue  # expunged meanwhile
                trace_octets, recipient, journey = details[row.uid]
                entry = MessageEntry(
                    f"messages/{len(manifest.messages) + 1:06d}.eml",
                    address,
                    status.name,
                    row.uid,
                    sorted(row.flags.names),
                    row.internal_date,
                    row.save_date,
                    trace_octets,
                    recipient,
                    journey or None,
                    row.message_id,
                )
                manifest.messages.append(entry)
                files.append((entry.file, octets))
            await asyncio.to_thread(_write_files, archive, files)
            if progress is not None:
                progress(len(manifest.messages), total)
    finally:
        state.release()


def _details(unit: Unit, key: int, rows: Sequence[MessageRow]) -> dict[int, tuple[int, str, str]]:
    found = unit.tx.execute(
        "SELECT uid, trace_octets, recipient, journey_id FROM messages WHERE mailbox_id = ? AND uid BETWEEN ? AND ?",
        (key, rows[0].uid, rows[-1].uid),
    )
    return {uid: (trace_octets, recipient, journey) for uid, trace_octets, recipient, journey in found}


def _write_files(archive: zipfile.ZipFile, files: Sequence[tuple[str, bytes]]) -> None:
    for name, octets in files:
        archive.writestr(name, octets)


async def _import(store: Store, ledger: JourneyLedger, archive: zipfile.ZipFile, progress: Progress | None) -> int:
    manifest = msgspec.json.decode(_read(archive, "manifest.json"), type=Manifest)
    if manifest.version > VERSION:
        raise BadArchive(f"the archive was written by a newer version (format {manifest.version})")
    for account in manifest.accounts:
        await store.ensure_account(account.address)
    places = {(account.address, entry.name): entry for account in manifest.accounts for entry in account.mailboxes}
    chunks: dict[tuple[str, str], list[MessageEntry]] = {place: [] for place in places}
    for message in manifest.messages:
        chunks.setdefault((message.account, message.mailbox), []).append(message)
    done = 0
    new_ids: dict[str, MessageId] = {}
    for (address, name), messages in chunks.items():
        wanted = places.get((address, name), MailboxEntry(name))
        keep = await store.write(partial(_prepare, store, address, wanted))
        for at in range(0, len(messages), CHUNK):
            part = messages[at : at + CHUNK]
            items = await asyncio.to_thread(_returning, archive, part)
            uids = await store.write(partial(_return_part, store, address, wanted.name, items, keep))
            for entry, (key, uid) in zip(part, uids, strict=True):
                new_ids[entry.id] = message_id_of(key, uid)
            done += len(part)
            if progress is not None:
                progress(done, len(manifest.messages))
        if keep:
            await store.write(partial(_raise_uid_next, address, wanted))
        if wanted.metadata:
            await store.set_metadata(address, wanted.name, dict(wanted.metadata))
    for account in manifest.accounts:
        for name in account.subscriptions:
            await store.set_subscribed(account.address, name, True)
        if account.metadata:
            await store.set_metadata(account.address, "", dict(account.metadata))
    await _import_events(ledger, archive, new_ids)
    return done


def _return_part(
    store: Store, address: str, name: str, items: Sequence[Returning], keep_uids: bool, unit: Unit
) -> list[tuple[int, Uid]]:
    mailbox = unit.mailbox(unit.account(address), name)
    return return_messages(unit, store.messages, mailbox, items, keep_uids=keep_uids)


def _raise_uid_next(address: str, wanted: MailboxEntry, unit: Unit) -> None:
    """UIDs of messages that were expunged before the export do not come again either."""
    mailbox = unit.mailbox(unit.account(address), wanted.name)
    row = unit.tx.execute(
        "UPDATE mailboxes SET uid_next = ? WHERE id = ? AND uid_next < ? RETURNING uid_next",
        (wanted.uid_next, mailbox.key, wanted.uid_next),
    ).fetchone()
    if row is not None:
        unit.delta(mailbox).uid_next = wanted.uid_next


def _prepare(store: Store, address: str, wanted: MailboxEntry, unit: Unit) -> bool:
    """Make the mailbox where it is missing; whether it is fresh, so that UIDs can be kept."""
    account = store.mailboxes_of.ensure(unit, address)
    mailbox = unit.find_mailbox(account, mailbox_name(wanted.name))
    if mailbox is None:
        mailbox = store.mailboxes_of.create(unit, account, wanted.name, wanted.special_use)
    if not wanted.uid_validity:
        return False
    fresh = unit.tx.execute(
        "UPDATE mailboxes SET uid_validity = ? WHERE id = ? AND uid_next = 1 RETURNING id",
        (wanted.uid_validity & 0xFFFFFFFF, mailbox.key),
    ).fetchone()
    return fresh is not None


def _returning(archive: zipfile.ZipFile, entries: Sequence[MessageEntry]) -> list[Returning]:
    items = []
    for entry in entries:
        octets = _read(archive, entry.file)
        cut = min(max(0, entry.trace_octets), len(octets))
        items.append(
            Returning(
                entry.uid,
                octets[:cut],
                octets[cut:],
                Flags.of(entry.flags),
                entry.received_at,
                entry.saved_at,
                entry.recipient,
                entry.journey or "",
            )
        )
    return items


async def _import_events(ledger: JourneyLedger, archive: zipfile.ZipFile, new_ids: dict[str, MessageId]) -> None:
    for name in archive.namelist():
        if not name.startswith("events/"):
            continue
        journey, events = msgspec.json.decode(_read(archive, name), type=tuple[str, list[tuple[str, msgspec.Raw]]])
        if await ledger.events(journey):
            continue  # it is here already
        for kind, octets in events:
            event = msgspec.json.decode(octets, type=KINDS[kind])
            if isinstance(event, Delivered):
                new_id = new_ids.get(event.message_id, MessageId(event.message_id))
                event = dataclasses.replace(event, message_id=new_id, uid=int(new_id.rpartition("-")[2]))
            await ledger.append(journey, event)


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    info = archive.getinfo(name)
    if info.file_size > MAX_MESSAGE:
        raise BadArchive(f"{name} claims {info.file_size} octets")
    with archive.open(info) as file:
        octets = file.read(MAX_MESSAGE + 1)
    if len(octets) > MAX_MESSAGE:
        raise BadArchive(f"{name} is larger than {MAX_MESSAGE} octets")
    return octets


def _safe(name: str) -> str:
    """A journey's id as a file name."""
    return "".join(each if each.isalnum() or each in "-_." else f"%{ord(each):02X}" for each in name)
