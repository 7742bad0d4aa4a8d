"""`mailsandbox wait`: for scripts and tests that need the mail that is about to come."""

from pathlib import Path
from typing import Any, Final

import click

from mailsandbox.cli.daemon import Refused, daemon
from mailsandbox.cli.failures import NOT_DONE
from mailsandbox.cli.options import daemon_options, json_option
from mailsandbox.cli.printing import clean, clock_time, note, say, say_json, short_time

_TIMED_OUT: Final = 408
_SLICE: Final = 240.0  # seconds of one request; the daemon and proxies bound how long one may take


@click.command()
@click.argument("address")
@click.option(
    "--subject", default="", metavar="RE", help="A regular expression that the subject has to fit, in any case."
)
@click.option("--from", "sender", default="", metavar="TEXT", help="Part of From.")
@click.option("--text", default="", metavar="TEXT", help="Part of the decoded header or body.")
@click.option("--after", default="", metavar="TIME|ID", help="Only what came after this time or message.")
@click.option("--count", type=click.IntRange(1, 1000), default=1, show_default=True, help="Wait for so many.")
@click.option("--timeout", type=click.FloatRange(min=0), default=10.0, show_default=True, metavar="S", help="Seconds.")
@json_option
@daemon_options
def command(
    address: str,
    subject: str,
    sender: str,
    text: str,
    after: str,
    count: int,
    timeout: float,
    as_json: bool,
    ready_file: Path | None,
    url: str | None,
) -> int:
    """Wait until a message for ADDRESS is there that fits everything given; one that came before counts too.

    Exit code 1 when none came in time; the nearest misses are printed then, with what did not fit.
    """
    import re

    if subject:
        try:
            re.compile(subject)
        except re.error as error:
            raise click.BadParameter(f"{subject!r} is no regular expression: {error}", param_hint="--subject") from None
    chosen = {"to": address, "from": sender, "subject": f"/{subject}/" if subject else "", "text": text, "after": after}
    parameters = [(name, value) for name, value in chosen.items() if value]
    left = timeout
    with daemon(ready_file, url) as found:
        while True:
            turn = min(left, _SLICE)
            left -= turn
            try:
                answer = found.get(
                    "/v1/wait", [*parameters, ("count", count), ("timeout", str(turn))], timeout=turn + 30
                )
            except Refused as refused:
                if refused.status != _TIMED_OUT:
                    raise
                if left <= 0:
                    _missed(refused, timeout, as_json=as_json)
                    return NOT_DONE
                continue
            break
    if as_json:
        say_json(answer)
    else:
        for row in answer["messages"]:
            say(f"{row['id']}  {clock_time(row['received_at'])}  from {clean(row['from'])}: {clean(row['subject'])}")
    return 0


def _missed(refused: Refused, timeout: float, *, as_json: bool) -> None:
    problem: dict[str, Any] = dict(refused.problem)  # Any: JSON
    if as_json:
        say_json(problem)
        return
    came = problem.get("messages", [])
    misses = problem.get("near_misses", [])
    note(f"no such message within {timeout:g} s" + (f"; {len(came)} of those wanted came" if came else ""))
    if not misses:
        note("nothing came that was like it")
        return
    note("the nearest misses:")
    for row in misses:
        note(f"  {row['id']}  {short_time(row['received_at'])}  {clean(row['account'])}: {clean(row['subject'])}")
        for why in row["differs"]:
            note(f"       {clean(why)}")
