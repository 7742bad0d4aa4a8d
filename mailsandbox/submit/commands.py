"""The commands of the SMTP server: aiosmtpd's, and what this server adds to them or decides otherwise.

    aiosmtpd's own      HELO EHLO NOOP RSET QUIT VRFY STARTTLS AUTH with its challenges, the checks for HELO, AUTH and
                        TLS, limits on calls and unknown commands, Session and Envelope, hooks of the event handler
    decided otherwise   MAIL and RCPT (all parameters, null path, paths without email._header_value_parser, which takes
                        about 60 µs for each), DATA (read in chunks), HELP (214), EXPN (252)
    added               BDAT (RFC 3030), LHLO (RFC 2033), ETRN (RFC 1985), XCLIENT, enhanced codes on every reply

Invariant: each command gives exactly one reply, or begins to read data that will get one. `connection` does the I/O.
MAIL, RCPT, DATA and BDAT never wait, so they are plain methods, which the connection calls without a coroutine; their
`smtp_` methods are there for aiosmtpd, which finds commands and their syntax by such names.
"""
# ruff: noqa: N802  # aiosmtpd finds commands by such names

import abc
import base64
import binascii
import re
from typing import Any, Final

from aiosmtpd.smtp import MISSING, SMTP, syntax

from mailsandbox.smtp.replies import Reply, reply
from mailsandbox.submit.conversation import Conversation, Hang, TakeChunk, TakeData
from mailsandbox.submit.model import Authentication, ListenerSpec
from mailsandbox.submit.transaction import Client, Transaction

PROMPT: Final = {"MAIL": "mail", "RCPT": "rcpt", "DATA": "data", "BDAT": "bdat"}  # commands that never wait

_HELLO_FIRST: Final = reply(503, "5.5.1", "Error: send EHLO first")
_LOGIN_FIRST: Final = reply(530, "5.7.0", "Authentication required")

_STATUS: Final = re.compile(r"(\d{3})[ -]?(?:([245]\.\d{1,3}\.\d{1,3}) )?(.*)\Z", re.DOTALL)

# RFC 2034 §4: what aiosmtpd's replies mean, where they do not say it themselves (RFC 3463 §3).
_ENHANCED: Final = {
    220: "2.0.0",
    221: "2.0.0",
    235: "2.7.0",
    250: "2.0.0",
    252: "2.0.0",
    421: "4.3.0",
    451: "4.3.0",
    454: "4.7.0",
    500: "5.5.1",
    501: "5.5.4",
    502: "5.5.1",
    503: "5.5.1",
    504: "5.5.4",
    530: "5.7.0",
    535: "5.7.8",
    554: "5.5.0",
}


def reply_of(status: str, *, bare: bool = False) -> Reply:
    """aiosmtpd's replies are strings: "250 OK". `bare`: no enhanced code, as in replies to HELO (RFC 2034 §4)."""
    match = _STATUS.match(status)
    assert match is not None, status
    code = int(match[1])
    return Reply(code, match[2] or ("" if bare else _ENHANCED.get(code, "")), (match[3],))


