"""POP3 beside Debian's dovecot-pop3d in the same run: login, LIST, UIDL, RETR one by one and pipelined."""

import argparse
import asyncio
import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from private_dovecot import PASSWORD, installed, private_dovecot

USER = "bench@beta.test"
WORDS = b"lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt ut labore".split()


def message(number: int, chance: random.Random) -> bytes:
    """A plausible message of 1 to 5 KB; every tenth holds lines that begin with a dot."""
    lines = [b" ".join(chance.choices(WORDS, k=10)) for _ in range(chance.randint(10, 60))]
    if number % 10 == 0:
        lines[::5] = [b"." + line for line in lines[::5]]
    head = (
        b"From: s%d@example.com\r\nTo: b@example.org\r\nSubject: bench message %d\r\nMessage-ID: <%d@example.com>\r\n"
    )
    return head % (number % 50, number, number) + b"\r\n" + b"\r\n".join(lines) + b"\r\n"


def messages(count: int, *, large: int) -> Iterator[bytes]:
    """`count` messages, the last one of `large` octets."""
    chance = random.Random(42)
    for number in range(count - 1):
        yield message(number, chance)
    line = b"Kioqd2hhdGV2ZXIgYmFzZTY0IGxvb2tzIGxpa2UqKio" * 2 + b"\r\n"
    yield b"Subject: large\r\n\r\n" + line * (large // len(line))


# -- the two servers


@contextlib.contextmanager
def dovecot(source: Path) -> Iterator[tuple[str, int]]:
    """Debian's dovecot-pop3d with its own format sdbox, filled from the files in `source`."""
    with private_dovecot() as running:
        maildir = running.root / "source"
        for folder in ("cur", "new", "tmp"):
            (maildir / folder).mkdir(parents=True)
        for path in source.iterdir():
            os.link(path, maildir / "cur" / f"{int(path.name)}.bench:2,")
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", "nobody", str(maildir)], check=True)
        running.doveadm("import", "-u", USER, f"maildir:{maildir}", "", "ALL")
        yield "127.0.0.1", running.pop3


@contextlib.contextmanager
def mailsandbox(source: Path) -> Iterator[tuple[str, int]]:
    """Our server in its own process: a store in a file, uvloop."""
    with tempfile.TemporaryDirectory(prefix="bench-pop3-") as directory:
        command = [sys.executable, __file__, "--serve", directory, "--source", str(source)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE)
        try:
            assert process.stdout is not None
            yield "127.0.0.1", int(process.stdout.readline())
        finally:
            process.terminate()
            process.wait(10)


async def serve(directory: str, source: Path) -> None:
    """What the process of `mailsandbox` runs."""
    from mailsandbox.access.context import AccessContext
    from mailsandbox.access.pop3.server import Pop3Factory
    from mailsandbox.access.transport import listen
    from mailsandbox.clock import SystemClock
    from mailsandbox.database.opening import open_database
    from mailsandbox.faults import Faults
    from mailsandbox.journey.sessions import SessionLog
    from mailsandbox.notify import Hub
    from mailsandbox.store.credentials import AccountSpec, Credentials
    from mailsandbox.store.journeys import JourneyLedger
    from mailsandbox.store.model import AppendItem
    from mailsandbox.store.store import Store

    clock, database = SystemClock(), open_database(directory)
    store, ledger = Store(database, clock=clock), JourneyLedger(database, clock)
    await database.start()
    await store.start()
    await ledger.start()
    await store.ensure_account(USER)
    paths = in_order(source)
    for start in range(0, len(paths), 500):
        await store.append(USER, "INBOX", [AppendItem(path.read_bytes()) for path in paths[start : start + 500]])
    await store.flush_texts()  # the index of searches is written behind the deliveries
    credentials = Credentials(True, {USER: AccountSpec(PASSWORD)})
    context = AccessContext(store, Hub(store), credentials, clock, SessionLog(clock), ledger, Faults())
    listener = await listen(Pop3Factory(context, "pop3"), "127.0.0.1", 0)
    print(listener.port, flush=True)
    await asyncio.Event().wait()


def in_order(source: Path) -> list[Path]:
    return sorted(source.iterdir(), key=lambda path: int(path.name))


# -- the client


class Client:
    """A raw socket, as fast as Python reads lines."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address)
        self.socket.settimeout(120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb", 1 << 20)
        self.one()

    def login(self) -> "Client":
        for command in (f"USER {USER}", f"PASS {PASSWORD}"):
            self.say(command)
        return self

    def one(self) -> bytes:
        line = self.file.readline()
        if not line.startswith(b"+OK"):
            raise SystemExit(f"refused: {line!r}")
        return line

    def say(self, command: str) -> bytes:
        self.socket.sendall(command.encode() + b"\r\n")
        return self.one()

    def multi(self) -> int:
        self.one()
        octets = 0
        for line in self.file:
            if line == b".\r\n":
                return octets
            octets += len(line)
        raise SystemExit("the server closed in a response")

    def ask(self, command: str) -> int:
        self.socket.sendall(command.encode() + b"\r\n")
        return self.multi()

    def pipelined(self, commands: list[str]) -> int:
        octets = "".join(f"{command}\r\n" for command in commands).encode()
        writer = threading.Thread(target=self.socket.sendall, args=(octets,))
        writer.start()
        total = sum(self.multi() for _ in commands)
        writer.join()
        return total

    def close(self) -> None:
        self.file.close()
        self.socket.close()


def measures(count: int) -> dict[str, tuple[Callable[[Client], object], int]]:
    """Name: what is timed, and how many things it does (1: the time itself is shown, in ms)."""
    some = min(count - 1, 300)
    return {
        "LIST": (lambda client: client.ask("LIST"), 1),
        "UIDL": (lambda client: client.ask("UIDL"), 1),
        f"RETR {some}, one by one": (lambda client: [client.ask(f"RETR {n}") for n in range(1, some + 1)], some),
        f"RETR {some}, pipelined": (lambda client: client.pipelined([f"RETR {n}" for n in range(1, some + 1)]), some),
        f"RETR {count - 1}, pipelined": (
            lambda client: client.pipelined([f"RETR {n}" for n in range(1, count)]),
            count - 1,
        ),
        f"TOP n 0, {some} pipelined": (
            lambda client: client.pipelined([f"TOP {n} 0" for n in range(1, some + 1)]),
            some,
        ),
        "RETR of the large one": (lambda client: client.ask(f"RETR {count}"), 1),
    }


def measure(servers: dict[str, tuple[str, int]], count: int, rounds: int) -> dict[str, dict[str, float]]:
    """Best of `rounds`, in turns: milliseconds for single things, things per second for the others."""
    results: dict[str, dict[str, float]] = {name: {} for name in servers}

    def note(server: str, name: str, seconds: float, things: int) -> None:
        value = seconds * 1000 if things == 1 else things / seconds
        best = min if things == 1 else max
        results[server][name] = best(results[server].get(name, value), value)

    for _ in range(rounds):
        for server, address in servers.items():
            client = Client(address)
            began = time.perf_counter()
            client.login()
            note(server, "login", time.perf_counter() - began, 1)
            client.close()
        for name, (work, things) in measures(count).items():
            time.sleep(0.02)  # the maildrop is unlocked when the server has seen the end
            for server, address in servers.items():
                client = Client(address).login()
                began = time.perf_counter()
                work(client)
                note(server, name, time.perf_counter() - began, things)
                client.close()
    return results


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=20_000_000, help="octets of the large message")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("mailsandbox", "dovecot"), help="leave the other out")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--source", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.serve:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, contextlib.suppress(KeyboardInterrupt):
            runner.run(serve(options.serve, Path(options.source)))
        return 0
    with tempfile.TemporaryDirectory(prefix="bench-pop3-") as directory:
        source = Path(directory)
        source.chmod(0o755)
        for number, octets in enumerate(messages(options.messages, large=options.large), 1):
            (source / str(number)).write_bytes(octets)
        with contextlib.ExitStack() as stack:
            running = {}
            for name, server in (("mailsandbox", mailsandbox), ("dovecot", dovecot)):
                if options.only not in (None, name):
                    continue
                if name == "dovecot" and not installed():
                    print("dovecot is not installed: only mailsandbox is measured", file=sys.stderr)
                    continue
                running[name] = stack.enter_context(server(source))
            results = measure(running, options.messages, options.rounds)
    if options.json:
        print(json.dumps({"messages": options.messages, "results": results}, indent=1))
    else:
        show(results, options.messages)
    return 0


def show(results: dict[str, dict[str, float]], count: int) -> None:
    table = Table(title=f"POP3, {count} messages (best of the rounds; ms, or per second)")
    table.add_column("what")
    for name in results:
        table.add_column(name, justify="right")
    for what in next(iter(results.values())):
        unit = "/s" if "," in what else "ms"
        table.add_row(what, *(f"{result[what]:,.1f} {unit}" for result in results.values()))
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
