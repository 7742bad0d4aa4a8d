"""Kills daemons with SIGKILL while mail flows; afterwards every acknowledged message must be there, once, as sent.

The tables must agree with each other, too.
"""

import argparse
import asyncio
import base64
import contextlib
import hashlib
import json
import random
import re
import smtplib
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mailsandbox.database import open_database

CLIENTS = 3
EACH = 10  # messages of one client in one round, at most
QUEUED = re.compile(rb"queued as (\S+)")
STARTED = 60.0  # seconds a daemon may take to start
DRAINED = 60.0  # seconds the queues may take to run dry
MARK = b"X-Chaos: "  # begins every message: what stands before it was added on the way


@dataclass
class Table:
    """What a run counted."""

    database: str
    rounds: int = 0
    sent: int = 0
    acknowledged: int = 0
    delivered: int = 0
    still_queued: int = 0
    lost: int = 0
    altered: int = 0
    duplicates_marked: int = 0
    duplicates_unmarked: int = 0
    inconsistent: int = 0
    restarts: int = 0
    slowest_restart: float = 0.0

    @property
    def good(self) -> bool:
        return self.acknowledged > 0 and not (
            self.lost or self.altered or self.duplicates_unmarked or self.inconsistent
        )


class Daemon:
    """One `mailsandbox serve`, killed and started again on the same data."""

    def __init__(self, directory: Path, options: list[str]) -> None:
        self._ready = directory / "ready.json"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.services: dict[str, str] = {}

    def start(self) -> float:
        """Returns how long it took."""
        self._ready.unlink(missing_ok=True)
        began = time.monotonic()
        command = [sys.executable, "-m", "mailsandbox", "serve", "--ephemeral", "--quiet"]
        self._process = subprocess.Popen([*command, "--ready-file", str(self._ready), *self._options])
        while not self._ready.exists():
            if self._process.poll() is not None or time.monotonic() > began + STARTED:
                raise RuntimeError("the daemon did not start")
            time.sleep(0.01)  # looks for the file; bounded by the deadline
        self.services = json.loads(self._ready.read_text())["services"]
        return time.monotonic() - began

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
            self._process = None

    def get(self, path: str, method: str = "GET") -> bytes:
        data = b"{}" if method == "POST" else None
        request = urllib.request.Request(f"http://{self.services['http']}{path}", data=data, method=method)
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return bytes(answer.read())


