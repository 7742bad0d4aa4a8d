"""The whole path: start-up, latency from alpha's 250 to IDLE EXISTS at beta, messages per second end to end."""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

SIZES = {"1 KB": 1_000, "100 KB": 100_000, "5 MB": 5_000_000}
SESSIONS = (1, 10, 50)
LINE = b"The quick brown fox jumps over the lazy dog, again and again and again.\r\n"


@dataclass(frozen=True)
class Daemon:
    """A running daemon and where its services are."""

    process: subprocess.Popen[bytes]
    services: dict[str, tuple[str, int]]
    ready_seconds: float


@contextlib.contextmanager
def daemon(*flags: str) -> Iterator[Daemon]:
    """Start `mailsandbox serve` on free ports, wait for its ready file, end it by its pid."""
    with tempfile.TemporaryDirectory() as directory:
        ready = Path(directory, "ready.json")
        command = [sys.executable, "-m", "mailsandbox", "serve", "--ephemeral", "--quiet", "--ready-file", str(ready)]
        began = time.perf_counter()
        process = subprocess.Popen([*command, *flags], env={**os.environ, "PYTHONWARNINGS": "ignore"})
        try:
            while not ready.exists():
                if process.poll() is not None:
                    raise SystemExit(f"the daemon ended with {process.returncode} before it was ready")
                time.sleep(0.001)
            seconds = time.perf_counter() - began
            services = json.loads(ready.read_text())["services"]
            split = {name: at.rpartition(":") for name, at in services.items()}
            yield Daemon(process, {name: (host, int(port)) for name, (host, _, port) in split.items()}, seconds)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)


def start_up(rounds: int) -> dict[str, float]:
    """Milliseconds until ready: the daemon's process, and a Sandbox in a process that has imported everything."""
    daemons = []
    for _ in range(rounds):
        with daemon("--memory") as running:
            daemons.append(running.ready_seconds * 1000)
    program = (
        "import time, statistics\n"
        "from mailsandbox import Sandbox\n"
        "with Sandbox(): pass\n"
        "took = []\n"
        f"for _ in range({rounds}):\n"
        "    began = time.perf_counter()\n"
        "    with Sandbox():\n"
        "        took.append(time.perf_counter() - began)\n"
        "print(statistics.median(took) * 1000)\n"
    )
    inside = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {"daemon_ready_ms": statistics.median(daemons), "sandbox_ready_ms": float(inside.stdout)}


class Client:
    """A line protocol over one blocking socket: the least a client can cost."""

    def __init__(self, at: tuple[str, int]) -> None:
        self.socket = socket.create_connection(at)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def line(self) -> bytes:
        return self.file.readline()

    def smtp(self, command: bytes) -> bytes:
        if command:
            self.socket.sendall(command)
        while (line := self.line())[3:4] == b"-":
            pass
        if line[:1] not in b"23":
            raise SystemExit(f"{command[:60]!r} was answered {line!r}")
        return line

    def imap(self, command: bytes) -> None:
        self.socket.sendall(b"a " + command + b"\r\n")
        while not (line := self.line()).startswith(b"a "):
            if line.startswith(b"+"):
                return
        if not line.startswith(b"a OK"):
            raise SystemExit(f"{command!r} was answered {line!r}")


