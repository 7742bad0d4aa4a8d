"""Who logs in: twisted.cred's portal over the sandbox's credentials, with failures slowed down and bounded.

A server asks `Logins.guard()` once per connection and the guard once per attempt; it answers Admitted or Denied.
Invariants: a denied attempt is answered after its delay, a right one at once; after `policy.attempts` failures a
connection is told to go (`Denied.final`); what is remembered of failures is bounded. Knows no wire protocol.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from twisted.cred.credentials import ICredentials, IUsernameHashedPassword, IUsernamePassword, UsernamePassword
from twisted.cred.error import LoginFailed, UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure as TwistedFailure
from zope.interface import Attribute, Interface, implementer

from mailsandbox.clock import Clock
from mailsandbox.sasl import Failure as SaslFailure
from mailsandbox.sasl import FailureCode, Success
from mailsandbox.store.credentials import Credentials, canonical

MAX_REMEMBERED: Final = 1_000  # accounts whose failures are remembered


@dataclass(frozen=True, slots=True)
class LoginPolicy:
    """How wrong attempts are slowed down. Seconds by the sandbox's clock.

    On one connection the first failure is answered at once, later ones after first_delay, doubled up to max_delay;
    an account that saw `burst` failures within `window` answers each further one after max_delay, on any connection.
    Dovecot waits 2 seconds from the first failure on; a sandbox whose user tests a wrong password need not.
    """

    attempts: int = 5  # failures on one connection
    first_delay: float = 0.5
    max_delay: float = 4.0
    burst: int = 20
    window: float = 60.0


@dataclass(frozen=True, slots=True)
class Admitted:
    """`account`: the address in lower case. It exists now."""

    account: str


@dataclass(frozen=True, slots=True)
class Denied:
    """`final`: this connection has had its attempts; say so and close it."""

    reason: str
    code: FailureCode
    final: bool = False


class IMailAccount(Interface):  # type: ignore[misc]  # zope.interface carries no types
    """What a mail server asks the portal for."""

    address = Attribute("The account's address in lower case.")


@implementer(IMailAccount)
@dataclass(frozen=True, slots=True)
class MailAccount:
    """The avatar of twisted.cred."""

    address: str


class IProvenIdentity(ICredentials):
    """A login that a SASL exchange has proved already."""

    username = Attribute("The login.")


@implementer(IProvenIdentity)
@dataclass(frozen=True, slots=True)
class ProvenIdentity:
    """What `sasl` answered with Success."""

    username: bytes


@implementer(IRealm)
class Realm:
    """Avatars are accounts; they need no logging out."""

    def requestAvatar(  # noqa: N802  # Twisted's name
        self, avatar_id: bytes, mind: object, *interfaces: type
    ) -> Deferred[tuple[type, MailAccount, Callable[[], None]]]:
        if IMailAccount not in interfaces:
            raise NotImplementedError("only IMailAccount is served")  # what IRealm documents
        return succeed((IMailAccount, MailAccount(canonical(avatar_id.decode())), lambda: None))


class Checker:
    """twisted.cred's checker: passwords, keyed digests (APOP), identities proved by SASL."""

    credentialInterfaces = (IUsernamePassword, IUsernameHashedPassword, IProvenIdentity)  # noqa: N815  # Twisted's name

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def requestAvatarId(self, presented: object) -> Deferred[bytes]:  # noqa: N802  # Twisted's name
        match presented:
            case ProvenIdentity(username=username):
                right = self._credentials.may_exist(username.decode())
            case HashedPassword():
                username = presented.username
                right = self._hashed(presented)
            case UsernamePassword():
                username = presented.username
                right = self._credentials.verify(username.decode(), presented.password.decode())
            case _:
                return fail(UnauthorizedLogin("unknown kind of credentials"))
        return succeed(username) if right else fail(UnauthorizedLogin("login or password is wrong"))

    def _hashed(self, presented: "HashedPassword") -> bool:
        login = presented.username.decode()
        secret = self._credentials.secret(login)
        if secret is None:  # any password is right, so any digest is; or no such account
            return self._credentials.verify(login, "")
        return presented.checkPassword(secret.encode())


