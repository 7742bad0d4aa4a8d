"""`mailsandbox check`: what both gates say to a message in a file, and what a conversion changes, without a server."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, assert_never

import click
import msgspec

from mailsandbox.cli.failures import NOT_DONE
from mailsandbox.cli.options import json_option
from mailsandbox.cli.printing import clean, note, octets, say, say_json, table
from mailsandbox.encoding import (
    Accept,
    Convert,
    Emulation,
    ReceiveMode,
    Refuse,
    RelayPolicy,
    Verdict,
    judge_received,
    prepare,
)
from mailsandbox.encoding.report import diff, edit_records
from mailsandbox.encoding.signatures import available, records, verifier
from mailsandbox.message.envelope import Envelope, Recipient
from mailsandbox.message.findings import Finding
from mailsandbox.smtp.extensions import Offers

HOPS: Final = {
    "7bit": [],
    "8bitmime": ["8BITMIME"],
    "smtputf8": ["8BITMIME", "SMTPUTF8"],
    "binarymime": ["8BITMIME", "CHUNKING", "BINARYMIME"],
}
EVERYTHING: Final = Offers.parse(["8BITMIME", "SMTPUTF8", "CHUNKING", "BINARYMIME"])
BODIES: Final = {"auto": "", "7bit": "7BIT", "8bitmime": "8BITMIME", "binarymime": "BINARYMIME"}


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option("--hop", type=click.Choice(list(HOPS)), default="7bit", help="What the next server offers.  [7bit]")
@click.option(
    "--mode",
    type=click.Choice([mode.value for mode in ReceiveMode]),
    default="lenient",
    help="Receive gate.  [lenient]",
)
@click.option(
    "--emulate",
    type=click.Choice([which.value for which in Emulation]),
    default="strict",
    help="Whose relay.  [strict]",
)
@click.option("--body", type=click.Choice(list(BODIES)), default="auto", help="BODY the client declares.  [as needed]")
@click.option("--smtputf8", is_flag=True, help="The client asks for SMTPUTF8.")
@click.option("--size", type=click.IntRange(min=1), help="Largest message the next server takes, in octets.")
@click.option("--from", "sender", default="sender@alpha.test", help="Reverse-path.")
@click.option("--to", "recipients", multiple=True, default=["recipient@beta.test"], help="Forward-path; may repeat.")
@click.option(
    "--dns-txt",
    multiple=True,
    metavar="NAME=TEXT",
    help="A TXT record for DKIM, 'sel._domainkey.example.org=v=DKIM1; p=...'; NAME=@FILE reads the text from a file.",
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write what would be sent here.")
@json_option
def command(
    file: Any,  # Any: click gives a binary file object or stdin's buffer
    hop: str,
    mode: str,
    emulate: str,
    body: str,
    smtputf8: bool,
    size: int | None,
    sender: str,
    recipients: tuple[str, ...],
    dns_txt: tuple[str, ...],
    output: Path | None,
    as_json: bool,
) -> int:
    """Judge FILE against SMTP's and MIME's rules, convert it for the next hop, and show what that changes.

    FILE is a message as RFC 5322 defines it, "-" for standard input. A file with LF line ends only is taken as a mail
    program on Unix would send it: with CRLF. Exit code 1: one of the gates refuses.
    """
    message, mended = _with_crlf(file.read())
    declared = BODIES[body] if body != "auto" else "" if message.isascii() else "8BITMIME"
    received = judge_received(
        message,
        mode=ReceiveMode(mode),
        declared_body=declared,
        smtputf8=smtputf8,
        offers=EVERYTHING,
        via_bdat=declared == "BINARYMIME",
    )
    arrived = received.octets if isinstance(received, Convert) else message
    envelope = Envelope(sender, tuple(Recipient(address) for address in recipients), declared, smtputf8)
    offers = Offers.parse([*HOPS[hop], *([f"SIZE {size}"] if size else [])])
    policy = RelayPolicy(emulate=Emulation(emulate), host="check.mailsandbox.test")
    relayed = prepare(arrived, offers=offers, envelope=envelope, policy=policy)
    dkim = _dkim(arrived, relayed, _records(dns_txt))
    if output is not None and not isinstance(relayed, Refuse):
        output.write_bytes(relayed.octets)
    if as_json:
        say_json(
            {
                "file": file.name,
                "octets": len(message),
                "crlf_added": mended,
                "receive": {"mode": mode, "body": declared, "smtputf8": smtputf8, **_as_json(message, received)},
                "relay": {"hop": hop, "emulate": emulate, **_as_json(arrived, relayed)},
                "dkim": dkim,
            }
        )
    else:
        _show(message, received, f"receive gate ({mode}{', BODY=' + declared if declared else ''})", mended=mended)
        _show(arrived, relayed, f"relay gate ({hop} hop{', as ' + emulate if emulate != 'strict' else ''})")
        if dkim is not None:
            say(f"\ndkim: {dkim['text']}")
    return NOT_DONE if isinstance(received, Refuse) or isinstance(relayed, Refuse) else 0


check = command


def _with_crlf(message: bytes) -> tuple[bytes, bool]:
    if b"\r" in message or b"\n" not in message:
        return message, False
    return message.replace(b"\n", b"\r\n"), True


def _records(dns_txt: Sequence[str]) -> dict[str, str]:
    entries = {}
    for entry in dns_txt:
        name, equals, text = entry.partition("=")
        if not equals or not name.strip():
            raise click.BadParameter(f"{entry!r} is not NAME=TEXT", param_hint="--dns-txt")
        if text.startswith("@"):
            try:
                text = Path(text[1:]).read_text("utf-8").strip()
            except OSError as error:
                raise click.BadParameter(f"{text[1:]}: {error.strerror}", param_hint="--dns-txt") from None
        entries[name.strip()] = text
    return entries


def _dkim(arrived: bytes, relayed: Verdict, entries: dict[str, str]) -> dict[str, str] | None:
    """How the message's DKIM signatures fare; None where it has none."""
    header = arrived.partition(b"\r\n\r\n")[0].lower()
    if not header.startswith(b"dkim-signature:") and b"\ndkim-signature:" not in header:
        return None
    if not available():
        return {"before": "unknown", "after": "unknown", "text": "not verified: pip install 'mailsandbox[dkim]'"}
    if not entries:
        return {"before": "unknown", "after": "unknown", "text": "not verified: give the key's record with --dns-txt"}
    verify = verifier(records(entries))
    before = verify(arrived)
    if isinstance(relayed, Refuse):
        return {"before": before, "after": "none", "text": f"{before} before; nothing is sent"}
    after = verify(relayed.octets)
    words = {"pass": "valid", "fail": "invalid", "none": "not signed"}
    broken = before == "pass" and after != "pass"
    text = f"{words[before]} before, " + ("broken by this hop's conversion" if broken else f"{words[after]} after")
    return {"before": before, "after": after, "text": text}


