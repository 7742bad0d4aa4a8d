"""`mailsandbox readyz`: for scripts that start a daemon and go on when it is ready."""

import time
from pathlib import Path

import click

from mailsandbox.cli.daemon import NoDaemon, Refused, daemon
from mailsandbox.cli.failures import NOT_DONE
from mailsandbox.cli.options import daemon_options, json_option
from mailsandbox.cli.printing import note, say, say_json

_EVERY = 0.05  # seconds between two questions


@click.command()
@click.option(
    "--timeout", type=click.FloatRange(min=0), default=0.0, metavar="S", help="Keep asking for so many seconds."
)
@json_option
@daemon_options
def command(timeout: float, as_json: bool, ready_file: Path | None, url: str | None) -> int:
    """Exit with 0 if the daemon is ready, with 1 if not."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            with daemon(ready_file, url) as found:
                found.get("/readyz", timeout=max(1.0, timeout))
                if as_json:
                    say_json({"ready": True, "url": found.url, "services": dict(found.services)})
                else:
                    say(f"ready at {found.url}")
                return 0
        except (NoDaemon, Refused) as error:
            if time.monotonic() >= deadline:
                if as_json:
                    say_json({"ready": False, "why": error.message})
                else:
                    note(f"not ready: {error.message}")
                return NOT_DONE
        time.sleep(_EVERY)
