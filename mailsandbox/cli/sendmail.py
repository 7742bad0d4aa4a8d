"""`mailsandbox sendmail`: what programs call as /usr/sbin/sendmail, with the options of Sendmail and Postfix.

As the path of an application's sendmail: a script with `exec mailsandbox sendmail "$@"`. Exit codes are those of
sysexits.h, which such programs know: 64 usage, 65 data, 69 refused, 75 try again later.
"""

import asyncio
import getpass
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from mailsandbox.cli.daemon import NoDaemon, Refused, daemon, split_place
from mailsandbox.cli.failures import tell, wants_json
from mailsandbox.cli.printing import say_json
from mailsandbox.cli.sendmail_arguments import Asked, Usage, parse

EX_OK: Final = 0
EX_USAGE: Final = 64
EX_DATAERR: Final = 65
EX_UNAVAILABLE: Final = 69
EX_TEMPFAIL: Final = 75

_TICK: Final = 0.2  # seconds
_LAST_REPLIES: Final = 2.0  # seconds
DOMAIN: Final = "alpha.test"  # of addresses without one, as a machine's own mail server completes them


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": ["--help"]}
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[RECIPIENT]...")
def command(arguments: tuple[str, ...]) -> int:
    """Take a message from standard input, as /usr/sbin/sendmail does, and hand it to alpha.

    \b
    -t              recipients from To, Cc and Bcc
    -i, -oi         a line of one dot does not end the message
    -f ADDRESS      the sender (also -r); -F NAME the sender's full name
    -bs             speak SMTP on standard input and output
    -bp             list the queue; -q run it
    -N, -R, -V      NOTIFY, RET and ENVID of RFC 3461
    -B TYPE         7BIT or 8BITMIME
    -v              print what was said on the wire
    --server HOST:PORT, --ready-file FILE, --url URL
                    where to, instead of the running daemon's alpha.smtp
    --json          what became of it, and errors, as JSON

    Other options of Sendmail and Postfix are taken and ignored. Exit codes are those of sysexits.h.
    """
    try:
        return _run(parse(arguments))
    except Usage as error:
        return _failed(click.UsageError(str(error)), EX_USAGE, arguments)
    except click.UsageError as error:
        return _failed(error, EX_USAGE, arguments)
    except (NoDaemon, Refused) as error:
        return _failed(error, EX_TEMPFAIL, arguments)
    except click.ClickException as error:
        return _failed(error, EX_UNAVAILABLE, arguments)


def _failed(error: click.ClickException, exit_code: int, arguments: Sequence[str]) -> int:
    """As programs that call sendmail know it; as JSON where they asked for that."""
    if wants_json(arguments):
        tell(error, as_json=True)
    else:
        click.echo(f"sendmail: {error.format_message()}", err=True)
    return exit_code


def _run(asked: Asked) -> int:
    match asked.mode:
        case "s":
            return _speak_smtp(*_place(asked))
        case "p":
            return _queue_command(asked, "list")
        case "i":
            return EX_OK  # newaliases: there are none
        case "m" if asked.run_queue:
            return _queue_command(asked, "run")
        case "m":
            return _send(asked)
    raise Usage(f"mode -b{asked.mode} is not for a sandbox; there are -bm, -bs and -bp")


def _place(asked: Asked) -> tuple[str, int]:
    if asked.server:
        return split_place(asked.server)
    path = asked.ready_file or os.environ.get("MAILSANDBOX_READY_FILE")
    url = asked.url or os.environ.get("MAILSANDBOX_URL")
    with daemon(Path(path) if path else None, url) as found:
        return found.service("alpha.smtp")


def _queue_command(asked: Asked, name: str) -> int:
    from mailsandbox.cli.main import main

    options = [
        *(["--url", asked.url] if asked.url else []),
        *(["--ready-file", asked.ready_file] if asked.ready_file else []),
        *(["--json"] if asked.as_json else []),
    ]
    return EX_OK if main(["queue", name, *options]) == 0 else EX_TEMPFAIL


def _send(asked: Asked) -> int:
    from mailsandbox.cli.outgoing import Server, as_it_is, envelope_of, hand_over

    octets, named = prepared(_read_message(asked), asked)
    recipients = [completed(address) for address in (*asked.recipients, *named)]
    if not recipients:
        raise Usage("nobody to send to: name recipients, or use -t with a To field")
    sender = _sender(asked)
    envelope = envelope_of(sender, recipients, notify=asked.notify, ret=asked.ret, envid=asked.envid)
    host, port = _place(asked)
    declared = asked.body if asked.body in ("7BIT", "8BITMIME") else None
    handed = asyncio.run(hand_over(Server(host, port), envelope, as_it_is(octets, declared)))
    if asked.as_json:
        say_json(handed.as_json())
    elif asked.verbose:
        from mailsandbox.cli.journey import transcript_lines

        for line in transcript_lines(handed.transcript):
            click.echo(line, err=True)
    if handed.accepted:
        return EX_OK
    for address, reply in zip(handed.recipients, handed.replies, strict=True):
        if not reply.positive and not asked.as_json:
            click.echo(f"sendmail: {address}: {reply}", err=True)
    return EX_TEMPFAIL if handed.transient else EX_UNAVAILABLE


