"""The store: durable deliveries, a mailbox of 100,000 messages, one message to 1,000 accounts, snapshots."""

import argparse
import asyncio
import hashlib
import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from mailsandbox.clock import SystemClock
from mailsandbox.database import open_database
from mailsandbox.database.connections import connect
from mailsandbox.message.rendering import render
from mailsandbox.runtime.daemon import new_event_loop, own_the_interpreter
from mailsandbox.store.archive.exporting import Export
from mailsandbox.store.journeys import JourneyLedger
from mailsandbox.store.model import AppendItem, Delivery
from mailsandbox.store.retention import Limits, Retention, RetentionPolicy
from mailsandbox.store.store import Store
from mailsandbox.store.views import MessageQuery

TRACE = b"Return-Path: <ann@alpha.test>\r\nDelivered-To: bob@beta.test\r\nReceived: from a by b; Sat, 21 Nov 2026\r\n"
BIG = "big@beta.test"
LINE = "The quick brown fox jumps over the lazy dog, %06d times.\r\n"


class Figures:
    """Collects rows and prints them."""

    def __init__(self) -> None:
        self.rows: list[dict[str, object]] = []

    def add(self, what: str, value: float, unit: str, goal: str = "") -> None:
        self.rows.append({"what": what, "value": round(value, 2), "unit": unit, "goal": goal})

    def show(self, *, as_json: bool) -> None:
        if as_json:
            print(json.dumps(self.rows))
            return
        for row in self.rows:
            print(f"{row['what']:<58}{row['value']:>12,} {row['unit']:<6} {row['goal']}")


def message(number: int, octets: int = 1024) -> bytes:
    """About `octets` octets, different for each number."""
    head = (
        f"From: Ann <ann@alpha.test>\r\nTo: Bob <bob@beta.test>\r\nSubject: Message {number} of the day\r\n"
        f"Date: Sat, 21 Nov 2026 03:00:00 +0000\r\nMessage-ID: <{number}@alpha.test>\r\nMIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=us-ascii\r\n\r\n"
    )
    body = (LINE % number) * (1 + (octets - len(head)) // len(LINE % 0))
    return (head + body)[: max(octets - 2, len(head))].encode() + b"\r\n"


async def timed(work: Callable[[], Awaitable[object]], rounds: int = 1) -> float:
    """Milliseconds of the quickest round."""
    best = float("inf")
    for _ in range(rounds):
        began = time.perf_counter()
        await work()
        best = min(best, time.perf_counter() - began)
    return best * 1000


async def senders(store: Store, messages: Sequence[bytes], count: int) -> float:
    """Messages per second from `count` senders, each waiting for its message before the next."""
    left = iter(messages)

    async def send() -> None:
        for octets in left:
            await store.deliver([Delivery("bob@beta.test", TRACE)], octets, journey_id="Q1")

    began = time.perf_counter()
    await asyncio.gather(*[send() for _ in range(count)])
    return len(messages) / (time.perf_counter() - began)


def bare(directory: Path, messages: Sequence[bytes], group: int, *, rendered: bool = False) -> float:
    """Messages per second of a table of digests and octets with `group` rows in each transaction, and nothing else."""
    place = directory / "bare.sqlite"
    connection: sqlite3.Connection = connect(str(place), durable=True)
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, sha256 BLOB UNIQUE, octets BLOB)")
    began = time.perf_counter()
    for at in range(0, len(messages), group):
        connection.execute("BEGIN IMMEDIATE")
        for octets in messages[at : at + group]:
            if rendered:
                render(octets)
            digest = hashlib.sha256(octets).digest()
            connection.execute("INSERT INTO t (sha256, octets) VALUES (?, ?)", (digest, octets))
        connection.execute("COMMIT")
    rate = len(messages) / (time.perf_counter() - began)
    connection.close()
    place.unlink()
    return rate


