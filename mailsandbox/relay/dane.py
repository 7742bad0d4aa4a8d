"""DANE for SMTP: whether a server's certificates are what its TLSA records pin (RFC 6698, RFC 7671, RFC 7672). Pure.

    usage       2 DANE-TA: an authority that must have issued the certificate, which must name the server
                3 DANE-EE: the certificate itself, whatever its names and dates
                0, 1: unusable (RFC 7672 §3.1.3), as the sender need not share the server's list of authorities
    selector    0 the whole certificate, 1 its public key
    matching    0 as it is, 1 SHA-256, 2 SHA-512

Invariant: what is not understood never matches, and never counts as protection.
"""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from mailsandbox.relay.zone import TlsaRecord

if TYPE_CHECKING:
    from cryptography import x509  # imported where it is used: 100 ms, and only DANE needs it

_TRUST_ANCHOR: Final = 2
_END_ENTITY: Final = 3
_DIGITS: Final = {1: 64, 2: 128}  # of the hexadecimal data, by matching type
MAX_CHAIN: Final = 10  # certificates of a server that are looked at


def usable(record: TlsaRecord) -> bool:
    """Whether the record can match anything (RFC 7672 §2.2)."""
    known = record.usage in (_TRUST_ANCHOR, _END_ENTITY) and record.selector in (0, 1) and record.matching in (0, 1, 2)
    return known and len(record.data) == _DIGITS.get(record.matching, len(record.data))


def dane_refusal(records: Sequence[TlsaRecord], chain: Sequence[bytes], *, names: Sequence[str]) -> str:
    """What is wrong with the server's `chain` (DER, its own certificate first); "" where a record matches it.

    `names`: those of which the certificate must have one where an authority is pinned (RFC 7672 §3.2.2).
    """
    if not chain:
        return "it shows no certificate"
    why = "its certificate does not match the TLSA records"
    for record in filter(usable, records):
        if record.usage == _END_ENTITY:
            # RFC 7672 §3.1.1: its names and dates do not count.
            if _association(record, chain[0]) == record.data:
                return ""
        elif (refused := _anchor_refusal(record, chain[:MAX_CHAIN], names)) is None:
            return ""
        else:
            why = refused or why
    return why


def _anchor_refusal(record: TlsaRecord, chain: Sequence[bytes], names: Sequence[str]) -> str | None:
    """None where the chain leads to the record's authority; "" where it is not in sight, else what is wrong."""
    anchors = [one for one in chain[1:] if _association(record, one) == record.data]
    if not anchors and (record.selector, record.matching) == (0, 0):
        # RFC 7671 §5.2.2: an authority that stands in the record need not be sent.
        anchors = [bytes.fromhex(record.data)]
    return _chain_refusal(anchors[0], chain, names) if anchors else ""


def _chain_refusal(anchor: bytes, chain: Sequence[bytes], names: Sequence[str]) -> str | None:
    from cryptography import x509
    from cryptography.x509 import verification

    try:
        store = verification.Store([x509.load_der_x509_certificate(anchor)])
        leaf, *others = (x509.load_der_x509_certificate(one) for one in chain)
    except ValueError:
        return "its certificates, or the one in the TLSA record, are malformed"
    # RFC 7671 §5.2: signatures, dates and names count; what web browsers ask for besides does not.
    issuers = verification.ExtensionPolicy.permit_all().require_present(
        x509.BasicConstraints, verification.Criticality.AGNOSTIC, _is_authority
    )
    servers = verification.ExtensionPolicy.permit_all().require_present(
        x509.SubjectAlternativeName, verification.Criticality.AGNOSTIC, None
    )
    policy = verification.PolicyBuilder().store(store).extension_policies(ca_policy=issuers, ee_policy=servers)
    why = "it has no name"
    for name in names:
        try:
            policy.build_server_verifier(x509.DNSName(name)).verify(leaf, others)
        except (verification.VerificationError, ValueError) as error:
            why = str(error)
        else:
            return None
    return f"its certificate is not what the authority in the TLSA records vouches for: {why}"


def _is_authority(policy: object, certificate: "x509.Certificate", extension: "x509.BasicConstraints") -> None:
    if not extension.ca:
        raise ValueError("an issuer is no authority")


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
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
    except ValueError:
        return b""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
