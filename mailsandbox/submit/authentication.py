"""AUTH on the wire (RFC 4954 §4): base64, challenges, cancelling; the mechanisms themselves are in `sasl`."""

import base64
import binascii

from mailsandbox.sasl import Challenge, Failure, Success, exchange, mechanisms
from mailsandbox.smtp.replies import Reply, reply
from mailsandbox.store.credentials import Credentials


def offered_mechanisms(credentials: Credentials, *, tls: bool) -> list[str]:
    """The words of the AUTH line of EHLO."""
    return mechanisms(credentials, tls=tls)


class AuthenticationExchange:
    """One AUTH command and the lines that answer its challenges. `login` is set with the 235."""

    def __init__(self, mechanism: str, credentials: Credentials) -> None:
        self._exchange = exchange(mechanism, credentials)
        self._mechanism = mechanism
        self.login = ""

    def begin(self, initial: str) -> Reply:
        """`initial`: the initial response as written; "" for none, "=" for an empty one (RFC 4954 §4)."""
        if not initial:
            return self._step(None, first=True)
        if initial == "=":
            return self._step(b"", first=True)
        octets = _decoded(initial)
        return octets if isinstance(octets, Reply) else self._step(octets, first=True)

    def respond(self, line: str) -> Reply:
        """The client's answer to a 334."""
        if line == "*":
            return reply(501, "5.7.0", "Authentication cancelled (RFC 4954 §4)")
        octets = _decoded(line)
        return octets if isinstance(octets, Reply) else self._step(octets)

    def _step(self, octets: bytes | None, *, first: bool = False) -> Reply:
        step = self._exchange.start(octets) if first else self._exchange.respond(octets or b"")
        match step:
            case Challenge(octets=challenge):
                return Reply(334, "", (base64.b64encode(challenge).decode("ascii"),))
            case Success(login=login):
                self.login = login
                return reply(235, "2.7.0", "Authentication successful")
            case Failure(reason=reason):
                # RFC 4954 §6: 535 5.7.8, the same for unknown account and wrong password.
                return reply(535, "5.7.8", reason or "Authentication credentials invalid")


def _decoded(text: str) -> bytes | Reply:
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return reply(501, "5.5.2", "Not base64 (RFC 4954 §4)")
