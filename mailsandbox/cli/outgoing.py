"""One message over SMTP, octet for octet: aiosmtplib connects, encrypts and logs in, our own transaction sends.

Invariant: what is declared (BODY, SMTPUTF8) is what the caller asked for or what the octets need, and the caller is
told which; nothing is changed on the way out but dot-stuffing.
"""

import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import click

from mailsandbox.clock import SystemClock
from mailsandbox.journey.sessions import SessionLog
from mailsandbox.message.envelope import Envelope, Recipient
from mailsandbox.relay.connection import Timeouts
from mailsandbox.relay.opening import HopFailure, open_connection
from mailsandbox.relay.parameters import mail_line, mail_parameters, recipient_line, recipient_parameters, sendable
from mailsandbox.relay.routes import Hop, Login
from mailsandbox.relay.tls import TlsPolicy
from mailsandbox.relay.transaction import Mail, Transaction
from mailsandbox.smtp.extensions import Offers
from mailsandbox.smtp.replies import Reply
from mailsandbox.smtp.xtext import encode_xtext

_TIMEOUTS: Final = Timeouts(connect=10.0, greeting=30.0, command=60.0, data=60.0, block=60.0, end=120.0)
_QUEUED_AS: Final = re.compile(r"\bqueued as (\S+)", re.IGNORECASE)

# Given what the server offers: the octets, and the BODY parameter to declare ("" for none).
Letter = Callable[[Offers], tuple[bytes, str]]


@dataclass(frozen=True, slots=True)
class Server:
    """Where to hand the message over. `tls`: "off", "opportunistic", "required" or "implicit"."""

    host: str
    port: int
    tls: str = "off"
    login: str = ""
    password: str = ""


@dataclass(slots=True)
class HandedOver:
    """What came of it: a reply for each recipient, and what was said."""

    recipients: Sequence[str]
    replies: list[Reply]
    body: str = ""
    smtputf8: bool = False
    octets: int = 0
    offers: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    transcript: list[dict[str, Any]] = field(default_factory=list)  # Any: JSON

    @property
    def accepted(self) -> bool:
        """By every recipient's reply."""
        return bool(self.replies) and all(reply.positive for reply in self.replies)

    @property
    def transient(self) -> bool:
        """Worth another try: refused for some, for none of them for good."""
        return not self.accepted and not any(reply.permanent for reply in self.replies)

    @property
    def queue_id(self) -> str:
        """The id in "queued as ID"; "" where the server gives none."""
        for reply in self.replies:
            if reply.positive and (match := _QUEUED_AS.search(reply.text)):
                return match[1].rstrip(".")
        return ""

    def as_json(self) -> dict[str, Any]:  # Any: JSON
        """For `--json`."""
        return {
            "accepted": self.accepted,
            "queue_id": self.queue_id,
            "body": self.body,
            "smtputf8": self.smtputf8,
            "octets": self.octets,
            "recipients": [
                {"address": address, "accepted": reply.positive, "reply": str(reply)}
                for address, reply in zip(self.recipients, self.replies, strict=True)
            ],
            "notes": self.notes,
            "transcript": self.transcript,
        }


def as_it_is(octets: bytes, declared: str | None = None) -> Letter:
    """These octets; BODY as `declared` (None: 8BITMIME where the octets need it and the server offers it)."""

    def letter(offers: Offers) -> tuple[bytes, str]:
        if declared is not None:
            return octets, declared
        return octets, "8BITMIME" if not octets.isascii() and "8BITMIME" in offers else ""

    return letter


async def hand_over(server: Server, envelope: Envelope, letter: Letter) -> HandedOver:
    """Send to all recipients in one transaction.

    Raises click exceptions for what cannot be addressed or declared. A refusal is no exception but a reply.
    """
    for address in (envelope.reverse_path, *envelope.addresses):
        if not sendable(address):
            raise click.BadParameter(f"{address!r} cannot be an address")
    log = SessionLog(SystemClock())
    session = log.open("smtp", "send", peer=f"{server.host}:{server.port}", local="")
    login = Login(server.login, server.password) if server.login else None
    hop = Hop(server.host, server.host, server.port, implicit_tls=server.tls == "implicit", login=login)
    level = server.tls if server.tls in ("off", "opportunistic", "required") else "off"
    handed = HandedOver(envelope.addresses, [])
    try:
        connection = await open_connection(
            hop, helo=_own_name(), tls=TlsPolicy(level), timeouts=_TIMEOUTS, session=session
        )
    except HopFailure as failure:
        handed.replies = [failure.reply for _ in envelope.recipients]
    else:
        try:
            load = _load(envelope, letter, connection.offers, handed)
            transaction = Transaction(load)
            await connection.run(transaction, _TIMEOUTS)
        finally:
            await connection.quit(_TIMEOUTS.quit)
        handed.replies = [reply for reply in transaction.results if reply is not None]
    handed.transcript = [{"at": line.at, "side": line.side, "text": line.text} for line in session.transcript]
    return handed


