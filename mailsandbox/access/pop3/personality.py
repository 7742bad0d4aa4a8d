"""Which real server to resemble, and what the configuration decides about POP3. Pure.

A personality is a set of capabilities switched off and a few manners; the sets follow what these servers announced when
this was written. The names are shared with IMAP; one that says nothing about POP3 changes nothing here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from mailsandbox.access.pop3.commands import COMMANDS

IDLE_TIMEOUT: Final = 600.0  # seconds; RFC 1939 §3: at least 10 minutes


@dataclass(frozen=True, slots=True)
class Personality:
    """`off`: capabilities it lacks, as in CAPA; APOP and CAPA count, and AUTH=X is one mechanism."""

    name: str
    off: frozenset[str] = frozenset()
    greeting: str = ""  # instead of our own
    hide_fetched: bool = False  # what was retrieved once is not in the next session's maildrop
    recent_prefix: bool = False  # a login "recent:bob@beta.test" sees the fetched ones nevertheless
    expire: str = "NEVER"  # RFC 2449 §6.7
    login_delay: int | None = None  # announced, not enforced; None: the configured one
    refuse_utf8: bool = False  # RETR of a message with a UTF-8 header needs UTF8 (RFC 6856 §5)


def _off(*names: str) -> frozenset[str]:
    return frozenset(names)


_EXTENSIONS: Final = ("CAPA", "SASL", "STLS", "UTF8", "LANG", "UIDL", "TOP", "APOP")

PERSONALITIES: Final[Mapping[str, Personality]] = MappingProxyType(
    {
        personality.name: personality
        for personality in (
            Personality("mailsandbox"),
            Personality("no-uidl", _off("UIDL")),
            Personality("no-top", _off("TOP")),
            Personality("no-capa", _off("CAPA")),
            Personality("minimal", _off(*_EXTENSIONS)),  # what RFC 1939 §5 demands and nothing else
            Personality("rfc3501-minimal", _off(*_EXTENSIONS)),
            Personality("rfc6856", refuse_utf8=True),
            Personality(
                "gmail",
                _off("APOP", "STLS", "UTF8", "LANG", "IMPLEMENTATION", "PIPELINING", "AUTH-RESP-CODE", "AUTH=LOGIN",
                     "AUTH=CRAM-MD5", "AUTH=SCRAM-SHA-256"),
                greeting="Gpop ready for requests",
                hide_fetched=True,
                recent_prefix=True,
                expire="0",
                login_delay=300,
            ),
            Personality(
                "dovecot",
                _off("UTF8", "LANG", "EXPIRE", "LOGIN-DELAY", "IMPLEMENTATION", "AUTH=CRAM-MD5", "AUTH=XOAUTH2"),
                greeting="Dovecot ready.",
            ),
            Personality(
                "exchange",
                _off("APOP", "UTF8", "LANG", "EXPIRE", "LOGIN-DELAY", "IMPLEMENTATION", "PIPELINING", "RESP-CODES",
                     "AUTH-RESP-CODE", "AUTH=LOGIN", "AUTH=CRAM-MD5", "AUTH=SCRAM-SHA-256", "AUTH=OAUTHBEARER"),
                greeting="The Microsoft Exchange POP3 service is ready.",
            ),
        )
    }
)  # fmt: skip


_ANNOUNCED: Final = (
    "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "EXPIRE", "LOGIN-DELAY", "IMPLEMENTATION",
)  # fmt: skip
CAPABILITIES: Final = frozenset((*_ANNOUNCED, *(rule.capability for rule in COMMANDS.values() if rule.capability)))
"""What can be switched off, besides AUTH=X."""


def personality(name: str) -> Personality:
    """By name; the plain one where the name says nothing about POP3."""
    return PERSONALITIES.get(name, PERSONALITIES["mailsandbox"])


@dataclass(frozen=True, slots=True)
class Pop3Options:
    """`delete` False: what a client deletes is hidden from later POP3 sessions, but kept for IMAP and HTTP."""

    personality: str = ""
    delete: bool = True
    capabilities_off: frozenset[str] = frozenset()
    login_delay: int = 0  # seconds between two logins to one account, by the sandbox's clock; RFC 2449 §6.5
    idle_timeout: float = IDLE_TIMEOUT
    require_tls: bool = False
    mark_seen: bool = True  # what was retrieved is \\Seen for IMAP after QUIT, as Dovecot does it
    max_errors: int = 25  # in a row; Dovecot's login has 10, its session 20


@dataclass(frozen=True, slots=True)
class Manner:
    """What a session goes by: a personality under the configuration."""

    options: Pop3Options
    personality: Personality

    def offers(self, capability: str) -> bool:
        """Whether it is there; "" always is."""
        return capability not in self.personality.off and capability not in self.options.capabilities_off

    def allows(self, verb: str) -> bool:
        """Whether the command is there."""
        rule = COMMANDS.get(verb)
        return rule is not None and self.offers(rule.capability)


def manner(options: Pop3Options, account_personality: str = "") -> Manner:
    """For one account, or before login."""
    return Manner(options, personality(account_personality or options.personality))
