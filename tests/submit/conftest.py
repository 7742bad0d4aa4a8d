"""Listeners on free ports with everything they accept kept in a list, and certificates made for the test."""

import datetime
import itertools
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mailsandbox.clock import ManualClock
from mailsandbox.smtp.extensions import Offers
from mailsandbox.smtp.replies import Reply
from mailsandbox.submit.listener import SmtpListener
from mailsandbox.submit.model import Incoming, ListenerSpec, SubmitContext

ALL_OFFERS = (
    "PIPELINING",
    "SIZE 100000",
    "8BITMIME",
    "SMTPUTF8",
    "CHUNKING",
    "BINARYMIME",
    "DSN",
    "STARTTLS",
    "LIMITS",
    "REQUIRETLS",
    "DELIVERBY 60",
    "ETRN",
)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory) -> tuple[str, str]:
    """Paths of a self-signed certificate for localhost and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder: Path = tmp_path_factory.mktemp("tls")
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return str(folder / "cert.pem"), str(folder / "key.pem")


@pytest.fixture(scope="session")
def server_tls(certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


@pytest.fixture(scope="session")
def client_tls(certificate) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificate[0])


class Service:
    """A running listener and what came in by it."""

    def __init__(self, spec: ListenerSpec, context: SubmitContext, accepted: list[Incoming]) -> None:
        self.listener = SmtpListener(spec, context)
        self.spec = spec
        self.context = context
        self.accepted = accepted

    @property
    def port(self) -> int:
        return self.listener.port

    def session(self, index: int = 0):
        """The newest session, or an older one."""
        return list(self.context.sessions)[index]


@pytest.fixture
async def serve(server_tls) -> AsyncIterator[Callable[..., object]]:
    """`await serve(kind="lmtp", context={...}, ...)` starts a listener; all are closed at the end."""
    started: list[Service] = []

    async def start(*, context: dict | None = None, **changes) -> Service:
        accepted: list[Incoming] = []
        numbers = itertools.count(1)

        async def accept(incoming: Incoming) -> Reply:
            accepted.append(incoming)
            return incoming.reply

        changes.setdefault("offers", Offers.parse(ALL_OFFERS))
        spec = ListenerSpec(**{"service": "alpha.smtp", **changes})
        settings = {
            "accept": accept,
            "new_id": lambda: f"Q{next(numbers)}",
            "tls": server_tls,
            "clock": ManualClock(),
            **(context or {}),
        }
        service = Service(spec, SubmitContext(**settings), accepted)
        await service.listener.start()
        started.append(service)
        return service

    yield start
    for service in started:
        await service.listener.aclose()
