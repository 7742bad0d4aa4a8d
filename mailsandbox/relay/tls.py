"""How safe a hop must be: TLS levels, MTA-STS (RFC 8461), DANE (RFC 7672), REQUIRETLS (RFC 8689). Pure.

    level          no STARTTLS, or it fails    certificate
    off            never asked for             -
    opportunistic  clear text (RFC 7435)       anyone's
    required       nothing is sent             anyone's
    verified       nothing is sent             trusted by `context`, for the hop's name
    dane           nothing is sent             matches the hop's TLSA records

Invariant: policies only raise the level that the configuration gives, never lower it.
"""

import ssl
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

from mailsandbox.message.envelope import Envelope
from mailsandbox.relay.dane import usable
from mailsandbox.relay.routes import Hop
from mailsandbox.relay.zone import MtaSts

_ORDER: Final = ("off", "opportunistic", "required", "verified", "dane")
STRICT: Final = frozenset({"required", "verified", "dane"})


@dataclass(frozen=True, slots=True)
class TlsPolicy:
    """A level, and what "verified" trusts (None: the system's authorities)."""

    level: str = "opportunistic"
    context: ssl.SSLContext | None = None

    @property
    def strict(self) -> bool:
        """Whether nothing may be sent in clear text."""
        return self.level in STRICT


def policy_for(hop: Hop, *, configured: TlsPolicy, envelope: Envelope, mta_sts: MtaSts | None) -> TlsPolicy:
    """The policy for one message at one hop."""
    level = hop.tls or configured.level
    if mta_sts is not None and mta_sts.mode == "enforce":
        level = _higher(level, "verified")  # RFC 8461 §4.1
    if envelope.require_tls:
        level = _higher(level, "verified")  # RFC 8689 §4.2.1
    if hop.tlsa:
        # RFC 7672 §2.2: TLSA records make TLS mandatory; where none is usable, without authentication.
        level = _higher(level, "dane" if any(map(usable, hop.tlsa)) else "required")
    return configured if level == configured.level else replace(configured, level=level)


def _higher(level: str, at_least: str) -> str:
    return max(level, at_least, key=_ORDER.index)


def sts_names(host: str, mta_sts: MtaSts) -> bool:
    """Whether an MTA-STS policy names this exchanger (RFC 8461 §4.1); "*." stands for one label."""
    host = host.lower()
    _, dot, parent = host.partition(".")
    return any(host == pattern or (dot and pattern == f"*.{parent}") for pattern in mta_sts.mx)


def context_for(policy: TlsPolicy) -> ssl.SSLContext:
    """The context of a level: "verified" verifies; otherwise anyone's certificate will do (RFC 7435, or DANE later)."""
    if policy.level == "verified" and policy.context is not None:
        return policy.context
    if policy.level != "verified":
        return _anyones()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    return context


@cache
def _anyones() -> ssl.SSLContext:
    """One for all connections: to make it takes as long as to relay a message, and few of them come to need it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
