"""The chosen delivery models on one workload, measured beside what theory says.

The same arrivals reach all readers: a Poisson process of `rate` messages a second, from `seed`, over `seconds`.
Theory is conditional on the arrivals that there were, so that a short run has no sampling error to explain away:

    a poller that asks every T seconds   waits U(0, T), T/2 on average; sum((gap - T)+) / T of its answers are empty
    a long poll, a push                  waits for nothing; a long poll of 30 s is empty after 30 s without mail only
"""

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from mailsandbox.lab.counting import Counters
from mailsandbox.lab.models.http import Exchange, Page
from mailsandbox.lab.models.smtp import SmtpWatcher
from mailsandbox.lab.submission import submit
from mailsandbox.lab.watchers import POLLERS, Notice, Watcher, watcher
from mailsandbox.runtime.embedded import Sandbox
from mailsandbox.tasks import Tasks

ACCOUNT: Final = "reader@beta.test"
SETTLE: Final = 5.0  # seconds for the last message to reach every reader, plus two intervals
READERS: Final = ("pop3", "imap-poll", "http-poll", "idle", "long-poll", "sse", "websocket", "stream")

Progress = Callable[[float], None]


class Measured(Struct, kw_only=True, frozen=True):
    """One model. Latencies in milliseconds from commit to the reader's having heard; octets without message bodies."""

    model: str
    title: str
    opened_by: str
    expected: int
    delivered: int
    duplicates: int
    mean_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    max_ms: float | None
    connections: int
    requests: int
    empty_answers: int
    overhead_out: int
    overhead_in: int
    overhead_per_message: float | None
    theory_mean_ms: float
    theory_empty: float


class CompareResult(Struct, kw_only=True, frozen=True):
    """The workload and every model on it."""

    rate: float
    seconds: float
    seed: int
    interval: float
    messages: int
    rows: list[Measured]

    @property
    def complete(self) -> bool:
        return all(row.delivered == row.expected and not row.duplicates for row in self.rows)


async def run_compare(
    models: Sequence[str] = READERS,
    *,
    rate: float = 2.0,
    seconds: float = 10.0,
    seed: int = 1,
    interval: float = 1.0,
    progress: Progress | None = None,
) -> CompareResult:
    """Start a sandbox and measure. `progress` is told the share done, from 0 to 1."""
    async with Sandbox() as box:
        services = {name: str(service) for name, service in box.services.items()}
        return await compare(
            services, models, rate=rate, seconds=seconds, seed=seed, interval=interval, progress=progress
        )


async def compare(
    services: Mapping[str, str],
    models: Sequence[str],
    *,
    rate: float,
    seconds: float,
    seed: int,
    interval: float,
    progress: Progress | None = None,
) -> CompareResult:
    """The same against a running daemon."""
    readers = [watcher(name, services, ACCOUNT, interval=interval) for name in models]
    arrivals = poisson(rate, seconds, seed)
    cursor = await _cursor(services["http"])
    try:
        await asyncio.gather(*(reader.start() for reader in readers))
        pushed = [reader.address for reader in readers if isinstance(reader, SmtpWatcher)]
        began = time.monotonic()
        heard = await _run(
            readers, [services["beta.smtp"], *pushed], arrivals, seconds, SETTLE + 2 * interval, progress
        )
        lasted = time.monotonic() - began
    finally:
        await asyncio.gather(*(reader.aclose() for reader in readers))
    commits = await _commits(services["http"], cursor)
    rows = [
        _measured(reader, notices, commits, interval=interval, lasted=lasted)
        for reader, notices in zip(readers, heard, strict=True)
    ]
    return CompareResult(rate=rate, seconds=seconds, seed=seed, interval=interval, messages=len(arrivals), rows=rows)


def poisson(rate: float, seconds: float, seed: int) -> list[float]:
    """Arrival times within `seconds`; at least one."""
    rng = random.Random(seed)  # a workload, not a secret
    at, arrivals = 0.0, list[float]()
    while (at := at + rng.expovariate(rate)) < seconds:
        arrivals.append(at)
    return arrivals or [seconds / 2]