def _as_json(message: bytes, verdict: Verdict) -> dict[str, Any]:  # Any: JSON values
    common: dict[str, Any] = {  # Any: JSON values
        "verdict": type(verdict).__name__.lower(),
        "findings": [asdict(finding) for finding in verdict.findings],
    }
    match verdict:
        case Refuse(reply):
            return {**common, "reply": str(reply)}
        case Accept() | Convert():
            return {
                **common,
                "octets": len(verdict.octets),
                "sha256": hashlib.sha256(verdict.octets).hexdigest(),
                "body": verdict.body,
                "smtputf8": verdict.smtputf8,
                "bdat": verdict.use_bdat,
                "addresses": dict(verdict.addresses),
                "edits": [msgspec.structs.asdict(record) for record in edit_records(message, verdict.edits)],
            }
        case _:
            assert_never(verdict)


def _show(message: bytes, verdict: Verdict, gate: str, *, mended: bool = False) -> None:
    match verdict:
        case Refuse(reply):
            say(click.style(f"{gate}: refuse", fg="red", bold=True))
            say(f"  {clean(reply)}")
        case Accept():
            say(click.style(f"{gate}: accept", fg="green", bold=True) + _parameters(verdict))
        case Convert():
            sizes = f", {octets(len(message))} to {octets(len(verdict.octets))}"
            say(click.style(f"{gate}: convert", fg="yellow", bold=True) + sizes + _parameters(verdict))
        case _:
            assert_never(verdict)
    if mended:
        note("  (LF line ends in the file, taken as CRLF)")
    _show_findings(verdict.findings)
    if isinstance(verdict, Convert):
        colours = {"-": "red", "+": "green", "@": "cyan"}
        for line in diff(message, verdict.edits):
            say(click.style(f"{line.sign} {clean(line.text)}", fg=colours.get(line.sign)))


def _parameters(verdict: Accept | Convert) -> str:
    words = [f"BODY={verdict.body}"] if verdict.body else []
    words += ["SMTPUTF8"] if verdict.smtputf8 else []
    words += ["by BDAT"] if verdict.use_bdat else []
    words += [f"<{old}> as <{new}>" for old, new in verdict.addresses.items()]
    return f" ({', '.join(words)})" if words else ""


def _show_findings(findings: Sequence[Finding]) -> None:
    if findings:
        rows = [
            [finding.part or "-", finding.offset, finding.rule, finding.source, finding.text] for finding in findings
        ]
        say(table(["PART", "OCTET", "RULE", "SOURCE", "FINDING"], rows, right=[1]))
