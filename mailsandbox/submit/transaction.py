"""One mail transaction: MAIL, RCPT, then DATA or BDAT (RFC 5321 §3.3, RFC 3030 §2), decided without a socket.

                MAIL                RCPT                     DATA            end of data
    no transaction ──▶ sender ──▶ sender and recipients ──▶ receiving ──▶ no transaction
                                        │      BDAT ▲ │ LAST ▲
                                        └──────────▶ chunks ──┘

Commit point: none here. A transaction dies with RSET, EHLO, the connection, or the end of data; nothing of it lasts
until the message is handed over. `Client` and `Transaction` are aiosmtpd's Session and Envelope with what it lacks.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from aiosmtpd.smtp import Envelope as SmtpEnvelope
from aiosmtpd.smtp import Session

from mailsandbox.journey.model import EnvelopeRecord
from mailsandbox.message.envelope import Envelope, Recipient
from mailsandbox.message.findings import Finding
from mailsandbox.smtp.extensions import Offers
from mailsandbox.smtp.parameters import MailParameters, RcptParameters, parse_mail, parse_rcpt
from mailsandbox.smtp.paths import Path, parse_path
from mailsandbox.smtp.replies import Reply, reply
from mailsandbox.submit.model import ListenerSpec

_NO_PARAMETERS = MailParameters({})
_RECIPIENT_OK = reply(250, "2.1.5", "Recipient ok")


class Client(Session):
    """Who is on the other side, as far as it is known by now.

    Of aiosmtpd's Session: host_name (its HELO), extended_smtp, ssl, authenticated, auth_data.
    """

    # Any: aiosmtpd keeps what a mechanism or a transport gave it.
    peer: Any
    auth_data: Any
    _login_data: Any

    def __init__(self, loop: asyncio.AbstractEventLoop | None, address: str = "", port: int = 0) -> None:
        super().__init__(loop)  # type: ignore[arg-type]  # only kept, and there is none in process
        self.address = address  # IP address, "" on a UNIX socket
        self.port = port
        self.tls = ""  # "TLSv1.3 TLS_AES_256_GCM_SHA384", or ""
        self.login = ""
        self.name = ""  # as XCLIENT says
        self.helo_remark = ""  # what is wrong with `helo`, where that was tolerated

    @property
    def login_data(self) -> Any:
        """aiosmtpd's older name of what auth_data has; it logs a warning at each use of its own."""
        return self._login_data

    @login_data.setter
    def login_data(self, value: Any) -> None:
        self._login_data = value

    @property
    def helo(self) -> str:
        """What it called itself, "" before it did."""
        return self.host_name or ""

    @property
    def where(self) -> str:
        """ "127.0.0.1:4711", or "unix"."""
        if not self.address:
            return "unix"
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


class Transaction(SmtpEnvelope):
    """What MAIL and RCPT have said so far.

    Of aiosmtpd's Envelope: mail_from (None before MAIL), mail_options, smtp_utf8, rcpt_tos, rcpt_options, and content.
    """

    def __init__(self) -> None:
        super().__init__()
        self.parameters = _NO_PARAMETERS
        self.recipients: list[Recipient] = []
        self.rcpt_given: dict[str, dict[str, str]] = {}
        self.remarks: list[str] = []
        self.refused: dict[str, Reply] = {}  # by scripted faults at the end of data
        self.chunks = 0  # BDAT commands so far
        self.broken = False  # a chunk was refused: the rest is refused too

    @property
    def open(self) -> bool:
        """Whether MAIL was accepted."""
        return self.mail_from is not None

    @property
    def reverse_path(self) -> str:
        """ "" for <>, and before MAIL."""
        return self.mail_from or ""

    def envelope(self) -> Envelope:
        """The envelope as it was declared."""
        parameters = self.parameters
        return Envelope(
            self.reverse_path,
            tuple(one for one in self.recipients if one.address not in self.refused)
            if self.refused
            else tuple(self.recipients),
            body=parameters.body,
            smtputf8=parameters.smtputf8,
            ret=parameters.ret,
            envid=parameters.envid,
            require_tls=parameters.require_tls,
            deliver_by=parameters.deliver_by,
        )

    def record(self) -> EnvelopeRecord:
        """The same with every parameter as it was on the wire."""
        return EnvelopeRecord(
            self.reverse_path, list(self.rcpt_tos), dict(self.parameters.given), dict(self.rcpt_given)
        )


