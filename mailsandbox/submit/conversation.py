"""What the SMTP server decides in one session, sans I/O: an argument in, an answer out (RFC 5321 §3, §4.1).

Invariant: what a listener does not offer is refused as unknown, not merely left out of EHLO. Waits for nothing and
touches no socket: reading message data is an answer that the connection carries out (`TakeData`, `TakeChunk`).
The order of commands, HELO, NOOP, RSET, QUIT, VRFY and the course of AUTH are aiosmtpd's (see `commands`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mailsandbox.message.findings import Finding
from mailsandbox.sasl import mechanisms
from mailsandbox.smtp.extensions import Offers
from mailsandbox.smtp.parameters import parse_bdat
from mailsandbox.smtp.paths import BadPath, check_domain, parse_path
from mailsandbox.smtp.replies import Reply, reply
from mailsandbox.submit.greylist import Greylist
from mailsandbox.submit.model import Authentication, ListenerSpec, SubmitContext
from mailsandbox.submit.peers import XCLIENT_ATTRIBUTES, Networks, apply_xclient
from mailsandbox.submit.transaction import Client, Transaction, add_recipient, begin, may_receive, tolerated

_SENDER_OK: Final = reply(250, "2.1.0", "Sender ok")

# Octets that each offered extension adds to the longest command line.
_LONGER: Final[dict[str, dict[str, int]]] = {
    "MAIL": {
        "SIZE": 26,  # RFC 1870 §3
        "8BITMIME": 17,  # RFC 6152 §2
        "SMTPUTF8": 10,  # RFC 6531 §3.1
        "DSN": 8 + 107,  # RFC 3461 §4.3, §4.4
        "AUTH": 500,  # RFC 4954 §3
        "REQUIRETLS": 11,  # RFC 8689 §2
        "DELIVERBY": 17,  # RFC 2852 §2
    },
    "RCPT": {"DSN": 507 + 29, "SMTPUTF8": 10},  # RFC 3461 §4.1, §4.2
    "VRFY": {"SMTPUTF8": 10},  # RFC 6531 §3.1
    "EXPN": {"SMTPUTF8": 10},
}
_XCLIENT_LINE: Final = 2_048  # octets


@dataclass(frozen=True, slots=True)
class TakeData:
    """Say 354 and read message data up to CRLF.CRLF."""


@dataclass(frozen=True, slots=True)
class TakeChunk:
    """Read so many octets, then answer (RFC 3030 §2).

    `refusal`: the octets are read and thrown away, as the client has sent them already, and this is the answer.
    """

    octets: int
    last: bool
    refusal: Reply | None = None


@dataclass(frozen=True, slots=True)
class Hang:
    """Send the reply and close. `outcome` is the session's."""

    reply: Reply
    outcome: str = "rejected"


_TAKE_DATA: Final = TakeData()


