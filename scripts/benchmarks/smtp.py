"""SMTP accepting with every check on, beside stock aiosmtpd, Postfix and MailDev; memory under 50 x 25 MB."""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

SIZES = {"1 KB": 1_024, "100 KB": 100_000, "5 MB": 5_000_000}  # octets of a message
MESSAGES = {"1 KB": 5_000, "100 KB": 1_000, "5 MB": 40}  # of one round
LARGE = 25_000_000  # octets, for the memory test
LARGE_SESSIONS = 50
SETTLE = 3.0  # seconds in which Postfix delivers what it has queued, so that it does not slow the next down
MAILDEV_FOLDER = Path(__file__).parents[2] / ".venv/maildev"
MAILDEV = MAILDEV_FOLDER / "node_modules/maildev/bin/maildev"
MAILDEV_PACKAGE = "maildev@2.2.1"
TICKS = os.sysconf("SC_CLK_TCK")

POSTFIX_MAIN = """
compatibility_level = 3.6
queue_directory = {root}/queue
data_directory = {root}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = {root}/queue/log
maillog_file_prefixes = {root}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = postfix.test
mydestination =
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_client_connection_count_limit = 0
default_process_limit = 100
message_size_limit = 50000000
alias_maps =
"""
DISCARDING = "default_transport = discard\n"
POSTFIX_MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
postlog unix-dgram n - n - 1 postlogd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
discard unix - - n - - discard
error unix - - n - - error
retry unix - - n - - error
"""


@dataclass(frozen=True, slots=True)
class Figure:
    """One contestant at one size; `cpu_us` is of the server with its children."""

    name: str
    size: str
    per_second: float
    best: float
    cpu_us: float


# -- servers ---------------------------------------------------------------------------------------------------------


async def serve_mailsandbox(port: int) -> None:
    """Listener with a store that forgets: gate, trace field, journey record and session log as always."""
    from mailsandbox.smtp.replies import Reply
    from mailsandbox.submit.listener import SmtpListener
    from mailsandbox.submit.model import Incoming, ListenerSpec, SubmitContext

    async def accept(incoming: Incoming) -> Reply:
        return incoming.reply

    numbers = itertools.count(1)
    context = SubmitContext(accept=accept, new_id=lambda: f"Q{next(numbers):08x}")
    await SmtpListener(ListenerSpec("bench.smtp", port=port), context).start()
    await asyncio.Event().wait()


async def serve_aiosmtpd(port: int) -> None:
    """As it comes, with a handler that takes everything."""
    from aiosmtpd.smtp import SMTP

    class Null:
        async def handle_DATA(self, *_: object) -> str:  # noqa: N802  # aiosmtpd's name
            return "250 OK"

    loop, handler = asyncio.get_running_loop(), Null()
    await loop.create_server(lambda: SMTP(handler, loop=loop), "127.0.0.1", port)
    await asyncio.Event().wait()


def serve(name: str, port: int) -> None:
    """Be one of the Python servers until killed."""
    kind, _, loop = name.partition("/")
    if loop == "uvloop":
        import uvloop

        factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    else:
        factory = asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner, contextlib.suppress(KeyboardInterrupt):
        runner.run(serve_mailsandbox(port) if kind == "mailsandbox" else serve_aiosmtpd(port))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as opened:
                opened.recv(1)
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


@contextlib.contextmanager
def python_server(name: str) -> Iterator[tuple[int, int]]:
    """(port, process id)."""
    port = free_port()
    process = subprocess.Popen([sys.executable, __file__, "--serve", name, "--port", str(port)])
    try:
        wait_for(port)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def postfix(
    *, settings: str = DISCARDING, services: str = "", directory: str | None = None
) -> Iterator[tuple[int, int]]:
    """A private instance that does with what it has queued as `settings` say; needs root."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="bench-postfix-", dir=directory) as folder:
        root = Path(folder)
        root.chmod(0o755)
        (root / "etc").mkdir()
        (root / "queue").mkdir()
        (root / "data").mkdir()
        shutil.chown(root / "data", "postfix")
        (root / "etc/main.cf").write_text(POSTFIX_MAIN.format(root=root) + settings)
        (root / "etc/master.cf").write_text(POSTFIX_MASTER.format(port=port) + services)
        command = ["postfix", "-c", str(root / "etc")]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run([*command, "start"], check=True, **quiet)  # type: ignore[call-overload]
        try:
            wait_for(port)
            yield port, int((root / "queue/pid/master.pid").read_text())
        finally:
            subprocess.run([*command, "stop"], check=False, **quiet)  # type: ignore[call-overload]


@contextlib.contextmanager
def maildev() -> Iterator[tuple[int, int]]:
    """MailDev, which keeps its mail in a folder and shows it to nobody."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="bench-maildev-") as folder:
        command = ["node", str(MAILDEV), "--smtp", str(port), "--ip", "127.0.0.1", "--mail-directory", folder]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen([*command, "--disable-web", "--silent"], **quiet)  # type: ignore[call-overload]
        try:
            wait_for(port)
            yield port, process.pid
        finally:
            process.terminate()
            process.wait()


def has_maildev() -> bool:
    """Whether it is here, or could be fetched: only for this benchmark, so beside the clients of the tests."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return False
    if not MAILDEV.exists():
        print(f"installing {MAILDEV_PACKAGE} from npm", file=sys.stderr)
        MAILDEV_FOLDER.mkdir(parents=True, exist_ok=True)
        quiet = ["--silent", "--no-audit", "--no-fund"]
        subprocess.run(["npm", "install", *quiet, "--prefix", str(MAILDEV_FOLDER), MAILDEV_PACKAGE], check=False)
    return MAILDEV.exists()