async def deliveries(figures: Figures, directory: Path, target: str, count: int, rounds: int) -> None:
    """Rates of delivery, and the yardsticks between them, so that what else the machine does hits all alike."""
    database = open_database(target)
    await database.start()
    store = Store(database)
    await store.start()
    own_the_interpreter()
    await senders(store, [message(number) for number in range(10_000_000, 10_000_200)], 50)
    rates: dict[str, list[float]] = {}
    for turn in range(rounds):
        first = turn * 2 * count
        many = [message(number) for number in range(first, first + count)]
        few = [message(number) for number in range(first + count, first + count + count // 8)]
        for name, rate in (
            ("50 senders", await senders(store, many, 50)),
            ("one sender", await senders(store, few, 1)),
            ("bare, 1", bare(directory, few, 1)),
            ("bare, 50", bare(directory, many, 50)),
            ("bare, 50, rendered", bare(directory, many, 50, rendered=True)),
        ):
            rates.setdefault(name, []).append(rate)
    await store.aclose()
    await database.aclose()
    median = {name: statistics.median(found) for name, found in rates.items()}
    fifty, alone = median["50 senders"], median["one sender"]
    figures.add("1 KB, 50 senders, rendered and durable", fifty, "msg/s", "about 10,000")
    figures.add("  the best round", max(rates["50 senders"]), "msg/s")
    figures.add("1 KB, one sender: one transaction each", alone, "msg/s")
    figures.add("50 senders against one transaction each", fifty / alone, "x", ">= 3")
    figures.add("bare table, one transaction each", median["bare, 1"], "msg/s")
    figures.add("bare table, group commit of 50", median["bare, 50"], "msg/s")
    figures.add("bare table, group commit of 50, messages rendered", median["bare, 50, rendered"], "msg/s")
    share = 100 * fifty / median["bare, 50, rendered"]
    figures.add("50 senders against bare group commit, both rendered", share, "%", ">= 40")
    figures.add("50 senders against bare group commit, not rendered", 100 * fifty / median["bare, 50"], "%")


async def large_mailbox(figures: Figures, target: str, count: int) -> None:
    """One mailbox of `count` messages."""
    database = open_database(target)
    await database.start()
    store = Store(database)
    await store.start()
    await store.ensure_account(BIG)
    for at in range(0, count, 500):
        await store.append(BIG, "INBOX", [AppendItem(message(number)) for number in range(at, min(at + 500, count))])
    await store.flush_texts()
    await store.aclose()
    store = Store(database)
    await store.start()
    began = time.perf_counter()
    state = await store.open_mailbox(BIG, "INBOX")
    figures.add(f"open a mailbox of {count:,}", (time.perf_counter() - began) * 1000, "ms", "< 100")
    newest = MessageQuery(account=BIG, limit=50)
    figures.add("list the 50 newest", await timed(lambda: store.list_messages(newest), 5), "ms", "< 5")
    rows = [state.rows[uid] for uid in state.uids[-50:]]
    figures.add("ENVELOPE of the 50 newest", await timed(lambda: store.rendered(rows, ["envelope"]), 5), "ms")
    for scope, needle, goal in (
        ("subject", "message 4711 of", "< 100"),
        ("text", "004711 times", "< 1000"),
        ("text", "no such", "< 1000"),
    ):
        spent = await timed(lambda: store.search_text(state, needle, scope=scope), 3)  # noqa: B023
        figures.add(f"search {scope} for {needle!r}", spent, "ms", goal)
    flags = await timed(lambda: store.store_flags(BIG, "INBOX", state.uids[:10_000], add=["\\Seen"]))
    figures.add("add \\Seen to 10,000", flags, "ms")
    await store.aclose()
    await database.aclose()


async def memory(directory: Path) -> list[tuple[str, float]]:
    """What each use of the large mailbox takes at most, in MB beyond a store just started; run it in a new process."""
    database = open_database(str(directory))
    await database.start()
    store, clock = Store(database), SystemClock()
    await store.start()
    ledger = JourneyLedger(database, clock)
    await ledger.start()
    tracemalloc.start()  # what opening takes is less than what importing left unused
    state = await store.open_mailbox(BIG, "INBOX")
    found = [("to open it", tracemalloc.get_traced_memory()[1] / 1e6)]
    tracemalloc.stop()
    most_resident()
    began = most_resident()

    def note(what: str) -> None:
        found.append((what, most_resident() - began))

    await store.list_messages(MessageQuery(account=BIG, limit=50))
    await store.search_text(state, "message 4711 of", scope="subject")
    await store.search_text(state, "004711 times", scope="text")
    note("to list and search it")
    sum(state.rows[uid].octets for uid in state.uids)
    note("to look at every row in turn")
    state.release()
    async for _ in (await Export.begin(store, ledger)).octets():
        pass
    note("to export it as one zip")
    await Retention(store, RetentionPolicy(each=Limits(messages=1_000)), clock).run()
    note("to remove all but 1,000 by retention")
    await store.aclose()
    await database.aclose()
    return found


def memory_in_new_process(figures: Figures, directory: Path) -> None:
    """`memory` where nothing was held before."""
    command = [sys.executable, __file__, "--memory-of", str(directory)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    for what, megabytes in found:
        figures.add(f"  most memory {what}", megabytes, "MB")


async def fan_out(figures: Figures, target: str, count: int) -> None:
    """One message of 50 KB to many accounts."""
    database = open_database(target)
    await database.start()
    store = Store(database)
    await store.start()
    to_all = [Delivery(f"user{number}@beta.test", TRACE) for number in range(count)]
    new = await timed(lambda: store.deliver(to_all, message(1, 50_000)))
    again = await timed(lambda: store.deliver(to_all, message(2, 50_000)))
    blobs = await database.read(lambda tx: tx.execute("SELECT count(*) FROM blobs").fetchone()[0])
    figures.add(f"50 KB to {count:,} new accounts", new, "ms")
    figures.add(f"50 KB to {count:,} accounts", again, "ms", "< 200")
    figures.add("  blobs stored for both", blobs, "", "2")
    await store.aclose()
    await database.aclose()


async def snapshots(figures: Figures, target: str) -> None:
    """Snapshot and restore of 1,000 messages."""
    database = open_database(target)
    await database.start()
    store = Store(database)
    await store.start()
    await store.ensure_account("bob@beta.test")
    await store.append("bob@beta.test", "INBOX", [AppendItem(message(number)) for number in range(1000)])
    await store.flush_texts()
    image = await store.snapshot()
    figures.add("snapshot of 1,000 messages", await timed(store.snapshot, 3), "ms", "< 50")
    figures.add("restore of 1,000 messages", await timed(lambda: store.restore(image), 3), "ms", "< 50")
    await store.aclose()
    await database.aclose()


def most_resident() -> float:
    """MB of memory that were in use at most since this was called last: VmHWM of proc(5), which is then reset."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    Path("/proc/self/clear_refs").write_text("5")
    return int(line.split()[1]) * 1024 / 1e6


def main(argv: Sequence[str]) -> int:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--messages", type=int, default=10_000, help="deliveries of a round [%(default)s]")
    parser.add_argument("--mailbox", type=int, default=100_000, help="messages of the large mailbox [%(default)s]")
    parser.add_argument("--memory", action="store_true", help="in memory instead of in a file")
    parser.add_argument("--only", choices=("deliveries", "mailbox", "fanout", "snapshots"))
    parser.add_argument("--memory-of", type=Path, metavar="DIRECTORY", help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3, help="of the deliveries, whose medians count [%(default)s]")
    asked = parser.parse_args(argv)
    if asked.memory_of is not None:
        print(json.dumps(asyncio.run(memory(asked.memory_of))))
        return 0
    figures = Figures()
    with tempfile.TemporaryDirectory(prefix="mailsandbox-bench-") as name:
        directory = Path(name)

        def target(part: str) -> str:
            return ":memory:" if asked.memory else str(directory / part)

        if asked.only in (None, "deliveries"):
            with asyncio.Runner(loop_factory=new_event_loop) as runner:  # as the daemon runs
                runner.run(deliveries(figures, directory, target("deliveries"), asked.messages, asked.rounds))
        if asked.only in (None, "fanout"):
            asyncio.run(fan_out(figures, target("fanout"), 1000))
        if asked.only in (None, "snapshots"):
            asyncio.run(snapshots(figures, target("snapshots")))
        if asked.only in (None, "mailbox"):
            asyncio.run(large_mailbox(figures, target("mailbox"), asked.mailbox))
            if not asked.memory:
                memory_in_new_process(figures, directory / "mailbox")
    figures.show(as_json=asked.json)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