class Conversation:
    """The decisions of one session. `client` and `transaction` are replaced by the connection when they begin anew."""

    __slots__ = (
        "_context",
        "_found",
        "_greylist",
        "_offers",
        "_spec",
        "_transactions",
        "client",
        "transaction",
        "trusted",
    )

    def __init__(
        self,
        spec: ListenerSpec,
        context: SubmitContext,
        *,
        client: Client,
        trusted: Networks,
        found: Callable[[Finding], None],
        greylist: Greylist | None = None,
    ) -> None:
        """`found` is told each time the client breaks a rule and is not refused for it alone."""
        self._found = found
        self._spec = spec
        self._context = context
        self._greylist = greylist
        self._offers: Offers | None = None
        self._transactions = 0
        self.trusted = client.address in trusted  # may use XCLIENT, whoever it says it is afterwards
        self.client = client
        self.transaction = Transaction()

    # -- EHLO --------------------------------------------------------------------------------------------------------

    def greeting(self) -> Reply:
        """RFC 5321 §4.3.1: 220, our name first."""
        return reply(220, "", f"{self._spec.hostname} {self._spec.greeting_word} mailsandbox")

    def changed(self) -> None:
        """TLS, login or identity changed: what is offered has to be found anew."""
        self._offers = None

    @property
    def offers(self) -> Offers:
        """What EHLO shows in the present state; what is not in it is refused."""
        if self._offers is None:
            self._offers = self._offered_now()
        return self._offers

    def check_helo(self, name: str) -> Reply | None:
        """Whether it may call itself so."""
        bad = check_domain(name)
        if bad is not None and not self._spec.tolerant:
            return reply(501, "5.5.4", "Not a domain or address literal (RFC 5321 §4.1.1.1)")
        self._note_helo(name)
        return None

    def _note_helo(self, name: str) -> None:
        bad = check_domain(name) if name else None
        self.client.helo_remark = "" if bad is None else "greeted by no domain or address literal (RFC 5321 §4.1.1.1)"
        if bad is not None:
            self._tell(self.client.helo_remark)

    def _tell(self, *remarks: str) -> None:
        for remark in remarks:
            self._found(tolerated(remark))

    def ehlo_lines(self) -> list[str]:
        """The text of EHLO's reply, first our name."""
        lines = [f"{keyword} {value}" if value else keyword for keyword, value in self.offers.keywords.items()]
        return [f"{self._spec.hostname} greets {self.client.helo}", *lines]

    def _offered_now(self) -> Offers:
        spec, client = self._spec, self.client
        offered: dict[str, str] = {}
        for keyword, value in spec.offers.keywords.items():
            match keyword:
                case "STARTTLS":
                    if self._context.tls is None or client.tls:
                        continue
                case "REQUIRETLS":
                    # RFC 8689 §2: offered over TLS only.
                    if not client.tls:
                        continue
                case "SMTPUTF8":
                    # RFC 6531 §3.1: a server that offers SMTPUTF8 offers 8BITMIME.
                    offered.setdefault("8BITMIME", "")
                case "BINARYMIME":
                    if "CHUNKING" not in spec.offers:
                        continue
                case "LIMITS":
                    value = value or self._limits()
                case "SIZE":
                    value = value or str(spec.max_octets)
                case "AUTH" | "ENHANCEDSTATUSCODES" | "XCLIENT":
                    continue
            offered[keyword] = value
        if spec.enhanced_codes:
            offered["ENHANCEDSTATUSCODES"] = ""
        if offered_mechanisms := self.mechanisms():
            offered["AUTH"] = " ".join(offered_mechanisms)
        if self.trusted:
            offered["XCLIENT"] = " ".join(XCLIENT_ATTRIBUTES)
        return Offers(offered)

    def _limits(self) -> str:
        """RFC 9422 §3: what the client may count on."""
        limits = self._spec.limits
        mail = f" MAILMAX={limits.messages}" if limits.messages else ""
        return f"RCPTMAX={limits.recipients}{mail}"

    def mechanisms(self) -> list[str]:
        """What AUTH takes now."""
        spec = self._spec
        if spec.authentication is Authentication.OFF or (spec.auth_needs_tls and not self.client.tls):
            return []
        offered = mechanisms(self._context.credentials, tls=bool(self.client.tls))
        return offered if spec.mechanisms is None else [name for name in offered if name in spec.mechanisms]

    def line_limit(self, verb: str) -> int:
        """Longest line with CRLF that may begin with `verb` now."""
        limits = self._spec.limits
        if verb == "AUTH" and "AUTH" in self.offers:
            return limits.auth_line
        if verb == "XCLIENT" and self.trusted:
            return _XCLIENT_LINE
        extra = _LONGER.get(verb)
        if not extra:
            return limits.command_line
        return limits.command_line + sum(octets for keyword, octets in extra.items() if keyword in self.offers)

    # -- the transaction ---------------------------------------------------------------------------------------------

    def mail(self, argument: str) -> Reply | Hang:
        """MAIL, from "FROM:" on."""
        if self.transaction.open:
            return reply(503, "5.5.1", "A transaction is open already: RSET ends it (RFC 5321 §4.1.4)")
        limit = self._spec.limits.messages
        if limit and self._transactions >= limit:
            return Hang(reply(421, "4.7.0", f"{limit} messages in this session, connect again (RFC 9422)"))
        remarks: list[str] = []
        refusal = begin(
            self.transaction,
            argument,
            spec=self._spec,
            client=self.client,
            offered=self.offers,
            check=self._context.check_sender,
            remarks=remarks,
        )
        if remarks:
            self._tell(*remarks)
        if refusal is not None:
            return refusal
        self._transactions += 1
        return _SENDER_OK

    def rcpt(self, argument: str) -> Reply:
        """RCPT, from "TO:" on."""
        if not self.transaction.open:
            return reply(503, "5.5.1", "MAIL first (RFC 5321 §4.1.4)")
        if self.transaction.chunks or self.transaction.broken:
            return reply(503, "5.5.1", "BDAT has begun (RFC 3030 §2)")
        remarks: list[str] = []
        answer = add_recipient(
            self.transaction,
            argument,
            spec=self._spec,
            client=self.client,
            offered=self.offers,
            check=self._check_recipient,
            remarks=remarks,
        )
        if remarks:
            self._tell(*remarks)
        return answer

    def _check_recipient(self, address: str) -> Reply | None:
        if (refusal := self._context.check_recipient(address)) is not None:
            return refusal
        if self._greylist is None or self.client.login:
            return None
        return self._greylist.check(
            self.client.address, self.transaction.reverse_path, address, now=self._context.clock.now()
        )

    def data(self, argument: str) -> TakeData | Reply:
        """DATA."""
        if argument:
            return reply(501, "5.5.4", "DATA takes no argument (RFC 5321 §4.1.1.4)")
        return may_receive(self.transaction, spec=self._spec, by_bdat=False) or _TAKE_DATA

    def bdat(self, argument: str) -> TakeChunk | Hang:
        """BDAT. The octets come whatever the answer is, so there is no plain refusal."""
        chunk = parse_bdat(argument.encode("ascii", "replace"))
        if chunk is None:
            # RFC 3030 §2: without the count, where the next command begins is unknown.
            return Hang(reply(501, "5.5.4", "Syntax: BDAT octets [LAST] (RFC 3030 §2); closing"))
        if "CHUNKING" not in self.offers:
            # The octets that follow must not be taken for commands, whether we offer the extension or not.
            return TakeChunk(chunk.octets, chunk.last, reply(502, "5.5.1", "BDAT is not offered here"))
        refusal = may_receive(self.transaction, spec=self._spec, by_bdat=True)
        return TakeChunk(chunk.octets, chunk.last, refusal)

    # -- questions and other extensions ------------------------------------------------------------------------------

    def vrfy(self, argument: str) -> Reply | None:
        """What stands against VRFY of that; None where the usual answer may be given."""
        if not self._spec.verify:
            return reply(502, "5.5.1", "VRFY is not offered here")
        text, utf8 = self._without_smtputf8(argument)
        if not text.isascii() and not utf8:
            return reply(553, "5.6.7", "Non-ASCII address needs SMTPUTF8 (RFC 6531 §3.7.4.2)")
        read = parse_path(text if text.startswith("<") else f"<{text}>", tolerant=True)
        if isinstance(read, BadPath):
            return reply(553, "5.1.3", f"Bad address: {read.reason}")
        address = read[0].address
        return self._context.check_recipient(address) if "@" in address else None

    def expn(self, argument: str) -> Reply:
        """EXPN: the members of an alias or list (RFC 5321 §3.5.1); who else is there is not told."""
        if not self._spec.expand:
            return reply(502, "5.5.1", "EXPN is not offered here")
        text, utf8 = self._without_smtputf8(argument)
        if not text:
            return reply(501, "5.5.4", "Syntax: EXPN list (RFC 5321 §4.1.1.7)")
        name = text.removeprefix("<").removesuffix(">")
        members = self._context.expand(name if "@" in name else f"{name}@{self._spec.domain}")
        if members is not None:
            if not utf8 and not all(member.isascii() for member in members):
                # RFC 6531 §3.7.4.2, RFC 5248: X.6.8 UTF-8 string reply is required, but not permitted by the client.
                return reply(553, "5.6.8", "The members are not ASCII: EXPN list SMTPUTF8 shows them")
            return reply(250, "2.1.5", *(f"<{member}>" for member in members))
        return reply(252, "2.0.0", "Cannot EXPN, but will take mail for it and try to deliver it (RFC 5321 §3.5.3)")

    def _without_smtputf8(self, argument: str) -> tuple[str, bool]:
        """RFC 6531 §3.7.4.2: VRFY and EXPN take SMTPUTF8 as a parameter."""
        text, _, last = argument.rpartition(" ")
        if last.upper() == "SMTPUTF8" and "SMTPUTF8" in self.offers:
            return text.strip(" "), True
        return argument.strip(" "), False

    async def etrn(self, argument: str) -> Reply:
        """ETRN: start the queue for a domain (RFC 1985); "@" before it means all below it as well."""
        if "ETRN" not in self._spec.offers:
            return reply(502, "5.5.1", "ETRN is not offered here")
        if self.transaction.open:
            return reply(503, "5.5.1", "Not in a mail transaction (RFC 1985 §5.2)")
        node = argument.strip(" ")
        if node.startswith("#"):
            return reply(459, "4.7.1", f"There are no queues of other names, as {node[:60]} (RFC 1985 §5.3)")
        domain = node.removeprefix("@").lower()
        if not domain or check_domain(domain, tolerant=True) is not None:
            return reply(501, "5.5.4", "Syntax: ETRN domain (RFC 1985 §5.1)")
        if self._context.run_queue is None:
            return reply(459, "4.7.1", f"{node} is not served by ETRN (RFC 1985 §5.3)")
        messages = await self._context.run_queue(domain, below=node.startswith("@"))
        if messages:
            return reply(253, "2.0.0", f"{messages} pending messages for {node} started (RFC 1985 §5.3)")
        return reply(251, "2.0.0", f"No messages waiting for {node} (RFC 1985 §5.3)")

    def xclient(self, argument: str) -> Reply | None:
        """XCLIENT: the refusal, or None where the client is who it says from now on."""
        if not self.trusted:
            return reply(550, "5.7.1", "XCLIENT is not for you")
        if self.transaction.open:
            return reply(503, "5.5.1", "Not in a mail transaction")
        refusal = apply_xclient(argument, self.client)
        self._note_helo(self.client.helo)
        self._offers = None
        return refusal
