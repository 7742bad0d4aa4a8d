"""Opens a connection to a next hop: connect, EHLO, STARTTLS and AUTH are aiosmtplib's, then the transport is ours.

aiosmtplib rewrites line ends, picks encodings and drops replies it does not expect, so after AUTH its protocol is
replaced by `Connection` on the same transport. Invariants: with "required" and "verified" nothing of a message is
sent in clear text; passwords never reach the transcript. Does not decide which hop, nor whether it may be connected to.
"""

import asyncio
import ssl
import sys
from typing import cast

import aiosmtplib

from mailsandbox.journey.sessions import SessionRecord
from mailsandbox.relay.causes import Step, cause_at
from mailsandbox.relay.connection import Connection, Timeouts, note_reply, printable
from mailsandbox.relay.dane import dane_refusal
from mailsandbox.relay.routes import Hop
from mailsandbox.relay.tls import TlsPolicy, context_for
from mailsandbox.smtp.extensions import Offers
from mailsandbox.smtp.replies import Reply, parse_reply, reply


class HopFailure(Exception):
    """No transaction is possible at this hop now. `reply` is its answer, or ours in its place."""

    def __init__(self, answer: Reply, *, said: bool = False, tls: bool = False, unsafe: bool = False) -> None:
        super().__init__(str(answer))
        self.reply = answer
        self.said = said  # the server said so itself
        self.tls = tls  # the TLS handshake failed; in clear text it may work
        self.unsafe = unsafe or tls  # the server is there, but not as safe as was asked for


async def open_connection(
    hop: Hop, *, helo: str, tls: TlsPolicy, timeouts: Timeouts, session: SessionRecord
) -> Connection:
    """Connect, EHLO, TLS and AUTH as `hop` and `tls` ask for. Raises HopFailure."""
    opening = _Opening(hop, helo, tls, timeouts, session)
    try:
        return await opening.run()
    except BaseException:
        opening.client.close()
        raise


