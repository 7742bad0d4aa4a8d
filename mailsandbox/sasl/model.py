"""What an authentication exchange says and asks: steps, and the source of secrets behind it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class FailureCode(StrEnum):
    """Why an exchange failed, for the protocols' own words."""

    CREDENTIALS = "credentials"  # the login does not exist or the secret is wrong: which, is not said
    MALFORMED = "malformed"  # the client broke the mechanism's syntax
    FORBIDDEN = "forbidden"  # may not act as the identity it asked for


@dataclass(frozen=True, slots=True)
class Challenge:
    """Send this and wait for the client's response."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class Success:
    """`login` proved who it is and acts as `authorisation` (the same, unless the mechanism said otherwise)."""

    login: str
    authorisation: str


@dataclass(frozen=True, slots=True)
class Failure:
    """The exchange is over; `reason` is for the record and may be shown."""

    reason: str
    code: FailureCode
    login: str = ""


Step = Challenge | Success | Failure


class SecretSource(Protocol):
    """Who knows the passwords; store.credentials.Credentials is one."""

    def verify(self, login: str, password: str) -> bool:
        """Whether this password (or bearer token) opens this account."""
        ...

    def secret(self, login: str) -> str | None:
        """The password in clear; None where any is right or there is no such account."""
        ...

    def may_exist(self, login: str) -> bool:
        """Whether the account exists or may come into being."""
        ...

    @property
    def has_secrets(self) -> bool:
        """Whether any account has a password of its own."""
        ...


class Exchange(Protocol):
    """One authentication exchange."""

    def start(self, initial: bytes | None) -> Step:
        """Begin. `initial`: the client's initial response, None where it sent none (b"" is an empty one)."""
        ...

    def respond(self, octets: bytes) -> Step:
        """The client's response to the last challenge."""
        ...


def admitted(login: str, authorisation: str) -> Success | Failure:
    """Proof was given: may it act as `authorisation` ("" means as itself)?"""
    # RFC 4422 §3.4.1: the server decides; here everyone acts as himself only.
    if not authorisation.isprintable():
        return malformed("the authorisation name has control characters (RFC 4013 §2.3)", login)
    if authorisation and authorisation.strip().lower() != login.strip().lower():
        return Failure(f"{login} may not act as {authorisation}", FailureCode.FORBIDDEN, login)
    return Success(login, authorisation or login)


def rejected(login: str) -> Failure:
    """The same words for a wrong secret and an unknown login, so that logins cannot be found out."""
    return Failure("login or password is wrong", FailureCode.CREDENTIALS, login)


def malformed(reason: str, login: str = "") -> Failure:
    """The client broke the mechanism's syntax."""
    return Failure(reason, FailureCode.MALFORMED, login)
