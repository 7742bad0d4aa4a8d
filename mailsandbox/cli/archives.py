"""mbox, Maildir, trees of .eml files and our own zip, read message by message and written likewise.

Invariant: reading holds one message at a time in memory; nothing that an archive names is written or read outside of
it. Octets are kept; only files of this system, whose lines end in LF, get CRLF (RFC 5322 §2.3), and get LF back in
mbox and Maildir, where every other program expects that.
"""

import json
import re
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Final

import click
import msgspec

_FROM: Final = re.compile(rb"From \S.*\d{4}", re.DOTALL)
_QUOTED_FROM: Final = re.compile(rb"^>(>*From )", re.MULTILINE)
_TO_QUOTE: Final = re.compile(rb"^(>*From )", re.MULTILINE)
_STATUS: Final = re.compile(rb"^(?:X-)?Status:[ \t]*([A-Za-z]*)[ \t]*\r?\n", re.MULTILINE | re.IGNORECASE)
_BARE: Final = re.compile(rb"(?<!\r)\n")
MAX_MESSAGE: Final = 256 * 1024 * 1024  # octets of one message of an archive

# mbox's Status and X-Status, and Maildir's info, to IMAP flags.
_STATUS_FLAGS: Final = {"R": "\\Seen", "A": "\\Answered", "F": "\\Flagged", "T": "\\Draft", "D": "\\Deleted"}
_MAILDIR_FLAGS: Final = {"S": "\\Seen", "R": "\\Answered", "F": "\\Flagged", "D": "\\Draft", "T": "\\Deleted"}
FORMATS: Final = ("mbox", "maildir", "eml", "zip")
MANIFEST: Final = "manifest.json"


@dataclass(frozen=True, slots=True)
class Kept:
    """One message of an archive. `received_at` in POSIX seconds; None where the archive does not say."""

    octets: bytes
    flags: Sequence[str] = ()
    received_at: float | None = None
    mailbox: str = ""
    account: str = ""
    source: str = ""  # where it stood, for people
    details: dict[str, Any] = field(default_factory=dict)  # Any: JSON, of our own zip


class _Row(msgspec.Struct):
    """One message in the manifest of our zip."""

    file: str
    account: str = ""
    mailbox: str = ""
    flags: tuple[str, ...] = ()
    received_at: float | None = None
    uid: int | None = None
    journey: str | None = None


class _Manifest(msgspec.Struct):
    messages: list[_Row]


def format_of(path: Path) -> str:
    """What a file or directory is by its looks. Raises click.ClickException where it is nothing known."""
    if path.is_dir():
        return "maildir" if (path / "cur").is_dir() or (path / "new").is_dir() else "eml"
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise click.ClickException(f"{path}: cannot be read: {error.strerror or error}") from None
    if head.startswith(b"PK\x03\x04") or head.startswith(b"PK\x05\x06"):
        return "zip"
    return "mbox" if head.startswith(b"From ") and _FROM.match(head.partition(b"\n")[0]) else "eml"


def read_archive(path: Path, kind: str = "") -> Iterator[Kept]:
    """Every message, in the archive's order. Raises click.ClickException for what cannot be read."""
    try:
        match kind or format_of(path):
            case "mbox":
                with path.open("rb") as file:
                    yield from _read_mbox(file, path.name)
            case "maildir":
                yield from _read_maildir(path)
            case "zip":
                yield from _read_zip(path)
            case _:
                yield from _read_files(path)
    except OSError as error:
        raise click.ClickException(f"{error.filename or path}: cannot be read: {error.strerror or error}") from None
    except (zipfile.BadZipFile, msgspec.MsgspecError, ValueError, KeyError, NotImplementedError, RuntimeError) as error:
        raise click.ClickException(f"{path}: is damaged or no {kind or 'archive'}: {error}") from None


def with_crlf(octets: bytes) -> bytes:
    """Line ends of the wire for a message from a file of this system; a message that has CRLF stays as it is."""
    if b"\r\n" in octets or b"\n" not in octets:
        return octets
    return octets.replace(b"\n", b"\r\n")


def with_lf(octets: bytes) -> bytes:
    """Line ends of files of this system."""
    return octets.replace(b"\r\n", b"\n")


# Reading