def _load(envelope: Envelope, letter: Letter, offers: Offers, handed: HandedOver) -> Mail:
    handed.offers = [f"{keyword} {words}".strip() for keyword, words in offers.keywords.items()]
    international = any(not address.isascii() for address in (envelope.reverse_path, *envelope.addresses))
    # Before the message is made: without SMTPUTF8 its header cannot be, whatever BODY were declared.
    _require_extensions(envelope, offers, international=international)
    octets, body = letter(offers)
    handed.octets, handed.body = len(octets), body
    wanted = {"8BITMIME": ("8BITMIME",), "BINARYMIME": ("BINARYMIME", "CHUNKING")}.get(body, ())
    for keyword in wanted:
        if keyword not in offers:
            # RFC 5321 §4.1.1.11: no parameter of an extension that was not offered.
            raise click.ClickException(f"the server does not offer {keyword}, so BODY={body} cannot be declared")
    header = octets.partition(b"\r\n\r\n")[0]
    handed.smtputf8 = international or envelope.smtputf8 or (not header.isascii() and "SMTPUTF8" in offers)
    _remark(octets, body, offers, handed)
    parameters = mail_parameters(
        envelope, offers=offers, octets=len(octets), body=body, smtputf8=handed.smtputf8, seconds_used=0
    )
    return Mail(
        mail=mail_line(envelope.reverse_path, parameters),
        recipients=[
            recipient_line(row.address, recipient_parameters(row, offers=offers, smtputf8=handed.smtputf8))
            for row in envelope.recipients
        ],
        octets=octets,
        bdat=body == "BINARYMIME",
        pipelining="PIPELINING" in offers,
    )


def _require_extensions(envelope: Envelope, offers: Offers, *, international: bool) -> None:
    """A relay drops what the next server does not know; here it was asked for. Raises click.ClickException."""
    if international and "SMTPUTF8" not in offers:
        raise click.ClickException(
            "the server does not offer SMTPUTF8, which addresses beyond ASCII need (RFC 6531 §3.2); nothing was sent"
        )
    notify = any(recipient.notify for recipient in envelope.recipients)
    asked = {"NOTIFY": notify, "RET": bool(envelope.ret), "ENVID": bool(envelope.envid)}
    names = ", ".join(name for name, wanted in asked.items() if wanted)
    if names and "DSN" not in offers:
        # RFC 5321 §4.1.1.11: no parameter of an extension that was not offered.
        need = "need" if "," in names else "needs"
        raise click.ClickException(
            f"the server does not offer DSN, which {names} {need} (RFC 3461 §4); nothing was sent"
        )


def _remark(octets: bytes, body: str, offers: Offers, handed: HandedOver) -> None:
    """Say where what is declared is not what is sent: it goes out all the same, servers are here to be tested."""
    if octets.isascii() or body in ("8BITMIME", "BINARYMIME"):
        return
    if body == "7BIT":
        handed.notes.append("the message has 8-bit octets, and BODY=7BIT was declared")
    elif "8BITMIME" not in offers:
        handed.notes.append("the message has 8-bit octets, and the server does not offer 8BITMIME: sent undeclared")
    else:
        handed.notes.append("the message has 8-bit octets, and no BODY was declared")


def envelope_of(
    sender: str, recipients: Sequence[str], *, notify: str = "", ret: str = "", envid: str = ""
) -> Envelope:
    """From bare addresses; the DSN parameters of RFC 3461, `envid` as it is meant. Raises click.BadParameter."""
    words = frozenset(word.strip().upper() for word in notify.split(",") if word.strip())
    if words - {"NEVER", "SUCCESS", "FAILURE", "DELAY"} or ("NEVER" in words and len(words) > 1):
        raise click.BadParameter(
            f"{notify!r}: it is NEVER alone, or any of SUCCESS,FAILURE,DELAY", param_hint="--notify"
        )
    if ret.upper() not in ("", "FULL", "HDRS"):
        raise click.BadParameter(f"{ret!r}: it is FULL or HDRS", param_hint="--ret")
    if not (envid.isascii() and envid.isprintable()):
        raise click.BadParameter(f"{envid!r} is not printable US-ASCII (RFC 3461 §4.4)", param_hint="--envid")
    people = tuple(Recipient(address, notify=words) for address in recipients)
    # RFC 3461 §4.4: on the wire it is xtext; a space or "=" in it would be another parameter.
    return Envelope(sender, people, ret=ret.upper(), envid=encode_xtext(envid))


def bare_address(written: str) -> str:
    """The address of "local@domain" or "Name <local@domain>". Raises click.BadParameter."""
    from mailsandbox.message.addresses import mailboxes, valid_path

    if "<" not in written and ("@" in written or " " in written) and not valid_path(written):
        raise click.BadParameter(f"{written!r} is not an address; write it as local@domain")
    found = mailboxes(written.encode("utf-8", "replace"))
    if len(found) != 1 or not found[0].local:
        raise click.BadParameter(f"{written!r} is not one address")
    return found[0].address


def _own_name() -> str:
    """RFC 5321 §4.1.1.1: the client's name; an address literal where the machine has no full name."""
    name = socket.gethostname()
    return name if "." in name and name.isascii() else "[127.0.0.1]"
