"""What a failed command says, and its exit code: a sentence for people, one line of JSON for programs (`--json`).

    mailsandbox: there is no account bo@beta.test; there is bob@beta.test
    {"error": {"code": "no-such-account", "message": "there is no account bo@beta.test ...", "near": ["bob@beta.test"]}}

`code` does not change from version to version; `message` is for people. An answer of the daemon is there whole, as
`problem`. Knows no command.
"""

import signal
from collections.abc import Sequence
from typing import Any, Final

import click

from mailsandbox.errors import ConfigError, StartError

DONE: Final = 0
NOT_DONE: Final = 1  # not found, refused, timed out
WRONG_USE: Final = 2
INTERRUPTED: Final = 128 + signal.SIGINT


class Failure(click.ClickException):
    """A command could not do what it was asked. `code` names the kind, `facts` say what programs may want to know."""

    code: str = "failed"
    exit_code: int = NOT_DONE  # type: ignore[misc]  # of an instance here: a refusal may be wrong use or not

    def facts(self) -> dict[str, Any]:  # Any: JSON
        """More members of the JSON object."""
        return {}


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether `--json` was said: it has to be known even where the arguments cannot be understood."""
    given = list(arguments)
    return "--json" in (given[: given.index("--")] if "--" in given else given)


def tell(error: BaseException, *, as_json: bool) -> int:
    """Say it on standard error; returns the exit code."""
    code, message, exit_code, facts = _told(error)
    if as_json:
        import json

        click.echo(json.dumps({"error": {"code": code, "message": message, **facts}}, ensure_ascii=False), err=True)
    elif isinstance(error, click.exceptions.NoArgsIsHelpError) or exit_code == INTERRUPTED:
        click.echo(message, err=True)
    else:
        if isinstance(error, click.UsageError) and error.ctx is not None:
            click.echo(f"{error.ctx.get_usage()}\nTry '{error.ctx.command_path} --help' for help.\n", err=True)
        say(message)
    return exit_code


def say(message: str) -> None:
    """On standard error, after the program's name: whoever reads a script's output knows who spoke."""
    click.echo(f"mailsandbox: {message}", err=True)


def _told(error: BaseException) -> tuple[str, str, int, dict[str, Any]]:  # Any: JSON
    match error:
        case Failure():
            return error.code, error.format_message(), error.exit_code, error.facts()
        case click.UsageError():
            return "wrong-use", error.format_message(), error.exit_code, {}
        case click.ClickException():
            return "failed", error.format_message(), error.exit_code, {}
        case ConfigError():
            return "wrong-configuration", str(error), WRONG_USE, {}
        case StartError():
            return "cannot-start", str(error), NOT_DONE, {}
        case click.Abort() | KeyboardInterrupt():
            return "interrupted", "interrupted", INTERRUPTED, {}
        case _:
            return "failed", str(error), NOT_DONE, {}
