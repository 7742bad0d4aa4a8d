"""IMAP beside Debian's dovecot-imapd in the same run: commands on a large mailbox, IDLE push, idle connections."""

import argparse
import asyncio
import contextlib
import json
import random
import re
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from private_dovecot import PASSWORD, installed, private_dovecot

USER, BOX = "bench@beta.test", "bench"
LITERAL = re.compile(rb"\{(\d+)\}\r\n\Z")
WORDS = [
    "lorem",
    "ipsum",
    "dolor",
    "sit",
    "amet",
    "consectetur",
    "adipiscing",
    "elit",
    "sed",
    "do",
    "eiusmod",
    "tempor",
    "incididunt",
    "ut",
    "labore",
]

THREAD = "THREAD REFERENCES UTF-8 ALL"
AFTER_NEW_MAIL = "THREAD after a new message"
COMMANDS: tuple[tuple[str, str, str], ...] = (  # name, command timed, command that undoes it
    ("SELECT", f"SELECT {BOX}", ""),
    ("STATUS", f"STATUS {BOX} (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)", ""),
    ("FETCH FLAGS UID SIZE", "FETCH 1:* (FLAGS UID RFC822.SIZE)", ""),
    ("FETCH ENVELOPE", "FETCH 1:* ENVELOPE", ""),
    ("FETCH BODYSTRUCTURE", "FETCH 1:* BODYSTRUCTURE", ""),
    ("FETCH three header fields", "FETCH 1:* (BODY.PEEK[HEADER.FIELDS (FROM SUBJECT DATE)])", ""),
    ("FETCH BODY[] of all", "FETCH 1:* BODY.PEEK[]", ""),
    ("FETCH BODY[1] of all", "FETCH 1:* BODY.PEEK[1]", ""),
    ("SEARCH UNSEEN", "UID SEARCH UNSEEN", ""),
    ("SEARCH SUBJECT", 'SEARCH SUBJECT "message 77"', ""),
    ("SEARCH TEXT", 'SEARCH TEXT "needle-107"', ""),
    ("SEARCH SINCE SMALLER", "SEARCH SINCE 1-Jan-2001 SMALLER 2000", ""),
    ("STORE +FLAGS.SILENT on all", "STORE 1:* +FLAGS.SILENT (\\Flagged)", "STORE 1:* -FLAGS.SILENT (\\Flagged)"),
    ("STORE +FLAGS on all", "STORE 1:* +FLAGS (\\Flagged)", "STORE 1:* -FLAGS.SILENT (\\Flagged)"),
    ("SORT DATE", "SORT (DATE) UTF-8 ALL", ""),
    ("THREAD, repeated", THREAD, ""),
    ("NOOP", "NOOP", ""),
    (AFTER_NEW_MAIL, THREAD, ""),
)


