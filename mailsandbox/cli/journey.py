"""`mailsandbox journey ID`: the path of a message, hop by hop, as a person reads it in 80 columns."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from mailsandbox.cli.daemon import daemon
from mailsandbox.cli.options import daemon_options, json_option
from mailsandbox.cli.printing import clean, clock_time, octets, say, say_json

WIDTH: Final = 80
Json = Mapping[str, Any]  # Any: JSON of the daemon, shaped by journey.assemble

_PROTOCOLS: Final = {
    "pop3": "POP3",
    "imap": "IMAP",
    "imap-idle": "IMAP IDLE",
    "http": "HTTP",
    "long-poll": "HTTP long poll",
    "sse": "server-sent events",
    "websocket": "WebSocket",
    "stream": "NDJSON stream",
}


_OPERATIONS: Final = {
    "hold": "held",
    "release": "released",
    "retry": "made due at once",
    "bounce": "returned to its sender",
    "remove": "removed from the queue, nobody told,",
}


@click.command()
@click.argument("any_id", metavar="ID")
@click.option("--transcript/--no-transcript", default=True, help="With what was said on the wire.  [default: with]")
@json_option
@daemon_options
def command(any_id: str, transcript: bool, as_json: bool, ready_file: Path | None, url: str | None) -> None:
    """Show what happened to a message. ID: of the submission, of a queue, or of a delivered message."""
    from urllib.parse import quote

    with daemon(ready_file, url) as found:
        view = found.get(f"/v1/journeys/{quote(any_id, safe='')}")
    if as_json:
        say_json(view)
        return
    for line in report(view, transcript=transcript):
        say(line)


def report(view: Json, *, transcript: bool = True) -> Iterator[str]:
    """The lines of the whole report, none longer than WIDTH but for transcripts' own long words."""
    hops: Sequence[Json] = view["hops"]
    yield f"journey {clean(view['id'])}: {clean(view['state'])}"
    began = next((hop["accepted"]["at"] for hop in hops if hop["accepted"]), None)
    if began is not None:
        yield f"began {clock_time(began)}; times below count from there"
    for number, hop in enumerate(hops, start=1):
        yield ""
        yield f"{number}  {clean(hop['site']).upper()}  " + "-" * (WIDTH - len(f"{number}  {hop['site']}  "))
        yield from _hop(hop, began or 0.0, transcript=transcript)


def _hop(hop: Json, began: float, *, transcript: bool) -> Iterator[str]:
    if hop["accepted"]:
        yield from _accepted(hop["accepted"], began, transcript=transcript)
    for expansion in hop["expansions"]:
        members = ", ".join(map(clean, expansion["members"]))
        yield from _wrapped(f"alias {clean(expansion['address'])}: {members}")
    for refusal in hop["undelivered"]:
        yield from _wrapped(f"not delivered to {clean(refusal['recipient'])}: {clean(refusal['reply'])}")
    for entry in sorted([*hop["attempts"], *hop.get("operations", [])], key=_turn):
        yield ""
        if "action" in entry:
            yield from _operation(entry, began)
        else:
            yield from _attempt(entry, began, transcript=transcript)
    for shown in hop["deliveries"]:
        yield ""
        yield from _delivery(shown, began)
    for notice in hop["notifications"]:
        yield ""
        to = ", ".join(map(clean, notice["recipients"]))
        yield from _wrapped(f"notification {_since(notice['at'], began)}: {clean(notice['action'])}, about {to}")
        if notice["dsn_journey"]:
            yield f"   its own journey: {clean(notice['dsn_journey'])}"


def _accepted(accepted: Json, began: float, *, transcript: bool) -> Iterator[str]:
    peer = f"{clean(accepted['peer'])} ({clean(accepted['helo']) or 'no name'})"
    tls = clean(accepted["tls"]) or "no TLS"
    yield from _wrapped(f"accepted {_since(accepted['at'], began)} from {peer}, {clean(accepted['protocol'])}, {tls}")
    size = f"{octets(accepted['octets'])}, sha256 {accepted['sha256'][:16]}..."
    yield f"   queue id {clean(accepted['queue_id'])}, {size}"
    yield from _envelope(accepted["envelope"])
    yield from _findings(accepted["findings"])
    if transcript:
        yield from transcript_lines(accepted["transcript"])


def _attempt(attempt: Json, began: float, *, transcript: bool) -> Iterator[str]:
    interrupted = _interrupted(attempt)
    if interrupted:
        yield f"attempt {attempt['number']}, interrupted: noticed {_since(attempt['ended_at'], began)}"
    else:
        took = _duration(attempt["ended_at"] - attempt["started_at"])
        where = (clean(attempt["host"]) or "no server") + (
            f" ({clean(attempt['address'])})" if attempt["address"] else ""
        )
        yield from _wrapped(
            f"attempt {attempt['number']} {_since(attempt['started_at'], began)}, {took}: to {where}"
            f"{', ' + clean(attempt['tls']) if attempt['tls'] else ', no TLS' if attempt['address'] else ''}"
        )
    if attempt["offers"]:
        yield from _wrapped(f"offers {', '.join(map(clean, attempt['offers']))}", indent=3)
    yield from _envelope(attempt["envelope"])
    if interrupted:
        unknown = "to which server, and how much of it was sent, is not known"
        yield from _wrapped(f"{octets(attempt['octets_in'])} in the queue; {unknown}", indent=3)
    else:
        yield from _octets_changed(attempt)
    yield from _findings(attempt["findings"])
    for edit in attempt["edits"]:
        yield from _edit(edit)
    for outcome in attempt["outcomes"]:
        yield from _wrapped(f"{clean(outcome['address'])}: {outcome['outcome']}, {clean(outcome['reply'])}", indent=3)
    if interrupted:
        yield "   possibly sent: there may be a second copy"
    elif attempt["possible_duplicate"]:
        yield "   the reply was lost after the last octet: there may be a second copy"
    if transcript:
        yield from transcript_lines(attempt["transcript"])


