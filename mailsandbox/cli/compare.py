"""`mailsandbox compare`: every delivery model on the same messages, measured side by side, beside what theory says."""

import asyncio

import click

from mailsandbox.cli.failures import NOT_DONE
from mailsandbox.cli.options import json_option
from mailsandbox.cli.printing import note, say_json
from mailsandbox.cli.progress import bar
from mailsandbox.cli.watch import MODELS, known_models


@click.command()
@click.option("--via", multiple=True, metavar="MODEL", help="Only this delivery model; repeat it for several.")
@click.option("--rate", type=click.FloatRange(min=0.01), default=2.0, show_default=True, help="Messages per second.")
@click.option("--seconds", type=click.FloatRange(min=0.1), default=10.0, show_default=True, help="For how long.")
@click.option(
    "--interval", type=click.FloatRange(min=0.01), default=1.0, show_default=True, help="Seconds between polls."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of the random moments of sending.")
@json_option
def command(via: tuple[str, ...], rate: float, seconds: float, interval: float, seed: int, as_json: bool) -> int:
    """Send the same messages to a reader of every delivery model, and compare latency, requests and octets."""
    models = known_models(via, of=MODELS[1:])  # SMTP ends at the server, there is nothing to poll
    from mailsandbox.lab.compare import run_compare

    if not as_json:
        note(f"sending for {seconds:g} s at {rate:g} messages per second ...")
    with bar("comparing, %", off=as_json) as told:

        def progress(share: float) -> None:
            told(share * 100, 100)

        result = asyncio.run(
            run_compare(models, rate=rate, seconds=seconds, seed=seed, interval=interval, progress=progress)
        )
    if as_json:
        say_json(result)
    else:
        from rich.console import Console

        from mailsandbox.cli.printing import terminal_width
        from mailsandbox.lab.tables import render_compare

        Console(width=min(terminal_width(), 100), highlight=False).print(render_compare(result))
    return 0 if result.complete else NOT_DONE
