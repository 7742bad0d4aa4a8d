"""`mailsandbox list`: the messages of an account, or all accounts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from mailsandbox.cli.daemon import Daemon, daemon
from mailsandbox.cli.options import daemon_options, json_option, whole_option
from mailsandbox.cli.printing import note, octets, say, say_json, short_time, table

_PAGE = 1000


@click.command()
@click.argument("address", required=False)
@click.option("--mailbox", default="", help="Only this mailbox.")
@click.option("--from", "sender", default="", metavar="TEXT", help="Part of From.")
@click.option("--to", default="", metavar="TEXT", help="Part of the recipient, To or Cc.")
@click.option("--subject", default="", metavar="TEXT", help="Part of the decoded subject.")
@click.option("--text", default="", metavar="TEXT", help="Part of the decoded header or body.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="At most so many.")
@whole_option
@json_option
@daemon_options
def command(
    address: str | None,
    mailbox: str,
    sender: str,
    to: str,
    subject: str,
    text: str,
    limit: int,
    whole: bool,
    as_json: bool,
    ready_file: Path | None,
    url: str | None,
) -> None:
    """List the messages of ADDRESS, newest first. Without ADDRESS and any option: the accounts."""
    chosen = {"mailbox": mailbox, "from": sender, "to": to, "subject": subject, "text": text}
    with daemon(ready_file, url) as found:
        if address is None and not any(chosen.values()):
            _accounts(found, as_json=as_json, whole=whole)
            return
        rows, more = _messages(found, [("account", address or ""), *chosen.items()], limit)
        if address and not rows:
            found.require_account(address, mailbox)
    if as_json:
        say_json({"messages": rows, "next": more})
        return
    if not rows:
        note("no messages")
        return
    say(
        table(
            ["ID", "RECEIVED", "FROM", "TO", "SUBJECT", "SIZE"],
            [
                [
                    row["id"],
                    short_time(row["received_at"]),
                    row["from"],
                    row["account"],
                    _subject(row),
                    octets(row["octets"]),
                ]
                for row in rows
            ],
            right=(5,),
            fixed=(0, 1, 5),
            whole=whole,
        )
    )
    if more:
        note(f"there are more than {limit}; --limit shows them")


def _subject(row: dict[str, Any]) -> str:  # Any: JSON
    mark = f" [{row['attachments']} attached]" if row["attachments"] else ""
    return f"{row['subject']}{mark}"


def _messages(
    found: Daemon, chosen: Sequence[tuple[str, str]], limit: int
) -> tuple[list[dict[str, Any]], str | None]:  # Any: JSON
    """As many pages as it takes."""
    parameters = [(name, value) for name, value in chosen if value]
    rows: list[dict[str, Any]] = []  # Any: JSON
    after = ""
    while True:
        size = min(_PAGE, limit - len(rows))
        page = found.get("/v1/messages", [*parameters, ("limit", size), *([("after", after)] if after else [])])
        rows.extend(page["messages"])
        after = page["next"] or ""
        if not after or len(rows) >= limit:
            return rows, after or None


def _accounts(found: Daemon, *, as_json: bool, whole: bool) -> None:
    answer = found.get("/v1/accounts")
    if as_json:
        say_json(answer)
        return
    rows = answer["accounts"]
    if not rows:
        note("no accounts yet: they come into being with their first message or login")
        return
    cells = [[row["address"], row["messages"], row["unseen"], octets(row["octets"])] for row in rows]
    say(table(["ACCOUNT", "MESSAGES", "UNSEEN", "SIZE"], cells, right=(1, 2, 3), whole=whole))
