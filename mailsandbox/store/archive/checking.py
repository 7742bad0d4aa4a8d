"""A zip from anywhere, judged whole before anything of it is stored.

What is refused: another or a damaged file, one that claims far more octets than it holds, values that cannot be, and a
message that is listed but not there. Names in a zip are keys to look members up by, never paths.
"""

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from mailsandbox.errors import BadArchive, BadMailboxName
from mailsandbox.journey.model import FirstShown, JourneyEvent
from mailsandbox.store.archive.manifest import (
    INDEX,
    JOURNEYS,
    MANIFEST,
    MAX_JSON,
    MAX_MESSAGE,
    SHOWN,
    JourneyEntry,
    MessageEntry,
    decode_manifest,
)
from mailsandbox.store.journeys import KINDS
from mailsandbox.store.names import mailbox_name

MANY_OCTETS: Final = 1 << 30  # a zip may claim so many whatever its size
MAX_RATIO: Final = 200  # else so many times its size; text comes to 5, deflate can do 1032
_READ: Final = 1 << 20  # octets at a time

_DAMAGE: Final = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,  # a compression or encryption that zipfile does not know
    RuntimeError,  # encrypted
    msgspec.MsgspecError,
    ValueError,
    KeyError,
    BadMailboxName,
)


class Archive:
    """An open archive that was found whole. Use it as a context manager."""

    def __init__(self, path: Path, name: str = "") -> None:
        """Opens and reads everything once. Raises BadArchive that names the file and what is wrong with it."""
        self.name = name or path.name
        try:
            self._zip = zipfile.ZipFile(path)
        except OSError as error:
            raise BadArchive(f"{path}: cannot be read: {error.strerror or error}") from None
        except _DAMAGE as error:
            raise BadArchive(f"{self.name}: no zip, or cut short: {error}") from None
        try:
            _refuse_bomb(self._zip, path.stat().st_size)
            if MANIFEST not in self._zip.namelist():
                raise ValueError(f"it holds no {MANIFEST}, so mailsandbox did not write it")
            self.manifest = decode_manifest(self.read(MANIFEST, MAX_JSON))
            self._check()
        except BadArchive:
            self._zip.close()
            raise
        except _DAMAGE as error:
            self._zip.close()
            raise BadArchive(f"{self.name}: cannot be used: {_said(error)}") from None

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def messages(self) -> Iterator[list[MessageEntry]]:
        """The index, a file of it at a time; mailboxes one after the other, UIDs ascending."""
        for name in self._files(INDEX):
            yield msgspec.json.decode(self.read(name, MAX_JSON), type=list[MessageEntry])

    def journeys(self) -> Iterator[list[tuple[str, list[JourneyEvent]]]]:
        """Journeys by id with their events, a file of them at a time."""
        for name in self._files(JOURNEYS):
            entries = msgspec.json.decode(self.read(name, MAX_JSON), type=list[JourneyEntry])
            yield [(entry.id, _events(entry)) for entry in entries]

    def octets_of(self, entry: MessageEntry) -> int:
        """How long the message is."""
        return self._zip.getinfo(entry.file).file_size

    def read(self, name: str, limit: int = MAX_MESSAGE) -> bytes:
        """One file of the archive, whole."""
        octets = b"".join(self._pieces(name, limit))
        if len(octets) != self._zip.getinfo(name).file_size:
            raise ValueError(f"{name} is shorter than it says")
        return octets

    def _files(self, folder: str) -> list[str]:
        return sorted(name for name in self._zip.namelist() if name.startswith(folder))

    def _pieces(self, name: str, limit: int) -> Iterator[bytes]:
        """Checks the sum of what it reads at the end, and never reads more than `limit`, whatever the zip says."""
        size = 0
        with self._zip.open(name) as file:
            while piece := file.read(_READ):
                size += len(piece)
                if size > limit:
                    raise ValueError(f"{name} is longer than {limit} octets")
                yield piece

    def _check(self) -> None:
        places = {(account.address, each.name) for account in self.manifest.accounts for each in account.mailboxes}
        for _, name in places:
            mailbox_name(name)
        for account in self.manifest.accounts:
            for name in account.subscriptions:
                mailbox_name(name)
        known = set(self._zip.namelist())
        count = 0
        last: dict[tuple[str, str], int] = {}
        for entries in self.messages():
            for entry in entries:
                place = (entry.account, entry.mailbox)
                if place not in places:
                    raise ValueError(f"{entry.file} lies in {entry.mailbox} of {entry.account}, which is not listed")
                if entry.uid <= last.get(place, 0):
                    raise ValueError(f"{entry.file}: UID {entry.uid} is not above the one before")
                if entry.file not in known:
                    raise ValueError(f"{entry.file} is listed, but not in it")
                last[place] = entry.uid
                for _ in self._pieces(entry.file, MAX_MESSAGE):
                    pass
            count += len(entries)
        if count != self.manifest.messages:
            raise ValueError(f"it lists {count} messages of {self.manifest.messages}")
        for _ in self.journeys():
            pass


def _events(entry: JourneyEntry) -> list[JourneyEvent]:
    """Those of a kind that only a later version knows are left out."""
    kinds: dict[str, type[JourneyEvent]] = {SHOWN: FirstShown, **KINDS}
    return [msgspec.json.decode(octets, type=kinds[kind]) for kind, octets in entry.events if kind in kinds]


def _refuse_bomb(archive: zipfile.ZipFile, size: int) -> None:
    """Members that share their octets (as D. Fifield's bomb of 2019), and lengths that no mail has."""
    packed = sum(info.compress_size for info in archive.infolist())
    claimed = sum(info.file_size for info in archive.infolist())
    if packed > size or claimed > max(MANY_OCTETS, MAX_RATIO * size):
        raise ValueError(f"{size} octets that claim to be {claimed} ({packed} packed)")


def _said(error: Exception) -> str:
    return f"there is no file {error.args[0]!r} in it" if isinstance(error, KeyError) else str(error)