class Client:
    """A blocking connection that only counts what comes."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb", 1 << 20)
        self.number = 0
        self.file.readline()
        self.command(f"LOGIN {USER} {PASSWORD}")

    def response(self) -> bytes:
        whole = line = self.file.readline()
        if not line:
            raise EOFError("the server closed the connection")
        while marker := LITERAL.search(line):
            whole += self.file.read(int(marker[1]))
            line = self.file.readline()
            whole += line
        return whole

    def send(self, text: str | bytes) -> bytes:
        self.number += 1
        tag = b"b%d " % self.number
        self.socket.sendall(tag + (text.encode() if isinstance(text, str) else text) + b"\r\n")
        return tag

    def command(self, text: str | bytes) -> float:
        """Seconds to the tagged answer."""
        began = time.perf_counter()
        tag = self.send(text)
        while not (response := self.response()).startswith(tag):
            pass
        took = time.perf_counter() - began
        if not response.startswith(tag + b"OK"):
            raise RuntimeError(f"{text!r}: {response!r}")
        return took

    def until(self, needle: bytes) -> None:
        while needle not in self.response():
            pass


def message(number: int, chance: random.Random) -> bytes:
    """A plausible message of 1 to 5 KB; every fourth has an attachment."""
    lines = [" ".join(chance.choices(WORDS, k=10)) for _ in range(chance.randint(10, 60))]
    if number % 100 == 7:
        lines.append(f"the needle-{number} is here")
    head = (
        f"From: Sender {number % 50} <s{number % 50}@example.com>\r\nTo: b@example.org, c@example.net\r\n"
        f"Subject: bench message {number} =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\n"
        f"Date: Fri, 22 Feb 2008 17:06:{number % 60:02} +0200\r\n"
        f"Message-ID: <{number}@example.com>\r\nReferences: <{number // 3}@example.com>\r\nMIME-Version: 1.0\r\n"
    )
    text = "\r\n".join(lines)
    if number % 4:
        return f"{head}Content-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n".encode()
    return (
        f'{head}Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n{text}\r\n'
        f"--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        f"{'QUJD' * 18}\r\n{'QUJD' * 18}\r\n--b--\r\n"
    ).encode()


def fill(client: Client, count: int) -> float:
    """Messages a second by pipelined APPEND."""
    client.command(f"CREATE {BOX}")
    chance = random.Random(42)
    octets = [message(number, chance) for number in range(count)]
    began = time.perf_counter()
    waiting: list[bytes] = []
    for each in octets:
        waiting.append(client.send(b"APPEND %b {%d+}\r\n%b" % (BOX.encode(), len(each), each)))
        if len(waiting) > 16:
            client.until(waiting.pop(0))
    for tag in waiting:
        client.until(tag)
    return count / (time.perf_counter() - began)


def measure(ports: Mapping[str, int], count: int, repeat: int) -> dict[str, dict[str, float]]:
    """Milliseconds by server and row: the best of `repeat`, the servers in turn, so that all meet the same noise."""
    results = {server: {"APPEND (messages/s)": fill(Client(port), count)} for server, port in ports.items()}
    for server, port in ports.items():
        results[server]["THREAD, first time"] = once(port, THREAD) * 1e3
    for name, command, undo in COMMANDS:
        times: dict[str, list[float]] = {server: [] for server in ports}
        for _ in range(repeat):
            for server, port in ports.items():
                times[server].append(once(port, command, undo, new_mail=name == AFTER_NEW_MAIL))
        for server in ports:
            results[server][name] = min(times[server]) * 1e3
    for server, port in ports.items():
        rate = max(pipelined(port, min(count, 1_000)) for _ in range(repeat))
        results[server] |= {"pipelined FETCH n (commands/s)": rate} | push(port)
    return results


def once(port: int, command: str, undo: str = "", *, new_mail: bool = False) -> float:
    """Seconds of a command on a connection of its own. `new_mail`: a message has come since."""
    client = Client(port)
    if new_mail:
        octets = message(-1, random.Random(3))
        client.until(client.send(b"APPEND %b {%d+}\r\n%b" % (BOX.encode(), len(octets), octets)))
    if not command.startswith("SELECT"):
        client.command(f"SELECT {BOX}")
    took = client.command(command)
    if undo:
        client.command(undo)
    client.socket.close()
    return took


def pipelined(port: int, count: int) -> float:
    """Commands a second, all sent at once."""
    client = Client(port)
    client.command(f"SELECT {BOX}")
    began = time.perf_counter()
    client.socket.sendall(b"".join(b"p%d FETCH %d (FLAGS UID)\r\n" % (n, n) for n in range(1, count + 1)))
    client.until(b"p%d OK" % count)
    took = time.perf_counter() - began
    client.socket.close()
    return count / took


def push(port: int, rounds: int = 200) -> dict[str, float]:
    """From the end of APPEND's data to EXISTS at a client that idles."""
    writer, reader = Client(port), Client(port)
    reader.command("SELECT INBOX")
    reader.send("IDLE")
    reader.until(b"+ ")
    octets = message(1, random.Random(1))
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        tag = writer.send(b"APPEND INBOX {%d+}\r\n%b" % (len(octets), octets))
        reader.until(b" EXISTS")
        times.append((time.perf_counter() - began) * 1e3)
        writer.until(tag)
        if sum(times) > 20_000:  # a server that delays its notifications need not delay us all day
            break
    return {"IDLE push p50": statistics.median(times), "IDLE push p99": sorted(times)[int(len(times) * 0.99)]}