def _read_mbox(file: BinaryIO, name: str) -> Iterator[Kept]:
    """RFC 4155, in the mboxrd manner: ">From " lines of the body lose one ">"."""
    lines: list[bytes] = []
    envelope, blank, count, size = b"", True, 0, 0
    for line in file:
        if blank and line.startswith(b"From ") and (_FROM.match(line) or not count):
            if count:
                yield _from_mbox(lines, envelope, f"{name}, message {count}")
            lines, envelope, count, size = [], line, count + 1, 0
            blank = False
            continue
        size += len(line)
        if size > MAX_MESSAGE:
            raise click.ClickException(f"{name}, message {count}: longer than {MAX_MESSAGE} octets")
        lines.append(line)
        blank = line in (b"\n", b"\r\n")
    if count:
        yield _from_mbox(lines, envelope, f"{name}, message {count}")


def _from_mbox(lines: list[bytes], envelope: bytes, source: str) -> Kept:
    if lines and lines[-1] in (b"\n", b"\r\n"):
        lines = lines[:-1]  # the blank line before the next "From "
    octets = b"".join(lines)
    header, blank, body = octets.partition(b"\r\n\r\n" if b"\r\n\r\n" in octets else b"\n\n")
    header += blank[: len(blank) // 2]
    letters = b"".join(_STATUS.findall(header)).decode("ascii").upper()
    header = _STATUS.sub(b"", header)
    octets = header + blank[len(blank) // 2 :] + _QUOTED_FROM.sub(rb"\1", body)
    flags = [flag for letter, flag in _STATUS_FLAGS.items() if letter in letters]
    return Kept(with_crlf(octets), flags, _asctime(envelope), source=source)


def _asctime(envelope: bytes) -> float | None:
    from mailsandbox.message.dates import parse_date

    words = envelope.decode("latin-1").split()
    parsed = parse_date(" ".join(words[2:]))
    return parsed.at if parsed else None


def _read_maildir(root: Path) -> Iterator[Kept]:
    """A Maildir with its Maildir++ folders (".Sent.2026")."""
    folders = [
        ("", root),
        *((each.name[1:].replace(".", "/"), each) for each in sorted(root.glob(".*")) if each.is_dir()),
    ]
    for mailbox, folder in folders:
        for kind in ("new", "cur"):
            if not (folder / kind).is_dir():
                continue
            for path in sorted(each for each in (folder / kind).iterdir() if each.is_file()):
                letters = path.name.rpartition(":2,")[2] if ":2," in path.name else ""
                flags = [flag for letter, flag in _MAILDIR_FLAGS.items() if letter in letters]
                yield Kept(with_crlf(_read(path)), flags, path.stat().st_mtime, mailbox, source=str(path))


def _read_files(path: Path) -> Iterator[Kept]:
    """One file, or every .eml file of a tree."""
    if not path.is_dir():
        yield Kept(with_crlf(_read(path)), received_at=None, source=str(path))
        return
    maildirs = [each for each in sorted(path.iterdir()) if (each / "cur").is_dir()]
    if maildirs:  # what `export` writes: one Maildir for each account
        for maildir in maildirs:
            for kept in _read_maildir(maildir):
                yield replace(kept, account=maildir.name if "@" in maildir.name else "")
        return
    files = sorted(
        each for each in path.rglob("*") if each.suffix.lower() in (".eml", ".mail", ".msg") and each.is_file()
    )
    if not files:
        raise click.ClickException(f"{path}: no Maildir, and there are no .eml files in it")
    for each in files:
        yield Kept(with_crlf(_read(each)), received_at=None, source=str(each))


def _read(path: Path) -> bytes:
    if path.stat().st_size > MAX_MESSAGE:
        raise click.ClickException(f"{path}: longer than {MAX_MESSAGE} octets")
    return path.read_bytes()


def _read_zip(path: Path) -> Iterator[Kept]:
    """Our own archive, or any zip of .eml files."""
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        if MANIFEST not in names:
            for name in sorted(names):
                if name.lower().endswith(".eml"):
                    yield Kept(with_crlf(_member(archive, name)), source=name)
            return
        for row in msgspec.json.decode(_member(archive, MANIFEST), type=_Manifest).messages:
            details = {"uid": row.uid, "journey": row.journey}
            octets = _member(archive, row.file)
            yield Kept(octets, row.flags, row.received_at, row.mailbox, row.account, row.file, details)


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    # The size in the directory may lie: read no more than is allowed, whatever it says.
    with archive.open(name) as member:
        octets = member.read(MAX_MESSAGE + 1)
    if len(octets) > MAX_MESSAGE:
        raise click.ClickException(f"{name}: longer than {MAX_MESSAGE} octets")
    return octets


# Writing


class Writer:
    """Writes messages one after the other; use it as a context manager, an archive is complete when it is left."""

    def __init__(self, path: Path, kind: str) -> None:
        self._path = path
        self._kind = kind
        self._count = 0
        self._file: BinaryIO | None = None
        self._zip: zipfile.ZipFile | None = None
        self._rows: list[dict[str, Any]] = []  # Any: JSON
        self._extra: dict[str, Any] = {}  # Any: JSON

    def __enter__(self) -> "Writer":
        try:
            match self._kind:
                case "mbox":
                    self._file = self._path.open("xb")
                case "zip":
                    self._zip = zipfile.ZipFile(self._path, "x", zipfile.ZIP_DEFLATED)
                case _:
                    self._path.mkdir(parents=True)
        except FileExistsError:
            raise click.ClickException(f"{self._path}: is there already; nothing was written") from None
        except OSError as error:
            raise click.ClickException(f"{self._path}: cannot be written: {error.strerror or error}") from None
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._zip is not None:
            if kind is None:
                manifest = {"version": 1, "messages": self._rows, **self._extra}
                self._zip.writestr(MANIFEST, json.dumps(manifest, indent=1))
            self._zip.close()
        if self._file is not None:
            self._file.close()

    def add(self, message: Kept) -> None:
        """Write one more. Raises click.ClickException where the disk refuses."""
        self._count += 1
        try:
            match self._kind:
                case "mbox":
                    self._add_mbox(message)
                case "maildir":
                    self._add_maildir(message)
                case "zip":
                    self._add_zip(message)
                case _:
                    self._folder(message).joinpath(f"{self._name(message)}.eml").write_bytes(message.octets)
        except OSError as error:
            raise click.ClickException(f"{self._path}: cannot be written: {error.strerror or error}") from None

    def add_json(self, name: str, value: Any) -> None:  # Any: JSON
        """A file of its own beside the messages; in a zip only."""
        if self._zip is not None:
            self._zip.writestr(name, json.dumps(value, indent=1, ensure_ascii=False))

    def _name(self, message: Kept) -> str:
        return str(message.details.get("uid") or self._count)

    def _folder(self, message: Kept) -> Path:
        folder = self._path / safe_name(message.account or "messages") / safe_name(message.mailbox or "INBOX")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _add_mbox(self, message: Kept) -> None:
        assert self._file is not None
        at = time.gmtime(message.received_at or 0)
        status = "".join(letter for letter, flag in _STATUS_FLAGS.items() if flag in message.flags and letter == "R")
        more = "".join(letter for letter, flag in _STATUS_FLAGS.items() if flag in message.flags and letter != "R")
        header, blank, body = with_lf(message.octets).partition(b"\n\n")
        fields = b"".join(
            b"%b: %b\n" % (name, text.encode()) for name, text in ((b"Status", status), (b"X-Status", more)) if text
        )
        self._file.write(b"From mailsandbox " + time.asctime(at).encode("ascii") + b"\n")
        whole = _TO_QUOTE.sub(rb">\1", header) + b"\n" + fields + blank[1:] + _TO_QUOTE.sub(rb">\1", body)
        # RFC 4155: a blank line ends the message, after the end of its last line.
        self._file.write(whole + (b"\n" if whole.endswith(b"\n") else b"\n\n"))

    def _add_maildir(self, message: Kept) -> None:
        root = self._path if not message.account else self._path / safe_name(message.account)
        inbox = message.mailbox.upper() in ("", "INBOX")
        folder = root if inbox else root / ("." + safe_name(message.mailbox.replace(".", "_").replace("/", ".")))
        for below in ("tmp", "new", "cur"):
            (folder / below).mkdir(parents=True, exist_ok=True)
        letters = "".join(sorted(letter for letter, flag in _MAILDIR_FLAGS.items() if flag in message.flags))
        at = message.received_at or 0.0
        unique = f"{int(at)}.M{self._count}.mailsandbox,U={self._name(message)}"
        temporary = folder / "tmp" / unique
        temporary.write_bytes(with_lf(message.octets))
        import os

        os.utime(temporary, (at, at))
        temporary.rename(folder / "cur" / f"{unique}:2,{letters}")

    def _add_zip(self, message: Kept) -> None:
        assert self._zip is not None
        name = "/".join(
            (
                "messages",
                safe_name(message.account),
                safe_name(message.mailbox or "INBOX"),
                f"{self._name(message)}.eml",
            )
        )
        self._zip.writestr(name, message.octets)
        self._rows.append(
            {
                **message.details,
                "file": name,
                "account": message.account,
                "mailbox": message.mailbox,
                "flags": list(message.flags),
                "received_at": message.received_at,
            }
        )


def safe_name(name: str) -> str:
    """A mailbox's or account's name as one file name: nothing in it leads elsewhere."""
    shown = re.sub(r"[^\w@.+=,-]", lambda found: f"%{ord(found[0]):02X}", name)
    return shown if shown.strip(".") else f"%{shown}"
