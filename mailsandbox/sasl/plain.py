"""PLAIN (RFC 4616) and LOGIN (draft-murchison-sasl-login): the password travels as it is."""

from typing import Final

from mailsandbox.sasl.model import Challenge, Failure, SecretSource, Step, admitted, malformed, rejected

MAX_FIELD: Final = 1_020  # octets of each field; RFC 4616 §2 allows 255 characters of up to 4 octets


class Plain:
    """RFC 4616: authorisation NUL login NUL password, in one response."""

    def __init__(self, credentials: SecretSource) -> None:
        self._credentials = credentials

    def start(self, initial: bytes | None) -> Step:
        return Challenge(b"") if initial is None else self.respond(initial)

    def respond(self, octets: bytes) -> Step:
        fields = octets.split(b"\0")
        if len(fields) != 3:
            return malformed("PLAIN wants: authorisation NUL login NUL password")
        # RFC 4616 §2: neither login nor password may be empty.
        if not fields[1] or not fields[2] or max(map(len, fields)) > MAX_FIELD:
            return malformed("PLAIN: login or password is empty or too long")
        try:
            authorisation, login, password = (field.decode("utf-8") for field in fields)
        except UnicodeDecodeError:
            return malformed("PLAIN: not UTF-8")
        if not self._credentials.verify(login, password):
            return rejected(login)
        return admitted(login, authorisation)


class Login:
    """Login and password asked for one after the other, as Outlook wants it. No RFC; the prompts are de facto fixed."""

    def __init__(self, credentials: SecretSource) -> None:
        self._credentials = credentials
        self._login: str | None = None

    def start(self, initial: bytes | None) -> Step:
        return Challenge(b"Username:") if initial is None else self.respond(initial)

    def respond(self, octets: bytes) -> Step:
        text = _field(octets)
        if isinstance(text, Failure):
            return text
        if self._login is None:
            self._login = text
            return Challenge(b"Password:")
        if not self._credentials.verify(self._login, text):
            return rejected(self._login)
        return admitted(self._login, "")


def _field(octets: bytes) -> str | Failure:
    if not octets or len(octets) > MAX_FIELD or b"\0" in octets:
        return malformed("LOGIN: login or password is empty or too long")
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        return malformed("LOGIN: not UTF-8")
