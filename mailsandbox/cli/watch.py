"""`mailsandbox watch`: messages as they arrive, through a delivery model of one's choice, with what each costs."""

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from mailsandbox.cli.daemon import daemon, split_place
from mailsandbox.cli.failures import NOT_DONE
from mailsandbox.cli.options import daemon_options, json_option
from mailsandbox.cli.printing import clean, many, note, octets, say, say_json_line
from mailsandbox.wording import cause_of

if TYPE_CHECKING:
    from mailsandbox.lab.watcher import Notice, Watcher

MODELS: Final = ("smtp", "pop3", "imap-poll", "idle", "http-poll", "long-poll", "sse", "websocket", "stream")
PUSH_TO: Final = "127.0.0.1:2600"


@click.command()
@click.argument("address")
@click.option("--via", type=click.Choice(MODELS), default="sse", show_default=True, help="The delivery model.")
@click.option(
    "--interval", type=click.FloatRange(min=0.01), default=1.0, show_default=True, help="Seconds between polls."
)
@click.option("--count", type=click.IntRange(min=1), help="Stop after so many messages.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="S", help="Stop after so many seconds.")
@click.option("--password", default="any", envvar="MAILSANDBOX_PASSWORD", help="The account's password, if it has one.")
@click.option(
    "--listen",
    default=PUSH_TO,
    show_default=True,
    metavar="HOST:PORT",
    help="Where `--via smtp` takes mail; a route has to lead there.",
)
@json_option
@daemon_options
def command(
    address: str,
    via: str,
    interval: float,
    count: int | None,
    timeout: float | None,
    password: str,
    listen: str,
    as_json: bool,
    ready_file: Path | None,
    url: str | None,
) -> int:
    """Print each message for ADDRESS when it arrives, until Ctrl-C, --count or --timeout.

    With --via smtp the watcher is a mail server, and the daemon needs a route to it: configs/push.toml has one for
    push.test.

    Exit code 1 when --timeout ended it before anything (or all of --count) came. With --json: a line for each message.
    """
    from mailsandbox.lab.watchers import watcher

    with daemon(ready_file, url) as found:
        services = found.services
    watching = watcher(via, services, address, password=password, interval=interval, listen=split_place(listen))
    try:
        seen = asyncio.run(_watch(watching, count=count, timeout=timeout, as_json=as_json))
    except KeyboardInterrupt:
        _cost(watching, as_json=as_json)
        return 0
    except (OSError, TimeoutError) as error:
        reason = cause_of(error)
        hint = f"cannot listen on {listen}: {reason}" if via == "smtp" else f"{reason}; is the daemon running?"
        raise click.ClickException(f"cannot watch by {via}: {hint}") from None
    _cost(watching, as_json=as_json)
    return 0 if seen >= (count or 1) else NOT_DONE


async def _watch(watching: "Watcher", *, count: int | None, timeout: float | None, as_json: bool) -> int:
    deadline = None if timeout is None else time.monotonic() + timeout
    seen = 0
    try:
        await watching.start()
        if not as_json:
            _introduce(watching)
        while count is None or seen < count:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                break
            notice = await watching.next(left)
            if notice is None:
                break
            seen += 1
            _print(notice, as_json=as_json)
    finally:
        await watching.aclose()
    return seen


def _introduce(watching: "Watcher") -> None:
    model = watching.model
    note(f"watching by {model.title} ({model.standard}): the {model.opened_by} opens the connection; Ctrl-C ends it")
    address = getattr(watching, "address", "")
    if model.name == "smtp" and address:
        host, _, port = address.rpartition(":")
        domain = watching.target.account.rpartition("@")[2]
        route = f'[[routes]] domain = "{domain}", host = "{host}", port = {port}'
        note(f"this is an SMTP server at {address}; the daemon's configuration has to lead mail to it: {route}")


def _print(notice: "Notice", *, as_json: bool) -> None:
    if as_json:
        say_json_line(notice)
        return
    now = datetime.now().astimezone().strftime("%H:%M:%S.%f")[:-3]
    fetched = (notice.at_ns - notice.notified_ns) / 1e6
    size = octets(notice.octets)
    say(f"{now}  from {clean(notice.sender)}: {clean(notice.subject)}  ({size}, fetched in {fetched:.1f} ms)")


def _cost(watching: "Watcher", *, as_json: bool) -> None:
    if as_json:
        return
    counted = watching.counters
    note(
        f"{many(counted.connections, 'connection')}, {many(counted.requests, 'request')},"
        f" {many(counted.empty_answers, 'empty answer')},"
        f" {octets(counted.octets_out)} sent, {octets(counted.octets_in)} received"
    )


def known_models(names: Sequence[str], *, of: Sequence[str] = MODELS) -> Sequence[str]:
    """The models that were named; all without any. Raises click.BadParameter."""
    for name in names:
        if name not in of:
            raise click.BadParameter(f"{name!r} is not one of {', '.join(of)}", param_hint="--via")
    return tuple(names) or of
