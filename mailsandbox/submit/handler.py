"""What aiosmtpd asks its event handler: the hooks of EHLO, VRFY and of errors, and the AUTH mechanisms.

One for each listener; what belongs to a session is in the server, session and envelope it is called with.
"""
# ruff: noqa: N802  # aiosmtpd finds hooks and mechanisms by such names

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from aiosmtpd.smtp import MISSING, AuthResult, LoginPassword

from mailsandbox.sasl import Challenge, Failure, Success, exchange
from mailsandbox.smtp.replies import reply
from mailsandbox.store.credentials import Credentials
from mailsandbox.submit.transaction import Client, Transaction

if TYPE_CHECKING:
    from mailsandbox.submit.commands import SmtpCommands

_log = logging.getLogger(__name__)

LOCAL_ERROR = "451 4.3.0 Local error in processing"


class Handler:
    """Hooks and mechanisms, found by aiosmtpd by their names."""

    def __init__(self, credentials: Credentials, *, nonce: Callable[[], str]) -> None:
        self._credentials = credentials
        self._nonce = nonce

    async def handle_EHLO(
        self, server: "SmtpCommands", session: Client, envelope: Transaction, hostname: str, responses: list[str]
    ) -> list[str]:
        """Our extensions in place of aiosmtpd's."""
        session.host_name = hostname
        server.conversation.changed()
        *lines, last = server.conversation.ehlo_lines()
        return [*(f"250-{line}" for line in lines), f"250 {last}"]

    async def handle_VRFY(self, server: "SmtpCommands", session: Client, envelope: Transaction, address: str) -> str:
        """RFC 5321 §3.5.3: 252 says nothing about who is there, and that mail will be taken."""
        return "252 2.0.0 Cannot VRFY, but will take mail for it and try to deliver it (RFC 5321 §3.5.3)"

    async def handle_exception(self, error: Exception) -> str:
        """A failure of ours: the client may try again, the log has the rest."""
        _log.error("SMTP session failed", exc_info=error)
        return LOCAL_ERROR

    async def auth_PLAIN(self, server: "SmtpCommands", args: list[str]) -> AuthResult:
        return await self._by_sasl(server, "PLAIN", args)

    async def auth_LOGIN(self, server: "SmtpCommands", args: list[str]) -> AuthResult:
        return await self._by_sasl(server, "LOGIN", args)

    async def auth_CRAM__MD5(self, server: "SmtpCommands", args: list[str]) -> AuthResult:
        if len(args) == 2:
            # RFC 4954 §4: where the server begins, an initial response (an empty one too) MUST get 501.
            server.say(reply(501, "5.7.0", "CRAM-MD5 has no initial response (RFC 4954 §4)"))
            return AuthResult(success=False)
        return await self._by_sasl(server, "CRAM-MD5", args)

    async def auth_SCRAM__SHA__256(self, server: "SmtpCommands", args: list[str]) -> AuthResult:
        return await self._by_sasl(server, "SCRAM-SHA-256", args)

    async def auth_XOAUTH2(self, server: "SmtpCommands", args: list[str]) -> AuthResult:
        return await self._by_sasl(server, "XOAUTH2", args)

    async def auth_OAUTHBEARER(self, server: "SmtpCommands", args: list[str]) -> AuthResult:
        return await self._by_sasl(server, "OAUTHBEARER", args)

    async def _by_sasl(self, server: "SmtpCommands", mechanism: str, args: list[str]) -> AuthResult:
        """RFC 4954 §4: challenges and responses in base64, "=" an empty initial response, "*" cancels."""
        running = exchange(mechanism, self._credentials, nonce=self._nonce, hostname=server.hostname)
        assert running is not None
        initial: bytes | None = None
        if len(args) == 2:
            initial = b"" if args[1] == "=" else server.decode_response(args[1])
            if initial is None:
                return AuthResult(success=False)
        step = running.start(initial)
        while isinstance(step, Challenge):
            response = await server.challenge_auth(step.octets)
            if not isinstance(response, bytes):
                assert response is MISSING  # said already: cancelled, or not base64
                return AuthResult(success=False)
            step = running.respond(response)
        match step:
            case Success(login=login):
                return AuthResult(success=True, auth_data=LoginPassword(login.encode(), b""))
            case Failure(reason=reason):
                # RFC 4954 §6: 535 5.7.8, the same for an unknown account and a wrong password.
                return AuthResult(success=False, handled=False, message=f"535 5.7.8 {reason}")