def begin(
    transaction: Transaction,
    argument: str,
    *,
    spec: ListenerSpec,
    client: Client,
    offered: Offers,
    check: Callable[[str], Reply | None],
    remarks: list[str],
) -> Reply | None:
    """MAIL's argument, from "FROM:" on; the refusal, or None where the transaction has begun.

    `check` has the last word on an address that is well-formed; `remarks` gets what was tolerated,
    in a refused command too.
    """
    if argument[:5].upper() != "FROM:":
        return reply(501, "5.5.4", "Syntax: MAIL FROM:<reverse-path> [parameters] (RFC 5321 §4.1.1.2)")
    read = parse_path(argument[5:], tolerant=spec.tolerant)
    if not isinstance(read, tuple):
        # RFC 3463 §3.2: X.1.7 bad sender's mailbox address syntax, X.1.8 bad sender's system address.
        return reply(553, "5.1.8" if read.in_domain else "5.1.7", f"Bad reverse-path: {read.reason}")
    path, rest = read
    remarks.extend(path.remarks)
    if rest and not client.extended_smtp:
        return reply(555, "5.5.4", "Parameters need EHLO (RFC 5321 §4.1.1.11)")
    parameters = parse_mail(rest, offered=offered, limit=spec.max_octets)
    if not isinstance(parameters, MailParameters):
        return parameters
    if path.internationalized and not parameters.smtputf8:
        # RFC 6531 §3.5: 550 or 553 to MAIL, 5.6.7.
        return reply(553, "5.6.7", "Non-ASCII reverse-path needs SMTPUTF8 (RFC 6531 §3.5)")
    address = _complete(path, spec, remarks)
    if not isinstance(address, str):
        return address
    if spec.submission and (refusal := _check_login(address, spec, client)) is not None:
        return refusal
    if address and (refusal := check(address)) is not None:
        return refusal
    transaction.mail_from = address
    transaction.mail_options = rest.split()
    transaction.smtp_utf8 = parameters.smtputf8
    transaction.parameters = parameters
    transaction.remarks = list(remarks)
    return None


def _complete(path: Path, spec: ListenerSpec, remarks: list[str]) -> str | Reply:
    """The address with a domain: RFC 5321 §2.3.5 asks for a fully-qualified one, but for <> and Postmaster."""
    address = path.address
    if not address or "@" in address:
        return address
    if address.lower() == "postmaster":  # RFC 5321 §4.5.1
        return f"{address}@{spec.domain}"
    if spec.tolerant or spec.submission:
        remarks.append(f"address without domain, completed with {spec.domain} (RFC 5321 §2.3.5)")
        return f"{address}@{spec.domain}"
    return reply(553, "5.1.3", "The address has no domain (RFC 5321 §2.3.5)")


def _check_login(address: str, spec: ListenerSpec, client: Client) -> Reply | None:
    """RFC 6409 §6.1: a submission server may check that the login may use the reverse-path."""
    if not (spec.check_sender and client.login and address):
        return None
    login = client.login if "@" in client.login else f"{client.login}@{spec.domain}"
    local, _, domain = address.lower().rpartition("@")
    # Subaddresses (RFC 5233) of the login are its own.
    if login.lower() in (address.lower(), f"{local.partition('+')[0]}@{domain}"):
        return None
    return reply(553, "5.7.1", f"{client.login} may not send as <{address[:100]}> (RFC 6409 §6.1)")


