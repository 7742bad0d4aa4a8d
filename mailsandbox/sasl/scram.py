"""SCRAM (RFC 5802) with SHA-256 (RFC 7677): each side proves to know the password, and neither sends it.

No channel binding: Python's ssl offers neither tls-exporter (RFC 9266) nor the own certificate of tls-server-end-point,
so SCRAM-SHA-256-PLUS is not offered, and "y" (the client could have) is accepted as RFC 5802 §6 wants it.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mailsandbox.sasl.model import Challenge, Failure, SecretSource, Step, Success, admitted, malformed, rejected
from mailsandbox.sasl.preparation import saslprep

ITERATIONS: Final = 4096  # RFC 7677 §4: at least 4096; more only slows tests down
_FIRST = re.compile(
    rb"([nyp])(?:=([A-Za-z0-9.-]+))?,(?:a=([^,\0]+))?,((?:m=[^,\0]*,)?n=([^,\0]+),r=([\x21-\x2b\x2d-\x7e]+)(,.*)?)",
    re.DOTALL,
)  # RFC 5802 §7
_FINAL = re.compile(rb"(c=([A-Za-z0-9+/=]+),r=([\x21-\x2b\x2d-\x7e]+)(?:,[A-Za-z]=[^,\0]*)*),p=([A-Za-z0-9+/=]+)")


@dataclass(frozen=True, slots=True)
class _Begun:
    """What the first message of each side settled."""

    login: str
    authorisation: str
    header: bytes  # the client's GS2 header, to be repeated in c=
    bare: bytes  # client-first-message-bare
    first: bytes  # server-first-message
    nonce: bytes
    salt: bytes


class Scram:
    """One exchange. `salt_key` makes an account's salt the same each time, for logins that do not exist too."""

    def __init__(
        self,
        credentials: SecretSource,
        *,
        nonce: Callable[[], str],
        salt_key: bytes,
        digest: str = "sha256",
        iterations: int = ITERATIONS,
    ) -> None:
        self._credentials = credentials
        self._nonce = nonce
        self._salt_key = salt_key
        self._digest = digest
        self._iterations = iterations
        self._begun: _Begun | None = None
        self._proved: Success | None = None

    def start(self, initial: bytes | None) -> Step:
        return Challenge(b"") if initial is None else self.respond(initial)

    def respond(self, octets: bytes) -> Step:
        if self._proved is not None:  # the client acknowledged the server's proof
            return self._proved if not octets else malformed("SCRAM: nothing is left to say", self._proved.login)
        return self._first(octets) if self._begun is None else self._final(self._begun, octets)

    def _first(self, octets: bytes) -> Step:
        """client-first-message."""
        match = _FIRST.fullmatch(octets)
        if match is None:
            return malformed("SCRAM: invalid client-first-message")
        flag, binding, authzid, bare, name, client_nonce, _ = match.groups()
        if flag == b"p" or binding is not None:
            return malformed("SCRAM: channel binding is not offered")  # RFC 5802 §6
        if bare.startswith(b"m="):
            return malformed("SCRAM: mandatory extension is not known")  # RFC 5802 §5.1, attribute m
        login, authorisation = _name(name), _name(authzid or b"")
        if login is None or authorisation is None:
            return malformed("SCRAM: invalid name")
        salt = hmac.digest(self._salt_key, login.strip().lower().encode(), "sha256")[:16]
        nonce = client_nonce + self._nonce().encode()
        first = b"r=%b,s=%b,i=%d" % (nonce, base64.b64encode(salt), self._iterations)
        header = octets[: len(octets) - len(bare)]
        self._begun = _Begun(login, authorisation, header, bare, first, nonce, salt)
        return Challenge(first)

    def _final(self, begun: _Begun, octets: bytes) -> Step:
        """client-final-message."""
        match = _FINAL.fullmatch(octets)
        if match is None:
            return malformed("SCRAM: invalid client-final-message", begun.login)
        without_proof, binding, nonce, proof = match.groups()
        # RFC 5802 §5.1: c= repeats the GS2 header, r= both nonces.
        if _decoded(binding) != begun.header or not hmac.compare_digest(nonce, begun.nonce):
            return malformed("SCRAM: channel binding or nonce does not match", begun.login)
        secret = self._credentials.secret(begun.login)
        prepared = saslprep(secret) if secret is not None else None
        if secret is None or prepared is None:
            # Where any password is right the server knows none, and cannot prove itself: RFC 5802 §3.
            return rejected(begun.login)
        signature = self._verified(begun, prepared, without_proof, _decoded(proof) or b"")
        if signature is None:
            return rejected(begun.login)
        outcome = admitted(begun.login, begun.authorisation)
        if isinstance(outcome, Failure):
            return outcome
        self._proved = outcome
        return Challenge(b"v=" + base64.b64encode(signature))

    def _verified(self, begun: _Begun, password: str, without_proof: bytes, proof: bytes) -> bytes | None:
        """The server's signature if the client's proof is right (RFC 5802 §3)."""
        salted = hashlib.pbkdf2_hmac(self._digest, password.encode(), begun.salt, self._iterations)
        client_key = hmac.digest(salted, b"Client Key", self._digest)
        stored_key = hashlib.new(self._digest, client_key).digest()
        message = b",".join((begun.bare, begun.first, without_proof))
        signature = hmac.digest(stored_key, message, self._digest)
        expected = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        if not hmac.compare_digest(expected, proof):
            return None
        return hmac.digest(hmac.digest(salted, b"Server Key", self._digest), message, self._digest)


def _name(octets: bytes) -> str | None:
    """RFC 5802 §5.1: "=2C" is a comma, "=3D" an equals sign, any other "=" is an error."""
    if re.search(rb"=(?!2C|3D)", octets):
        return None
    try:
        return saslprep(octets.replace(b"=2C", b",").replace(b"=3D", b"=").decode("utf-8"))
    except UnicodeDecodeError:
        return None


def _decoded(text: bytes) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
