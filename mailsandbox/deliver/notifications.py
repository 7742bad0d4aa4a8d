"""Delivery status notifications as octets: RFC 3461-3464, 6522 and 6533. Pure.

Invariants: what is composed is valid 7-bit MIME with CRLF line ends and no line above 998 octets, whatever the
original message and the replies were made of; its reverse-path is null; it asks for no notification about itself.
The one exception is the address of a sender whose local part is not ASCII: no 7-bit form of it exists (RFC 6533 §3).
Does not decide who is to be told what: that is the queue's.
"""

import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from mailsandbox.deliver.wording import explanation, subject_of
from mailsandbox.mailqueue.model import Action, RecipientReport
from mailsandbox.message.addresses import ascii_address
from mailsandbox.message.envelope import NULL_PATH, Envelope, Recipient
from mailsandbox.message.tls_required import FIELD, tls_waived
from mailsandbox.message.trace import format_date
from mailsandbox.message.transfer import encode_base64, encode_quoted_printable
from mailsandbox.smtp.deliver_by import parse_deliver_by
from mailsandbox.smtp.xtext import decode_utf8_address, decode_xtext, encode_utf8_address

FULL_BELOW: Final = (
    50_000  # octets; without RET a larger original comes back as its header (Postfix: bounce_size_limit)
)
MAX_RETURNED: Final = 10 << 20  # octets; what is larger as returned comes back as its header, whatever RET says: a
# notification that no server on its way takes tells nobody. Servers take 25 MB as a rule, and 8-bit grows by a third.
MAX_HEADER: Final = 100_000  # octets of it that are returned
MAX_LINE: Final = 998  # octets without CRLF, RFC 5322 §2.1.1
FOLD: Final = 76  # where our own fields are folded

_NOT_LINES: Final = re.compile(rb"\r(?!\n)|(?<!\r)\n|\x00")
_LONG_LINE: Final = re.compile(rb"[^\r\n]{999}")
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")
# RFC 5322 §2.2: fields and their continuations; the first line that is neither ends the header.
_HEADER: Final = re.compile(rb"(?:[!-9;-~]+[ \t]*:[^\n]*(?:\n|\Z)(?:[ \t][^\n]*(?:\n|\Z))*)*")
_MESSAGE_ID: Final = re.compile(rb"(?im)^message-id:[ \t]*((?:[^\r\n]|\r?\n[ \t])*)")


@dataclass(frozen=True, slots=True)
class Original:
    """The message that the notification is about."""

    envelope: Envelope
    octets: bytes
    received_at: float


@dataclass(frozen=True, slots=True)
class Reporter:
    """The site that reports."""

    hostname: str
    queue_id: str  # of the notification
    at: float  # POSIX seconds


# Message octets to the same message in 7 bits, or None where it cannot be converted.
ToSevenBit = Callable[[bytes], bytes | None]


def compose_notification(
    reports: Sequence[RecipientReport],
    *,
    original: Original,
    reporter: Reporter,
    to_seven_bit: ToSevenBit | None = None,
    full_below: int = FULL_BELOW,
) -> tuple[Envelope, bytes]:
    """The notification that tells the original's sender all `reports`. The sender must not be the null path."""
    sender = original.envelope.reverse_path
    if not sender:
        raise AssertionError("a notification about a notification")  # RFC 5321 §4.5.5, RFC 3464 §2: never
    boundary = _boundary(reporter)
    pieces = [
        _header(reports, original, reporter, boundary),
        _text_part(reports, original, reporter, boundary),
        _status_part(reports, original, reporter, boundary),
        *_returned_part(reports, original, boundary, to_seven_bit, full_below),
        f"\r\n--{boundary}--\r\n".encode("ascii"),
    ]
    return _envelope(sender, require_tls=original.envelope.require_tls), b"".join(pieces)


def _envelope(sender: str, *, require_tls: bool) -> Envelope:
    # RFC 3461 §6.1: a notification travels with the null reverse-path, without RET or ENVID, with NOTIFY=NEVER.
    # RFC 8689 §5: it names what its message was, so it asks for the same protection.
    ascii_form = ascii_address(sender)
    recipient = Recipient(ascii_form or sender, notify=frozenset({"NEVER"}))
    return Envelope(NULL_PATH, (recipient,), smtputf8=ascii_form is None, require_tls=require_tls)


def _boundary(reporter: Reporter) -> str:
    # "=_" occurs neither in quoted-printable nor in base64 (RFC 2045 §6.7); the queue id does not in the original.
    word = re.sub(r"[^A-Za-z0-9]", "", reporter.queue_id)[:40]
    return f"=_dsn_{word}_{int(reporter.at * 1000) & 0xFFFFFFFFFF:x}"


