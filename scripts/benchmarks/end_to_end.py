"""End to end, durable: smtp-source to alpha, relayed, stored at beta; beside Postfix relaying to its own smtp-sink.

The clock runs from the start of smtp-source until the last message has arrived: is counted in beta's mailbox, or has
been taken by smtp-sink. All data lie on one file system; alpha, beta and Postfix's queue are synced to disk, smtp-sink
keeps nothing. Postfix runs as it comes; "postfix/flow" has in_flow_delay = 0, so that it never pauses its clients.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from path import Daemon, daemon
from path import stored as stored_at
from rich.console import Console
from rich.table import Table
from smtp import cpu_seconds, free_port, postfix, wait_for

LOADS = {"1 KB": (1_024, 3_000), "100 KB": (100_000, 400), "5 MB": (5_000_000, 40)}  # octets, messages of a round
SESSIONS = {"1 KB": (10, 50), "100 KB": (10,), "5 MB": (4,)}
TOO_LONG = 120.0  # seconds

# What Postfix needs to relay: its smtp client, and the cache of connections that it uses by default.
RELAYING = """
default_transport = smtp
relayhost = [127.0.0.1]:{sink}
smtp_tls_security_level = none
"""
CLIENTS = """
smtp unix - - n - - smtp
scache unix - - n - 1 scache
"""


@dataclass(frozen=True, slots=True)
class Figure:
    """One contestant under one load."""

    name: str
    size: str
    sessions: int
    per_second: float  # median
    best: float
    cpu_us: float  # of all the server's processes for each message, the least seen; without that of smtp-sink


@dataclass(frozen=True, slots=True)
class Contestant:
    """`arrival` begins to count; what it returns waits until so many have arrived since."""

    port: int
    pid: int
    arrival: Callable[[int], Callable[[], None]]


@contextlib.contextmanager
def mailsandbox(directory: str) -> Iterator[Contestant]:
    """`mailsandbox serve --data`, its default sites."""
    with daemon("--data", str(Path(directory, "data"))) as running:
        yield Contestant(running.services["alpha.smtp"][1], running.process.pid, lambda count: _stored(running, count))


def _stored(running: Daemon, count: int) -> Callable[[], None]:
    account = "b@beta.test"
    wanted = stored_at(running, account) + count

    def wait() -> None:
        until = time.monotonic() + TOO_LONG
        while (found := stored_at(running, account)) < wanted:
            if time.monotonic() > until:
                raise SystemExit(f"{found - wanted + count} of {count} messages arrived in {TOO_LONG} seconds")
            time.sleep(0.02)

    return wait


@contextlib.contextmanager
def relaying_postfix(directory: str, *, settings: str = "") -> Iterator[Contestant]:
    """A private instance whose relayhost is smtp-sink."""
    sink = free_port()
    with postfix(settings=RELAYING.format(sink=sink) + settings, services=CLIENTS, directory=directory) as (port, pid):
        yield Contestant(port, pid, lambda count: _sunk(sink, count))


def _sunk(port: int, count: int) -> Callable[[], None]:
    # As another user, as smtp-sink asks of root; it ends by itself after the last message.
    command = ["smtp-sink", "-u", "postfix", "-M", str(count), f"127.0.0.1:{port}", "1000"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    wait_for(port)

    def wait() -> None:
        try:
            process.wait(TOO_LONG)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)

    return wait


def contestants(directory: str) -> dict[str, contextlib.AbstractContextManager[Contestant]]:
    found = {"mailsandbox": mailsandbox(directory)}
    if shutil.which("postfix") and os.geteuid() == 0:
        found["postfix"] = relaying_postfix(directory)
        found["postfix/flow"] = relaying_postfix(directory, settings="in_flow_delay = 0\n")
    return found


def run(contestant: Contestant, *, octets: int, sessions: int, messages: int) -> float:
    """Seconds until all have arrived."""
    wait = contestant.arrival(messages)
    load = ["-s", str(sessions), "-m", str(messages), "-l", str(octets), "-d"]  # -d: connections are used again
    addresses = ["-f", "a@alpha.test", "-t", "b@beta.test"]
    began = time.perf_counter()
    subprocess.run(["smtp-source", *load, *addresses, f"127.0.0.1:{contestant.port}"], check=True)
    wait()
    return time.perf_counter() - began


def measure(sizes: list[str], *, rounds: int, directory: str, only: list[str], share: float) -> list[Figure]:
    figures = []
    with contextlib.ExitStack() as stack:
        running = {
            name: stack.enter_context(start)
            for name, start in contestants(directory).items()
            if not only or name in only
        }
        for size, sessions in [(name, count) for name in sizes for count in SESSIONS[name]]:
            octets, messages = LOADS[size][0], max(sessions, int(LOADS[size][1] * share))
            rates: dict[str, list[float]] = {name: [] for name in running}
            costs: dict[str, list[float]] = {name: [] for name in running}
            for _ in range(rounds):  # interleaved, so that what else the machine does hits all alike
                for name, contestant in running.items():
                    before = cpu_seconds(contestant.pid)
                    took = run(contestant, octets=octets, sessions=sessions, messages=messages)
                    rates[name].append(messages / took)
                    costs[name].append((cpu_seconds(contestant.pid) - before) / messages * 1e6)
            figures += [
                Figure(name, size, sessions, statistics.median(rates[name]), max(rates[name]), min(costs[name]))
                for name in running
            ]
    return figures


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench end_to_end", description=__doc__)
    parser.add_argument("--sizes", nargs="+", choices=list(LOADS), default=["1 KB", "5 MB"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--share", type=float, default=1.0, help="of the messages that a round has")
    parser.add_argument("--only", nargs="+", default=[], help="names of contestants")
    parser.add_argument("--directory", help="where all data lie (default: a temporary directory)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    if shutil.which("smtp-source") is None:
        print("smtp-source (Debian package postfix) is not installed", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.directory) as directory:
        Path(directory).chmod(0o755)  # Postfix's own user has to get in
        figures = measure(
            options.sizes, rounds=options.rounds, directory=directory, only=options.only, share=options.share
        )
    if options.json:
        print(json.dumps([asdict(figure) for figure in figures], indent=1))
    else:
        show(figures)
    return 0


def show(figures: list[Figure]) -> None:
    table = Table(title="Messages per second until the last has arrived, durable")
    for column in ("server", "size", "sessions", "median", "best", "x postfix", "CPU µs/msg"):
        table.add_column(column, justify="left" if column in ("server", "size") else "right")
    rivals = {(figure.size, figure.sessions): figure for figure in figures if figure.name == "postfix"}
    for figure in figures:
        rival = rivals.get((figure.size, figure.sessions))
        table.add_row(
            figure.name,
            figure.size,
            str(figure.sessions),
            f"{figure.per_second:,.1f}",
            f"{figure.best:,.1f}",
            f"{figure.per_second / rival.per_second:.2f}" if rival else "",
            f"{figure.cpu_us:,.0f}" if figure.cpu_us else "",
        )
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
