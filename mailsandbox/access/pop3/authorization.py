"""AUTHORIZATION (RFC 1939 §4, §7; RFC 5034; RFC 2595; RFC 6856): who are you? Pure: who it is, others decide.

Invariant: a password is never kept beyond the effect that carries it.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final, assert_never

from mailsandbox.access.pop3.commands import Apop, Auth, Pass, Simple, User
from mailsandbox.access.pop3.effects import Effect, Leave, Say, TryDigest, TryPassword, TrySasl, Upgrade, Voice, line
from mailsandbox.access.pop3.personality import Manner
from mailsandbox.sasl import (
    Challenge,
    Exchange,
    Failure,
    FailureCode,
    SecretSource,
    Step,
    Success,
    exchange,
    mechanisms,
)

IN_CLEAR: Final = frozenset({"PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"})
_MECHANISM: Final = re.compile(r"[A-Z0-9_-]{1,20}")  # RFC 4422 §3.1

AuthorizationCommand = User | Pass | Apop | Auth | Simple


@dataclass(frozen=True, slots=True)
class Host:
    """Who this server is. `stamp`: APOP's timestamp "<...@host>", "" without APOP; `tls`: whether STLS can be."""

    name: str
    version: str
    stamp: str
    tls: bool


class Authorization:
    """What is known of a client that has not logged in."""

    def __init__(self, manner: Manner, credentials: SecretSource, voice: Voice, *, host: Host) -> None:
        self._manner = manner
        self._credentials = credentials
        self._voice = voice
        self._host = host
        self._login = ""
        self._exchange: Exchange | None = None
        self.secure = False
        self.utf8 = False

    @property
    def in_exchange(self) -> bool:
        """Whether the next line is a response to a SASL challenge."""
        return self._exchange is not None

    @property
    def login(self) -> str:
        """The login named last, "" if none."""
        return self._login

    @property
    def offers_stls(self) -> bool:
        """Whether STLS can be sent now."""
        return self._host.tls and not self.secure and self._manner.offers("STLS")

    @property
    def takes_clear(self) -> bool:
        """Whether a password may come as it is."""
        return self.secure or not self._manner.options.require_tls

    def mechanisms(self) -> list[str]:
        """What SASL offers now."""
        if not self._manner.offers("SASL"):
            return []
        offered = mechanisms(self._credentials, tls=self.secure, clear=self.takes_clear)
        return [name for name in offered if self._manner.offers(f"AUTH={name}")]

    def handle(self, command: AuthorizationCommand) -> Effect:
        """Carry out a command of this state."""
        match command:
            case User(name=name):
                return self._user(name)
            case Pass(password=password):
                return self._pass(password)
            case Apop(name=name, digest=digest):
                if not self._host.stamp:
                    return self._voice.error("unknown-command")
                self._login = name
                return TryDigest(name, digest, self._host.stamp)
            case Auth(mechanism=""):
                body = "".join(f"{name}\r\n" for name in self.mechanisms()).encode()
                return self._voice.lines("mechanisms", body, "[mechanisms]")
            case Auth(mechanism=mechanism, initial=initial):
                return self._begin(mechanism.upper(), initial)
            case Simple.STLS:
                return self._stls()
            case Simple.UTF8:
                self.utf8 = True  # RFC 6856 §2: before login, for the whole session
                return self._voice.ok("utf8")
            case _:
                return self._voice.error("wrong-state")

    def _user(self, name: str) -> Say:
        if not self.takes_clear:
            return self._voice.error("need-tls")
        # RFC 1939 §7: whether there is such an account is not told; mailboxes are not to be found out this way.
        self._login = name
        return self._voice.ok("send-pass")

    def _pass(self, password: str) -> Effect:
        if not self._login:
            return self._voice.error("user-first")
        login, self._login = self._login, ""  # RFC 1939 §7: PASS is valid immediately after USER only
        return TryPassword(login, password)

    def _stls(self) -> Effect:
        if self.secure:
            return self._voice.error("tls-on")  # RFC 2595 §4
        if not self.offers_stls:
            return self._voice.error("no-tls")
        return Upgrade(self._voice.ok("begin-tls"))

    def secured(self) -> None:
        """TLS is on: RFC 2595 §4: forget what was learnt from the client in clear."""
        self.secure = True
        self.utf8 = False
        self._login = ""
        self._exchange = None

    # -- AUTH (RFC 5034)

    def _begin(self, mechanism: str, initial: str | None) -> Effect:
        if not _MECHANISM.fullmatch(mechanism) or mechanism not in self.mechanisms():
            if mechanism in IN_CLEAR and not self.takes_clear:
                return self._voice.error("need-tls")
            return self._voice.error("no-mechanism")
        begun = exchange(mechanism, self._credentials, hostname=self._host.name)
        if begun is None:
            return self._voice.error("no-mechanism")
        octets: bytes | None = None
        if initial is not None:
            octets = b"" if initial == "=" else _unbase64(initial)  # RFC 5034 §4: "=" is an empty response
            if octets is None:
                return self._voice.error("bad-base64")
        return self._step(begun, begun.start(octets))

    def respond(self, octets: bytes) -> Effect:
        """The client's line after a challenge."""
        begun, self._exchange = self._exchange, None
        assert begun is not None
        if octets.strip() == b"*":  # RFC 5034 §4: the client cancels
            return self._voice.error("cancelled")
        response = _unbase64(octets.decode("latin-1"))
        if response is None:
            return self._voice.error("bad-base64")
        return self._step(begun, begun.respond(response))

    def _step(self, begun: Exchange, step: Step) -> Effect:
        match step:
            case Challenge(octets=octets):
                self._exchange = begun
                return line(f"+ {base64.b64encode(octets).decode()}")
            case Failure(code=FailureCode.MALFORMED):
                return self._voice.error("bad-response")
            case Success() | Failure():
                self._login = step.login
                return TrySasl(step)
            case _:
                assert_never(step)

    def denied(self, code: FailureCode, *, final: bool) -> Say | Leave:
        """The login was refused; `final`: this client has had its attempts."""
        # RFC 3206 §5: [AUTH] tells the client that it is the credentials.
        coded = "AUTH" if self._manner.offers("AUTH-RESP-CODE") else ""
        say = self._voice.error("forbidden" if code is FailureCode.FORBIDDEN else "denied", coded)
        if final:
            return Leave(say, "too many failed logins")
        return say


def _unbase64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
