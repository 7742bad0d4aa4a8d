"""The SMTP server's side of one session, sans I/O: a command line in, an answer out (RFC 5321 §3, §4.1).

Invariant: every line gets exactly one answer; what a listener does not offer is refused as unknown. Waits for nothing
and touches no socket: reading message data, TLS and delivery are answers the connection carries out (`answers`).
"""

from collections.abc import Callable
from typing import Final

from mailsandbox.smtp.extensions import Offers
from mailsandbox.smtp.parameters import parse_bdat
from mailsandbox.smtp.paths import BadPath, check_domain, parse_path
from mailsandbox.smtp.replies import Reply, reply
from mailsandbox.submit.answers import Answer, Hang, Renew, StartTls, TakeChunk, TakeData
from mailsandbox.submit.authentication import AuthenticationExchange, offered_mechanisms
from mailsandbox.submit.greylist import Greylist
from mailsandbox.submit.model import Authentication, Kind, ListenerSpec, SubmitContext
from mailsandbox.submit.peers import XCLIENT_ATTRIBUTES, Networks, apply_xclient
from mailsandbox.submit.transaction import Client, Transaction, add_recipient, begin, may_receive, needs_login

OK: Final = reply(250, "2.0.0", "Ok")
_GO_ON: Final = reply(354, "", "End data with <CR><LF>.<CR><LF>")
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
        "DELIVERBY": 17,  # RFC 2852 §3
    },
    "RCPT": {"DSN": 507 + 29, "SMTPUTF8": 10},  # RFC 3461 §4.1, §4.2
    "VRFY": {"SMTPUTF8": 10},  # RFC 6531 §3.1
    "EXPN": {"SMTPUTF8": 10},
}
_XCLIENT_LINE: Final = 2_048  # octets

# Cross-protocol requests: a browser can be made to post to this port. Postfix: smtpd_forbidden_commands.
_HTTP_METHODS: Final = frozenset({"GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE", "PRI"})

_TEXT_8BIT: Final = frozenset({"MAIL", "RCPT", "VRFY", "EXPN"})  # RFC 6531 §3.1: commands that may carry UTF-8
_UNSAFE: Final = frozenset(chr(code) for code in (*range(0x20), 0x7F) if code != 0x09)