def latency(running: Daemon, rounds: int) -> dict[str, float]:
    """Milliseconds from alpha's 250 to `* n EXISTS` in IDLE at beta, one message in flight."""
    reader = Client(running.services["imap"])
    reader.line()
    reader.imap(b"LOGIN idle@beta.test x")
    reader.imap(b"SELECT INBOX")
    reader.imap(b"IDLE")
    sender = Client(running.services["alpha.smtp"])
    sender.smtp(b"")
    sender.smtp(b"EHLO bench\r\n")
    took = []
    for number in range(rounds):
        sender.smtp(b"MAIL FROM:<bench@alpha.test>\r\n")
        sender.smtp(b"RCPT TO:<idle@beta.test>\r\n")
        sender.smtp(b"DATA\r\n")
        sender.smtp(b"Subject: %d\r\n\r\n%b.\r\n" % (number, LINE))
        accepted = time.perf_counter()
        while b"EXISTS" not in reader.line():
            pass
        took.append((time.perf_counter() - accepted) * 1000)
    took = sorted(took[rounds // 10 :])
    return {"p50_ms": statistics.median(took), "p99_ms": took[int(len(took) * 0.99)]}


async def _session(at: tuple[str, int], message: bytes, count: int, account: str) -> None:
    reader, writer = await asyncio.open_connection(*at)

    async def command(octets: bytes) -> None:
        if octets:
            writer.write(octets)
            await writer.drain()
        while (line := await reader.readline())[3:4] == b"-":
            pass
        if line[:1] not in b"23":
            raise SystemExit(f"{octets[:60]!r} was answered {line!r}")

    await command(b"")
    await command(b"EHLO bench\r\n")
    for _ in range(count):
        await command(b"MAIL FROM:<bench@alpha.test>\r\n")
        await command(b"RCPT TO:<%b>\r\n" % account.encode())
        await command(b"DATA\r\n")
        await command(message)
    await command(b"QUIT\r\n")
    writer.close()


def throughput(running: Daemon, octets: int, sessions: int, seconds: float) -> dict[str, float]:
    """Messages per second: accepted by alpha, and stored at beta, for about `seconds`."""
    body = LINE * max(1, (octets - 60) // len(LINE))
    message = b"From: bench@alpha.test\r\nSubject: bench\r\n\r\n" + body + b".\r\n"
    per_session = 1

    async def load(account: str, count: int) -> tuple[float, float]:
        began = time.perf_counter()
        at = running.services["alpha.smtp"]
        await asyncio.gather(*(_session(at, message, count, account) for _ in range(sessions)))
        accepted = time.perf_counter() - began
        while await asyncio.to_thread(stored, running, account) < sessions * count:
            await asyncio.sleep(0.01)
        return accepted, time.perf_counter() - began

    name = f"{octets}-{sessions}"
    _, took = asyncio.run(load(f"warm-{name}@beta.test", per_session))
    count = max(1, min(int(seconds / max(took, 0.001)), 400_000_000 // (octets * sessions), 4000 // sessions))
    accepted, arrived = asyncio.run(load(f"run-{name}@beta.test", count))
    total = sessions * count
    _reset(running)
    return {"messages": total, "accepted_per_s": total / accepted, "stored_per_s": total / arrived}


def _http(running: Daemon) -> str:
    host, port = running.services["http"]
    return f"http://{host}:{port}/v1"


def stored(running: Daemon, account: str) -> int:
    """How many messages an account has."""
    url = f"{_http(running)}/accounts/{account}/mailboxes"
    with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(url) as answer:
        return sum(mailbox["messages"] for mailbox in json.load(answer)["mailboxes"])
    return 0


def _reset(running: Daemon) -> None:
    request = urllib.request.Request(f"{_http(running)}/reset", data=b"{}", method="POST")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request):
        pass


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(prog="scripts/bench path", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--rounds", type=int, default=7, help="start-ups")
    parser.add_argument("--messages", type=int, default=500, help="messages whose latency is measured")
    parser.add_argument("--seconds", type=float, default=3.0, help="about how long each load runs")
    options = parser.parse_args(argv)
    result: dict[str, object] = start_up(options.rounds)
    rows = []
    for place in ("memory", "file"):
        with tempfile.TemporaryDirectory() as directory:
            flags = ("--memory",) if place == "memory" else ("--data", directory)
            with daemon(*flags) as running:
                result[f"latency_{place}"] = latency(running, options.messages)
                for label, octets in SIZES.items():
                    for sessions in SESSIONS:
                        measured = throughput(running, octets, sessions, options.seconds)
                        rows.append({"store": place, "size": label, "sessions": sessions, **measured})
    result["throughput"] = rows
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        show(result)
    return 0


def show(result: dict) -> None:
    console = Console()
    console.print(f"daemon, start to ready      {result['daemon_ready_ms']:8.1f} ms   (goal: under 500)")
    console.print(f"Sandbox in process, ready   {result['sandbox_ready_ms']:8.1f} ms   (goal: under 50)")
    for place in ("memory", "file"):
        measured = result[f"latency_{place}"]
        console.print(
            f"250 to IDLE EXISTS, {place:<7} {measured['p50_ms']:8.2f} ms p50, {measured['p99_ms']:.2f} ms p99"
            "   (goal: p50 under 10)"
        )
    table = Table(title="end to end, messages per second")
    for heading in ("store", "size", "sessions", "messages", "accepted/s", "stored at beta/s"):
        table.add_column(heading, justify="right")
    for row in result["throughput"]:
        table.add_row(
            row["store"],
            row["size"],
            str(row["sessions"]),
            str(row["messages"]),
            f"{row['accepted_per_s']:.0f}",
            f"{row['stored_per_s']:.0f}",
        )
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