def add_recipient(
    transaction: Transaction,
    argument: str,
    *,
    spec: ListenerSpec,
    client: Client,
    offered: Offers,
    check: Callable[[str], Reply | None],
    remarks: list[str],
) -> Reply:
    """RCPT's argument, from "TO:" on. `check` and `remarks` as for MAIL."""
    if argument[:3].upper() != "TO:":
        return reply(501, "5.5.4", "Syntax: RCPT TO:<forward-path> [parameters] (RFC 5321 §4.1.1.3)")
    read = parse_path(argument[3:], tolerant=spec.tolerant)
    if not isinstance(read, tuple):
        # RFC 3463 §3.2: X.1.3 bad destination mailbox address syntax, X.1.2 bad destination system address.
        return reply(553, "5.1.2" if read.in_domain else "5.1.3", f"Bad forward-path: {read.reason}")
    path, rest = read
    remarks.extend(path.remarks)
    if not path.address:
        return reply(553, "5.1.3", "A forward-path is never empty (RFC 5321 §4.1.1.3)")
    if rest and not client.extended_smtp:
        return reply(555, "5.5.4", "Parameters need EHLO (RFC 5321 §4.1.1.11)")
    utf8 = transaction.smtp_utf8
    parameters = parse_rcpt(rest, offered=offered, smtputf8=utf8)
    if not isinstance(parameters, RcptParameters):
        return parameters
    if path.internationalized and not utf8:
        # RFC 6531 §3.5: 553 to RCPT, 5.6.7.
        return reply(553, "5.6.7", "Non-ASCII forward-path needs SMTPUTF8 on MAIL (RFC 6531 §3.5)")
    address = _complete(path, spec, remarks)
    if not isinstance(address, str):
        return address
    known = address in transaction.rcpt_tos
    if len(transaction.rcpt_tos) >= spec.limits.recipients and not known:
        # RFC 5321 §4.5.3.1.10: 452, so that the client sends the rest in another transaction.
        return reply(452, "4.5.3", f"Too many recipients, the limit is {spec.limits.recipients}")
    if (refusal := check(address)) is not None:
        return refusal
    transaction.remarks.extend(remarks)
    # The same mailbox twice is answered twice and delivered once, with the parameters it was given first.
    if not known:
        transaction.rcpt_tos.append(address)
        transaction.rcpt_options.extend(rest.split())
        transaction.recipients.append(Recipient(address, parameters.notify, parameters.orcpt))
        if parameters.given:
            transaction.rcpt_given[address] = parameters.given
    return _RECIPIENT_OK


def tolerated(remark: str) -> Finding:
    """What the session and the journey say of it."""
    return Finding("tolerated-syntax", "RFC 5321 §4.1", remark)


def may_receive(transaction: Transaction, *, spec: ListenerSpec, by_bdat: bool) -> Reply | None:
    """Whether DATA or BDAT may follow now; the refusal if not."""
    if not transaction.open:
        return reply(503, "5.5.1", "MAIL first (RFC 5321 §4.1.4)")
    if transaction.broken:
        return reply(503, "5.5.1", "An earlier chunk was refused: RSET first (RFC 3030 §2)")
    if not transaction.rcpt_tos:
        # RFC 5321 §3.3: 503 or 554 where there is no recipient; RFC 2033 §4.2: LMTP says 503.
        if spec.lmtp:
            return reply(503, "5.5.1", "No valid recipients (RFC 2033 §4.2)")
        return reply(554, "5.5.1", "No valid recipients (RFC 5321 §3.3)")
    if by_bdat:
        return None
    if transaction.chunks:
        return reply(503, "5.5.1", "DATA and BDAT can not be mixed (RFC 3030 §2)")
    if transaction.parameters.body == "BINARYMIME":
        return reply(503, "5.5.1", "BODY=BINARYMIME is sent with BDAT only (RFC 3030 §3)")
    return None


def protocol_word(spec: ListenerSpec, client: Client, transaction: Transaction) -> str:
    """The `with` of our Received field: RFC 5321 §4.4, RFC 3848, RFC 6531 §4.3."""
    lmtp, utf8 = spec.lmtp, transaction.smtp_utf8
    if not (client.extended_smtp or lmtp):
        return "SMTP"
    base = "LMTP" if lmtp else "SMTP" if utf8 else "ESMTP"
    return f"{'UTF8' if utf8 else ''}{base}{'S' if client.tls else ''}{'A' if client.login else ''}"
