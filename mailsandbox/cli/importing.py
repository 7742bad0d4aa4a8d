"""`mailsandbox import`: our own zip as it was, other archives into an account with flags and dates."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from mailsandbox.cli.archives.model import Unreadable
from mailsandbox.cli.archives.reading import FORMATS, format_of, is_ours, read_archive, whose_is_unsaid
from mailsandbox.cli.daemon import Daemon, Refused, daemon
from mailsandbox.cli.failures import NOT_DONE
from mailsandbox.cli.options import daemon_options, json_option
from mailsandbox.cli.printing import clean, many, note, say, say_json
from mailsandbox.cli.progress import bar, tracked

_PIECE: Final = 1 << 18  # octets sent at once


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True), metavar="PATH...")
@click.option(
    "--account",
    default="",
    metavar="ADDRESS",
    help="Whose mail it becomes. Needed but for what says so itself: an exported zip, ADDRESS/MAILBOX/*.eml, a Maildir"
    " named by an address.",
)
@click.option("--mailbox", default="", help="Into this mailbox.  [default: the archive's own, else INBOX]")
@click.option("--format", "kind", type=click.Choice(FORMATS), help="What PATH is.  [default: seen by its looks]")
@click.option("--password", default="any", envvar="MAILSANDBOX_PASSWORD", help="The account's password, if it has one.")
@json_option
@daemon_options
def command(
    paths: tuple[Path, ...],
    account: str,
    mailbox: str,
    kind: str | None,
    password: str,
    as_json: bool,
    ready_file: Path | None,
    url: str | None,
) -> int:
    """Bring back what `export` wrote to a zip; or put the messages of other archives into an account.

    The zip comes back as it was: accounts, mailboxes with their UIDs, flags, dates, journeys; mailboxes that are in use
    are appended to. With --account or --mailbox, and from mbox files, Maildirs, .eml files, trees and zips of them,
    messages are added by IMAP APPEND: octets, flags and dates of arrival are kept. To see them cross the servers
    instead, use `mailsandbox send --eml`. What cannot be read or is refused is left out and named, with exit code 1.
    """
    for path in paths:
        if not account and (what := whose_is_unsaid(path, kind or "")):
            raise click.UsageError(f"{path} is {what} and does not say whose mail it is: give --account ADDRESS")
    done = _Done()
    with daemon(ready_file, url) as found:
        try:
            for path in paths:
                if not account and not mailbox and (kind or format_of(path)) == "zip" and is_ours(path):
                    done.restored.append({"path": str(path), **_restore(found, path, quiet=as_json)})
                else:
                    _append(
                        found, path, done, account=account, into=mailbox, kind=kind, password=password, quiet=as_json
                    )
        except (click.ClickException, KeyboardInterrupt):
            if not as_json:
                done.say("before that: ")
            raise
    if as_json:
        say_json({"imported": done.counts, "octets": done.octets, "skipped": done.skipped, "archives": done.restored})
    else:
        done.say()
    return NOT_DONE if done.skipped else 0


class _Done:
    """What was done so far."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.octets = 0
        self.skipped: list[dict[str, str]] = []
        self.restored: list[dict[str, Any]] = []  # Any: JSON

    def say(self, prefix: str = "") -> None:
        for row in self.skipped:
            note(f"skipped {clean(row['source'])}: {clean(row['why'])}")
        for whose, count in self.counts.items():
            say(f"{prefix}{many(count, 'message')} imported into {clean(whose)}")
        for archive in self.restored:
            counts = f"{many(archive['messages'], 'message')} and {many(archive['journeys'], 'journey')}"
            say(f"{prefix}{counts} imported from {archive['path']}")
            for each in archive["mailboxes"]:
                if not each["uids_kept"]:
                    where = f"{clean(each['mailbox'])} of {clean(each['account'])}"
                    note(f"{where} was in use: {many(each['messages'], 'message')} appended with new UIDs")
        if not prefix and not self.counts and not self.skipped and not self.restored:
            note("there was no message in it")


def _restore(found: Daemon, path: Path, *, quiet: bool) -> dict[str, Any]:  # Any: JSON
    """By POST /v1/import, which answers in lines while it goes on."""
    headers = {"Content-Type": "application/zip", "Content-Length": str(path.stat().st_size)}
    try:
        with bar(f"importing {path.name}", off=quiet) as told:
            return found.long_work("/v1/import", told, content=_pieces(path), headers=headers)
    except Refused as refused:
        raise Refused(refused.status, {**refused.problem, "detail": f"{path}: {refused.message}"}) from None


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece


def _append(
    found: Daemon,
    path: Path,
    done: _Done,
    *,
    account: str,
    into: str,
    kind: str | None,
    password: str,
    quiet: bool,
) -> None:
    """Message by message, with one connection for each account."""
    from mailsandbox.cli.appending import Appender, Refusal

    place = found.service("imap")
    appenders: dict[str, Appender] = {}
    try:
        for message in tracked(read_archive(path, kind or ""), f"importing {path.name}", off=quiet):
            if isinstance(message, Unreadable):
                done.skipped.append({"source": message.source, "why": message.why})
                continue
            whose = account or message.account
            if not whose:
                raise click.UsageError(f"{message.source} does not say whose mail it is: give --account ADDRESS")
            if whose not in appenders:
                appenders[whose] = Appender(place, whose, password)
            where = into or message.mailbox or "INBOX"
            try:
                appenders[whose].append(where, message.octets, flags=message.flags, received_at=message.received_at)
            except Refusal as refusal:
                done.skipped.append({"source": message.source, "why": refusal.message})
                continue
            done.counts[whose] = done.counts.get(whose, 0) + 1
            done.octets += len(message.octets)
    finally:
        for appender in appenders.values():
            appender.close()