async def _run(
    readers: Sequence[Watcher],
    addresses: Sequence[str],
    arrivals: Sequence[float],
    seconds: float,
    settle: float,
    progress: Progress | None,
) -> list[list[Notice]]:
    tasks = Tasks()
    deadline = time.monotonic() + seconds + settle
    hearing = [
        tasks.spawn(_hear(reader, len(arrivals), deadline), name=f"compare {reader.model.name}") for reader in readers
    ]
    began = time.monotonic()
    try:
        for number, at in enumerate(arrivals):
            await asyncio.sleep(max(0.0, began + at - time.monotonic()))
            octets = b"From: sender@alpha.test\r\nSubject: n%d\r\nMessage-ID: <n%d@compare>\r\n\r\n.\r\n" % (
                number,
                number,
            )
            await asyncio.gather(
                *(submit(address, "sender@alpha.test", [ACCOUNT], octets, body="") for address in addresses)
            )
            if progress is not None:
                progress((number + 1) / len(arrivals))
        return list(await asyncio.gather(*hearing))
    finally:
        await tasks.aclose()


async def _hear(reader: Watcher, expected: int, deadline: float) -> list[Notice]:
    """Notices until every message was told of, or the time is over."""
    notices: list[Notice] = []
    while len({notice.message_id for notice in notices}) < expected:
        notice = await reader.next(max(0.0, deadline - time.monotonic()))
        if notice is None:
            break
        notices.append(notice)
    return notices


async def _cursor(address: str) -> int:
    exchange = Exchange(address, Counters())
    try:
        _, _, octets = await exchange.get(f"/v1/accounts/{ACCOUNT}/changes?limit=1")
        page = msgspec.json.decode(octets, type=Page)
        while page.changes:
            _, _, octets = await exchange.get(f"/v1/accounts/{ACCOUNT}/changes?since={page.cursor}")
            page = msgspec.json.decode(octets, type=Page)
        return page.cursor
    finally:
        await exchange.aclose()


class _Committed(Struct):
    type: str
    committed_ns: int
    message_id: str | None = None


class _Commits(Struct):
    changes: list[_Committed]
    cursor: int


class _Named(Struct):
    message_id: str


async def _commits(address: str, since: int) -> dict[str, int]:
    """CLOCK_MONOTONIC of the commit by Message-ID field, of what came after the cursor."""
    exchange = Exchange(address, Counters())
    commits: dict[str, int] = {}
    try:
        while True:
            _, _, octets = await exchange.get(f"/v1/accounts/{ACCOUNT}/changes?since={since}")
            page = msgspec.json.decode(octets, type=_Commits)
            if not page.changes:
                return commits
            for change in page.changes:
                if change.type == "MessageNew" and change.message_id is not None:
                    _, _, octets = await exchange.get(f"/v1/messages/{change.message_id}")
                    commits[msgspec.json.decode(octets, type=_Named).message_id] = change.committed_ns
            since = page.cursor
    finally:
        await exchange.aclose()


def _measured(
    reader: Watcher, notices: Sequence[Notice], commits: Mapping[str, int], *, interval: float, lasted: float
) -> Measured:
    counters, model = reader.counters, reader.model
    first: dict[str, Notice] = {}
    for notice in notices:
        first.setdefault(notice.message_id, notice)
    known = sorted((notice.notified_ns - commits[key]) / 1e6 for key, notice in first.items() if key in commits)
    # The SMTP watcher is a mail server of its own: its commit is its own 250, and it hears of nothing else.
    latencies = [] if isinstance(reader, SmtpWatcher) else known
    overhead_in = counters.octets_in - counters.bodies
    theory_mean, theory_empty = theory(model.name, sorted(commits.values()), interval=interval, lasted=lasted)
    return Measured(
        model=model.name,
        title=model.title,
        opened_by=model.opened_by,
        expected=len(commits),
        delivered=len(first),
        duplicates=len(notices) - len(first),
        mean_ms=sum(latencies) / len(latencies) if latencies else None,
        p50_ms=quantile(latencies, 0.5),
        p95_ms=quantile(latencies, 0.95),
        max_ms=latencies[-1] if latencies else None,
        connections=counters.connections,
        requests=counters.requests,
        empty_answers=counters.empty_answers,
        overhead_out=counters.octets_out,
        overhead_in=overhead_in,
        overhead_per_message=(counters.octets_out + overhead_in) / len(first) if first else None,
        theory_mean_ms=theory_mean,
        theory_empty=theory_empty,
    )


def theory(model: str, commits_ns: Sequence[int], *, interval: float, lasted: float) -> tuple[float, float]:
    """Mean milliseconds until the reader hears, and empty answers, for these commits within `lasted` seconds."""
    if model not in POLLERS:
        return 0.0, 0.0
    gaps = [(after - before) / 1e9 for before, after in itertools.pairwise(commits_ns)]
    outside = lasted - sum(gaps)  # before the first message and after the last
    empty = (sum(max(0.0, gap - interval) for gap in gaps) + max(0.0, outside - interval)) / interval
    return 500.0 * interval, empty


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """The value below which `share` of them lie; None of nothing."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None