def _header(reports: Sequence[RecipientReport], original: Original, reporter: Reporter, boundary: str) -> bytes:
    sender = original.envelope.reverse_path
    fields = [
        _field("Received", f"by {reporter.hostname} id {reporter.queue_id};", then=format_date(reporter.at)),
        _field("Date", format_date(reporter.at)),
        _field("From", f"Mail Delivery System <MAILER-DAEMON@{reporter.hostname}>"),
        _field("To", f"<{ascii_address(sender) or sender}>", keep_unicode=True),
        _field("Subject", subject_of(reports)),
        _field("Message-ID", f"<{reporter.queue_id}.dsn@{reporter.hostname}>"),
    ]
    if message_id := _message_id(original.octets):
        fields.append(_field("In-Reply-To", message_id))
        fields.append(_field("References", message_id))
    if not original.envelope.require_tls and tls_waived(original.octets):
        fields.append(_field(FIELD, "No"))  # RFC 8689 §6: what the author waived is waived for what tells of it
    fields += [
        _field("Auto-Submitted", "auto-replied"),  # RFC 3834 §5
        _field("MIME-Version", "1.0"),
        _field("Content-Type", "multipart/report; report-type=delivery-status;", then=f'boundary="{boundary}"'),
        "\r\n",
        "This is a delivery status notification in MIME form (RFC 3464).\r\n",
    ]
    return "".join(fields).encode("utf-8")


def _text_part(reports: Sequence[RecipientReport], original: Original, reporter: Reporter, boundary: str) -> bytes:
    text = explanation(
        reports, hostname=reporter.hostname, queue_id=reporter.queue_id, arrived=format_date(original.received_at)
    )
    octets = text.encode("utf-8", "backslashreplace")
    if octets.isascii():
        return _part(boundary, "text/plain; charset=us-ascii", "Notification", b"7bit", octets)
    octets = encode_quoted_printable(octets)
    return _part(boundary, "text/plain; charset=utf-8", "Notification", b"quoted-printable", octets)


def _status_part(reports: Sequence[RecipientReport], original: Original, reporter: Reporter, boundary: str) -> bytes:
    # RFC 3464 §2.1: fields about the message, then a group for each recipient, parted by blank lines; 7bit MUST.
    groups = [_message_fields(original, reporter), *(_recipient_fields(report) for report in reports)]
    octets = "\r\n".join("".join(group) for group in groups).encode("ascii", "backslashreplace")
    return _part(boundary, "message/delivery-status", "Delivery report", b"7bit", octets)


def _message_fields(original: Original, reporter: Reporter) -> list[str]:
    fields = []
    if original.envelope.envid:
        # RFC 3461 §5.4, RFC 3464 §2.2.1: as it was before the xtext encoding.
        fields.append(_field("Original-Envelope-Id", _decoded(original.envelope.envid)))
    fields.append(_field("Reporting-MTA", f"dns; {reporter.hostname}"))
    fields.append(_field("Arrival-Date", format_date(original.received_at)))
    if (by := parse_deliver_by(original.envelope.deliver_by)) is not None:
        # RFC 2852 §5: when it should have been delivered
        fields.append(_field("Deliver-By-Date", format_date(original.received_at + by.seconds)))
    return fields


def _recipient_fields(report: RecipientReport) -> list[str]:
    # RFC 3464 §2.3
    fields = []
    if report.recipient.orcpt:
        fields.append(_field("Original-Recipient", _original_recipient(report.recipient.orcpt)))
    fields.append(_field("Final-Recipient", _typed_address(report.recipient.address)))
    fields.append(_field("Action", report.action))
    fields.append(_field("Status", report.status))
    if report.remote:
        fields.append(_field("Remote-MTA", f"dns; {_host(report.remote)}"))
    # RFC 3464 §2.3.6: of type smtp only where an SMTP server said it; what we found out ourselves is of our own type.
    kind = "smtp" if report.remote else "X-Mailsandbox"
    fields.append(_field("Diagnostic-Code", f"{kind}; {report.reply}"))
    fields.append(_field("Last-Attempt-Date", format_date(report.at)))
    if report.action is Action.DELAYED and report.retry_until is not None:
        fields.append(_field("Will-Retry-Until", format_date(report.retry_until)))
    return fields


def _host(name: str) -> str:
    """RFC 3464 §2.1.2: a server's name, or its address as a literal."""
    try:
        address = ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return name
    return f"[{address}]" if address.version == 4 else f"[IPv6:{address}]"


def _typed_address(address: str) -> str:
    # RFC 6533 §3: in a 7-bit report a non-ASCII address has the type utf-8 and is written in its ASCII form.
    # One whose domain alone is not ASCII has another form, which every reader of reports knows (RFC 5891 §4).
    ascii_form = address if address.isascii() else ascii_address(address)
    return f"utf-8; {encode_utf8_address(address)}" if ascii_form is None else f"rfc822; {ascii_form}"


def _original_recipient(orcpt: str) -> str:
    """RFC 3461 §5.4: the ORCPT parameter, xtext decoded; a utf-8 address keeps (or gets) its ASCII form."""
    kind, _, address = orcpt.partition(";")
    if kind.lower() == "utf-8":
        return f"utf-8; {encode_utf8_address(_readable(address))}"
    decoded = _decoded(address)
    return f"{kind}; {decoded}" if decoded.isascii() else f"utf-8; {encode_utf8_address(decoded)}"


