"""`mailsandbox send`: a message from its pieces or from a file, over real SMTP."""

import asyncio
import secrets
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from mailsandbox.cli.daemon import daemon, split_place
from mailsandbox.cli.failures import NOT_DONE
from mailsandbox.cli.options import daemon_options, json_option
from mailsandbox.cli.printing import clean, note, octets, say, say_json

if TYPE_CHECKING:
    from mailsandbox.cli.outgoing import HandedOver, Letter, Server

DEFAULT_SENDER: Final = "alice@alpha.test"


@click.command()
@click.argument("file", required=False, type=click.Choice(["-"]), metavar="[-]")
@click.option("--from", "sender", default=DEFAULT_SENDER, show_default=True, metavar="ADDRESS", help="The sender.")
@click.option("--to", multiple=True, metavar="ADDRESS", help="A recipient; repeat it for several.")
@click.option("--cc", multiple=True, metavar="ADDRESS", help="A recipient named in Cc.")
@click.option("--bcc", multiple=True, metavar="ADDRESS", help="A recipient not named in the message.")
@click.option("--subject", default="", help="The subject.")
@click.option("--text", help="The text.")
@click.option("--html", help="The HTML, beside the text or alone.")
@click.option(
    "--eml",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Send this file as it is, octet for octet; - is stdin.",
)
@click.option(
    "--attach", multiple=True, type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Attach a file."
)
@click.option("--header", multiple=True, metavar="NAME: VALUE", help="Another header field.")
@click.option(
    "--body",
    type=click.Choice(["7bit", "8bitmime", "binarymime"], case_sensitive=False),
    help="Compose for, and declare, this transport.  [default: what the server offers and the message needs]",
)
@click.option("--server", metavar="HOST:PORT", help="Another server than the daemon's alpha.")
@click.option("--service", default="alpha.smtp", show_default=True, help="Which of the daemon's services.")
@click.option(
    "--tls",
    type=click.Choice(["off", "opportunistic", "required", "implicit"]),
    default="off",
    show_default=True,
    help="STARTTLS where offered, STARTTLS or nothing, TLS from the first octet; any certificate will do.",
)
@click.option("--login", default="", metavar="NAME", help="Log in with AUTH.")
@click.option("--password", default="", envvar="MAILSANDBOX_PASSWORD", help="The password of --login.")
@click.option("--notify", default="", metavar="WORDS", help="NEVER, or any of SUCCESS,FAILURE,DELAY (RFC 3461).")
@click.option("--ret", type=click.Choice(["FULL", "HDRS"], case_sensitive=False), default=None, help="RET of RFC 3461.")
@click.option("--envid", default="", help="ENVID of RFC 3461, as it is meant: it is sent as xtext.")
@click.option("-v", "--verbose", is_flag=True, help="Print what was said on the wire.")
@json_option
@daemon_options
def command(
    file: str | None,
    sender: str,
    to: tuple[str, ...],
    cc: tuple[str, ...],
    bcc: tuple[str, ...],
    subject: str,
    text: str | None,
    html: str | None,
    eml: Path | None,
    attach: tuple[Path, ...],
    header: tuple[str, ...],
    body: str | None,
    server: str | None,
    service: str,
    tls: str,
    login: str,
    password: str,
    notify: str,
    ret: str | None,
    envid: str,
    verbose: bool,
    as_json: bool,
    ready_file: Path | None,
    url: str | None,
) -> int:
    """Send a message to alpha's SMTP server, or to any other.

    The message comes from --text, --html and --attach, from the file of --eml, or with "-" from standard input.
    The exit code is 0 when every recipient was accepted; the queue id that is printed is good for
    `mailsandbox journey`. The Date is this machine's, as that of any mail client; --header "Date: ..." is another.
    """
    from mailsandbox.cli.outgoing import bare_address, envelope_of, hand_over

    source = Path("-") if file else eml
    _check_use(source, composed=bool(text or html or attach or subject or header or cc))
    recipients = [bare_address(written) for written in (*to, *cc, *bcc)]
    if not recipients:
        raise click.UsageError("nobody to send to: give --to, --cc or --bcc")
    reverse_path = bare_address(sender) if sender.strip() not in ("", "<>") else ""
    envelope = envelope_of(reverse_path, recipients, notify=notify, ret=ret or "", envid=envid)
    if source is not None:
        letter = _file_letter(source, body)
    else:
        letter = _composed_letter(sender, to, cc, subject, text, html, attach, header, body)
    place = _place(server, service, tls, login, password, ready_file, url)
    handed = asyncio.run(hand_over(place, envelope, letter))
    _report(handed, verbose=verbose, as_json=as_json)
    return 0 if handed.accepted else NOT_DONE


