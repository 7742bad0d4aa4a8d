"""An archive into a store, a chunk of messages in each transaction.

Invariant: nothing is stored before the whole archive was found in order. What stops it later (no room, the database
gone) is raised with how much was done until then.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from mailsandbox.database.tx import Tx
from mailsandbox.errors import BadArchive, StoreError
from mailsandbox.journey.model import Delivered, FirstShown, JourneyEvent
from mailsandbox.store.archive.checking import Archive
from mailsandbox.store.archive.manifest import MailboxEntry, MessageEntry
from mailsandbox.store.archive.returning import Returning, return_messages
from mailsandbox.store.journeys import JourneyLedger, return_journey
from mailsandbox.store.model import Flags, Uid, message_id_of
from mailsandbox.store.store import Store
from mailsandbox.store.unit import Unit

CHUNK: Final = 100  # messages in memory, and in one transaction
CHUNK_OCTETS: Final = 16 << 20  # or so many octets of them; one that is larger comes alone

Progress = Callable[[int, int], None]


@dataclass(slots=True)
class ImportedMailbox:
    """What became of one mailbox. `kept`: UIDVALIDITY and UIDs are those of the archive; else it was appended to."""

    account: str
    mailbox: str
    messages: int = 0
    kept: bool = True


@dataclass(slots=True)
class Imported:
    """What an import did."""

    messages: int = 0
    journeys: int = 0  # those that were not here yet
    mailboxes: list[ImportedMailbox] = field(default_factory=list)

    def describe(self) -> str:
        """ "300 messages; appended to INBOX of bob@beta.test, which was in use"."""
        appended = [f"{each.mailbox} of {each.account}" for each in self.mailboxes if not each.kept and each.messages]
        text = f"{self.messages} message{'' if self.messages == 1 else 's'}"
        if not appended:
            return text
        more = f" and {len(appended) - 3} more" if len(appended) > 3 else ""
        return f"{text}; appended to {', '.join(appended[:3])}{more}, which had mail before"


async def import_zip(
    store: Store,
    ledger: JourneyLedger,
    path: Path,
    *,
    name: str = "",
    may_exist: Callable[[str], bool] = lambda address: True,
    progress: Progress = lambda done, total: None,
) -> Imported:
    """Bring an archive's contents back. `may_exist`: whether the configuration lets such an account be.

    `name` stands for the file in errors. Quotas do not stop it: what was there comes back. Raises BadArchive with
    nothing done, StoreError with the rest.
    """
    with await asyncio.to_thread(Archive, path, name) as archive:
        for account in archive.manifest.accounts:
            if not may_exist(account.address):
                raise BadArchive(f"{archive.name}: the configuration lets no account {account.address!r} appear")
        work = _Import(store, ledger, archive, progress)
        try:
            await work.run()
        except StoreError as error:
            total = archive.manifest.messages
            raise type(error)(f"{error}; until then {work.done.describe()} of {total} had been imported") from error
        return work.done


class _Import:
    def __init__(self, store: Store, ledger: JourneyLedger, archive: Archive, progress: Progress) -> None:
        self._store = store
        self._ledger = ledger
        self._archive = archive
        self._progress = progress
        self._mailboxes: dict[tuple[str, str], ImportedMailbox] = {}
        self._new_ids: dict[str, tuple[int, Uid]] = {}  # of messages that have a journey
        self.done = Imported()

    async def run(self) -> None:
        manifest = self._archive.manifest
        for account in manifest.accounts:
            for entry in account.mailboxes:
                kept = await self._store.write(partial(_prepare, self._store, account.address, entry))
                done = ImportedMailbox(account.address, entry.name, kept=kept)
                self._mailboxes[account.address, entry.name] = done
                self.done.mailboxes.append(done)
        for entries in self._archive.messages():
            for part in self._parts(entries):
                await self._bring_back(part)
                self._progress(self.done.messages, manifest.messages)
        for account in manifest.accounts:
            await self._settle(account.address, account.mailboxes)
            for name in account.subscriptions:
                await self._store.set_subscribed(account.address, name, True)
            if account.metadata:
                await self._store.set_metadata(account.address, "", dict(account.metadata))
        for journeys in self._archive.journeys():
            events = [(journey, [self._here(event) for event in each]) for journey, each in journeys]
            work = partial(_return_journeys, self._ledger, events)
            self.done.journeys += await self._store.database.write(work, heavy=True)

    def _parts(self, entries: Sequence[MessageEntry]) -> "list[list[MessageEntry]]":
        """Of one mailbox each, and of so many messages and octets as may be in memory."""
        parts: list[list[MessageEntry]] = []
        size = 0
        for entry in entries:
            octets = self._archive.octets_of(entry)
            fits = parts and len(parts[-1]) < CHUNK and size + octets <= CHUNK_OCTETS
            if not fits or (entry.account, entry.mailbox) != (parts[-1][-1].account, parts[-1][-1].mailbox):
                parts.append([])
                size = 0
            parts[-1].append(entry)
            size += octets
        return parts

    async def _bring_back(self, part: list[MessageEntry]) -> None:
        done = self._mailboxes[part[0].account, part[0].mailbox]
        items = await asyncio.to_thread(lambda: [_returning(self._archive, entry) for entry in part])
        work = partial(_return_part, self._store, done.account, done.mailbox, items, done.kept)
        places = await self._store.write(work, heavy=True)
        for entry, (key, uid) in zip(part, places, strict=True):
            done.kept = done.kept and uid == entry.uid
            if entry.journey:
                self._new_ids[entry.id] = (key, uid)
        done.messages += len(part)
        self.done.messages += len(part)

    async def _settle(self, address: str, mailboxes: Sequence[MailboxEntry]) -> None:
        for wanted in mailboxes:
            if self._mailboxes[address, wanted.name].kept:
                await self._store.write(partial(_raise_uid_next, address, wanted))
            if wanted.metadata:
                await self._store.set_metadata(address, wanted.name, dict(wanted.metadata))

    def _here(self, event: JourneyEvent) -> JourneyEvent:
        """With the id that the message has here; "" for one that did not come."""
        match event:
            case Delivered():
                place = self._new_ids.get(event.message_id)
                if place is None:
                    return msgspec.structs.replace(event, message_id="")
                return msgspec.structs.replace(event, message_id=message_id_of(*place), uid=place[1])
            case FirstShown():
                place = self._new_ids.get(event.message_id)
                return msgspec.structs.replace(event, message_id=message_id_of(*place) if place else "")
            case _:
                return event


def _prepare(store: Store, address: str, wanted: MailboxEntry, unit: Unit) -> bool:
    """Make the mailbox where it is missing or was never used; whether its UIDs can be kept."""
    account = store.mailboxes_of.ensure(unit, address)
    made = store.mailboxes_of.bring_back(
        unit,
        account,
        wanted.name,
        special_use=wanted.special_use,
        uid_validity=wanted.uid_validity,
        mod_seq=wanted.highest_mod_seq,
    )
    return made is not None


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


def _returning(archive: Archive, entry: MessageEntry) -> Returning:
    octets = archive.read(entry.file)
    cut = min(entry.trace_octets, len(octets))
    return Returning(
        entry.uid,
        octets[:cut],
        octets[cut:],
        Flags.of(entry.flags),
        entry.received_at,
        entry.saved_at,
        entry.recipient,
        entry.journey,
    )


def _return_journeys(ledger: JourneyLedger, events: Sequence[tuple[str, Sequence[JourneyEvent]]], tx: Tx) -> int:
    return sum(return_journey(ledger, tx, journey, each) for journey, each in events)
