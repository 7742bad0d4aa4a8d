"""`mailsandbox export`: an account's messages, or everybody's, into an archive that other programs read."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from mailsandbox.cli.archives import FORMATS, Kept, Writer
from mailsandbox.cli.daemon import Daemon, Refused, daemon
from mailsandbox.cli.options import daemon_options, json_option
from mailsandbox.cli.printing import many, octets, say, say_json
from mailsandbox.cli.progress import tracked

_BY_SUFFIX = {".mbox": "mbox", ".zip": "zip"}


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

    A zip holds everything: messages octet for octet, flags, UIDs, dates, and the journey of each. mbox (mboxrd),
    Maildir and .eml trees hold what those formats can.
    """
    chosen = kind or _BY_SUFFIX.get(path.suffix.lower(), "maildir")
    count = size = 0
    with daemon(ready_file, url) as found:
        rows = _rows(found, account, mailbox)  # before the file is made: no daemon, no file
        with Writer(path, chosen) as writer:
            journeys: set[str] = set()
            for row in tracked(rows, f"exporting to {path.name}", total=len(rows), off=as_json):
                message = _fetch(found, row)
                if message is None:
                    continue  # deleted meanwhile
                if chosen == "zip":
                    _add_journey(found, writer, message, journeys)
                writer.add(message)
                count += 1
                size += len(message.octets)
    if as_json:
        say_json({"exported": count, "octets": size, "path": str(path), "format": chosen})
    else:
        say(f"{many(count, 'message')}, {octets(size)}, written to {path} ({chosen})")


def _rows(found: Daemon, account: str, mailbox: str) -> list[dict[str, Any]]:  # Any: JSON
    """All messages, oldest first."""
    chosen = [(name, value) for name, value in (("account", account), ("mailbox", mailbox)) if value]
    rows = list(_pages(found, chosen))
    rows.reverse()
    return rows


def _pages(found: Daemon, chosen: list[tuple[str, str]]) -> Iterator[dict[str, Any]]:  # Any: JSON
    after = ""
    while True:
        page = found.get("/v1/messages", [*chosen, ("limit", 1000), *([("after", after)] if after else [])])
        yield from page["messages"]
        after = page["next"] or ""
        if not after:
            return


def _fetch(found: Daemon, row: dict[str, Any]) -> Kept | None:  # Any: JSON
    try:
        content = found.octets(f"/v1/messages/{quote(row['id'], safe='')}/raw")
    except Refused as refused:
        if refused.status == 404:
            return None
        raise
    return Kept(
        content,
        tuple(row["flags"]),
        datetime.fromisoformat(row["received_at"]).timestamp(),
        row["mailbox"],
        row["account"],
        details={"id": row["id"], "uid": row["uid"]},
    )


def _add_journey(found: Daemon, writer: Writer, message: Kept, done: set[str]) -> None:
    try:
        journey = found.get(f"/v1/messages/{quote(message.details['id'], safe='')}/journey")
    except Refused as refused:
        if refused.status == 404:
            return  # it came no way: appended or imported
        raise
    message.details["journey"] = journey["id"]
    if journey["id"] not in done:
        done.add(journey["id"])
        writer.add_json(f"journeys/{journey['id']}.json", journey)
