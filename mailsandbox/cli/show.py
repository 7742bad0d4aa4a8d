"""`mailsandbox show ID`: one message as a person reads it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from mailsandbox.cli.daemon import Daemon, Refused, daemon
from mailsandbox.cli.options import daemon_options, json_option
from mailsandbox.cli.printing import clean, clean_lines, clock_time, octets, say, say_json

_SHOWN_FIELDS = ("Date", "From", "To", "Cc", "Subject", "Message-ID")


@click.command()
@click.argument("message_id", metavar="ID")
@click.option("--headers", is_flag=True, help="Every header field, decoded, in order.")
@click.option("--html", is_flag=True, help="The HTML part's source instead of the text.")
@json_option
@daemon_options
def command(
    message_id: str, headers: bool, html: bool, as_json: bool, ready_file: Path | None, url: str | None
) -> None:
    """Show the message ID: header, MIME tree, text. IDs are those of `mailsandbox list`."""
    with daemon(ready_file, url) as found:
        path = message_path(message_id)
        view = found.get(path)
        if as_json:
            say_json(view)
            return
        body = _body(found, path, "html" if html else "text")
    fields = [(row["name"], row["value"]) for row in view["headers"]]
    if not headers:
        fields = [(name, value) for name, value in fields if name.title().replace("Id", "ID") in _SHOWN_FIELDS]
    for name, value in fields:
        say(f"{clean(name)}: {clean(value)}")
    say("")
    say(f"in {view['account']} {view['mailbox']}, UID {view['uid']}, received {clock_time(view['received_at'])},")
    flags = " ".join(view["flags"]) or "none"
    say(f"{octets(view['octets'])}, flags: {clean(flags)}, journey: {view['journey_id'] or 'none'}")
    say("")
    for line in _tree(view["mime"]):
        say(line)
    if body:
        say("")
        say(clean_lines(body).rstrip("\n"))


def message_path(message_id: str) -> str:
    """The message's path of the HTTP interface."""
    from urllib.parse import quote

    return f"/v1/messages/{quote(message_id, safe='')}"


def _body(found: Daemon, path: str, kind: str) -> str:
    try:
        return found.request("GET", f"{path}/{kind}").text
    except Refused as refused:
        if refused.status == 404:
            return ""
        raise


def _tree(part: dict[str, Any], depth: int = 0) -> Iterator[str]:  # Any: JSON
    words = [part["content_type"]]
    words.extend(part[key] for key in ("charset", "encoding", "disposition") if part.get(key))
    if part.get("filename"):
        words.append(f'"{part["filename"]}"')
    number = part["number"] or "-"
    yield clean(f"{'  ' * depth}{number:<3} {', '.join(words)}, {octets(part['octets'])}")
    for child in part.get("parts", []):
        yield from _tree(child, depth + 1)
