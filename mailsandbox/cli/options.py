"""What several commands share: options, and a group that does something without a subcommand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])  # Any: click's callbacks have whatever parameters their options name


def json_option(function: F) -> F:
    """`--json`: for programs."""
    return click.option("--json", "as_json", is_flag=True, help="Write JSON.")(function)


def whole_option(function: F) -> F:
    """`--whole`: for wide lists, and those that go into a pipe."""
    return click.option("--whole", is_flag=True, help="Cut nothing to the terminal's width.")(function)


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


class WithDefault(click.Group):
    """A group without a subcommand is its `default`: `queue --json` is `queue list --json`."""

    def __init__(self, *, default: str, **attributes: Any) -> None:  # Any: click's own, of many types
        super().__init__(**attributes)
        self._default = default

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = [self._default, *args]
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """With those of the default, which can be given here too."""
        options = self.commands[self._default].get_params(ctx)
        rows = [row for option in options if (row := option.get_help_record(ctx)) is not None]
        with formatter.section("Options"):
            formatter.write_dl(rows)
        self.format_commands(ctx, formatter)