def _readable(address: str) -> str:
    try:
        return decode_utf8_address(address)
    except (ValueError, OverflowError):
        return address


def _decoded(xtext: str) -> str:
    try:
        return decode_xtext(xtext)
    except ValueError:
        return xtext  # sent by someone who does not know xtext: as it was


def _field(name: str, value: str, *, then: str = "", keep_unicode: bool = False) -> str:
    """One field in ASCII, folded between words, with `then` on a line of its own.

    Values come from the envelope and from servers: whatever they hold, they end no line and begin no field.
    """
    value = _CONTROLS.sub(" ", value)
    if not keep_unicode:
        value = value.encode("ascii", "backslashreplace").decode("ascii")
    lines, line = [], f"{name}:"
    for word in value.split(" "):
        if len(line) + 1 + len(word) > FOLD and line.strip() and line != f"{name}:":
            lines.append(line)
            line = ""
        line = f"{line} {word[: MAX_LINE - 100]}"  # a word that long is no address and no code: it is cut
    lines.append(line)
    if then:
        lines.append(f"\t{then}")
    return "\r\n".join(text for text in lines if text.strip()) + "\r\n"


def _part(boundary: str, content_type: str, description: str, encoding: bytes, octets: bytes) -> bytes:
    return b"".join((_part_header(boundary, content_type, description, encoding), octets))


def _part_header(boundary: str, content_type: str, description: str, encoding: bytes) -> bytes:
    head = f"\r\n--{boundary}\r\nContent-Description: {description}\r\nContent-Type: {content_type}\r\n"
    return b"".join((head.encode("ascii"), b"Content-Transfer-Encoding: ", encoding, b"\r\n\r\n"))


def _returned_part(
    reports: Sequence[RecipientReport],
    original: Original,
    boundary: str,
    to_seven_bit: ToSevenBit | None,
    full_below: int,
) -> list[bytes]:
    """The third part: the message, or its header."""
    # RFC 3461 §4.3: RET is about failures; other notifications return the header.
    failed = any(report.action is Action.FAILED for report in reports)
    # RFC 8689 §5: what was to travel in TLS only must not come back in clear text.
    ret = "HDRS" if original.envelope.require_tls else original.envelope.ret
    limit = MAX_RETURNED if ret == "FULL" else -1 if ret else full_below - 1
    if failed and len(original.octets) <= limit:
        returned = _returned_message(original, boundary, to_seven_bit)
        if sum(map(len, returned)) <= MAX_RETURNED:
            return returned
    return _returned_header(original, boundary)


def _returned_message(original: Original, boundary: str, to_seven_bit: ToSevenBit | None) -> list[bytes]:
    octets: bytes | None = original.octets
    if not _seven_bit(original.octets):
        octets = to_seven_bit(original.octets) if to_seven_bit is not None and not original.envelope.smtputf8 else None
        if octets is not None and not _seven_bit(octets):
            octets = None
    if octets is not None:
        return [_part_header(boundary, "message/rfc822", "Undelivered message", b"7bit"), octets]
    # RFC 2046 §5.2.1: message/rfc822 may only be 7bit, 8bit or binary. RFC 6532 §3.7: message/global may be encoded,
    # so the original comes back to the octet; that also holds for what no conversion may touch (RFC 1847 §2.1).
    header = _part_header(boundary, "message/global", "Undelivered message", b"base64")
    return [header, encode_base64(original.octets)]


def _returned_header(original: Original, boundary: str) -> list[bytes]:
    found = _HEADER.match(original.octets, 0, MAX_HEADER)
    octets = found[0] if found else b""
    if _seven_bit(octets):
        # RFC 6522 §4
        return [_part_header(boundary, "text/rfc822-headers", "Header of the message", b"7bit"), octets]
    # RFC 6533 §4: an internationalized header is message/global-headers; it may be encoded (RFC 6532 §3.7).
    kind = "message/global-headers" if original.envelope.smtputf8 else "text/rfc822-headers"
    header = _part_header(boundary, kind, "Header of the message", b"quoted-printable")
    return [header, encode_quoted_printable(octets)]


def _seven_bit(octets: bytes) -> bool:
    """Whether octets are 7bit data (RFC 2045 §2.7): ASCII without NUL, lines by CRLF of at most 998 octets."""
    return octets.isascii() and not _NOT_LINES.search(octets) and not _LONG_LINE.search(octets)


def _message_id(octets: bytes) -> str:
    """The original's Message-ID where it is fit to be repeated."""
    header = _HEADER.match(octets, 0, MAX_HEADER)
    match = _MESSAGE_ID.search(header[0]) if header else None
    value = match[1].strip().decode("ascii", "replace") if match else ""
    return value if re.fullmatch(r"<[!-;=?-~]{1,900}>", value) else ""
