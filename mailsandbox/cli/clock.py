"""`mailsandbox clock`: what time it is in the sandbox, and the lever of its manual clock."""

from pathlib import Path
from typing import Any

import click

from mailsandbox.cli.daemon import LONG, daemon
from mailsandbox.cli.options import WithDefault, daemon_options, json_option
from mailsandbox.cli.printing import clock_time, say, say_json


@click.group(cls=WithDefault, default="show")
def command() -> None:
    """Show the sandbox's time, and advance a manual clock. Without a subcommand: show it."""


@command.command()
@json_option
@daemon_options
def show(as_json: bool, ready_file: Path | None, url: str | None) -> None:
    """Show the sandbox's time, and whether it is the system's or a manual clock's."""
    with daemon(ready_file, url) as found:
        _say(found.get("/v1/clock"), as_json=as_json)


@command.command()
@click.argument("period", metavar="PERIOD")
@json_option
@daemon_options
def advance(period: str, as_json: bool, ready_file: Path | None, url: str | None) -> None:
    """Advance the manual clock by PERIOD: 90s, 5m, 4h, 5d, 2w.

    What becomes due on the way (retries, delay warnings, bounces, retention) is done when the command ends. The daemon
    needs mode = "manual" under [clock], or MAILSANDBOX_CLOCK_MODE=manual.
    """
    with daemon(ready_file, url) as found:
        # Days of retries may be done before the answer.
        _say(found.post("/v1/clock/advance", {"by": period}, timeout=LONG), as_json=as_json)


def _say(clock: dict[str, Any], *, as_json: bool) -> None:  # Any: JSON
    if as_json:
        say_json(clock)
    else:
        whose = "a manual clock" if clock["mode"] == "manual" else "the system's time"
        say(f"{clock_time(clock['now'])}, {whose}")
