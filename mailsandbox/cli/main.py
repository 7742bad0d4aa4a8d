"""`mailsandbox`: finds the command; ends with a sentence and an exit code, not with a traceback for what a user did."""

import contextlib
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import click

from mailsandbox import __version__
from mailsandbox.cli import failures
from mailsandbox.cli.failures import DONE
from mailsandbox.errors import MailsandboxError


class _Entry(NamedTuple):
    module: str  # below mailsandbox.cli; its `command` is the click command
    summary: str


COMMANDS: Final[Mapping[str, _Entry]] = {
    "demo": _Entry("demo", "Send a message across two servers and see it through every delivery model."),
    "serve": _Entry("serve", "Run the sandbox until it is told to stop."),
    "send": _Entry("send", "Send a message over SMTP."),
    "list": _Entry("listing", "List the messages of an account."),
    "show": _Entry("show", "Show one message, decoded."),
    "raw": _Entry("raw", "Write one message as it is, octet for octet."),
    "wait": _Entry("wait", "Wait for a message to arrive."),
    "watch": _Entry("watch", "See messages arrive through a delivery model of your choice."),
    "journey": _Entry("journey", "Show what happened to a message, hop by hop."),
    "sessions": _Entry("sessions", "List connections, or show what was said on one."),
    "queue": _Entry("queue", "Look at the relay queue, and steer it."),
    "clock": _Entry("clock", "Show the sandbox's time, and advance a manual clock."),
    "compare": _Entry("compare", "Measure every delivery model on the same messages, side by side."),
    "check": _Entry("check", "Judge a message file against SMTP's and MIME's rules, without a server."),
    "sendmail": _Entry("sendmail", "Stand in for /usr/sbin/sendmail."),
    "import": _Entry("importing", "Bring back an exported zip, or put mbox, Maildir or .eml into an account."),
    "export": _Entry("exporting", "Write everything to a zip, or messages to mbox, Maildir or .eml."),
    "reindex": _Entry("reindex", "Render stored messages again, after an upgrade that renders better."),
    "readyz": _Entry("readyz", "Ask whether the daemon is ready."),
    "config": _Entry("config", "Check a configuration file and print what it comes to."),
    "standards": _Entry("standards", "List the standards that are implemented, and where."),
}


class Commands(click.Group):
    """Imports a command's module when the command is used; `--help` needs none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table above."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The click command of that name."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            import difflib

            near = difflib.get_close_matches(cmd_name, COMMANDS, 1)
            ctx.fail(f"there is no command {cmd_name!r}{f'; did you mean {near[0]}?' if near else ''}")
        command = importlib.import_module(f"mailsandbox.cli.{entry.module}").command
        assert isinstance(command, click.Command)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="mailsandbox")
def commands() -> None:
    """Two simulated mail servers, a relay between them, and every way to read what arrives.

    `mailsandbox serve` starts it; point your application at 127.0.0.1:1025 and your mail client at 1143 (IMAP) or
    1110 (POP3). The other commands find the running daemon by themselves.
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    try:
        result = commands.main(
            args=None if argv is None else list(argv), prog_name="mailsandbox", standalone_mode=False
        )
        sys.stdout.flush()
    except (click.ClickException, click.Abort, KeyboardInterrupt, MailsandboxError) as error:
        return failures.tell(error, as_json=failures.wants_json(sys.argv[1:] if argv is None else argv))
    except (BrokenPipeError, SystemExit):  # click's own way out where the pipe is closed; nothing else raises it
        # Whoever read our output has seen enough (`mailsandbox list ... | head`).
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    return result if isinstance(result, int) else DONE