class Conversation:
    """The state of one session."""

    __slots__ = (
        "_auth_failures",
        "_context",
        "_errors",
        "_exchange",
        "_greylist",
        "_offers",
        "_spec",
        "_transactions",
        "_unknown",
        "_xclient",
        "client",
        "transaction",
    )

    def __init__(
        self,
        spec: ListenerSpec,
        context: SubmitContext,
        *,
        client: Client,
        xclient: Networks,
        greylist: Greylist | None = None,
    ) -> None:
        self._spec = spec
        self._context = context
        self._greylist = greylist
        self._xclient = client.address in xclient
        self._offers: Offers | None = None
        self._exchange: AuthenticationExchange | None = None
        self._transactions = 0
        self._unknown = 0
        self._errors = 0
        self._auth_failures = 0
        self.client = client
        self.transaction: Transaction | None = None

    # -- what the connection asks ------------------------------------------------------------------------------------

    def greeting(self) -> Reply:
        """RFC 5321 §4.3.1: 220, our name first."""
        word = "LMTP" if self._spec.kind is Kind.LMTP else "ESMTP"
        return reply(220, "", f"{self._spec.hostname} {word} mailsandbox")

    @property
    def reads_secret(self) -> bool:
        """Whether the next line is a step of AUTH, not to be shown in transcripts."""
        return self._exchange is not None

    def line_limit(self, verb: str) -> int:
        """Longest line with CRLF that may begin with `verb` now."""
        limits = self._spec.limits
        if self._exchange is not None or (verb == "AUTH" and "AUTH" in self.offers):
            return limits.auth_line
        if verb == "XCLIENT" and self._xclient:
            return _XCLIENT_LINE
        extra = _LONGER.get(verb)
        if not extra:
            return limits.command_line
        return limits.command_line + sum(octets for keyword, octets in extra.items() if keyword in self.offers)

    def tls_started(self, facts: str) -> None:
        """RFC 3207 §4.2: forget what was learned before TLS, the EHLO argument included."""
        self.client = Client(self.client.address, self.client.port, tls=facts)
        self.transaction = None
        self._offers = None

    def take_transaction(self) -> Transaction:
        """The transaction whose data has been read; the session has none afterwards."""
        assert self.transaction is not None
        transaction, self.transaction = self.transaction, None
        return transaction

    def command(self, line: str) -> Answer:
        """Answer one line, without its CRLF, decoded as UTF-8 with surrogate escapes."""
        if self._exchange is not None:
            return self._counted(self._authenticate(self._exchange.respond(line)))
        verb, _, argument = line.partition(" ")
        verb = verb.upper()
        handler = _HANDLERS.get(verb)
        if handler is None:
            return self._unrecognized(verb)
        if not line.isascii() and verb not in _TEXT_8BIT:
            return self._counted(reply(500, "5.5.2", f"Non-ASCII characters in {verb}"))
        if not line.isprintable() and not _UNSAFE.isdisjoint(line):
            return self._counted(reply(500, "5.5.2", "Control character in a command (RFC 5321 §4.1.2)"))
        # RFC 5321 §4.1.1: trailing white space is tolerated.
        return self._counted(handler(self, argument.rstrip(" \t")))

    @property
    def offers(self) -> Offers:
        """What EHLO shows in the present state; what is not in it is refused."""
        if self._offers is None:
            self._offers = self._offered_now()
        return self._offers

    # -- errors ------------------------------------------------------------------------------------------------------

    def _unrecognized(self, verb: str) -> Answer:
        if verb in _HTTP_METHODS:
            return Hang(reply(554, "5.7.0", "This is SMTP, not HTTP"), "rejected")
        self._unknown += 1
        shown = verb[:20].encode("ascii", "backslashreplace").decode("ascii")
        if not verb.isprintable():
            shown = repr(verb[:20])
        if self._unknown >= self._spec.limits.unknown_commands:
            return Hang(reply(421, "4.7.0", "Too many unrecognized commands"), "rejected")
        return self._counted(reply(500, "5.5.1", f"Command {shown} not recognized (RFC 5321 §4.2.4)"))

    def refused(self, refusal: Reply) -> Answer:
        """Count a refusal that the connection itself gave to a line."""
        return self._counted(refusal)

    def _counted(self, answer: Answer) -> Answer:
        if isinstance(answer, Reply) and answer.permanent:
            self._errors += 1
            if self._errors > self._spec.limits.errors:
                return Hang(reply(421, "4.7.0", "Too many errors"), "rejected")
        return answer

    # -- session commands --------------------------------------------------------------------------------------------

    def _helo(self, argument: str) -> Answer:
        if self._spec.kind is Kind.LMTP:
            return reply(500, "5.5.1", "This is LMTP: LHLO (RFC 2033 §4.1)")
        return self._hello(argument, extended=False)

    def _ehlo(self, argument: str) -> Answer:
        if self._spec.kind is Kind.LMTP:
            return reply(500, "5.5.1", "This is LMTP: LHLO (RFC 2033 §4.1)")
        return self._hello(argument, extended=True)

    def _lhlo(self, argument: str) -> Answer:
        if self._spec.kind is not Kind.LMTP:
            return self._unrecognized("LHLO")
        return self._hello(argument, extended=True)

    def _hello(self, argument: str, *, extended: bool) -> Answer:
        name = argument.strip(" ")
        if not name:
            return reply(501, "5.5.4", "Say who you are: a domain or address literal (RFC 5321 §4.1.1.1)")
        if not self._spec.tolerant and check_domain(name) is not None:
            return reply(501, "5.5.4", "Not a domain or address literal (RFC 5321 §4.1.1.1)")
        # RFC 5321 §4.1.4: EHLO clears the transaction as RSET does.
        self.transaction = None
        self._offers = None
        self.client.helo = name
        self.client.extended = extended
        if not extended:
            return reply(250, "", self._spec.hostname)
        lines = [f"{keyword} {value}" if value else keyword for keyword, value in self.offers.keywords.items()]
        return reply(250, "", f"{self._spec.hostname} greets {name}", *lines)

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
        if mechanisms := self._mechanisms():
            offered["AUTH"] = " ".join(mechanisms)
        if self._xclient:
            offered["XCLIENT"] = " ".join(XCLIENT_ATTRIBUTES)
        return Offers(offered)

    def _limits(self) -> str:
        """RFC 9422 §3: what the client may count on."""
        limits = self._spec.limits
        mail = f" MAILMAX={limits.messages}" if limits.messages else ""
        return f"RCPTMAX={limits.recipients}{mail}"

    def _mechanisms(self) -> list[str]:
        spec = self._spec
        if spec.authentication is Authentication.OFF or (spec.auth_needs_tls and not self.client.tls):
            return []
        return offered_mechanisms(self._context.credentials, tls=bool(self.client.tls))

    def _rset(self, argument: str) -> Answer:
        if argument:
            return reply(501, "5.5.4", "RSET takes no argument (RFC 5321 §4.1.1.5)")
        self.transaction = None
        return OK

    def _noop(self, _argument: str) -> Answer:
        return OK

    def _quit(self, argument: str) -> Answer:
        if argument:
            return reply(501, "5.5.4", "QUIT takes no argument (RFC 5321 §4.1.1.10)")
        return Hang(reply(221, "2.0.0", f"{self._spec.hostname} closing"))

    def _starttls(self, argument: str) -> Answer:
        if argument:
            return reply(501, "5.5.4", "STARTTLS takes no argument (RFC 3207 §4)")
        if self.client.tls:
            return reply(503, "5.5.1", "TLS is active already")
        if "STARTTLS" not in self._spec.offers:
            return reply(502, "5.5.1", "STARTTLS is not offered here")
        if self._context.tls is None:
            return reply(454, "4.7.0", "TLS not available (RFC 3207 §4)")
        return StartTls(reply(220, "2.0.0", "Ready to start TLS"))

    def _auth(self, argument: str) -> Answer:
        spec = self._spec
        if spec.authentication is Authentication.OFF:
            return reply(502, "5.5.1", "AUTH is not offered here")
        if not self.client.extended:
            return reply(503, "5.5.1", "EHLO first (RFC 4954 §4)")
        if self.client.login:
            return reply(503, "5.5.1", "Authenticated already (RFC 4954 §4)")
        if self.transaction is not None:
            return reply(503, "5.5.1", "Not in a mail transaction (RFC 4954 §4)")
        if spec.auth_needs_tls and not self.client.tls:
            return reply(538, "5.7.11", "Encryption required (RFC 4954 §6)")
        mechanism, _, initial = argument.strip(" ").partition(" ")
        if not mechanism:
            return reply(501, "5.5.4", "Syntax: AUTH mechanism [initial-response] (RFC 4954 §4)")
        if mechanism.upper() not in self.offers.parameters("AUTH"):
            # RFC 4954 §4: 504 for a mechanism that is not there.
            return reply(504, "5.5.4", f"Mechanism not offered, but {self.offers.keywords.get('AUTH', 'none')}")
        self._exchange = AuthenticationExchange(mechanism.upper(), self._context.credentials)
        return self._authenticate(self._exchange.begin(initial.strip(" ")))

    def _authenticate(self, step: Reply) -> Answer:
        assert self._exchange is not None
        exchange = self._exchange
        if step.code == 334:
            return step
        self._exchange = None
        if step.positive:
            self.client.login = exchange.login
            self._offers = None
            return step
        self._auth_failures += 1
        if self._auth_failures >= self._spec.limits.auth_failures:
            return Hang(reply(421, "4.7.0", "Too many failed authentications"), "rejected")
        return step

    def _xclient_command(self, argument: str) -> Answer:
        if not self._xclient:
            return reply(550, "5.7.1", "XCLIENT is not for you")
        if self.transaction is not None:
            return reply(503, "5.5.1", "Not in a mail transaction")
        client = apply_xclient(argument, self.client)
        if isinstance(client, Reply):
            return client
        self.client = client
        self._offers = None
        return Renew()

    # -- questions ---------------------------------------------------------------------------------------------------

    def _help(self, argument: str) -> Answer:
        verb = argument.strip(" ").upper()
        if not verb:
            return reply(214, "2.0.0", "Commands: " + " ".join(_SYNTAX), "HELP command tells more")
        if verb not in _SYNTAX:
            return reply(504, "5.5.4", "No help for that (RFC 5321 §4.1.1.8)")
        return reply(214, "2.0.0", f"{verb} {_SYNTAX[verb]}".rstrip())

    def _vrfy(self, argument: str) -> Answer:
        if not self._spec.verify:
            return reply(502, "5.5.1", "VRFY is not offered here")
        if (refusal := needs_login(self._spec, self.client)) is not None:
            return refusal
        text, utf8 = self._without_smtputf8(argument)
        if not text:
            return reply(501, "5.5.4", "Syntax: VRFY address (RFC 5321 §4.1.1.6)")
        if not text.isascii() and not utf8:
            return reply(553, "5.6.7", "Non-ASCII address needs SMTPUTF8 (RFC 6531 §3.7.4.2)")
        read = parse_path(text if text.startswith("<") else f"<{text}>", tolerant=True)
        if isinstance(read, BadPath):
            return reply(553, "5.1.3", f"Bad address: {read.reason}")
        address = read[0].address
        if "@" in address and (refusal := self._context.check_recipient(address)) is not None:
            return refusal
        # RFC 5321 §3.5.3: 252 says nothing about who is there, and that mail will be taken.
        return reply(252, "2.0.0", "Cannot VRFY, but will take mail for it and try to deliver it (RFC 5321 §3.5.3)")

    def _expn(self, argument: str) -> Answer:
        if not self._spec.expand:
            return reply(502, "5.5.1", "EXPN is not offered here")
        if (refusal := needs_login(self._spec, self.client)) is not None:
            return refusal
        if not self._without_smtputf8(argument)[0]:
            return reply(501, "5.5.4", "Syntax: EXPN list (RFC 5321 §4.1.1.7)")
        return reply(252, "2.0.0", "Cannot EXPN, but will take mail for it and try to deliver it (RFC 5321 §3.5.3)")

    def _without_smtputf8(self, argument: str) -> tuple[str, bool]:
        """RFC 6531 §3.7.4.2: VRFY and EXPN take SMTPUTF8 as a parameter."""
        text, _, last = argument.rpartition(" ")
        if last.upper() == "SMTPUTF8" and "SMTPUTF8" in self.offers:
            return text.strip(" "), True
        return argument.strip(" "), False

    def _etrn(self, argument: str) -> Answer:
        if "ETRN" not in self._spec.offers:
            return reply(502, "5.5.1", "ETRN is not offered here")
        if not self.client.helo:
            return reply(503, "5.5.1", "EHLO first")
        if self.transaction is not None:
            return reply(503, "5.5.1", "Not in a mail transaction (RFC 1985 §5.2)")
        node = argument.strip(" ").lstrip("@#")
        if not node or check_domain(node, tolerant=True) is not None:
            return reply(501, "5.5.4", "Syntax: ETRN domain (RFC 1985 §5.1)")
        if self._context.run_queue is None:
            return reply(459, "4.7.1", f"{node} is not served by ETRN (RFC 1985 §5.3)")
        if self._context.run_queue(node.lower()):
            return reply(250, "2.0.0", f"Queuing for {node} started (RFC 1985 §5.3)")
        return reply(251, "2.0.0", f"No messages waiting for {node} (RFC 1985 §5.3)")

    # -- the transaction ---------------------------------------------------------------------------------------------

    def _mail(self, argument: str) -> Answer:
        if not self.client.helo:
            return reply(503, "5.5.1", "EHLO first (RFC 5321 §4.1.4)")
        if (refusal := needs_login(self._spec, self.client)) is not None:
            return refusal
        if self.transaction is not None:
            return reply(503, "5.5.1", "A transaction is open already: RSET ends it (RFC 5321 §4.1.4)")
        limit = self._spec.limits.messages
        if limit and self._transactions >= limit:
            return Hang(reply(421, "4.7.0", f"{limit} messages in this session, connect again (RFC 9422)"), "rejected")
        begun = begin(argument, spec=self._spec, client=self.client, offered=self.offers)
        if isinstance(begun, Reply):
            return begun
        self._transactions += 1
        self.transaction = begun
        return _SENDER_OK

    def _rcpt(self, argument: str) -> Answer:
        if self.transaction is None:
            return reply(503, "5.5.1", "MAIL first (RFC 5321 §4.1.4)")
        if self.transaction.chunks:
            return reply(503, "5.5.1", "BDAT has begun (RFC 3030 §2)")
        return add_recipient(
            self.transaction,
            argument,
            spec=self._spec,
            client=self.client,
            offered=self.offers,
            check=self._check_recipient,
        )

    def _check_recipient(self, address: str) -> Reply | None:
        if (refusal := self._context.check_recipient(address)) is not None:
            return refusal
        if self._greylist is None or self.client.login or self.transaction is None:
            return None
        return self._greylist.check(
            self.client.address, self.transaction.reverse_path, address, now=self._context.clock.now()
        )

    def _data(self, argument: str) -> Answer:
        if argument:
            return reply(501, "5.5.4", "DATA takes no argument (RFC 5321 §4.1.1.4)")
        refusal = may_receive(self.transaction, spec=self._spec, by_bdat=False)
        return refusal or TakeData(_GO_ON)

    def _bdat(self, argument: str) -> Answer:
        chunk = parse_bdat(argument.encode("ascii", "replace"))
        if chunk is None:
            # RFC 3030 §2: without the count, where the next command begins is unknown.
            return Hang(reply(501, "5.5.4", "Syntax: BDAT octets [LAST] (RFC 3030 §2); closing"), "rejected")
        if "CHUNKING" not in self.offers:
            # The octets that follow must not be taken for commands, whether we offer the extension or not.
            return TakeChunk(chunk.octets, chunk.last, reply(502, "5.5.1", "BDAT is not offered here"))
        refusal = may_receive(self.transaction, spec=self._spec, by_bdat=True)
        return TakeChunk(chunk.octets, chunk.last, refusal)


