"""Which mechanisms there are, and which are worth offering for given credentials."""

import hashlib
import secrets
from collections.abc import Callable
from typing import Final

from mailsandbox.sasl.cram import CramMd5
from mailsandbox.sasl.model import Exchange, SecretSource
from mailsandbox.sasl.oauth import OAuthBearer, XOAuth2
from mailsandbox.sasl.plain import Login, Plain
from mailsandbox.sasl.scram import Scram

# In the order in which they are offered: the strongest first, as many clients take the first they know.
MECHANISMS: Final = ("SCRAM-SHA-256", "CRAM-MD5", "PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER")
_NEED_SECRET: Final = frozenset({"SCRAM-SHA-256", "CRAM-MD5"})  # the server must know the password
_IN_CLEAR: Final = frozenset({"PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"})  # what travels can be replayed


def mechanisms(credentials: SecretSource, *, tls: bool, clear: bool = True) -> list[str]:
    """The mechanisms to offer. `clear`: whether passwords may travel unprotected where there is no TLS."""
    return [
        name
        for name in MECHANISMS
        if (credentials.has_secrets or name not in _NEED_SECRET) and (tls or clear or name not in _IN_CLEAR)
    ]


def random_nonce() -> str:
    """24 printable characters, none of them a comma (RFC 5802 §5.1)."""
    return secrets.token_urlsafe(18)


def exchange(
    mechanism: str,
    credentials: SecretSource,
    *,
    nonce: Callable[[], str] = random_nonce,
    hostname: str = "localhost",
) -> Exchange | None:
    """A new exchange by that mechanism (in any case); None where there is no such mechanism."""
    match mechanism.upper():
        case "PLAIN":
            return Plain(credentials)
        case "LOGIN":
            return Login(credentials)
        case "CRAM-MD5":
            return CramMd5(credentials, nonce=nonce, hostname=hostname)
        case "SCRAM-SHA-256":
            # One salt per account and host, so that a client may cache the salted password (RFC 5802 §5.1).
            salt_key = hashlib.sha256(f"mailsandbox {hostname}".encode()).digest()
            return Scram(credentials, nonce=nonce, salt_key=salt_key)
        case "XOAUTH2":
            return XOAuth2(credentials)
        case "OAUTHBEARER":
            return OAuthBearer(credentials)
        case _:
            return None
