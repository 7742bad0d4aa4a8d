"""Who may log in: the accounts that the configuration names, and whether any other may come into being.

Knows no mechanism and no protocol; `sasl` and the servers ask it.
"""

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # RFC 4013 §2.3: in no login


@dataclass(frozen=True, slots=True)
class AccountSpec:
    """One configured account. `password` None: any is right. `quota` in octets."""

    password: str | None = None
    quota: int | None = None
    personality: str = ""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Answers logins. Logins are addresses and compare without case.

    `any_account`: accounts appear when first used, any password is right unless the account has one.
    """

    any_account: bool = True
    specs: Mapping[str, AccountSpec] = field(default_factory=dict)  # by address in lower case

    def spec(self, login: str) -> AccountSpec | None:
        """The configured account, if the configuration names it."""
        return self.specs.get(canonical(login))

    def may_exist(self, login: str) -> bool:
        """Whether mail for the account is taken and a login is possible at all."""
        return canonical(login) in self.specs or (self.any_account and _is_name(login))

    def verify(self, login: str, password: str) -> bool:
        """Whether this password opens this account."""
        spec = self.spec(login)
        if spec is None:
            return self.any_account and _is_name(login)
        return spec.password is None or hmac.compare_digest(spec.password.encode(), password.encode())

    def secret(self, login: str) -> str | None:
        """The password in clear, for mechanisms that need it (APOP, CRAM-MD5, SCRAM); None where there is none."""
        spec = self.spec(login)
        return spec.password if spec else None

    @property
    def has_quotas(self) -> bool:
        """Whether any account has a quota."""
        return any(spec.quota is not None for spec in self.specs.values())

    @property
    def has_secrets(self) -> bool:
        """Whether any account has a password, so that those mechanisms are worth offering."""
        return any(spec.password is not None for spec in self.specs.values())


def _is_name(login: str) -> bool:
    """Whether an account may be called so: it will be shown in replies, lists and logs."""
    return bool(login.strip()) and _CONTROL.search(login) is None


def canonical(login: str) -> str:
    """The account's key: the address in lower case, without surrounding blanks."""
    return login.strip().lower()