def _check_use(source: Path | None, *, composed: bool) -> None:
    if source is not None and composed:
        raise click.UsageError("a message from a file or standard input is sent as it is: leave out --text, --html,"
                               " --subject, --cc, --header and --attach")  # fmt: skip
    if source is None and not composed:
        raise click.UsageError("nothing to send: give --subject, --text, --html, --attach, --eml FILE, or -")


def _place(
    server: str | None,
    service: str,
    tls: str,
    login: str,
    password: str,
    ready_file: Path | None,
    url: str | None,
) -> "Server":
    from mailsandbox.cli.outgoing import Server

    if server:
        host, port = split_place(server)
    else:
        with daemon(ready_file, url) as found:
            host, port = found.service(service)
    if not server and service.endswith(".submissions"):
        tls = "implicit"
    return Server(host, port, tls=tls, login=login, password=password)


def _file_letter(source: Path, body: str | None) -> "Letter":
    from mailsandbox.cli.outgoing import as_it_is

    try:
        content = sys.stdin.buffer.read() if str(source) == "-" else source.read_bytes()
    except OSError as error:
        raise click.ClickException(f"{source}: cannot be read: {error.strerror or error}") from None
    declared = None if body is None else body.upper()
    if body != "binarymime" and b"\n" in content and b"\r\n" not in content:
        # A file of this system. RFC 5321 §2.3.8: lines on the wire end in CRLF.
        content = content.replace(b"\n", b"\r\n")
        note("note: the file's line ends were LF; sent as CRLF")
    return as_it_is(content, declared)


def _composed_letter(
    sender: str,
    to: Sequence[str],
    cc: Sequence[str],
    subject: str,
    text: str | None,
    html: str | None,
    attach: Sequence[Path],
    header: Sequence[str],
    body: str | None,
) -> "Letter":
    from mailsandbox.message.compose import Attached, BodyEncoding, compose
    from mailsandbox.message.envelope import domain_of
    from mailsandbox.smtp.extensions import Offers

    try:
        attachments = [Attached.from_file(path) for path in attach]
    except OSError as error:
        raise click.ClickException(f"{error.filename}: cannot be read: {error.strerror or error}") from None
    fields = dict(_field(row) for row in header)
    message_id = f"<{secrets.token_hex(12)}@{domain_of(sender.rstrip('>')) or 'localhost'}>"

    def letter(offers: Offers) -> tuple[bytes, str]:
        wanted = body or ("8bitmime" if "8BITMIME" in offers else "7bit")
        encoding = {
            "7bit": BodyEncoding.SEVEN_BIT,
            "8bitmime": BodyEncoding.EIGHT_BIT,
            "binarymime": BodyEncoding.BINARY,
        }[wanted]
        try:
            octets = compose(
                sender=sender,
                to=to,
                cc=cc,
                subject=subject,
                text=text,
                html=html,
                attachments=attachments,
                headers=fields,
                date=time.time(),  # RFC 5322 §3.6.1: when the author was done, by the author's clock: not the server's
                message_id=message_id,
                body_encoding=encoding,
            )
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        if body is not None:
            return octets, body.upper()
        return octets, "" if octets.isascii() else "8BITMIME"

    return letter


def _field(written: str) -> tuple[str, str]:
    name, colon, value = written.partition(":")
    if not colon:
        raise click.BadParameter(f'{written!r} is not "Name: value"', param_hint="--header")
    return name.strip(), value.strip()


def _report(handed: "HandedOver", *, verbose: bool, as_json: bool) -> None:
    if as_json:
        say_json(handed.as_json())
        return
    if verbose:
        from mailsandbox.cli.journey import transcript_lines

        for line in transcript_lines(handed.transcript):
            note(line)
    for remark in handed.notes:
        note(f"note: {remark}")
    for address, reply in zip(handed.recipients, handed.replies, strict=True):
        say(f"{clean(address)}: {clean(reply)}")
    if handed.accepted:
        declared = f"BODY={handed.body}" if handed.body else "no BODY declared"
        say(f"sent {octets(handed.octets)}, {declared}{', SMTPUTF8' if handed.smtputf8 else ''}")
        if handed.queue_id:
            say(f"see what becomes of it: mailsandbox journey {clean(handed.queue_id)}")