class SmtpCommands(SMTP, abc.ABC):
    """aiosmtpd's SMTP with the commands of the list above."""

    conversation: Conversation
    spec: ListenerSpec
    session: Client
    envelope: Transaction
    _bare = False  # the reply to HELO or EHLO is on its way

    # -- what the connection does ------------------------------------------------------------------------------------

    @abc.abstractmethod
    def say(self, answer: Reply, *, utf8: bool = False) -> None:
        """Reply, in UTF-8 where the client asked for it; sent when no more commands are here (RFC 2920 §3.2)."""

    @abc.abstractmethod
    def say_line(self, line: str) -> None:
        """One line of a longer reply, as it is."""

    @abc.abstractmethod
    def hang(self, answer: Hang) -> None:
        """Reply and close."""

    @abc.abstractmethod
    def take_data(self) -> None:
        """Say 354 and read message data."""

    @abc.abstractmethod
    def take_chunk(self, chunk: TakeChunk) -> None:
        """Read a chunk."""

    @abc.abstractmethod
    def take_response(self, *, expected: bool) -> None:
        """From now on (or no longer) lines go to aiosmtpd's reader: challenges of AUTH are answered there."""

    @abc.abstractmethod
    def hide_response(self) -> None:
        """A challenge was answered, or not: what the client said is a secret."""

    @abc.abstractmethod
    def response_too_long(self) -> None:
        """A challenge was answered by more than the reader takes: refuse it, all of it."""

    @abc.abstractmethod
    def has_more_input(self) -> bool:
        """Whether the client has sent more than has been read."""

    @abc.abstractmethod
    def identify(self) -> None:
        """The client's address, name or login changed: note it."""

    @abc.abstractmethod
    def finish(self, outcome: str) -> None:
        """The session ends in order."""

    # -- aiosmtpd's machinery ----------------------------------------------------------------------------------------

    def _create_envelope(self) -> Transaction:
        self.conversation.transaction = Transaction()
        return self.conversation.transaction

    async def push(self, status: str | bytes) -> None:
        """Every reply of aiosmtpd goes this way."""
        text = status.decode("ascii", "backslashreplace") if isinstance(status, bytes) else status
        if text[3:4] == "-" or text[:3] == "334":
            self.say_line(text)
        else:
            self.say(reply_of(text, bare=self._bare))

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        """For VRFY, whose argument `conversation.vrfy` has judged."""
        return arg, ""

    # -- the session -------------------------------------------------------------------------------------------------

    @syntax("HELO domain", when="greets_by_helo")
    async def smtp_HELO(self, hostname: str) -> None:
        """RFC 5321 §4.1.1.1."""
        if self._hello_refused(hostname):
            return
        self.conversation.changed()
        self._bare = bool(hostname)
        await super().smtp_HELO(hostname)
        self._bare = False
        self.identify()

    @syntax("EHLO domain", when="greets_by_helo")
    async def smtp_EHLO(self, hostname: str) -> None:
        """RFC 5321 §4.1.1.1; the handler's hook lists the extensions."""
        if not self._hello_refused(hostname):
            await self._ehlo(hostname)

    @syntax("LHLO domain", when="greets_by_lhlo")
    async def smtp_LHLO(self, hostname: str) -> None:
        """RFC 2033 §4.1: EHLO by another name, so that no one takes the one service for the other."""
        if not self.spec.lmtp:
            self.say(reply(500, "5.5.1", "This is SMTP: EHLO (RFC 2033 §4.1)"))
        elif not hostname:
            self.say(reply(501, "5.5.4", "Syntax: LHLO domain"))
        elif (refusal := self.conversation.check_helo(hostname)) is not None:
            self.say(refusal)
        else:
            await self._ehlo(hostname)

    async def _ehlo(self, hostname: str) -> None:
        self._bare = bool(hostname)
        await super().smtp_EHLO(hostname)
        self._bare = False
        self.identify()

    def _hello_refused(self, hostname: str) -> bool:
        if self.spec.lmtp:
            self.say(reply(500, "5.5.1", "This is LMTP: LHLO (RFC 2033 §4.1)"))
            return True
        if hostname and (refusal := self.conversation.check_helo(hostname)) is not None:
            self.say(refusal)
            return True
        return False

    # What HELP lists; a command that is off is refused by the command itself.

    @property
    def greets_by_helo(self) -> bool:
        return not self.spec.lmtp

    @property
    def greets_by_lhlo(self) -> bool:
        return self.spec.lmtp

    @property
    def takes_chunks(self) -> bool:
        return "CHUNKING" in self.spec.offers

    @property
    def upgrades(self) -> bool:
        return "STARTTLS" in self.conversation.offers

    @property
    def authenticates(self) -> bool:
        return "AUTH" in self.conversation.offers

    @property
    def verifies(self) -> bool:
        return self.spec.verify

    @property
    def expands(self) -> bool:
        return self.spec.expand

    @property
    def runs_queues(self) -> bool:
        return "ETRN" in self.spec.offers

    @syntax("QUIT")
    async def smtp_QUIT(self, arg: str) -> None:
        """RFC 5321 §4.1.1.10."""
        if not arg:
            self.finish("closed")
        await super().smtp_QUIT(arg)

    @syntax("STARTTLS", when="upgrades")
    async def smtp_STARTTLS(self, arg: str) -> None:
        """RFC 3207. The handshake, and forgetting all that came before, are aiosmtpd's."""
        if "STARTTLS" not in self.spec.offers:
            self.say(reply(502, "5.5.1", "STARTTLS is not offered here"))
        elif self.session.tls:
            self.say(reply(503, "5.5.1", "TLS is active already"))
        elif not arg and self.tls_context and self.has_more_input():
            # RFC 3207 §6, CVE-2011-0411: what was sent in clear after STARTTLS must not count as protected.
            self.hang(Hang(reply(554, "5.5.0", "Octets in clear after STARTTLS (RFC 3207 §6)")))
        else:
            await super().smtp_STARTTLS(arg)

    @syntax("AUTH mechanism", extended=" [initial-response]", when="authenticates")
    async def smtp_AUTH(self, arg: str) -> None:
        """RFC 4954; mechanisms are the handler's, of those that are offered now."""
        if self.spec.authentication is Authentication.OFF:
            self.say(reply(502, "5.5.1", "AUTH is not offered here"))
            return
        if self.envelope.open:
            self.say(reply(503, "5.5.1", "Not in a mail transaction (RFC 4954 §4)"))
            return
        mechanism, *response = (arg or "").split() or [""]
        if not mechanism or len(response) > 1:
            missing = "AUTH takes a mechanism and one initial response" if mechanism else "AUTH needs a mechanism"
            self.say(reply(501, "5.5.4", f"{missing} (RFC 4954 §4)"))
            return
        offered = self.conversation.mechanisms()
        every = self._auth_methods
        self._auth_methods = {name: every[name] for name in offered}
        try:
            await super().smtp_AUTH(" ".join([mechanism.upper(), *response]))
        finally:
            self._auth_methods = every
        if self.session.authenticated and not self.session.login:
            self.session.login = self.session.auth_data.login.decode("utf-8", "replace")
            self.conversation.changed()
            self.identify()

    async def challenge_auth(
        self, challenge: str | bytes, encode_to_b64: bool = True, log_client_response: bool = False
    ) -> Any:  # Any: octets, or its MISSING, whose type it keeps to itself
        """aiosmtpd's, with the response read from its reader, and remembered before it is answered, as "***"."""
        self.take_response(expected=True)
        try:
            await self.push(
                b"334 " + base64.b64encode(challenge if isinstance(challenge, bytes) else challenge.encode())
            )
            line = await self._reader.readline()
        except ValueError:  # from the reader: longer than its limit
            line = None
        finally:
            self.take_response(expected=False)
            self.hide_response()
        if line is None:
            self.response_too_long()
            return MISSING
        response = line.strip().decode("latin-1")
        if response == "*":  # RFC 4954 §4
            self.say(reply(501, "5.7.0", "Auth aborted"))
            return MISSING
        decoded = self.decode_response(response)
        return MISSING if decoded is None else decoded

    def decode_response(self, text: str) -> bytes | None:
        """A response; None where it is not base64, which is said here."""
        try:
            return base64.b64decode(text.encode("ascii"), validate=True)
        except (binascii.Error, UnicodeEncodeError):
            self.say(reply(501, "5.5.2", "Not base64 (RFC 4954 §4)"))
            return None

    async def smtp_XCLIENT(self, arg: str) -> None:
        """Postfix's extension: the client is who it says, and is greeted anew."""
        refusal = self.conversation.xclient(arg or "")
        if refusal is not None:
            self.say(refusal)
        else:
            self.identify()
            self.say(self.conversation.greeting())

    # -- the transaction ---------------------------------------------------------------------------------------------

    def _too_early(self) -> bool:
        """aiosmtpd's check_helo_needed and check_auth_needed in one; says so where it is."""
        if not self.session.host_name:
            self.say(_HELLO_FIRST)
        elif self._auth_required and not self.session.authenticated:
            self.say(_LOGIN_FIRST)
        else:
            return False
        return True

    def mail(self, argument: str) -> None:
        """RFC 5321 §4.1.1.2."""
        if self._too_early():
            return
        answer = self.conversation.mail(argument)
        if isinstance(answer, Hang):
            self.hang(answer)
        else:
            self.say(answer)

    def rcpt(self, argument: str) -> None:
        """RFC 5321 §4.1.1.3."""
        if not self._too_early():
            self.say(self.conversation.rcpt(argument))

    def data(self, argument: str) -> None:
        """RFC 5321 §4.1.1.4."""
        if self._too_early():
            return
        answer = self.conversation.data(argument)
        if isinstance(answer, TakeData):
            self.take_data()
        else:
            self.say(answer)

    def bdat(self, argument: str) -> None:
        """RFC 3030 §2."""
        answer = self.conversation.bdat(argument)
        if isinstance(answer, Hang):
            self.hang(answer)
        else:
            self.take_chunk(answer)

    @syntax("MAIL FROM:<reverse-path>", extended=" [SP parameters]")
    async def smtp_MAIL(self, arg: str | None) -> None:
        self.mail(arg or "")

    @syntax("RCPT TO:<forward-path>", extended=" [SP parameters]")
    async def smtp_RCPT(self, arg: str | None) -> None:
        self.rcpt(arg or "")

    @syntax("DATA")
    async def smtp_DATA(self, arg: str | None) -> None:
        self.data(arg or "")

    @syntax("BDAT octets", extended=" [LAST]", when="takes_chunks")
    async def smtp_BDAT(self, arg: str | None) -> None:
        self.bdat(arg or "")

    # -- questions ---------------------------------------------------------------------------------------------------

    @syntax("VRFY address", when="verifies")
    async def smtp_VRFY(self, arg: str) -> None:
        """RFC 5321 §3.5."""
        refusal = self.conversation.vrfy(arg) if arg else None
        if refusal is not None and not await self.check_auth_needed("VRFY"):
            self.say(refusal)
        elif refusal is None:
            await super().smtp_VRFY(arg)

    @syntax("EXPN list", when="expands")
    async def smtp_EXPN(self, arg: str) -> None:
        """RFC 5321 §3.5."""
        if not await self.check_auth_needed("EXPN"):
            # RFC 6531 §3.7.4.2: members that are not ASCII are named only to those who say SMTPUTF8.
            answer = self.conversation.expn(arg or "")
            self.say(answer, utf8=answer.code == 250)

    @syntax("ETRN domain", when="runs_queues")
    async def smtp_ETRN(self, arg: str) -> None:
        """RFC 1985."""
        if not await self.check_helo_needed("EHLO"):
            self.say(await self.conversation.etrn(arg or ""))

    @syntax("HELP [command]")
    async def smtp_HELP(self, arg: str) -> None:
        """RFC 5321 §4.1.1.8, §4.3.2: 214, where aiosmtpd says 250."""
        available = {name: method for name, method in self._smtp_methods.items() if self._syntax_available(method)}
        if not arg:
            self.say(reply(214, "2.0.0", f"Commands: {' '.join(sorted(available))}", "HELP command tells more"))
        elif (method := available.get(arg.upper())) is None:
            self.say(reply(504, "5.5.4", "No help for that (RFC 5321 §4.1.1.8)"))
        else:
            self.say(reply(214, "2.0.0", method.__smtp_syntax__ + (method.__smtp_syntax_extended__ or "")))
