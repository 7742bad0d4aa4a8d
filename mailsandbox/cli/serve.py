"""`mailsandbox serve`: the daemon."""

import dataclasses
import gc
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from mailsandbox.cli.daemon import default_ready_file, is_running
from mailsandbox.cli.options import json_option
from mailsandbox.cli.printing import many, note, say, say_json_line

if TYPE_CHECKING:
    from mailsandbox.specs import SandboxSpec
    from mailsandbox.store.credentials import Credentials

_KINDS: Final[Mapping[str, str]] = {
    "smtp": "SMTP",
    "submission": "submission",
    "submissions": "submission over TLS",
    "lmtp": "LMTP",
}
_READERS: Final[Mapping[str, str]] = {
    "pop3": "POP3",
    "pop3s": "POP3 over TLS",
    "imap": "IMAP",
    "imaps": "IMAP over TLS",
    "http": "HTTP: API, changes, metrics",
}


@click.command()
@click.option(
    "--config",
    envvar="MAILSANDBOX_CONFIG",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A TOML file; `mailsandbox config FILE` checks it.",
)
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Keep everything in this directory.")
@click.option("--memory", is_flag=True, help="Keep nothing (the default without --data and --database).")
@click.option("--database", metavar="URL", help="postgresql://..., shared by several daemons.")
@click.option("--host", metavar="ADDRESS", help="Listen on this address.  [default: 127.0.0.1]")
@click.option("--ephemeral", is_flag=True, help="Take a free port for each service.")
@click.option(
    "--ready-file",
    envvar="MAILSANDBOX_READY_FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write where the services listen to this file once all do.",
)
@click.option("--quiet", is_flag=True, help="Print nothing.")
@json_option
def command(
    config: Path | None,
    data: Path | None,
    memory: bool,
    database: str | None,
    host: str | None,
    ephemeral: bool,
    ready_file: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Run the sandbox until SIGTERM or Ctrl-C.

    Without a configuration: alpha.test and beta.test, POP3, IMAP and HTTP on 127.0.0.1, everything in memory.
    """
    gc.disable()  # start-up makes what stays: walking it again and again costs 70 ms; the daemon enables it when ready
    if sum((data is not None, memory, database is not None)) > 1:
        raise click.UsageError("--data, --memory and --database exclude each other: give one of them")
    from mailsandbox.config import load
    from mailsandbox.database.opening import is_url
    from mailsandbox.errors import ConfigError

    if database is not None and not is_url(database):
        raise ConfigError("--database: not a database's URL: write postgresql://USER:PASSWORD@HOST:PORT/NAME")
    spec = load(config, environ=os.environ, host=host)
    if data is not None or memory or database is not None:
        spec = dataclasses.replace(spec, data=data, database=database)
    if ephemeral:
        spec = spec.ephemeral()

    ready_file, held = (ready_file, "") if ready_file else _free_ready_file(ephemeral=ephemeral)
    if held and not as_json:  # what a program reads is one object, also where the start fails
        note(held)

    def announce(services: Mapping[str, str]) -> None:
        if as_json:
            notes = {"notes": [held]} if held else {}
            say_json_line({"pid": os.getpid(), "services": dict(services), **notes})
        elif not quiet:
            _announce(spec, services)

    from mailsandbox.runtime.daemon import serve

    serve(spec, ready_file=ready_file, announce=announce)


def _free_ready_file(*, ephemeral: bool) -> tuple[Path | None, str]:
    """The default place; None where it is not ours to write, or another living daemon holds it: then with a note."""
    from mailsandbox.errors import MailsandboxError
    from mailsandbox.runtime.ready_file import read_ready_file

    path = default_ready_file()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.parent.stat().st_uid != os.getuid():
            return None, ""
    except OSError:
        return None, ""
    if path.exists():
        try:
            pid = read_ready_file(path).pid
        except MailsandboxError:
            return path, ""
        if is_running(pid):
            return None, (
                f"another daemon runs (process {pid}) and holds {path}: give this one"
                f"{'' if ephemeral else ' --ephemeral for its own ports and'} --ready-file to reach it by commands"
            )
    return path, ""


def _announce(spec: "SandboxSpec", services: Mapping[str, str]) -> None:
    kept = str(spec.data) if spec.data else spec.database.split("@")[-1] if spec.database else "in memory"
    say(f"mailsandbox is ready; mail is kept {'in ' + kept if spec.data or spec.database else kept}")
    said = _descriptions(spec)
    width = max(map(len, services))
    for name, place in services.items():
        say(f"  {name:<{width}}  {place:<21}  {said.get(name, '')}".rstrip())
    say(f"{_who_may_log_in(spec.credentials)}; Ctrl-C stops it")


def _descriptions(spec: "SandboxSpec") -> dict[str, str]:
    """By service: what it is, and what of TLS and AUTH it offers."""
    from mailsandbox.sasl import mechanisms
    from mailsandbox.site import listener_specs

    said = dict(_READERS)
    known = mechanisms(spec.credentials, tls=True)
    for listener in (each for site in spec.sites for each in listener_specs(site, spec.host)):
        words = [_KINDS[listener.kind] + (" on a UNIX socket" if listener.socket else "")]
        upgrades = "STARTTLS" in listener.offers and listener.kind != "submissions"
        required, offered = list[str](), list[str]()
        if upgrades:
            (required if listener.tls_required else offered).append("STARTTLS")
        some = listener.mechanisms is None or not listener.mechanisms.isdisjoint(known)
        after_tls = listener.auth_needs_tls and listener.kind != "submissions"
        if listener.authentication != "off" and some and (upgrades or not after_tls):
            of = required if listener.authentication == "required" else offered
            of.append("AUTH over TLS" if after_tls else "AUTH")
        for which, told in ((required, "required"), (offered, "offered")):
            if which:
                words.append(f"{' and '.join(which)} {told}")
        said[listener.service] = ", ".join(words)
    return said


def _who_may_log_in(credentials: "Credentials") -> str:
    if not credentials.any_account:
        if not credentials.specs:
            return "nobody can log in: the configuration names no account"
        those = many(len(credentials.specs), "account")
        return f"only the {those} of the configuration can log in, by the password given there, or any if none is"
    if credentials.has_secrets:
        return "any login is right, and any password but where the configuration gives one"
    return "any login and any password is right"
