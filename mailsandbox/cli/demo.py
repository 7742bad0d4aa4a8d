"""`mailsandbox demo`: one real message across two servers, seen through every delivery model."""

import asyncio

import click

from mailsandbox.cli.failures import NOT_DONE
from mailsandbox.cli.options import json_option
from mailsandbox.cli.printing import note, say_json
from mailsandbox.cli.watch import known_models


@click.command()
@click.option("--via", multiple=True, metavar="MODEL", help="Only this delivery model; repeat it for several.")
@click.option(
    "--interval", type=click.FloatRange(min=0.01), default=1.0, show_default=True, help="Seconds between polls."
)
@json_option
def command(via: tuple[str, ...], interval: float, as_json: bool) -> int:
    """Start two mail servers, send a French message with a picture from one to the other, and watch it arrive.

    The table shows for each delivery model who opened the connection, how long after the commit the client had the
    message, and what that cost in requests and octets. Exit code 0 only if every model delivered.
    """
    models = known_models(via)
    from mailsandbox.lab.demo import run_demo

    if not as_json:
        note("two mail servers start, a message goes from alpha to beta ...")
    result = asyncio.run(run_demo(interval=interval, models=models))
    if as_json:
        say_json(result)
    else:
        from rich.console import Console

        from mailsandbox.cli.printing import terminal_width
        from mailsandbox.lab.tables import render_demo

        Console(width=min(terminal_width(), 100), highlight=False).print(render_demo(result))
    return 0 if result.complete else NOT_DONE