def _interrupted(attempt: Json) -> bool:
    """Whether nobody wrote down its end. Earlier records say so by a reply lost from a server without a name."""
    return bool(attempt.get("interrupted")) or (attempt["possible_duplicate"] and not attempt["host"])


def _turn(entry: Json) -> tuple[int, bool]:
    """What an operator did comes before the attempt of the next number: a manual clock stands still between them."""
    return (entry["attempts"] + 1, False) if "action" in entry else (entry["number"], True)


def _operation(done: Json, began: float) -> Iterator[str]:
    what = _OPERATIONS.get(done["action"], clean(done["action"]))
    addresses = ", ".join(map(clean, done["recipients"]))
    yield from _wrapped(f"{what} by the operator {_since(done['at'], began)}: {addresses}")


def _octets_changed(attempt: Json) -> Iterator[str]:
    if not attempt["octets_out"]:
        yield f"   {octets(attempt['octets_in'])} in the queue, none sent"
        return
    body = f"BODY={clean(attempt['body'])}" if attempt["body"] else "no BODY parameter"
    if attempt["sha256_in"] == attempt["sha256_out"]:
        yield f"   {octets(attempt['octets_out'])} sent unchanged, {body}"
    else:
        yield f"   {attempt['octets_in']} octets in, {attempt['octets_out']} sent after conversion, {body}"
        yield f"   sha256 {attempt['sha256_in'][:16]}... to {attempt['sha256_out'][:16]}..."


def _edit(edit: Json) -> Iterator[str]:
    part = f"part {edit['part']}" if edit["part"] else "message"
    yield from _wrapped(
        f"edit in {part}, octets {edit['start']}-{edit['end']}: {clean(edit['rule'])} ({clean(edit['source'])})",
        indent=3,
    )
    yield from _excerpt("-", edit["before"])
    yield from _excerpt("+", edit["after"])


def _excerpt(mark: str, text: str) -> Iterator[str]:
    for line in text.replace("\r\n", "\n").strip("\n").split("\n"):
        for piece in _pieces(clean(line), WIDTH - 8):
            yield f"     {mark} {piece}"


def _delivery(shown: Json, began: float) -> Iterator[str]:
    delivery = shown["delivery"]
    yield from _wrapped(
        f"delivered {_since(delivery['at'], began)} to {clean(delivery['account'])} {clean(delivery['mailbox'])},"
        f" UID {delivery['uid']}, {octets(delivery['octets'])}"
    )
    yield f"   message {clean(delivery['message_id'])}, change {delivery['seq']} of the account's log"
    if clean(delivery["recipient"]).lower() != clean(delivery["account"]).lower():
        yield f"   for the recipient {clean(delivery['recipient'])}"
    for first in shown["first_shown"]:
        name = _PROTOCOLS.get(first["protocol"], clean(first["protocol"]))
        yield f"   first shown by {name} {_duration(first['after_ms'] / 1000)} after the commit"
    if not shown["first_shown"]:
        yield "   not shown to any client yet"


def _envelope(envelope: Json) -> Iterator[str]:
    yield from _wrapped(f"from <{clean(envelope['reverse_path'])}>{_parameters(envelope['mail_parameters'])}", indent=3)
    for address in envelope["recipients"]:
        named = envelope["recipient_parameters"].get(address, {})
        yield from _wrapped(f"to <{clean(address)}>{_parameters(named)}", indent=3)


def _parameters(parameters: Mapping[str, str]) -> str:
    return "".join(
        f" {clean(name)}={clean(value)}" if value else f" {clean(name)}" for name, value in parameters.items()
    )


def _findings(findings: Iterable[Json]) -> Iterator[str]:
    for found in findings:
        part = f", part {found['part']}" if found["part"] else ""
        code = f"{found['enhanced']} " if found["enhanced"] else ""
        where = f"({code}{clean(found['source'])}) at octet {found['offset']}{part}"
        yield from _wrapped(f"finding {clean(found['rule'])} {where}: {clean(found['text'])}", indent=3)


def transcript_lines(lines: Iterable[Json]) -> Iterator[str]:
    """A conversation: "C" what the client said, "S" what the server said, "!" what was not said."""
    for line in lines:
        first, *rest = _pieces(clean(line["text"]), WIDTH - 16)
        yield f"   {line['at']:8.3f} {line['side']} {first}".rstrip()
        for piece in rest:
            yield f"              {piece}"


def _pieces(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, drop_whitespace=True, break_on_hyphens=False) or [""]


def _wrapped(text: str, *, indent: int = 0) -> Iterator[str]:
    yield from textwrap.wrap(
        text, WIDTH, initial_indent=" " * indent, subsequent_indent=" " * (indent + 4), break_on_hyphens=False
    )


def _since(at: float, began: float) -> str:
    return f"at +{_duration(at - began)}" if began else f"at {clock_time(at)}"


def _duration(seconds: float) -> str:
    seconds = max(0.0, seconds)
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min"
