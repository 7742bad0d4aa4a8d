"""A local certificate authority and the server's certificate, made once per directory.

The authority's certificate is a file that a user can trust (`curl --cacert`); its key never leaves the directory.
Own certificates from the configuration take the place of both.
"""

import datetime
import hashlib
import ipaddress
import os
import ssl
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mailsandbox.errors import ConfigError, StartError

if TYPE_CHECKING:
    # Imported in the functions: the library takes 50 ms to load, and a kept certificate does not need it.
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

LIFETIME: Final = datetime.timedelta(days=825)  # the longest that Apple's and Mozilla's clients accept of a server
AUTHORITY: Final = "ca.pem"
_RENEW_BEFORE: Final = datetime.timedelta(days=30)


@dataclass(frozen=True, slots=True)
class TlsIdentity:
    """The server's TLS context, and the PEM file of the authority that signed it (None with own certificates)."""

    context: ssl.SSLContext
    authority: Path | None

    def trusted(self) -> ssl.SSLContext:
        """A client's context that trusts that authority, else those of the system."""
        return ssl.create_default_context(cafile=self.authority)


def own_certificate(certificate: Path, key: Path) -> TlsIdentity:
    """The user's certificate chain and key. Raises ConfigError where they cannot be read or do not fit."""
    context = _server_context()
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"tls: certificate {certificate} with key {key} cannot be used: {error}") from None
    return TlsIdentity(context, None)


def local_identity(directory: Path, hosts: Sequence[str]) -> TlsIdentity:
    """A certificate for `hosts` (names and addresses), signed by the authority in `directory`; made if missing.

    Raises StartError where the directory cannot be written.
    """
    # The file's name tells the hosts and its time the age, so that a kept certificate is used without being parsed:
    # the library that could takes 50 ms to load.
    server = directory / f"server-{hashlib.sha256(' '.join(hosts).encode()).hexdigest()[:12]}.pem"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _still_good(server) or not (directory / AUTHORITY).exists():
            _issue(directory, server, hosts)
    except OSError as error:
        raise StartError(f"cannot write certificates to {directory}: {error.strerror or error}") from None
    context = _server_context()
    context.load_cert_chain(server)
    return TlsIdentity(context, directory / AUTHORITY)


def _still_good(server: Path) -> bool:
    return server.exists() and time.time() - server.stat().st_mtime < (LIFETIME - _RENEW_BEFORE).total_seconds()


def _server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8997: older versions are no longer allowed for mail
    return context


def _issue(directory: Path, server: Path, hosts: Sequence[str]) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    authority_key, authority = _authority(directory)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write_private(server, certificate.public_bytes(serialization.Encoding.PEM) + private)


def _authority(directory: Path) -> "tuple[EllipticCurvePrivateKey, x509.Certificate]":
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    certificate_file, key_file = directory / AUTHORITY, directory / "ca.key"
    if certificate_file.exists() and key_file.exists():
        loaded = serialization.load_pem_private_key(key_file.read_bytes(), None)
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise StartError(f"{key_file} is not an elliptic curve key: remove it and ca.pem to have both made anew")
        return loaded, x509.load_pem_x509_certificate(certificate_file.read_bytes())
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mailsandbox local authority")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + 4 * LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_authority_usage(), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write_private(key_file, private)
    _replace(certificate_file, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)
    return key, certificate


def _authority_usage() -> "x509.KeyUsage":
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> "x509.GeneralName":
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write_private(path: Path, octets: bytes) -> None:
    _replace(path, octets, mode=0o600)


def _replace(path: Path, octets: bytes, *, mode: int) -> None:
    """Two daemons that start at once must not read half a file."""
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(octets)
    Path(temporary).chmod(mode)
    Path(temporary).replace(path)