def _read_message(asked: Asked) -> bytes:
    octets = sys.stdin.buffer.read()
    if not asked.dots_are_data:
        # A line of one dot ends the message, as on the wire; what follows is not part of it.
        for end in (b"\n.\n", b"\r\n.\r\n"):
            if (found := octets.find(end)) >= 0:
                octets = octets[: found + len(end) - end.index(b".") - 1]
        if octets.startswith((b".\n", b".\r\n")) or octets == b".":
            octets = b""
    # RFC 5321 §2.3.8: lines on the wire end in CRLF, files of this system in LF.
    return octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def prepared(octets: bytes, asked: Asked) -> tuple[bytes, list[str]]:
    """The message with the fields a submission agent adds (RFC 6409 §8), without Bcc; and the recipients of -t."""
    from mailsandbox.message.addresses import mailboxes
    from mailsandbox.message.spans import scan, unfold
    from mailsandbox.message.trace import format_date

    root = scan(octets)
    named: list[str] = []
    kept: list[bytes] = []
    for each in root.fields:
        if asked.from_header and each.key in ("to", "cc", "bcc"):
            named.extend(found.address for found in mailboxes(unfold(octets, each)))
        if each.key != "bcc":
            kept.append(octets[each.start : each.end])
    keys = {each.key for each in root.fields}
    added = []
    if "from" not in keys:
        added.append(f"From: {_written(_sender(asked) or completed(_user()), asked.full_name)}\r\n")
    if "date" not in keys:
        added.append(f"Date: {format_date(time.time())}\r\n")
    if "message-id" not in keys:
        added.append(f"Message-ID: <{secrets.token_hex(12)}@{DOMAIN}>\r\n")
    # RFC 5322 §2.1: a blank line parts header and body, whatever the program wrote between them.
    header = b"".join(kept)
    if header and not header.endswith(b"\n"):
        header += b"\r\n"
    return header + "".join(added).encode() + b"\r\n" + octets[root.body.start :], named


def _written(address: str, name: str) -> str:
    from mailsandbox.message.words import encode_header_text

    if not name:
        return address
    plain = name.isascii() and name.replace(" ", "").isalnum()
    shown = name if plain else encode_header_text(name) if not name.isascii() else '"' + name.replace('"', "'") + '"'
    return f"{shown} <{address}>"


def _sender(asked: Asked) -> str:
    if asked.sender is None:
        return completed(_user())
    return "" if asked.sender in ("", "<>") else completed(asked.sender)


def completed(address: str) -> str:
    """With a domain: programs name local users ("root") without one."""
    address = address.strip().removeprefix("<").removesuffix(">")
    return address if "@" in address or not address else f"{address}@{DOMAIN}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return str(os.getuid())


def _speak_smtp(host: str, port: int) -> int:
    """-bs: standard input and output are the SMTP connection."""
    try:
        connection = socket.create_connection((host, port), timeout=10)
    except OSError as error:
        raise NoDaemon(f"{host}:{port}: {error.strerror or error}") from None
    silent = threading.Event()  # the program has said all
    passing = threading.Thread(target=_pass_on, args=(connection, silent), daemon=True)
    with connection:
        patience = _LAST_REPLIES
        while patience > 0:
            try:
                octets = connection.recv(65_536)
            except TimeoutError:
                # A program that goes without QUIT: the server gets a moment for its last replies.
                patience -= _TICK if silent.is_set() else 0
                continue
            except OSError as error:
                raise NoDaemon(f"{host}:{port}: {error.strerror or error}") from None
            if not octets:
                break
            sys.stdout.buffer.write(octets)
            sys.stdout.buffer.flush()
            if passing.ident is None:
                connection.settimeout(_TICK)
                passing.start()  # RFC 5321 §4.3.1: nobody speaks before the greeting
    return EX_OK


def _pass_on(connection: socket.socket, silent: threading.Event) -> None:
    try:
        while octets := os.read(sys.stdin.fileno(), 65_536):
            connection.sendall(octets)
    except OSError:
        pass  # the server closed; the reading side sees it
    silent.set()
