"""What a path is by its looks, and its messages one by one."""

import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import click

from mailsandbox.cli.archives.maildir import is_maildir, read_maildir
from mailsandbox.cli.archives.mbox import read_mbox
from mailsandbox.cli.archives.model import Kept, Unreadable
from mailsandbox.cli.archives.trees import SUFFIXES, read_file_or_tree, read_zip_of_files
from mailsandbox.errors import BadArchive
from mailsandbox.store.archive.manifest import MANIFEST

FORMATS: Final = ("mbox", "maildir", "eml", "zip")
_FIELD: Final = re.compile(rb"[!-9;-~]+[ \t]*:")  # RFC 5322 §3.6.8: field-name, and the blanks of §4.5
_LOOK: Final = 512  # octets of a file that tell what it is


def format_of(path: Path) -> str:
    """What a file or directory is. Raises click.ClickException where it is nothing known."""
    if path.is_dir():
        return "maildir" if is_maildir(path) else "eml"
    try:
        with path.open("rb") as file:
            head = file.read(_LOOK)
    except OSError as error:
        raise click.ClickException(f"{path}: cannot be read: {error.strerror or error}") from None
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if head.startswith(b"From ") or not head:
        return "mbox"
    if _FIELD.match(head) or path.suffix.lower() in SUFFIXES:
        return "eml"
    raise click.ClickException(
        f"{path}: neither mbox, Maildir, zip nor a message: it does not begin with a header field;"
        " --format eml takes it as it is"
    )


def is_ours(path: Path) -> bool:
    """Whether a zip is one that mailsandbox wrote, by what is in it. False where it is damaged too."""
    try:
        with zipfile.ZipFile(path) as archive:
            return MANIFEST in archive.namelist()
    except (OSError, zipfile.BadZipFile, ValueError):
        return False


def whose_is_unsaid(path: Path, kind: str = "") -> str:
    """What an archive is that cannot say whose mail it holds: "an mbox file"; "" where it can, or may.

    Raises click.ClickException where it is nothing known.
    """
    match kind or format_of(path):
        case "mbox":
            return "an mbox file"
        case "maildir":
            return "" if _address(path) else "a Maildir"
        case "zip":
            return "a zip of messages" if zipfile.is_zipfile(path) and not is_ours(path) else ""
        case _:
            return "" if path.is_dir() else "a message"


def _address(maildir: Path) -> str:
    """Whose a Maildir is by its name: `export` writes one for each account."""
    name = maildir.resolve().name
    return name if "@" in name else ""


def read_archive(path: Path, kind: str = "") -> Iterator[Kept | Unreadable]:
    """Every message, in the archive's order. Raises click.ClickException where the whole of it cannot be read."""
    try:
        match kind or format_of(path):
            case "mbox":
                with path.open("rb") as file:
                    yield from read_mbox(file, str(path))
            case "maildir":
                yield from _read_maildir(path)
            case "zip":
                yield from _read_zip(path)
            case _:
                yield from _read_directory(path)
    except OSError as error:
        raise click.ClickException(f"{error.filename or path}: cannot be read: {error.strerror or error}") from None
    except BadArchive as error:
        raise click.ClickException(str(error)) from None
    except zipfile.BadZipFile as error:
        raise click.ClickException(f"{path}: no zip, or cut short: {error}") from None
    except (zlib.error, ValueError) as error:
        raise click.ClickException(f"{path}: is damaged or no {kind or 'zip'}: {error}") from None


def _read_directory(path: Path) -> Iterator[Kept | Unreadable]:
    maildirs = [each for each in sorted(path.iterdir()) if is_maildir(each)] if path.is_dir() else []
    if not maildirs:
        yield from read_file_or_tree(path)
    for maildir in maildirs:
        yield from _read_maildir(maildir)


def _read_maildir(path: Path) -> Iterator[Kept | Unreadable]:
    account = _address(path)
    for found in read_maildir(path):
        yield replace(found, account=account) if isinstance(found, Kept) else found


def _read_zip(path: Path) -> Iterator[Kept | Unreadable]:
    if not is_ours(path):
        with zipfile.ZipFile(path) as archive:
            yield from read_zip_of_files(archive, str(path))
        return
    from mailsandbox.store.archive.checking import Archive

    with Archive(path) as ours:
        for entries in ours.messages():
            for entry in entries:
                yield Kept(
                    ours.read(entry.file),
                    tuple(entry.flags),
                    entry.received_at,
                    entry.mailbox,
                    entry.account,
                    f"{path}: {entry.file}",
                    entry.uid,
                )