class _Opening:
    """The part of the conversation that aiosmtplib has."""

    def __init__(self, hop: Hop, helo: str, tls: TlsPolicy, timeouts: Timeouts, session: SessionRecord) -> None:
        self._hop = hop
        self._helo = helo
        self._tls = tls
        self._timeouts = timeouts
        self._session = session
        self._context = context_for(tls) if tls.level != "off" or hop.implicit_tls else None
        self.client = aiosmtplib.SMTP(
            hostname=hop.address if hop.port else None,
            port=hop.port or None,
            socket_path=None if hop.port else hop.address,
            local_hostname=helo,
            timeout=timeouts.connect,
            start_tls=False,
            use_tls=hop.implicit_tls,
            tls_context=self._context,
        )

    async def run(self) -> Connection:
        """All of it."""
        await self._connect()
        offers = await self._hello()
        secured = self._hop.implicit_tls
        if not secured and self._tls.level != "off" and await self._start_tls(offers):
            secured = True
            # RFC 3207 §4.2: what was heard before TLS is forgotten.
            offers = await self._hello()
        await self._log_in(offers)
        return self._hand_over(offers, secured=secured)

    async def _connect(self) -> None:
        self._session.note(f"connecting to {self._hop.place}")
        try:
            greeting = await self.client.connect()
        except aiosmtplib.SMTPConnectResponseError as error:
            raise self._refused(error) from error
        except (aiosmtplib.SMTPException, OSError) as error:
            raise self._failed(Step(self._timeouts.connect, tls=self._hop.implicit_tls), error) from error
        self._heard(greeting.code, greeting.message)
        self.client.timeout = self._timeouts.greeting

    async def _hello(self) -> Offers:
        verb = b"LHLO" if self._hop.lmtp else b"EHLO"  # RFC 2033 §4.1
        answer = await self._command(verb, self._helo.encode("ascii", "replace"))
        if answer.positive and answer.code < 300:
            return Offers.parse(answer.lines[1:])
        if answer.permanent and verb == b"EHLO":
            # RFC 5321 §3.2: a server that does not know EHLO is asked again with HELO; it offers nothing.
            answer = await self._command(b"HELO", self._helo.encode("ascii", "replace"))
            if answer.positive and answer.code < 300:
                return Offers()
        raise HopFailure(answer, said=True)

    async def _start_tls(self, offers: Offers) -> bool:
        must = self._tls.strict
        if "STARTTLS" not in offers:
            if must:
                # RFC 3463 §3.8: X.7.4 security features not supported; RFC 7817 leaves the choice of code open.
                raise HopFailure(
                    reply(454, "4.7.4", f"{self._hop.host} does not offer STARTTLS, which is required"), unsafe=True
                )
            return False
        answer = await self._command(b"STARTTLS", upgrade=True)
        if answer.code == 220:
            return True  # RFC 3207 §4: no other reply means that TLS begins
        if must and answer.positive:
            text = f"{self._hop.host} answered STARTTLS with {answer.code}, which begins no TLS"
            raise HopFailure(reply(454, "4.7.5", text), unsafe=True)
        if must:
            raise HopFailure(Reply(454, "4.7.5", answer.lines), said=True, unsafe=True)
        return False

    async def _log_in(self, offers: Offers) -> None:
        login = self._hop.login
        if login is None:
            return
        if "AUTH" not in offers:
            when = " in clear text" if "STARTTLS" in offers else ""
            raise HopFailure(reply(454, "4.7.0", f"{self._hop.host} does not offer AUTH{when}, which a login needs"))
        self._session.client(f"AUTH (as {login.name}) ***")
        try:
            answer = await self.client.login(login.name, login.password)
        except aiosmtplib.SMTPResponseException as error:
            if error.code < 0:
                raise self._failed(Step(self._timeouts.greeting, "AUTH"), error) from error
            # RFC 4954 §6: our configuration may be at fault, so the message waits rather than bounces.
            refused = self._heard(error.code, error.message)
            raise HopFailure(Reply(454, "4.7.8", refused.lines), said=True) from error
        except (aiosmtplib.SMTPException, OSError) as error:
            raise self._failed(Step(self._timeouts.greeting, "AUTH"), error) from error
        self._heard(answer.code, answer.message)

    async def _command(self, *words: bytes, upgrade: bool = False) -> Reply:
        self._session.client(b" ".join(words).decode("ascii"))
        client = self.client
        try:
            if upgrade:
                client.last_ehlo_response = aiosmtplib.SMTPResponse(250, "hop\nSTARTTLS")
                host = self._hop.host.strip("[]")
                answer = await client.starttls(tls_context=self._context, server_hostname=host)
            else:
                answer = await client.execute_command(*words)
        except (aiosmtplib.SMTPException, OSError) as error:
            if isinstance(error, aiosmtplib.SMTPResponseException) and error.code >= 0:
                return self._heard(error.code, error.message)
            step = Step(self._timeouts.greeting, words[0].decode("ascii"), tls=upgrade)
            raise self._failed(step, error) from error
        return self._heard(answer.code, answer.message)

    def _heard(self, code: int, message: str) -> Reply:
        answer = printable(parse_reply(code, message.split("\n")))
        note_reply(self._session, answer)
        return answer

    def _refused(self, error: aiosmtplib.SMTPResponseException) -> HopFailure:
        answer = self._heard(error.code, error.message)
        if answer.positive:
            # RFC 5321 §4.3.2: a greeting is 220 or a refusal. Any other 2yz is no yes to a message.
            answer = reply(451, "4.5.0", f"{self._who()}: it greeted with {answer.code}, which is no greeting")
        return HopFailure(answer, said=True)

    def _failed(self, step: Step, error: Exception) -> HopFailure:
        cause = cause_at(step, error)
        text = f"{self._who()}{cause.text}"
        self._session.note(text)
        # Whatever kept STARTTLS from being done, without it the server may be of use.
        return HopFailure(reply(451, cause.enhanced, text), tls=cause.tls or bool(step.tls and step.command))

    def _who(self) -> str:
        """ "mx.beta.test (127.0.0.1:2025)", or the place alone where the name is the address."""
        host, place = self._hop.host, self._hop.place
        return place if host.strip("[]") == self._hop.address else f"{host} ({place})"

    def _pin(self, transport: asyncio.Transport) -> None:
        if self._tls.level != "dane":
            return
        tls = transport.get_extra_info("ssl_object")
        hop = self._hop
        # RFC 7672 §3.2.2: the server's own name, or the domain whose mail it takes.
        names = [name for name in (hop.host, hop.domain) if name]
        if refusal := dane_refusal(hop.tlsa, _chain(tls), names=names):
            # RFC 7672 §2.2: a server that does not match is not used.
            text = f"{hop.host}: {refusal} (DANE)"
            self._session.note(text)
            raise HopFailure(reply(454, "4.7.5", text), unsafe=True)

    def _hand_over(self, offers: Offers, *, secured: bool) -> Connection:
        client = self.client
        transport = client.transport
        if transport is None or transport.is_closing():
            raise HopFailure(reply(451, "4.4.2", f"{self._hop.host}: connection lost"))
        # aiosmtplib types it as BaseTransport; uvloop's transports have asyncio.Transport's methods, but not its type.
        transport = cast(asyncio.Transport, transport)
        shown = ""
        if secured:
            cipher = transport.get_extra_info("cipher") or ("", "", 0)
            shown = f"{cipher[1]} {cipher[0]}"
            self._session.note(f"TLS: {shown}")
            self._session.tls = shown
            self._pin(transport)
        connection = Connection(self._hop, offers, self._session, tls=shown)
        connection.take_over(transport)
        client.protocol = None  # the connection is ours now: closing the client must not close it
        client.transport = None
        return connection


def _chain(tls: ssl.SSLObject | None) -> list[bytes]:
    """The certificates that the server has shown, in DER, its own first."""
    if tls is None:
        return []
    if sys.version_info >= (3, 13):
        return tls.get_unverified_chain()
    # Python has had it since 3.10, and gave it a public name in 3.13.
    shown = tls._sslobj.get_unverified_chain() or []  # type: ignore[attr-defined]
    return [ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in shown]
