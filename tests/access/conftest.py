"""Both event loops, a certificate, and a recording protocol for the transport's tests."""

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop
from twisted.internet.protocol import Protocol

from mailsandbox.runtime.certificates import local_identity


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Runs a scenario to its end on a fresh loop of each kind."""
    factory = asyncio.new_event_loop if request.param == "asyncio" else uvloop.new_event_loop

    def scenario(work):
        async def within_deadline():
            async with asyncio.timeout(20):
                return await work

        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(within_deadline())

    return scenario


@pytest.fixture(scope="session")
def identity(tmp_path_factory):
    return local_identity(tmp_path_factory.mktemp("tls"), ["localhost", "127.0.0.1"])


@pytest.fixture
def server_tls(identity) -> ssl.SSLContext:
    return identity.context


@pytest.fixture
def client_tls(identity) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(identity.authority))


class Recorder(Protocol):
    """Keeps what it is told; `greeting` is written at once, lines are answered by `reply`."""

    greeting = b""

    def __init__(self) -> None:
        self.heard = b""
        self.largest = 0
        self.events: list[str] = []
        self.lost = asyncio.Event()
        self.made = asyncio.Event()
        self.reason: Exception | None = None

    def connectionMade(self):
        self.events.append("made")
        self.made.set()
        if self.greeting:
            self.transport.write(self.greeting)

    def handshakeCompleted(self):
        self.events.append(f"secure {self.transport.tls_version.split()[0]}")

    def dataReceived(self, octets):
        self.heard += octets
        self.largest = max(self.largest, len(octets))

    def connectionLost(self, reason):
        self.events.append("lost")
        self.reason = reason.value
        self.lost.set()


class Source(list):
    """A protocol source that keeps the protocols it made."""

    refusal = b"-ERR too many\r\n"

    def __init__(self, kind=Recorder, **attributes):
        super().__init__()
        self.kind, self.attributes = kind, attributes

    def __call__(self):
        protocol = self.kind()
        for name, value in self.attributes.items():
            setattr(protocol, name, value)
        self.append(protocol)
        return protocol


@pytest.fixture
def source() -> type[Source]:
    """`source(kind=..., attribute=value)` makes a list-like source of recording protocols."""
    return Source


@pytest.fixture
def recorder() -> type[Recorder]:
    return Recorder
