"""Queue and relay alone: messages per second from the queue to Postfix's smtp-sink, and what a message costs in CPU."""

import argparse
import asyncio
import json
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass

from mailsandbox.clock import SystemClock
from mailsandbox.database.opening import open_database
from mailsandbox.encoding import RelayPolicy, prepare
from mailsandbox.faults import Faults
from mailsandbox.journey.sessions import SessionLog
from mailsandbox.mailqueue.model import NewItem
from mailsandbox.mailqueue.runner import Queue
from mailsandbox.mailqueue.schedule import RetryPolicy
from mailsandbox.message.envelope import Envelope, Recipient
from mailsandbox.relay.allow import Allow
from mailsandbox.relay.courier import RelayCourier
from mailsandbox.relay.routes import Route, Routes
from mailsandbox.relay.tls import TlsPolicy
from mailsandbox.store.journeys import JourneyLedger

LINE = b"The quick brown fox jumps over the lazy dog, again and again and again.\r\n"
SIZES = {"1 KB": (1_000, 3_000), "100 KB": (100_000, 500), "5 MB": (5_000_000, 30)}


@dataclass(frozen=True)
class Figure:
    """One row."""

    database: str
    size: str
    messages: int
    per_second: float
    cpu_ms: float  # of this process, for each message


async def measure(target: str, size: str, port: int) -> Figure:
    """Queue all messages at once, wait until all are gone."""
    octets, count = SIZES[size]
    content = b"From: a@alpha.test\r\nTo: b@beta.test\r\nSubject: bench\r\n\r\n" + LINE * (octets // len(LINE))
    clock, database = SystemClock(), open_database(target)
    await database.start()
    ledger = JourneyLedger(database, clock)
    await ledger.start()
    courier = RelayCourier(
        site="alpha",
        helo="mx.alpha.test",
        routes=Routes(static=[Route("*", "127.0.0.1", port)]),
        allow=Allow(),
        tls=TlsPolicy("off"),
        prepare=prepare,
        policy=RelayPolicy(),
        faults=Faults(),
        clock=clock,
        sessions=SessionLog(clock),
    )
    queue = Queue(
        database,
        site="alpha",
        courier=courier,
        retry=RetryPolicy(),
        clock=clock,
        rng=random.Random(0),
        record=ledger.append_in,
        notify=lambda item, reports, octets: None,
    )
    await queue.start()
    envelope = Envelope("a@alpha.test", (Recipient("b@beta.test"),))

    async def put(number: int) -> None:
        item = NewItem(f"Q{number}", f"Q{number}", envelope, content + b"%d\r\n" % number, clock.now())
        await database.write(lambda tx: queue.enqueue_in(tx, item))

    began, cpu = time.perf_counter(), time.process_time()
    together = max(1, min(50, 5_000_000 // octets))  # messages accepted at once, and in memory because of us
    for start in range(0, count, together):
        await asyncio.gather(*(put(number) for number in range(start, min(start + together, count))))
    await queue.quiet()
    spent, cpu = time.perf_counter() - began, time.process_time() - cpu
    left = await queue.count()
    await queue.aclose()
    await ledger.aclose()
    await database.aclose()
    if left:
        raise SystemExit(f"{left} messages were not relayed")
    return Figure("memory" if target == ":memory:" else "file", size, count, count / spent, cpu / count * 1000)


def main(argv: Sequence[str]) -> int:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(argv)
    sink = shutil.which("smtp-sink") or shutil.which("smtp-sink", path="/usr/sbin")
    if sink is None:
        print("smtp-sink (Debian package postfix) is not installed", file=sys.stderr)
        return 1
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sink, "-u", "nobody", f"127.0.0.1:{port}", "512"], stderr=subprocess.DEVNULL)
    try:
        time.sleep(0.3)
        figures = []
        for size in SIZES:
            figures.append(asyncio.run(measure(":memory:", size, port)))
            with tempfile.TemporaryDirectory() as directory:
                figures.append(asyncio.run(measure(directory, size, port)))
    finally:
        process.terminate()
        process.wait()
    if asked.json:
        print(json.dumps([figure.__dict__ for figure in figures]))
        return 0
    print(f"{'database':<10}{'size':<10}{'messages':>9}{'per second':>12}{'CPU ms each':>13}")
    for figure in figures:
        row = (figure.database, figure.size, figure.messages, figure.per_second, figure.cpu_ms)
        print("{:<10}{:<10}{:>9}{:>12.1f}{:>13.3f}".format(*row))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
