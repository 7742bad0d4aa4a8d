"""Keys that sign mail: DKIM for alpha.test, S/MIME for one of its users."""

import base64
import re
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs7

from mailsandbox.encoding import DkimKey

NAME = "sel._domainkey.alpha.test"


@pytest.fixture(scope="session")
def dkim_key() -> tuple[DkimKey, dict[str, str]]:
    """The key, and its DNS record by name."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    record = f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}"
    return DkimKey("alpha.test", "sel", pem), {NAME: record}


@pytest.fixture(scope="session")
def smime() -> tuple[bytes, bytes]:
    """A certificate (PEM), and a multipart/signed part with CRLF line ends that its key signed."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "alice")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(private, hashes.SHA256())
    )
    text = b"Content-Type: text/plain\r\n\r\nsigned  \r\n\ttext\r\n"
    builder = pkcs7.PKCS7SignatureBuilder().set_data(text).add_signer(certificate, private, hashes.SHA256())
    signed = builder.sign(serialization.Encoding.SMIME, [pkcs7.PKCS7Options.DetachedSignature])
    signed = re.sub(rb"\r?\n", b"\r\n", signed.replace(b"MIME-Version: 1.0\n", b""))
    return certificate.public_bytes(serialization.Encoding.PEM), signed
