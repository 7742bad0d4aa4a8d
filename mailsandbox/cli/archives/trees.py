"""Trees of .eml files: ADDRESS/MAILBOX/UID.eml, as `export` writes them, or any other; and zips of such files.

They hold octets, and where a message lay; flags and dates they do not.
"""

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from mailsandbox.cli.archives.model import MAX_MESSAGE, Kept, Unreadable, read_file, with_crlf

SUFFIXES: Final = (".eml", ".mail", ".msg")
_UNSAFE: Final = re.compile(r"[^\w@.+=,-]")


def safe_name(name: str) -> str:
    """A mailbox's or account's name as one file name: nothing in it leads elsewhere."""
    shown = _UNSAFE.sub(lambda found: quote(found[0], safe="", errors="replace"), name)
    return shown if shown.strip(".") else shown.replace(".", "%2E") or "%"


def read_file_or_tree(path: Path) -> Iterator[Kept | Unreadable]:
    """One file, or every message file of a tree."""
    files = sorted(each for each in path.rglob("*") if each.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
    if not files:
        yield Unreadable(str(path), "no Maildir, and there are no .eml files in it")
    for file in files:
        octets = read_file(file)
        if isinstance(octets, Unreadable):
            yield octets
            continue
        account, mailbox = _place(file.relative_to(path).parts) if path.is_dir() else ("", "")
        yield Kept(with_crlf(octets), mailbox=mailbox, account=account, source=str(file))


def _place(parts: tuple[str, ...]) -> tuple[str, str]:
    """Account and mailbox of ADDRESS/MAILBOX/UID.eml; of anything else: neither."""
    if len(parts) == 3 and "@" in parts[0]:
        return unquote(parts[0]), unquote(parts[1])
    return "", ""


def read_zip_of_files(archive: zipfile.ZipFile, name: str) -> Iterator[Kept | Unreadable]:
    """The .eml files of a zip that we did not write. Their names are looked up in the zip, never followed."""
    names = sorted(each for each in archive.namelist() if each.lower().endswith(SUFFIXES))
    if not names:
        yield Unreadable(name, "there are no .eml files in it")
    for each in names:
        source = f"{name}: {each}"
        try:
            with archive.open(each) as member:
                octets = member.read(MAX_MESSAGE + 1)  # the length that the zip claims may be wrong
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
            yield Unreadable(source, str(error))
            continue
        if len(octets) > MAX_MESSAGE:
            yield Unreadable(source, f"longer than {MAX_MESSAGE} octets")
        else:
            yield Kept(with_crlf(octets), source=source)


def write_file(root: Path, message: Kept, number: int) -> None:
    """One message into the tree."""
    folder = root / safe_name(message.account or "messages") / safe_name(message.mailbox or "INBOX")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{message.uid or number}.eml").write_bytes(message.octets)
