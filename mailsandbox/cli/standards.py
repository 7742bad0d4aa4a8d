"""`mailsandbox standards`: the table of mailsandbox.standards."""

import dataclasses

import click

from mailsandbox.cli.failures import NOT_DONE
from mailsandbox.cli.options import json_option
from mailsandbox.cli.printing import note, say, say_json, table


@click.command()
@click.argument("words", nargs=-1)
@json_option
def command(words: tuple[str, ...], as_json: bool) -> int:
    """List the standards that are implemented, and where. WORDS choose: `standards imap`, `standards 5321`."""
    from mailsandbox.standards import STANDARDS

    wanted = [word.lower() for word in words]
    rows = [
        row
        for row in STANDARDS
        if all(word in f"{row.id} {row.title} {' '.join(row.packages)}".lower() for word in wanted)
    ]
    if as_json:
        say_json([dataclasses.asdict(row) for row in rows])
    elif rows:
        gaps = any(row.gaps for row in rows)
        headings = ["STANDARD", "TITLE", "WHERE", *(["LEFT OUT"] if gaps else [])]
        say(
            table(
                headings, [[row.id, row.title, ", ".join(row.packages), *([row.gaps] if gaps else [])] for row in rows]
            )
        )
    if not rows:
        note(f"no standard fits {' '.join(words)!r}")
        return NOT_DONE
    return 0
