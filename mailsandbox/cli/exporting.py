"""`mailsandbox export`: an account's messages, or everybody's, into an archive."""

import re
import tempfile
from pathlib import Path
from typing import Final

import click

from mailsandbox.cli.archives.model import Kept
from mailsandbox.cli.archives.reading import FORMATS, read_archive
from mailsandbox.cli.archives.writing import Writer, new_file, refuse_existing
from mailsandbox.cli.daemon import Daemon, Parameters, Refused, daemon
from mailsandbox.cli.options import daemon_options, json_option
from mailsandbox.cli.printing import many, octets, say, say_json
from mailsandbox.cli.progress import bar, tracked

_BY_SUFFIX: Final = {".mbox": "mbox", ".zip": "zip"}


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--account", default="", metavar="ADDRESS", help="Only this account's.  [default: every account's]")
@click.option("--mailbox", default="", help="Only this mailbox's.")
@click.option("--format", "kind", type=click.Choice(FORMATS), help="[default: by PATH's suffix, else maildir]")
@json_option
@daemon_options
def command(
    path: Path,
    account: str,
    mailbox: str,
    kind: str | None,
    as_json: bool,
    ready_file: Path | None,
    url: str | None,
) -> None:
    """Write messages to PATH, which must not be there yet.

    A zip holds everything: accounts and mailboxes with their UIDs, messages octet for octet, flags, dates, journeys.
    `mailsandbox import` brings it back as it was, under new message ids. mbox (mboxrd), Maildir and .eml trees hold
    what those formats can; an mbox does not say whose mail it is, nor does a single Maildir.
    """
    chosen = kind or _BY_SUFFIX.get(path.suffix.lower(), "maildir")
    with daemon(ready_file, url) as found:
        if account:
            found.require_account(account, mailbox)
        if chosen == "zip":
            count, size = _zip(found, path, account, mailbox, quiet=as_json)
        else:
            refuse_existing(path)
            count, size = _messages(found, path, chosen, account, mailbox, quiet=as_json)
    if as_json:
        say_json({"exported": count, "octets": size, "path": str(path), "format": chosen})
    else:
        say(f"{many(count, 'message')}, {octets(size)}, written to {path} ({chosen})")


def _zip(found: Daemon, path: Path, account: str, mailbox: str, *, quiet: bool) -> tuple[int, int]:
    """As the daemon makes it."""
    chosen = _chosen(account, mailbox)
    accounts = found.get("/v1/accounts")["accounts"]
    total = sum(each["messages"] for each in accounts if account.lower() in ("", each["address"]))
    size, counter = 0, _Counter()
    with new_file(path) as file, bar(f"exporting to {path.name}", off=quiet) as told:
        try:
            for piece in found.pieces("GET", "/v1/export", chosen):
                file.write(piece)
                size += len(piece)
                told(counter.feed(piece), total)
        except Refused as error:
            if error.code != "no-such-mailbox":
                raise
            raise found.mailbox_of_nobody(mailbox) from error
    return counter.messages, size


class _Counter:
    """How many messages have gone by in a zip that is being read."""

    _MEMBER: Final = re.compile(rb"PK\x03\x04.{26}messages/\d", re.DOTALL)  # APPNOTE 4.3.7: local file header
    _LONGEST: Final = 40  # octets of such a header's beginning

    def __init__(self) -> None:
        self.messages = 0
        self._tail = b""

    def feed(self, piece: bytes) -> int:
        octets = self._tail + piece
        end = 0
        for found in self._MEMBER.finditer(octets):
            self.messages += 1
            end = found.end()
        self._tail = octets[max(end, len(octets) - self._LONGEST + 1) :]
        return self.messages


def _messages(found: Daemon, path: Path, kind: str, account: str, mailbox: str, *, quiet: bool) -> tuple[int, int]:
    """By way of the zip: one answer instead of one for each message, and keywords and UIDs are in it."""
    count = size = 0
    with tempfile.TemporaryDirectory(prefix="mailsandbox-export-") as directory:
        whole = Path(directory) / "whole.zip"
        _zip(found, whole, account, mailbox, quiet=quiet)
        with Writer(path, kind) as writer:
            for message in tracked(read_archive(whole, "zip"), f"writing {path.name}", off=quiet):
                assert isinstance(message, Kept), "an archive that was found whole"
                writer.add(message)
                count += 1
                size += len(message.octets)
    return count, size


def _chosen(account: str, mailbox: str) -> Parameters:
    return [(name, value) for name, value in (("account", account), ("mailbox", mailbox)) if value]