@implementer(IUsernameHashedPassword)
@dataclass(frozen=True, slots=True)
class HashedPassword:
    """A digest that only the password's holder can make: `matches` says whether it is that password's."""

    username: bytes
    matches: Callable[[bytes], bool]

    def checkPassword(self, password: bytes) -> bool:  # noqa: N802  # Twisted's name
        return self.matches(password)


class Logins:
    """All that one sandbox knows of logging in."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        ensure: Callable[[str], Awaitable[None]],
        clock: Clock,
        policy: LoginPolicy,
    ) -> None:
        self.policy = policy
        self.clock = clock
        self._ensure = ensure
        # zope's interfaces are no types: mypy cannot see that these classes implement them.
        self._portal = Portal(Realm(), [Checker(credentials)])  # type: ignore[arg-type,list-item]
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def guard(self) -> "Guard":
        """One connection's attempts."""
        return Guard(self)

    async def enter(self, presented: UsernamePassword | HashedPassword | ProvenIdentity) -> str | None:
        """The account these credentials open, made if it does not exist yet; None where they open none.

        Raises StoreError where the account cannot be made now.
        """
        outcome: list[object] = []
        deferred = self._portal.login(presented, None, IMailAccount)  # type: ignore[arg-type]  # as above
        # The checker and the realm answer at once, so no loop (and no reactor) is needed to wait for them.
        deferred.addBoth(outcome.append)
        match outcome:
            case [TwistedFailure() as failure]:
                failure.trap(LoginFailed)  # type: ignore[no-untyped-call]  # Twisted's
                return None
            case [(_, MailAccount(address=address), _)]:
                await self._ensure(address)
                return address
            case _:
                raise AssertionError("the portal did not answer at once")

    def penalty(self, login: str, failures: int) -> float:
        """Count a failure; seconds to wait before it is answered, when it is the connection's `failures`-th."""
        policy, now, key = self.policy, self.clock.now(), canonical(login)
        since, count = self._failures.pop(key, (now, 0))
        if now - since > policy.window:
            since, count = now, 0
        self._failures[key] = (since, count + 1)
        if len(self._failures) > MAX_REMEMBERED:
            self._failures.popitem(last=False)
        if count >= policy.burst:
            return policy.max_delay
        return 0.0 if failures <= 1 else float(min(policy.first_delay * 2 ** (failures - 2), policy.max_delay))


class Guard:
    """The attempts of one connection, one after the other."""

    def __init__(self, logins: Logins) -> None:
        self._logins = logins
        self._failures = 0

    async def password(self, login: str, password: str) -> Admitted | Denied:
        """Login and password as given by USER/PASS or LOGIN."""
        return await self._try(login, UsernamePassword(login.encode(), password.encode()))

    async def digest(self, login: str, matches: Callable[[bytes], bool]) -> Admitted | Denied:
        """A keyed digest (APOP); `matches(password)` compares it."""
        return await self._try(login, HashedPassword(login.encode(), matches))

    async def sasl(self, step: Success | SaslFailure) -> Admitted | Denied:
        """The end of a SASL exchange."""
        match step:
            case Success(login=login):
                return await self._try(login, ProvenIdentity(login.encode()))
            case SaslFailure(reason=reason, code=code, login=login):
                return await self._denied(login, reason, code)

    async def _try(
        self, login: str, presented: UsernamePassword | HashedPassword | ProvenIdentity
    ) -> Admitted | Denied:
        account = await self._logins.enter(presented)
        if account is not None:
            return Admitted(account)
        return await self._denied(login, "login or password is wrong", FailureCode.CREDENTIALS)

    async def _denied(self, login: str, reason: str, code: FailureCode) -> Denied:
        self._failures += 1
        wait = self._logins.penalty(login, self._failures)
        if wait:
            await self._logins.clock.sleep_until(self._logins.clock.now() + wait)
        return Denied(reason, code, final=self._failures >= self._logins.policy.attempts)
