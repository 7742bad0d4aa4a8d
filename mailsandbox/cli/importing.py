"""`mailsandbox import`: archives into an account, with flags and dates, or sent through the whole path."""

from pathlib import Path

import click

from mailsandbox.cli.archives import FORMATS, read_archive
from mailsandbox.cli.daemon import find_daemon
from mailsandbox.cli.main import NOT_DONE
from mailsandbox.cli.options import daemon_options, json_option
from mailsandbox.cli.printing import clean, many, note, say, say_json
from mailsandbox.cli.progress import tracked


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True), metavar="PATH...")
@click.option("--account", default="", metavar="ADDRESS", help="Whose mail it becomes; an exported zip says so itself.")
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
    """Put the messages of mbox files, Maildirs, .eml files or trees of them, and zip archives into an account.

    They go straight into the mailbox (IMAP APPEND): octets, flags and dates of arrival are kept. To see them cross the
    servers instead, use `mailsandbox send --eml`. What the server refuses is skipped and named, with exit code 1.
    """
    from mailsandbox.cli.appending import Appender, Refusal

    place = find_daemon(ready_file, url).service("imap")
    appenders: dict[str, Appender] = {}
    counts: dict[str, int] = {}
    skipped: list[dict[str, str]] = []
    octets = 0
    try:
        for path in paths:
            for message in tracked(read_archive(path, kind or ""), f"importing {path.name}", off=as_json):
                whose = account or message.account
                if not whose:
                    raise click.UsageError(f"{path} does not say whose mail it is: give --account")
                if whose not in appenders:
                    appenders[whose] = Appender(place, whose, password)
                into = mailbox or message.mailbox or "INBOX"
                try:
                    appenders[whose].append(into, message.octets, flags=message.flags, received_at=message.received_at)
                except Refusal as refusal:
                    skipped.append({"source": message.source, "why": refusal.message})
                    continue
                counts[whose] = counts.get(whose, 0) + 1
                octets += len(message.octets)
    finally:
        for appender in appenders.values():
            appender.close()
    if as_json:
        say_json({"imported": counts, "octets": octets, "skipped": skipped})
        return NOT_DONE if skipped else 0
    for row in skipped:
        note(f"skipped {clean(row['source'])}: {row['why']}")
    for whose, count in counts.items():
        say(f"{many(count, 'message')} imported into {whose}")
    if not counts and not skipped:
        note("there was no message in it")
    return NOT_DONE if skipped else 0
