"""`mailsandbox sessions`: connections of every protocol, and what was said on them."""

from pathlib import Path

import click

from mailsandbox.cli.daemon import daemon
from mailsandbox.cli.journey import transcript_lines
from mailsandbox.cli.options import daemon_options, json_option
from mailsandbox.cli.printing import clean, clock_time, note, say, say_json, short_time, table


@click.command()
@click.argument("session_id", metavar="[ID]", required=False)
@click.option("--protocol", default="", metavar="NAME", help="smtp, lmtp, relay, pop3 or imap.")
@click.option("--account", default="", metavar="ADDRESS", help="Who had logged in.")
@click.option("--outcome", default="", metavar="NAME", help="open, closed, rejected, aborted, ...")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
@json_option
@daemon_options
def command(
    session_id: str | None,
    protocol: str,
    account: str,
    outcome: str,
    limit: int,
    as_json: bool,
    ready_file: Path | None,
    url: str | None,
) -> None:
    """List connections, newest first; with ID: show one with its transcript."""
    from urllib.parse import quote

    with daemon(ready_file, url) as found:
        if session_id is not None:
            answer = found.get(f"/v1/sessions/{quote(session_id, safe='')}")
        else:
            chosen = (("protocol", protocol), ("account", account), ("outcome", outcome))
            answer = found.get("/v1/sessions", [*((name, value) for name, value in chosen if value), ("limit", limit)])
    if as_json:
        say_json(answer)
    elif session_id is not None:
        ended = clock_time(answer["ended_at"]) if answer["ended_at"] else "still open"
        say(f"{answer['service']} ({answer['protocol']}), {answer['peer']} to {answer['local']}")
        say(f"{clock_time(answer['started_at'])} to {ended}: {answer['outcome']}")
        for name in ("account", "helo", "tls"):
            if answer[name]:
                say(f"{name}: {clean(answer[name])}")
        for finding in answer["findings"]:
            say(f"finding: {clean(finding['rule'])} ({clean(finding['source'])}): {clean(finding['text'])}")
        for line in transcript_lines(answer["transcript"]):
            say(line)
    elif answer["sessions"]:
        say(
            table(
                ["ID", "BEGAN", "SERVICE", "PEER", "ACCOUNT", "OUTCOME"],
                [
                    [
                        row["id"],
                        short_time(row["started_at"]),
                        row["service"],
                        row["peer"],
                        row["account"],
                        row["outcome"],
                    ]
                    for row in answer["sessions"]
                ],
                fixed=(0, 1, 5),
            )
        )
    else:
        note("no connections")
