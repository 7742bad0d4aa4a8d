"""Listeners on free ports, with everything they accept kept in a list."""

import asyncio
import itertools
import ssl

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


class Service:
    """A running listener and what came in by it."""

    def __init__(self, spec: ListenerSpec, context: SubmitContext, accepted: list[Incoming]) -> None:
        self.listener = SmtpListener(spec, context)
        self.spec = spec
        self.context = context
        self.accepted = accepted
        self.clients: list = []  # to be closed with it

    @property
    def port(self) -> int:
        return self.listener.port

    def session(self, index: int = 0):
        """The newest session, or an older one."""
        return list(self.context.sessions)[index]


class Services:
    """`async with Services(tls) as serve: await serve(kind=..., context={...})`: listeners, all closed at the end."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self.tls = tls
        self.started: list[Service] = []

    async def __aenter__(self) -> "Services":
        return self

    async def __call__(self, *, context: dict | None = None, **changes) -> Service:
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
            "tls": self.tls,
            "clock": ManualClock(),
            **(context or {}),
        }
        service = Service(spec, SubmitContext(**settings), accepted)
        await service.listener.start()
        self.started.append(service)
        return service

    async def __aexit__(self, *exc: object) -> None:
        for service in self.started:
            for client in service.clients:
                client.close()
            await service.listener.aclose()


class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closing = False
        self.reading = True

    def get_extra_info(self, name, default=None):
        return {"peername": ("127.0.0.1", 4711), "sockname": ("127.0.0.1", 25)}.get(name, default)

    def write(self, data) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def hang_up(self, connection: asyncio.Protocol) -> None:
        """The connection ends."""
        self.closing = True
        connection.connection_lost(None)
