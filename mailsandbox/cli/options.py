"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])  # Any: click's callbacks have whatever parameters their options name


def json_option(function: F) -> F:
    """`--json`: for programs."""
    return click.option("--json", "as_json", is_flag=True, help="Write JSON.")(function)


def daemon_options(function: F) -> F:
    """`--ready-file` and `--url`: which daemon."""
    function = click.option(
        "--url",
        envvar="MAILSANDBOX_URL",
        metavar="URL",
        help="The daemon's HTTP address, instead of its ready file.",
    )(function)
    return click.option(
        "--ready-file",
        envvar="MAILSANDBOX_READY_FILE",
        type=click.Path(path_type=Path, dir_okay=False),
        help="The file in which the daemon says where it listens.",
    )(function)
