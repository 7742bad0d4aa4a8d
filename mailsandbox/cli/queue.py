"""`mailsandbox queue`: what waits to be relayed, and the levers an operator has."""

from pathlib import Path
from typing import Any

import click

from mailsandbox.cli import failures
from mailsandbox.cli.daemon import Refused, daemon
from mailsandbox.cli.options import WithDefault, daemon_options, json_option
from mailsandbox.cli.printing import clean, clock_time, many, note, octets, say, say_json


@click.group(cls=WithDefault, default="list")
def command() -> None:
    """Look at the relay queue, and steer it. Without a subcommand: list it."""


@command.command("list")
@click.option("--site", default="", help="Only this site's queue.")
@json_option
@daemon_options
def show_queue(site: str, as_json: bool, ready_file: Path | None, url: str | None) -> None:
    """List every message that is not done, with each recipient's state."""
    with daemon(ready_file, url) as found:
        answer = found.get("/v1/queue", [("site", site)] if site else [])
    if as_json:
        say_json(answer)
        return
    items = answer["items"]
    for item in items:
        held = ", held" if item["held"] else ""
        sender = clean(item["from"]) or "<>"
        say(
            f"{item['id']}  {item['site']}  {octets(item['octets'])}  received {clock_time(item['received_at'])}"
            f"  from {sender}{held}"
        )
        for row in item["recipients"]:
            tries = many(row["attempts"], "attempt")
            due = f", next {clock_time(row['next_attempt'])}" if row["status"] == "waiting" and not item["held"] else ""
            say(f"    {clean(row['address'])}: {row['status']}, {tries}{due}")
            if row["attempts"]:
                by = f"{clean(row['remote'])} said: " if row["remote"] else ""
                say(f"        {by}{clean(row['reply'])}")
    note(f"{many(len(items), 'message')} in the queue" if items else "the queue is empty")


@command.command()
@click.option("--site", default="", help="Only this site's queue.")
@json_option
@daemon_options
def run(site: str, as_json: bool, ready_file: Path | None, url: str | None) -> None:
    """Try everything that waits now, held messages excepted."""
    with daemon(ready_file, url) as found:
        answer = found.post("/v1/queue/run", parameters=[("site", site)] if site else [])
    if as_json:
        say_json(answer)
    else:
        say(f"{many(answer['recipients'], 'recipient')} tried now")


def _item_command(name: str, summary: str, done: str) -> click.Command:
    """A command that does one thing to messages by their queue ids."""

    @command.command(name, help=summary)
    @click.argument("ids", nargs=-1, required=True, metavar="ID...")
    @json_option
    @daemon_options
    def act(ids: tuple[str, ...], as_json: bool, ready_file: Path | None, url: str | None) -> None:
        from urllib.parse import quote

        answers: list[dict[str, Any]] = []  # Any: JSON
        refused: Refused | None = None
        with daemon(ready_file, url) as found:
            for queue_id in ids:
                path = f"/v1/queue/{quote(queue_id, safe='')}"
                item: Any = None  # Any: JSON
                try:
                    if name == "remove":
                        found.delete(path)
                    else:
                        item = found.post(f"{path}/{name}")
                except Refused as error:
                    # One that is gone keeps nobody from the others; the last failure gives the exit code.
                    if refused is not None:
                        failures.say(refused.format_message())
                    refused = error
                    continue
                answers.append({"id": queue_id, "item": item})
                if not as_json:
                    stays = name == "retry" and item is not None and item["held"]
                    say(f"{clean(queue_id)}: {'stays held until it is released' if stays else done}")
        if as_json:
            say_json(answers)
        if refused is not None:
            raise refused

    return act


_item_command("retry", "Try messages now.", "is being tried")
_item_command("hold", "Keep messages back until they are released.", "held")
_item_command("release", "Let held messages go.", "released")
_item_command("bounce", "Give messages up now: their senders are notified.", "returned to its sender")
_item_command("remove", "Drop messages; no notification is sent.", "removed")
