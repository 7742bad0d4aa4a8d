"""A key that signs mail of alpha.test."""

import base64

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

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
