"""Maildir with Maildir++ folders (".Sent.2026"), flags in the file's name, the date of arrival as the file's time.

Keywords are the letters a to z, whose words stand in `dovecot-keywords` beside cur: at most 26 for a mailbox, the rest
is lost. Folder names are modified UTF-7 with "&AC4-" for a dot, as Courier and Dovecot write them.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mailsandbox.access.imap.names import BROKEN, decode_utf7, encode_utf7
from mailsandbox.cli.archives.model import SYSTEM_FLAGS, Kept, Unreadable, read_file, with_crlf, with_lf

KEYWORDS_FILE: Final = "dovecot-keywords"
_LETTERS: Final = {"S": "\\Seen", "R": "\\Answered", "F": "\\Flagged", "D": "\\Draft", "T": "\\Deleted"}
_MOST_KEYWORDS: Final = 26
_DOT: Final = "&AC4-"


def is_maildir(path: Path) -> bool:
    """Whether it looks like one."""
    return (path / "cur").is_dir() or (path / "new").is_dir()


def read_maildir(root: Path) -> Iterator[Kept | Unreadable]:
    """Every message of the Maildir and its folders; what lies in tmp is not delivered yet."""
    below = [each for each in sorted(root.glob(".*")) if is_maildir(each) and not each.is_symlink()]
    for mailbox, folder in [("", root), *((folder_name(each.name), each) for each in below)]:
        words = _read_keywords(folder)
        for kind in ("new", "cur"):
            if not (folder / kind).is_dir():
                continue
            for path in sorted((folder / kind).iterdir()):
                if path.name.startswith(".") or path.is_dir():
                    continue
                octets = read_file(path)
                if isinstance(octets, Unreadable):
                    yield octets
                    continue
                letters = path.name.rpartition(":2,")[2] if ":2," in path.name else ""
                flags = [flag for letter, flag in _LETTERS.items() if letter in letters]
                flags += [words[letter] for letter in letters if letter in words]
                yield Kept(with_crlf(octets), flags, path.stat().st_mtime, mailbox, source=str(path))


def _read_keywords(folder: Path) -> dict[str, str]:
    """Words by letter, of lines "0 $Forwarded"."""
    try:
        lines = (folder / KEYWORDS_FILE).read_text("utf-8", "replace").splitlines()
    except OSError:
        return {}
    words = {}
    for line in lines:
        number, _, word = line.partition(" ")
        if number.isdecimal() and int(number) < _MOST_KEYWORDS and word and " " not in word:
            words[chr(ord("a") + int(number))] = word
    return words


def folder_name(directory: str) -> str:
    """The mailbox of ".Sent.2026"; a part that is no modified UTF-7 stays as it is."""
    parts = []
    for part in directory.removeprefix(".").split("."):
        decoded = decode_utf7(part.replace(_DOT, "\0").encode("ascii")).replace("\0", ".") if part.isascii() else part
        parts.append(part if BROKEN in decoded else decoded)
    return "/".join(parts)


def directory_name(mailbox: str) -> str:
    """The other way round."""
    return "." + ".".join(encode_utf7(part).decode("ascii").replace(".", _DOT) for part in mailbox.split("/"))


class MaildirWriter:
    """Writes into a Maildir, each message complete when it gets its name in cur."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._count = 0
        self._words: dict[Path, list[str]] = {}

    def add(self, message: Kept) -> None:
        """One more."""
        inbox = message.mailbox.upper() in ("", "INBOX")
        folder = self._root if inbox else self._root / directory_name(message.mailbox)
        for below in ("tmp", "new", "cur"):
            (folder / below).mkdir(parents=True, exist_ok=True)
        if not inbox:
            (folder / "maildirfolder").touch()  # Maildir++: marks a folder, so that deliveries find its root
        letters = [letter for letter, flag in _LETTERS.items() if flag in message.flags]
        letters += [self._letter(folder, flag) for flag in message.flags if flag not in SYSTEM_FLAGS]
        self._count += 1
        at = message.received_at or 0.0
        unique = f"{int(at)}.M{self._count}.mailsandbox,U={message.uid or self._count}"
        temporary = folder / "tmp" / unique
        temporary.write_bytes(with_lf(message.octets))
        os.utime(temporary, (at, at))
        temporary.rename(folder / "cur" / f"{unique}:2,{''.join(sorted(letters))}")

    def _letter(self, folder: Path, word: str) -> str:
        words = self._words.setdefault(folder, [])
        if word not in words:
            if len(words) >= _MOST_KEYWORDS:
                return ""
            words.append(word)
            lines = [f"{number} {each}\n" for number, each in enumerate(words)]
            (folder / KEYWORDS_FILE).write_text("".join(lines), "utf-8")
        return chr(ord("a") + words.index(word))