@dataclass
class Sent:
    """What clients sent, and what was acknowledged, by number."""

    digests: dict[int, str] = field(default_factory=dict)
    acknowledged: dict[int, str] = field(default_factory=dict)  # the queue id that the 250 gave
    lock: threading.Lock = field(default_factory=threading.Lock)

    def compose(self, rng: random.Random) -> tuple[int, bytes]:
        # Some are so large that they have a file of their own.
        size = int(1024 * 200 ** rng.random()) if rng.random() < 0.85 else rng.randrange(1 << 20, 3 << 20)
        text = base64.encodebytes(rng.randbytes(size * 3 // 4)).replace(b"\n", b"\r\n")
        with self.lock:
            number = len(self.digests)
            head = b"%s%d\r\nMessage-ID: <chaos-%d@client.test>\r\nFrom: <app@alpha.test>\r\n" % (MARK, number, number)
            octets = head + b"To: <bob@beta.test>\r\nSubject: %d\r\n\r\n.a dot\r\n%s" % (number, text)
            self.digests[number] = hashlib.sha256(octets).hexdigest()
        return number, octets


def client(address: str, sent: Sent, seed: int) -> None:
    """Send until the daemon is gone, or enough is sent."""
    rng = random.Random(seed)
    host, _, port = address.rpartition(":")
    with contextlib.suppress(OSError, smtplib.SMTPException), smtplib.SMTP(host, int(port), timeout=30) as smtp:
        for _ in range(EACH):
            number, octets = sent.compose(rng)
            to = rng.choice(["bob@beta.test", "carol@beta.test", "alice@alpha.test"])
            smtp.ehlo_or_helo_if_needed()
            smtp.mail("app@alpha.test")
            smtp.rcpt(to)
            code, text = smtp.data(octets)
            if code == 250 and (queue_id := QUEUED.search(text)):
                with sent.lock:
                    sent.acknowledged[number] = queue_id[1].decode()


@contextlib.contextmanager
def daemons(database: str) -> Iterator[tuple[str, list[Daemon]]]:
    """Where their store is, and they."""
    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailsandbox-chaos-")))
        if database == "sqlite":
            place = str(root / "data")
            running = [Daemon(root, ["--data", place])]
        else:
            from postgres_cluster import cluster

            place = stack.enter_context(cluster()).new_database()
            running = []
            for name in "abc":
                (root / name).mkdir()
                running.append(Daemon(root / name, ["--database", place]))
        for daemon in running:
            stack.callback(daemon.kill)
            daemon.start()
        yield place, running


def crash(database: str, rounds: int, seed: int) -> Table:
    """The run."""
    table, sent, rng = Table(database), Sent(), random.Random(seed)
    with daemons(database) as (place, running):
        for _ in range(rounds):
            threads = [
                threading.Thread(
                    target=client, args=(rng.choice(running).services["alpha.smtp"], sent, rng.getrandbits(32))
                )
                for _ in range(CLIENTS)
            ]
            for thread in threads:
                thread.start()
            # The random moment: counted in messages, as a busy machine does nothing for a while.
            wanted = len(sent.acknowledged) + rng.randrange(1, CLIENTS * EACH)
            while len(sent.acknowledged) < wanted and any(thread.is_alive() for thread in threads):
                time.sleep(0.001)
            time.sleep(rng.uniform(0.0, 0.02))
            victim = rng.choice(running)
            victim.kill()
            for thread in threads:
                thread.join(120)
                if thread.is_alive():
                    raise RuntimeError("a client hangs")
            table.slowest_restart = max(table.slowest_restart, victim.start())
            table.restarts += 1
            table.rounds += 1
        queued = drain(running[0])
        count(running[0], sent, queued, table)
        for daemon in running:
            daemon.kill()
        table.inconsistent = asyncio.run(inconsistencies(place))
    return table


async def inconsistencies(place: str) -> int:
    """What is wrong in the tables, told one by one; how much that is."""
    from audit import audit

    database = open_database(place)
    await database.start()
    found = await database.read(lambda tx: audit(tx, queues=True))
    await database.aclose()
    for each in found:
        print(each, file=sys.stderr)
    return len(found)


def drain(daemon: Daemon) -> set[str]:
    """Wait for the queues; the ids of what is still there at the deadline."""
    deadline = time.monotonic() + DRAINED
    while True:
        daemon.get("/v1/queue/run", "POST")
        items = json.loads(daemon.get("/v1/queue"))["items"]
        if not items or time.monotonic() > deadline:
            return {item["id"] for item in items}
        time.sleep(0.1)  # looks again; bounded by the deadline


def count(daemon: Daemon, sent: Sent, queued: set[str], table: Table) -> None:
    """Compare what is in the mailboxes with what was sent."""
    copies: Counter[int] = Counter()
    ids: dict[int, str] = {}
    cursor = ""
    while True:
        page = json.loads(daemon.get(f"/v1/messages?limit=100{cursor and '&after='}{cursor}"))
        for message in page["messages"]:
            raw = daemon.get(f"/v1/messages/{message['id']}/raw")
            content = raw[max(raw.find(MARK), 0) :]
            first = content.split(b"\r\n", 1)[0][len(MARK) :]
            number = int(first) if first.isdigit() else -1
            table.altered += hashlib.sha256(content).hexdigest() != sent.digests.get(number)
            copies[number] += 1
            ids[number] = message["id"]
        cursor = page["next"]
        if not cursor:
            break
    table.sent, table.acknowledged = len(sent.digests), len(sent.acknowledged)
    table.delivered, table.still_queued = len(copies), len(queued)
    table.lost = sum(number not in copies and queue_id not in queued for number, queue_id in sent.acknowledged.items())
    for number, times in copies.items():
        if times > 1:
            journey = json.loads(daemon.get(f"/v1/messages/{ids[number]}/journey"))
            # Each attempt whose reply was lost accounts for one copy too many.
            marks = sum(attempt["possible_duplicate"] for hop in journey["hops"] for attempt in hop["attempts"])
            table.duplicates_marked += min(times - 1, marks)
            table.duplicates_unmarked += max(times - 1 - marks, 0)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("what", choices=["crash"])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="sqlite")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    chosen = ["sqlite", "postgresql"] if options.database == "both" else [options.database]
    tables = [crash(database, options.rounds, options.seed) for database in chosen]
    if options.json:
        print(json.dumps([asdict(table) for table in tables]))
    else:
        for name in asdict(tables[0]):
            shown = [getattr(table, name) for table in tables]
            print(f"{name:20}", *(f"{value:>12.2f}" if isinstance(value, float) else f"{value:>12}" for value in shown))
    return 0 if all(table.good for table in tables) else 1


if __name__ == "__main__":
    tests = Path(__file__).parent.parent / "tests"
    sys.path[:0] = [str(tests), str(tests / "store")]
    sys.exit(main(sys.argv[1:]))
