"""Running sandboxes and daemons for the tests of the whole path, and the message that all of them send."""

import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

import pytest

from mailsandbox import Sandbox

DEADLINE = 20.0  # seconds that a real program may take; nothing waits that long unless something is broken


def png(width: int = 8, height: int = 8) -> bytes:
    """A valid picture with every kind of octet in it."""

    def chunk(kind: bytes, octets: bytes) -> bytes:
        return struct.pack(">I", len(octets)) + kind + octets + struct.pack(">I", zlib.crc32(kind + octets))

    rows = b"".join(b"\0" + bytes((x * y * 31 + 13) % 256 for x in range(width * 3)) for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 0)) + chunk(b"IEND", b"")


SUBJECT = "Été à la plage – déjà vu"
TEXT = "Bonjour Zoë,\n\nl'été à la plage : un air de déjà vu.\n.\nÀ bientôt\n"
HTML = "<p>Bonjour Zoë,</p><p>l'<b>été</b> à la plage&nbsp;: un air de déjà vu.</p>\n"


def french_message(recipient: str) -> bytes:
    """8-bit text and HTML, nested multiparts, a picture, a non-ASCII subject and display name: valid for 8BITMIME."""
    message = EmailMessage()
    message["From"] = '"Zoë Müller" <alice@alpha.test>'
    message["To"] = recipient
    message["Subject"] = SUBJECT
    message["Message-ID"] = "<plage@alpha.test>"
    message["Date"] = "Sat, 21 Nov 2026 10:00:00 +0100"
    message.set_content(TEXT, cte="8bit")
    message.add_alternative(HTML, subtype="html", cte="8bit")
    message.add_attachment(png(), maintype="image", subtype="png", filename="plage d'été.png")
    return message.as_bytes().replace(b"\n", b"\r\n")


@pytest.fixture
def box() -> Iterator:
    """A sandbox for one test."""
    with Sandbox() as box:
        yield box


@dataclass
class Daemon:
    """A running `mailsandbox serve`."""

    process: subprocess.Popen
    ready_file: Path
    services: dict[str, tuple[str, int]]

    def cli(self, *arguments: str, check: bool = True, **options) -> subprocess.CompletedProcess:
        """Run a client command against it."""
        return run_cli("--ready-file", str(self.ready_file), *arguments, check=check, **options)


def run_cli(*arguments: str, check: bool = False, **options) -> subprocess.CompletedProcess:
    """Run `mailsandbox` as its users do."""
    command = [str(Path(sys.executable).with_name("mailsandbox")), *arguments]
    environment = {**os.environ, "COLUMNS": "80", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=DEADLINE, check=False, env=environment, **options
    )
    if check and done.returncode:
        pytest.fail(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done


@pytest.fixture
def serve(tmp_path) -> Iterator[Callable[..., Daemon]]:
    """Start daemons on free ports; they are ended with the test."""
    with contextlib.ExitStack() as stack:
        numbers = iter(range(1000))

        def start(*flags: str) -> Daemon:
            ready_file = tmp_path / f"ready-{next(numbers)}.json"
            command = [str(Path(sys.executable).with_name("mailsandbox")), "serve", "--ephemeral", "--quiet"]
            process = subprocess.Popen(
                [*command, "--ready-file", str(ready_file), *flags],
                stderr=subprocess.PIPE,
                env={**os.environ, "PYTHONWARNINGS": "ignore"},
            )
            stack.callback(_end, process)
            deadline = time.monotonic() + DEADLINE
            while not ready_file.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"the daemon did not start: {process.stderr.read().decode()}")
                os.sched_yield()
            services = json.loads(ready_file.read_text())["services"]
            split = {name: at.rpartition(":") for name, at in services.items()}
            return Daemon(process, ready_file, {name: (host, int(port)) for name, (host, _, port) in split.items()})

        yield start


def _end(process: subprocess.Popen) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    process.stderr.close()


@pytest.fixture
def daemon(serve) -> Daemon:
    """A daemon in memory."""
    return serve("--memory")