async def crowd(port: int, pid: int, connections: int) -> dict[str, float]:
    """Many idle clients: memory each, and how long a message takes to one of them."""
    before = resident(pid)
    readers = []
    for number in range(connections):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await reader.readline()
        writer.write(b"a LOGIN crowd%d@beta.test x\r\nb SELECT INBOX\r\nc IDLE\r\n" % number)
        while not (await reader.readline()).startswith(b"+ "):
            pass
        readers.append((reader, writer))
    each = (resident(pid) - before) / connections
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await reader.readline()
    times = []
    for number in random.Random(2).sample(range(connections), min(50, connections)):
        writer.write(b"a LOGIN crowd%d@beta.test x\r\n" % number)
        await reader.readline()
        octets = b"Subject: one of many\r\n\r\nx\r\n"
        began = time.perf_counter()
        writer.write(b"b APPEND INBOX {%d+}\r\n%b\r\n" % (len(octets), octets))
        while b"EXISTS" not in await readers[number][0].readline():
            pass
        times.append((time.perf_counter() - began) * 1e3)
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await reader.readline()
    return {"idle connection (KB)": each, f"push to one of {connections} p50": statistics.median(times)}


def resident(pid: int) -> float:
    """KB of memory that the process has."""
    status = Path(f"/proc/{pid}/status").read_text()
    return float(status.partition("VmRSS:")[2].split()[0])


@contextlib.contextmanager
def ours(root: Path, *place: str) -> Iterator[tuple[int, int]]:
    """Port and process of a daemon of our own; `place`: where it keeps its mail."""
    ready = root / "ready.json"
    command = [
        sys.executable,
        "-m",
        "mailsandbox",
        "serve",
        "--ephemeral",
        *place,
        "--quiet",
        "--ready-file",
        str(ready),
    ]
    with subprocess.Popen(command) as process:
        try:
            deadline = time.monotonic() + 20
            while not ready.exists():
                if time.monotonic() > deadline or process.poll() is not None:
                    raise RuntimeError("the daemon did not start")
                time.sleep(0.02)
            yield int(json.loads(ready.read_text())["services"]["imap"].rpartition(":")[2]), process.pid
        finally:
            process.terminate()


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench imap", description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--connections", type=int, default=2_000)
    parser.add_argument("--durable", action="store_true", help="also on disk, and Dovecot with mail_fsync = always")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with contextlib.ExitStack() as stack:
        ports: dict[str, int] = {}
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ports["mailsandbox"], pid = stack.enter_context(ours(root, "--memory"))
        crowded = asyncio.run(crowd(ports["mailsandbox"], pid, options.connections)) if options.connections else {}
        if installed():
            ports["dovecot"] = stack.enter_context(private_dovecot()).imap
        if options.durable:
            root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            ports["mailsandbox on disk"], _ = stack.enter_context(ours(root, "--data", str(root / "data")))
        if options.durable and installed():
            ports["dovecot, fsync always"] = stack.enter_context(private_dovecot("mail_fsync = always")).imap
        results = measure(ports, options.messages, options.repeat)
        results["mailsandbox"] |= crowded
    if options.json:
        print(json.dumps(results, indent=1))
        return 0
    table = Table(title=f"IMAP, {options.messages} messages; milliseconds where nothing else is said")
    table.add_column("what")
    for server in results:
        table.add_column(server, justify="right")
    for name in dict.fromkeys(name for each in results.values() for name in each):
        table.add_row(name, *(f"{each[name]:,.2f}" if name in each else "" for each in results.values()))
    Console().print(table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
