"""Bearer tokens: OAUTHBEARER (RFC 7628) and its forerunner XOAUTH2. A token is taken where a password would be."""

import json
import re
from abc import ABC, abstractmethod

from mailsandbox.sasl.model import Challenge, Failure, SecretSource, Step, admitted, malformed, rejected

_BEARER = re.compile(r"bearer +([A-Za-z0-9\-._~+/]+=*)", re.IGNORECASE)  # RFC 6750 §2.1


class _Bearer(ABC):
    """What both have in common: one message from the client, and a failure that the client must acknowledge."""

    def __init__(self, credentials: SecretSource) -> None:
        self._credentials = credentials
        self._failed: Failure | None = None

    def start(self, initial: bytes | None) -> Step:
        return Challenge(b"") if initial is None else self.respond(initial)

    def respond(self, octets: bytes) -> Step:
        if self._failed is not None:
            # RFC 7628 §3.2.3: the client's dummy response (%x01) ends the exchange, whatever it holds.
            return self._failed
        try:
            text = octets.decode("utf-8")
        except UnicodeDecodeError:
            return malformed("not UTF-8")
        return self._judge(text)

    @abstractmethod
    def _judge(self, text: str) -> Step:
        """The client's message, decoded."""

    def _admit(self, login: str, authorisation: str, scheme: str, error: dict[str, str]) -> Step:
        token = _BEARER.fullmatch(scheme)
        if token is None or not self._credentials.verify(login, token[1]):
            self._failed = rejected(login)
            return Challenge(json.dumps(error, separators=(",", ":")).encode())
        return admitted(login, authorisation)


class OAuthBearer(_Bearer):
    """RFC 7628 §3.1: GS2 header, then key=value pairs between %x01."""

    def _judge(self, text: str) -> Step:
        header, found, rest = text.partition("\x01")
        match = re.fullmatch(r"[nyp](?:=[^,]*)?,(?:a=([^,]+))?,", header)
        if not found or match is None or header.startswith("p"):
            return malformed("OAUTHBEARER: invalid GS2 header")
        pairs = _pairs(rest)
        if pairs is None or "auth" not in pairs:
            return malformed("OAUTHBEARER: invalid key=value pairs")
        # RFC 7628 §3.1: the token names the user; ours are opaque, so the identity must come with it.
        login = (match[1] or "").replace("=2C", ",").replace("=3D", "=")
        if not login:
            return malformed("OAUTHBEARER: a= must name the account")
        # RFC 7628 §3.2.2
        return self._admit(login, "", pairs["auth"], {"status": "invalid_token", "scope": "mail"})


class XOAuth2(_Bearer):
    """Google's and Microsoft's: user=, auth=Bearer, between %x01."""

    def _judge(self, text: str) -> Step:
        pairs = _pairs(text)
        if pairs is None or not pairs.get("user") or "auth" not in pairs:
            return malformed("XOAUTH2 wants: user= login ^A auth=Bearer token ^A ^A")
        error = {"status": "400", "schemes": "Bearer", "scope": "https://mail.google.com/"}
        return self._admit(pairs["user"], "", pairs["auth"], error)


def _pairs(text: str) -> dict[str, str] | None:
    """`key=value^A` repeated, ended by one more ^A."""
    if not text.endswith("\x01\x01"):
        return None
    pairs: dict[str, str] = {}
    for pair in text[:-2].split("\x01"):
        key, found, value = pair.partition("=")
        if not found or not key.isalpha():
            return None
        pairs[key] = value
    return pairs