def contestants(only: list[str]) -> dict[str, Callable[[], contextlib.AbstractContextManager[tuple[int, int]]]]:
    """Those that are here, and whose name begins with one of `only`, if that is given."""
    python = ("mailsandbox/uvloop", "aiosmtpd/asyncio", "mailsandbox/asyncio", "aiosmtpd/uvloop")
    found: dict[str, Callable[[], contextlib.AbstractContextManager[tuple[int, int]]]] = {}
    for name in (*python, "postfix", "maildev"):
        if only and not name.startswith(tuple(only)):
            continue
        if name in python:
            found[name] = partial(python_server, name)
        elif name == "postfix" and shutil.which("postfix") and os.geteuid() == 0:
            found[name] = postfix
        elif name == "maildev" and has_maildev():
            found[name] = maildev
    return found


# -- measuring -------------------------------------------------------------------------------------------------------


def cpu_seconds(pid: int) -> float:
    """User and system time so far of one process with its children, ended and running."""
    if not pid:
        return 0.0
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if path.parent.name == str(pid):
                ticks += sum(map(int, fields[11:15]))
            elif fields[1] == str(pid):
                ticks += sum(map(int, fields[11:13]))
    return ticks / TICKS


def peak_memory(pid: int) -> int:
    """Largest resident set so far, in octets."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def send(port: int, *, sessions: int, messages: int, octets: int) -> float:
    """Seconds that smtp-source takes; connections are reused (-d)."""
    load = ["-s", str(sessions), "-m", str(messages), "-l", str(octets), "-d"]
    started = time.perf_counter()
    addresses = ["-f", "a@alpha.test", "-t", "b@beta.test"]
    subprocess.run(["smtp-source", *load, *addresses, f"127.0.0.1:{port}"], check=True)
    return time.perf_counter() - started


def measure(sizes: list[str], *, sessions: int, rounds: int, only: list[str]) -> list[Figure]:
    figures = []
    with contextlib.ExitStack() as stack:
        running = {name: stack.enter_context(start()) for name, start in contestants(only).items()}
        for size in sizes:
            rates: dict[str, list[float]] = {name: [] for name in running}
            costs: dict[str, list[float]] = {name: [] for name in running}
            for _ in range(rounds):  # interleaved, so that what else the machine does hits all alike
                for name, (port, pid) in running.items():
                    messages = MESSAGES[size] // (10 if name == "maildev" else 1) or 1
                    before = cpu_seconds(pid)
                    took = send(port, sessions=sessions, messages=messages, octets=SIZES[size])
                    rates[name].append(messages / took)
                    costs[name].append((cpu_seconds(pid) - before) / messages * 1e6)
                    if name == "postfix":
                        time.sleep(SETTLE)
            figures += [
                Figure(name, size, statistics.median(rates[name]), max(rates[name]), min(costs[name]))
                for name in running
            ]
    return figures


def measure_memory() -> dict[str, float]:
    """Peak resident memory of the server while 50 clients send 25 MB each at once."""
    with python_server("mailsandbox/uvloop") as (port, pid):
        idle = peak_memory(pid)
        took = send(port, sessions=LARGE_SESSIONS, messages=LARGE_SESSIONS, octets=LARGE)
        return {"idle_mb": idle / 1e6, "peak_mb": peak_memory(pid) / 1e6, "seconds": took}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=["1 KB", "5 MB"])
    parser.add_argument("--sessions", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=[], help="names of contestants, or their beginnings")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.serve:
        serve(options.serve, options.port)
        return 0
    if shutil.which("smtp-source") is None:
        print("smtp-source (Debian package postfix) is not installed", file=sys.stderr)
        return 2
    figures = measure(options.sizes, sessions=options.sessions, rounds=options.rounds, only=options.only)
    memory = None if options.no_memory else measure_memory()
    if options.json:
        print(json.dumps({"figures": [asdict(figure) for figure in figures], "memory": memory}, indent=1))
    else:
        show(figures, memory, options.sessions)
    return 0


def show(figures: list[Figure], memory: dict[str, float] | None, sessions: int) -> None:
    stock = {figure.size: figure for figure in figures if figure.name == "aiosmtpd/asyncio"}
    table = Table(title=f"Messages accepted per second, {sessions} sessions, connections reused")
    for column in ("server", "size", "median", "best", "x stock", "CPU µs/msg", "x stock"):
        table.add_column(column, justify="left" if column in ("server", "size") else "right")
    for figure in figures:
        base = stock.get(figure.size)
        table.add_row(
            figure.name,
            figure.size,
            f"{figure.per_second:,.0f}",
            f"{figure.best:,.0f}",
            f"{figure.per_second / base.per_second:.1f}" if base else "",
            f"{figure.cpu_us:,.0f}" if figure.cpu_us else "",
            f"{base.cpu_us / figure.cpu_us:.1f}" if base and figure.cpu_us else "",
        )
    Console().print(table)
    if memory is not None:
        print(
            f"{LARGE_SESSIONS} x {LARGE / 1e6:.0f} MB at once: peak {memory['peak_mb']:.0f} MB resident "
            f"(idle {memory['idle_mb']:.0f} MB), {memory['seconds']:.1f} s"
        )


if __name__ == "__main__":
    sys.exit(main())
