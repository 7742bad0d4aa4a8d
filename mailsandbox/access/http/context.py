"""What the HTTP interface is given: the stations it shows, and the few acts of the sandbox that it may ask for."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mailsandbox.clock import Clock
from mailsandbox.faults import Faults
from mailsandbox.journey.sessions import SessionLog
from mailsandbox.mailqueue.model import QueuedItem
from mailsandbox.message.envelope import Envelope
from mailsandbox.notify.hub import Hub
from mailsandbox.smtp.replies import Reply
from mailsandbox.store.credentials import Credentials
from mailsandbox.store.journeys import JourneyLedger
from mailsandbox.store.store import Store
from mailsandbox.tasks import Tasks


@dataclass(frozen=True, slots=True)
class Submission:
    """What a site said to a message handed over by POST /v1/send; the ids are "" where it refused."""

    reply: Reply
    journey_id: str = ""
    queue_id: str = ""


class Submit(Protocol):
    """Hands a message to a site's receive gate; durable when it returns a positive reply."""

    async def __call__(self, envelope: Envelope, octets: bytes, *, site: str, client: str) -> Submission:
        """`site` "" means the first one; `client` is the address of whoever asks."""
        ...


class QueueView(Protocol):
    """One site's relay queue, as it is shown and steered."""

    async def items(self) -> Sequence[QueuedItem]: ...
    async def item(self, queue_id: str) -> QueuedItem: ...
    async def hold(self, queue_id: str) -> None: ...
    async def release(self, queue_id: str) -> None: ...
    async def retry(self, queue_id: str) -> int: ...
    async def remove(self, queue_id: str) -> None: ...
    async def bounce(self, queue_id: str) -> None: ...
    async def run(self) -> int: ...


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """`hosts`: names besides localhost and IP addresses that a Host field may carry. Durations in seconds."""

    hosts: frozenset[str] = frozenset()
    heartbeat: float = 15.0  # WHATWG HTML §9.2.7: a comment line every 15 seconds or so
    longest_wait: float = 300.0  # of Prefer: wait and /v1/wait; RFC 6202 §5.5 finds proxies cutting at 30 to 120
    stall: float = 60.0  # a reader of a stream that takes nothing for so long is cut off
    max_body: int = 67_108_864  # octets of one request's body
    max_archive: int = 8 << 30  # octets of an archive to import; it is written to a temporary file, not kept in memory


@dataclass(slots=True)
class Counts:
    """What /metrics shows of the server itself."""

    requests: Counter[tuple[str, str, int]] = field(default_factory=Counter)  # by method, route, status
    readers: Counter[str] = field(default_factory=Counter)  # staying now, by model


@dataclass(slots=True)
class HttpContext:
    """Everything the routes reach."""

    store: Store
    hub: Hub
    credentials: Credentials
    clock: Clock
    sessions: SessionLog
    ledger: JourneyLedger
    faults: Faults
    submit: Submit
    reset: Callable[[str | None], Awaitable[None]]  # one account, or everything
    queues: Mapping[str, QueueView] = field(default_factory=dict)  # by site
    ready: Callable[[], bool] = lambda: True
    # Service name -> "host:port", shown at / and /v1/services.
    services: Mapping[str, str] = field(default_factory=dict)
    options: HttpOptions = field(default_factory=HttpOptions)
    # The server's own:
    tasks: Tasks = field(default_factory=Tasks)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    counts: Counts = field(default_factory=Counts)

    @contextlib.contextmanager
    def reading(self, model: str) -> Iterator[None]:
        """Count a reader that stays: of "long-poll", "sse", "stream", "websocket", "wait"."""
        self.counts.readers[model] += 1
        try:
            yield
        finally:
            self.counts.readers[model] -= 1
