"""Which real server to resemble: capability sets and known quirks, on one account or all. Pure.

A personality is a set of capabilities switched off and a few manners; what remains on works as the RFCs say. The sets
follow what these servers announced when this was written; they are configuration, not promises about those servers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from mailsandbox.access.imap.capabilities import CAPABILITIES, REV2_NEEDS, available, names_of
from mailsandbox.errors import ConfigError

DEFAULT_APPEND_LIMIT: Final = 50_000_000  # octets of one message; Dovecot has none, Gmail 35,651,584
LOGIN_TIMEOUT: Final = 180.0  # seconds without login; Dovecot's 3 minutes
IDLE_TIMEOUT: Final = 1_800.0  # seconds without a command; RFC 9051 §5.4: at least 30 minutes


@dataclass(frozen=True, slots=True)
class Personality:
    """`off`: capabilities it lacks. The quirks are what clients have tripped over."""

    name: str
    off: frozenset[str] = frozenset()
    greeting: str = "mailsandbox ready"
    keywords: bool = True  # PERMANENTFLAGS has \*: clients may make keywords (Exchange: no)
    bare_idle: bool = False  # "+ " without text (clients that wait for "+ idling" hang)
    unseen_hint: bool = True  # SELECT sends [UNSEEN n] (rev2 and Gmail do not)
    trailing_flags: bool = False  # own STORE answered with UID as well (Gmail)


def _without(*names: str) -> frozenset[str]:
    return names_of(names)


def _only(*names: str) -> frozenset[str]:
    kept = names_of(names)
    return frozenset(name for name in CAPABILITIES if name not in kept)


_RFC3501: Final = ("IMAP4rev1", "STARTTLS", "LOGINDISABLED")

_DOVECOT: Final = _without(
    *("IMAP4rev2", "LIST-METADATA", "REPLACE", "PARTIAL", "UIDONLY", "OBJECTID", "UTF8=ACCEPT", "METADATA", "QUOTA"),
    *("INPROGRESS", "APPENDLIMIT", "CREATE-SPECIAL-USE", "COMPRESS=DEFLATE"),
)
_GMAIL: Final = _only(
    *_RFC3501,
    *("UNSELECT", "IDLE", "NAMESPACE", "QUOTA", "ID", "CHILDREN", "UIDPLUS", "COMPRESS=DEFLATE", "ENABLE", "MOVE"),
    *("CONDSTORE", "ESEARCH", "UTF8=ACCEPT", "LIST-EXTENDED", "LIST-STATUS", "LITERAL-", "SPECIAL-USE"),
    *("APPENDLIMIT", "SASL-IR"),
)
_EXCHANGE: Final = _only(
    *_RFC3501, "SASL-IR", "UIDPLUS", "MOVE", "ID", "UNSELECT", "CHILDREN", "IDLE", "NAMESPACE", "LITERAL+"
)
_ICLOUD: Final = _only(
    *_RFC3501,
    *("SASL-IR", "ID", "ENABLE", "IDLE", "NAMESPACE", "UNSELECT", "CHILDREN", "LIST-STATUS", "LIST-EXTENDED"),
    *("SPECIAL-USE", "UIDPLUS", "ESEARCH", "CONDSTORE", "QRESYNC", "SORT", "LITERAL+"),
)
_COURIER: Final = _only(
    *_RFC3501,
    *("IDLE", "NAMESPACE", "CHILDREN", "UIDPLUS", "THREAD=ORDEREDSUBJECT", "THREAD=REFERENCES", "SORT", "QUOTA"),
)
_CYRUS: Final = _without("IMAP4rev2", "PREVIEW", "UIDONLY", "INPROGRESS", "NOTIFY", "REPLACE", "UTF8=ACCEPT")
_REV2_ONLY: Final = _only("IMAP4rev2", "STARTTLS", "LOGINDISABLED", "LITERAL-", "CHILDREN", *REV2_NEEDS)

PERSONALITIES: Final[Mapping[str, Personality]] = MappingProxyType(
    {
        each.name: each
        for each in (
            Personality("mailsandbox"),
            Personality("dovecot", _DOVECOT, greeting="Dovecot ready."),
            Personality("gmail", _GMAIL, greeting="Gimap ready for requests", unseen_hint=False, trailing_flags=True),
            Personality(
                "exchange",
                _EXCHANGE,
                greeting="The Microsoft Exchange IMAP4 service is ready.",
                keywords=False,
                bare_idle=True,
            ),
            Personality("icloud", _ICLOUD),
            Personality("cyrus", _CYRUS),
            Personality("courier", _COURIER),
            Personality("rfc3501-minimal", _only(*_RFC3501)),
            Personality("rfc9051", _REV2_ONLY, unseen_hint=False),
        )
    }
)


def personality(name: str) -> Personality:
    """By name; "" is mailsandbox itself. Raises ConfigError."""
    found = PERSONALITIES.get(name.lower() or "mailsandbox")
    if found is None:
        raise ConfigError(f"unknown personality {name!r}; known: {', '.join(PERSONALITIES)}")
    return found


@dataclass(frozen=True, slots=True)
class ImapOptions:
    """How one IMAP service behaves. `accounts_off`: capabilities off for single accounts, by address."""

    personality: str = ""
    capabilities_off: frozenset[str] = frozenset()
    accounts_off: Mapping[str, frozenset[str]] = field(default_factory=dict)
    append_limit: int = DEFAULT_APPEND_LIMIT
    login_timeout: float = LOGIN_TIMEOUT
    idle_timeout: float = IDLE_TIMEOUT
    require_tls: bool = False  # LOGINDISABLED without TLS

    def manners(self, account_personality: str = "") -> Personality:
        """The personality in force for an account. One that only POP3 knows says nothing here.

        Raises ConfigError where the service's own is unknown.
        """
        return PERSONALITIES.get(account_personality.lower()) or personality(self.personality)

    def on(self, account: str = "", account_personality: str = "") -> frozenset[str]:
        """The capabilities in force, before login (no account) or for an account."""
        off = names_of(self.capabilities_off) | names_of(self.accounts_off.get(account, ()))
        return available(off | self.manners(account_personality).off)

    def mechanisms_off(self) -> frozenset[str]:
        """SASL mechanisms switched off by "AUTH=NAME"."""
        prefix = "AUTH="
        return frozenset(
            name[len(prefix) :].upper() for name in self.capabilities_off if name.upper().startswith(prefix)
        )
