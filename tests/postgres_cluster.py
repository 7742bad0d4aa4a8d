"""A private PostgreSQL for tests: a cluster in a temporary directory, run by an unprivileged user, gone afterwards."""

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from absent import absent


class Cluster:
    """A running server; `new_database()` gives the URL of an empty database."""

    def __init__(self, directory: Path, port: int, user: str, binaries: Path, as_user: list[str]) -> None:
        self.directory = directory
        self.port = port
        self.user = user
        self._binaries = binaries
        self._as_user = as_user
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it answers."""
        command = [
            *self._as_user, str(self._binaries / "postgres"), "-D", str(self.directory / "data"),
            "-p", str(self.port), "-k", str(self.directory), "-c", "listen_addresses=127.0.0.1",
            "-c", "max_connections=60", "-c", "shared_buffers=32MB", "-c", "log_min_messages=fatal",
            "-c", "fsync=off",  # the machine does not crash between two tests
        ]  # fmt: skip
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ready = [str(self._binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        deadline = time.monotonic() + 60
        while subprocess.run(ready, check=False).returncode != 0:
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError("PostgreSQL did not start")
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT ends sessions and shuts down cleanly."""
        if self._process is None:
            return
        first_line = (self.directory / "data" / "postmaster.pid").read_text().splitlines()[0]
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(first_line), how)
        self._process.wait(timeout=60)
        self._process = None

    def new_database(self) -> str:
        """Make an empty schema, which is cheaper than a database and hides as much; returns its URL."""
        name = f"test{next(self._numbers)}"
        url = f"postgresql://{self.user}@127.0.0.1:{self.port}/postgres"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return f"{url}?options=-csearch_path%3D{name}"


def binaries() -> Path | None:
    """Where Debian (or anybody) keeps the server's programs."""
    for candidate in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (candidate / "initdb").exists():
            return candidate
    found = shutil.which("initdb")
    return Path(found).parent if found else None


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """Make, run and remove a cluster."""
    programs = binaries()
    if programs is None:
        raise FileNotFoundError("initdb")
    directory = Path(tempfile.mkdtemp(prefix="mailsandbox-pg-"))
    as_user: list[str] = []
    user = pwd.getpwuid(os.getuid()).pw_name
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        user = next(name for name in ("postgres", "nobody") if _exists(name))
        as_user = ["runuser", "-u", user, "--"]
        os.chown(directory, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
    subprocess.run(
        [*as_user, str(programs / "initdb"), "-D", str(directory / "data"), "-U", user, "-A", "trust", "-E", "UTF8",
         "--locale=C.UTF-8", "--no-sync"],
        check=True, stdout=subprocess.DEVNULL, cwd="/",
    )  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    running = Cluster(directory, port, user, programs, as_user)
    try:
        running.start()
        yield running
    finally:
        running.stop()
        shutil.rmtree(directory, ignore_errors=True)


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """The session's cluster. Missing, it fails the test when CI=true and skips it by name otherwise."""
    if binaries() is None:
        absent("PostgreSQL")
    with cluster() as running:
        yield running