_HANDLERS: Final[dict[str, Callable[[Conversation, str], Answer]]] = {
    "HELO": Conversation._helo,
    "EHLO": Conversation._ehlo,
    "LHLO": Conversation._lhlo,
    "MAIL": Conversation._mail,
    "RCPT": Conversation._rcpt,
    "DATA": Conversation._data,
    "BDAT": Conversation._bdat,
    "RSET": Conversation._rset,
    "NOOP": Conversation._noop,
    "QUIT": Conversation._quit,
    "STARTTLS": Conversation._starttls,
    "AUTH": Conversation._auth,
    "XCLIENT": Conversation._xclient_command,
    "HELP": Conversation._help,
    "VRFY": Conversation._vrfy,
    "EXPN": Conversation._expn,
    "ETRN": Conversation._etrn,
}

_SYNTAX: Final = {
    "EHLO": "domain",
    "HELO": "domain",
    "MAIL": "FROM:<reverse-path> [parameters]",
    "RCPT": "TO:<forward-path> [parameters]",
    "DATA": "",
    "BDAT": "octets [LAST]",
    "RSET": "",
    "NOOP": "[text]",
    "QUIT": "",
    "STARTTLS": "",
    "AUTH": "mechanism [initial-response]",
    "VRFY": "address",
    "EXPN": "list",
    "ETRN": "domain",
    "HELP": "[command]",
}
