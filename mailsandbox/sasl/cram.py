"""CRAM-MD5 (RFC 2195): a keyed digest of the server's challenge. Historic, but clients still prefer it."""

import hmac
from collections.abc import Callable

from mailsandbox.sasl.model import Challenge, SecretSource, Step, Success, malformed, rejected


class CramMd5:
    """RFC 2195 §2. An account whose password is not fixed takes any digest, as it takes any password."""

    def __init__(self, credentials: SecretSource, *, nonce: Callable[[], str], hostname: str) -> None:
        self._credentials = credentials
        self._challenge = f"<{nonce()}@{hostname}>".encode()

    def start(self, initial: bytes | None) -> Step:
        if initial is not None:  # the server speaks first; an empty response is one too
            return malformed("CRAM-MD5 has no initial response")
        return Challenge(self._challenge)

    def respond(self, octets: bytes) -> Step:
        # RFC 2195 §2: login, a space, the digest in lower-case hexadecimal. The login itself may hold spaces.
        try:
            login, found, digest = octets.decode("utf-8").rpartition(" ")
        except UnicodeDecodeError:
            return malformed("CRAM-MD5: not UTF-8")
        if not found or not login or len(digest) != 32:
            return malformed("CRAM-MD5 wants: login, a space, 32 hexadecimal digits")
        if digest_matches(self._credentials, login, lambda key: hmac.digest(key, self._challenge, "md5").hex(), digest):
            return Success(login, login)
        return rejected(login)


def digest_matches(credentials: SecretSource, login: str, digest_of: Callable[[bytes], str], digest: str) -> bool:
    """Whether the client's digest is that of the account's password; also for APOP (RFC 1939 §7)."""
    secret = credentials.secret(login)
    if secret is None:
        return credentials.verify(login, digest)  # any password is right there, or no such account
    return hmac.compare_digest(digest_of(secret.encode("utf-8")), digest.lower())
