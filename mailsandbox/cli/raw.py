"""`mailsandbox raw ID`: a message exactly as it is stored, or one of its parts decoded."""

import sys
from pathlib import Path

import click

from mailsandbox.cli.daemon import daemon
from mailsandbox.cli.options import daemon_options, json_option
from mailsandbox.cli.printing import say_json
from mailsandbox.cli.show import message_path


@click.command()
@click.argument("message_id", metavar="ID")
@click.option("--part", default="", metavar="NUMBER", help="Only this MIME part, decoded: 1, 1.2, ...")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write to a file.")
@daemon_options
@json_option
def command(
    message_id: str, part: str, output: Path | None, ready_file: Path | None, url: str | None, as_json: bool
) -> None:
    """Write the message ID octet for octet: what POP3 and IMAP serve, trace fields included.

    With --json: {"id", "octets", "base64"}.
    """
    import base64
    from urllib.parse import quote

    with daemon(ready_file, url) as found:
        below = f"/parts/{quote(part, safe='')}" if part else "/raw"
        octets = found.octets(message_path(message_id) + below)
    if as_json:
        say_json({"id": message_id, "octets": len(octets), "base64": base64.b64encode(octets).decode("ascii")})
        return
    if output is None:
        sys.stdout.buffer.write(octets)
        sys.stdout.buffer.flush()
        return
    try:
        output.write_bytes(octets)
    except OSError as error:
        raise click.ClickException(f"{output}: cannot be written: {error.strerror or error}") from None
