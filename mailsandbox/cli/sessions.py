"""`mailsandbox sessions`: connections of every protocol, and what was said on them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from mailsandbox.cli.daemon import daemon
from mailsandbox.cli.journey import transcript_lines
from mailsandbox.cli.options import daemon_options, json_option, whole_option
from mailsandbox.cli.printing import clean, clock_time, note, say, say_json, short_time, table
from mailsandbox.journey.sessions import OUTCOMES

_SPOKEN: Final = {one.replace(" ", "-").lower(): one for one in OUTCOMES}


def _outcome(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """As the daemon writes it. Raises BadParameter for a word that no session ends with."""
    if not value:
        return ""
    try:
        return _SPOKEN[value.replace(" ", "-").lower()]
    except KeyError:
        raise click.BadParameter(f"{value!r} is not one of {', '.join(_SPOKEN)}") from None


@click.command()
@click.argument("session_id", metavar="[ID]", required=False)
@click.option("--protocol", default="", metavar="NAME", help="smtp, lmtp, relay, pop3 or imap.")
@click.option("--account", default="", metavar="ADDRESS", help="Who had logged in.")
@click.option("--outcome", default="", callback=_outcome, metavar="NAME", help=f"{', '.join(_SPOKEN)}.")
@click.option("--finding", default="", metavar="RULE", help="Whose client broke this rule; any: any rule.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
@whole_option
@json_option
@daemon_options
def command(
    session_id: str | None,
    protocol: str,
    account: str,
    outcome: str,
    finding: str,
    limit: int,
    whole: bool,
    as_json: bool,
    ready_file: Path | None,
    url: str | None,
) -> None:
    """List connections by their beginning, newest first; with ID: show one with its transcript."""
    from urllib.parse import quote

    broken: list[str] = []
    with daemon(ready_file, url) as found:
        if session_id is not None:
            answer = found.get(f"/v1/sessions/{quote(session_id, safe='')}")
        else:
            chosen = (
                ("protocol", protocol),
                ("account", account),
                ("outcome", outcome),
                ("finding", finding),
            )
            answer = found.get("/v1/sessions", [*((name, value) for name, value in chosen if value), ("limit", limit)])
            if not answer["sessions"] and finding not in ("", "any"):
                # Rules are named where they are checked: those that were met are all that is known of them.
                rows = found.get("/v1/sessions", [("finding", "any"), ("limit", 1000)])["sessions"]
                broken = sorted({rule for row in rows for rule in row["rules"]})
    if as_json:
        say_json(answer)
    elif session_id is not None:
        ended = clock_time(answer["ended_at"]) if answer["ended_at"] else "still open"
        say(f"{answer['service']} ({answer['protocol']}), {answer['peer']} to {answer['local']}")
        say(f"{clock_time(answer['started_at'])} to {ended}: {answer['outcome']}")
        for name in ("account", "helo", "tls"):
            if answer[name]:
                say(f"{name}: {clean(answer[name])}")
        for each in answer["findings"]:
            say(f"finding: {clean(each['rule'])} ({clean(each['source'])}): {clean(each['text'])}")
        for line in transcript_lines(answer["transcript"]):
            say(line)
    elif answer["sessions"]:
        say(_listed(answer["sessions"], whole=whole))
    else:
        hint = f"; rules that clients broke so far: {', '.join(map(clean, broken))}" if broken else ""
        note(f"no connections{hint}")


def _listed(sessions: Sequence[Mapping[str, Any]], *, whole: bool) -> str:  # Any: JSON
    """A line for each; the rules broken only where there are some."""
    heads = ["ID", "BEGAN", "SERVICE", "PEER", "ACCOUNT", "OUTCOME"]
    rows = [
        [row["id"], short_time(row["started_at"]), row["service"], row["peer"], row["account"], row["outcome"]]
        for row in sessions
    ]
    if any(row.get("rules") for row in sessions):
        heads.append("FINDINGS")
        for line, row in zip(rows, sessions, strict=True):
            line.append(" ".join(row.get("rules", ())))
    return table(heads, rows, fixed=(0, 1, 5), whole=whole)
