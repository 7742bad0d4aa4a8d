"""How safe a hop must be: TLS levels, MTA-STS (RFC 8461), DANE (RFC 7672), REQUIRETLS (RFC 8689). Pure.

    level          no STARTTLS, or it fails    certificate
    off            never asked for             -
    opportunistic  clear text (RFC 7435)       anyone's
    required       nothing is sent             anyone's
    verified       nothing is sent             trusted by `context`, for the hop's name
    dane           nothing is sent             matches the hop's TLSA records

Invariant: policies only raise the level that the configuration gives, never lower it.
"""

import hashlib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Final

from mailsandbox.message.envelope import Envelope
from mailsandbox.relay.routes import Hop
from mailsandbox.relay.zone import MtaSts, TlsaRecord

_ORDER: Final = ("off", "opportunistic", "required", "verified", "dane")
STRICT: Final = frozenset({"required", "verified", "dane"})

_DANE_EE: Final = 3  # RFC 7672 §3.1.1: the certificate itself is pinned; its name and dates do not count


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
        usable = any(record.usage == _DANE_EE for record in hop.tlsa)
        level = _higher(level, "dane" if usable else "required")
    return configured if level == configured.level else replace(configured, level=level)


def _higher(level: str, at_least: str) -> str:
    return max(level, at_least, key=_ORDER.index)


def sts_permits(hop: Hop, mta_sts: MtaSts | None) -> bool:
    """Whether an MTA-STS policy names this exchanger (RFC 8461 §4.1); "*." stands for one label."""
    if mta_sts is None or mta_sts.mode != "enforce":
        return True
    host = hop.host.lower()
    return any(
        fnmatchcase(host, pattern) and host.count(".") == pattern.count(".")
        for pattern in mta_sts.mx
        if "[" not in pattern
    )


def context_for(policy: TlsPolicy) -> ssl.SSLContext:
    """The context of a level: "verified" verifies; otherwise anyone's certificate will do (RFC 7435, or DANE later)."""
    if policy.level == "verified" and policy.context is not None:
        return policy.context
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if policy.level == "verified":
        context.load_default_certs()
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def dane_matches(records: Sequence[TlsaRecord], certificate: bytes) -> bool:
    """Whether a DANE-EE record (usage 3) matches the server's certificate in DER (RFC 6698 §2.1).

    gap: RFC 7672 §3.1.2: usage 2 (trust anchor) counts as unusable, as Python 3.11 does not show the chain.
    """
    return any(
        record.usage == _DANE_EE and _association(record, certificate) == record.data
        for record in records
        if record.selector in (0, 1) and record.matching in (0, 1, 2)
    )


def _association(record: TlsaRecord, certificate: bytes) -> str:
    octets = certificate if record.selector == 0 else _public_key(certificate)
    match record.matching:
        case 0:
            return octets.hex()
        case 1:
            return hashlib.sha256(octets).hexdigest()
        case _:
            return hashlib.sha512(octets).hexdigest()


def _public_key(certificate: bytes) -> bytes:
    from cryptography import x509  # 100 ms to import, and only DANE needs it
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = x509.load_der_x509_certificate(certificate).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
