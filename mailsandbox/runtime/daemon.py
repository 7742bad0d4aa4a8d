"""The daemon: one event loop, one mail system, signals, the ready file.

Invariant: the ready file exists only while every service listens; SIGTERM and SIGINT end the process within a second
with everything that was acknowledged stored.
"""

import asyncio
import contextlib
import fcntl
import gc
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from mailsandbox.errors import StartError
from mailsandbox.runtime.certificates import TlsIdentity, local_identity, own_certificate
from mailsandbox.runtime.ready_file import write_ready_file
from mailsandbox.sandbox import MailSystem
from mailsandbox.specs import SandboxSpec

SWITCH_SECONDS: Final = 0.0005  # Python has 0.005: so long the writer's thread would wait to say that it has committed
YOUNG_OBJECTS: Final = 10_000  # made since the collector last ran; Python has 700


def serve(
    spec: SandboxSpec,
    *,
    ready_file: Path | None = None,
    announce: Callable[[Mapping[str, str]], None] = lambda services: None,
) -> None:
    """Run until SIGTERM or SIGINT. `announce` is called with the services once all listen.

    Raises StartError or ConfigError where the daemon cannot start; nothing is left running then.
    """
    quiet_aiosmtpd()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_serve(spec, ready_file, announce))


def quiet_aiosmtpd() -> None:
    """Only errors of aiosmtpd reach the console: what a client did wrong is in its session's transcript."""
    logging.getLogger("mail.log").setLevel(logging.ERROR)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's loop; asyncio's own where uvloop has no build."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


async def _serve(spec: SandboxSpec, ready_file: Path | None, announce: Callable[[Mapping[str, str]], None]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        tls = identity(spec, stack, kept=user_tls_directory())
        system = MailSystem(spec, tls=tls.context, trusted=tls.trusted())
        await system.start()
        stack.push_async_callback(system.aclose)
        services = system.places
        if ready_file is not None:
            write_ready_file(ready_file, services)
            stack.callback(ready_file.unlink, missing_ok=True)
        announce(services)
        own_the_interpreter()
        await stop.wait()


def own_the_interpreter() -> None:
    """Python's switches, as suits a process that does nothing but this, once it has started."""
    # What start-up made lives as long as the daemon: the collector need not walk it again and again.
    gc.collect()
    gc.freeze()
    # Hundreds of objects are made for a message, and hardly a cycle: the usual 700 would be walked twice for each.
    gc.set_threshold(YOUNG_OBJECTS)
    gc.enable()
    sys.setswitchinterval(SWITCH_SECONDS)


def identity(spec: SandboxSpec, stack: contextlib.AsyncExitStack, *, kept: Path | None = None) -> TlsIdentity:
    """The configured certificate, else one kept in the data directory or in `kept`, else one for this process.

    Claims the data directory, where there is one, until `stack` ends.
    """
    if spec.data is not None:
        claim_data_directory(spec.data, stack)
    if spec.tls is not None:
        return own_certificate(spec.tls.certificate, spec.tls.key)
    hosts = [*(site.hostname for site in spec.sites), "localhost", "127.0.0.1", "::1"]
    if spec.data is not None:
        return local_identity(spec.data / "tls", hosts)
    if kept is not None:
        with contextlib.suppress(StartError):
            return local_identity(kept, hosts)
    return local_identity(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailsandbox-"))), hosts)


def user_tls_directory() -> Path:
    """Where a daemon without a data directory keeps its authority (XDG): a user trusts it once, not at each start."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "mailsandbox" / "tls"


def claim_data_directory(path: Path, stack: contextlib.AsyncExitStack) -> None:
    """Make the directory and hold it for this process until `stack` ends: two would not hear of each other's changes.

    Raises StartError that names the cause.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = stack.enter_context((path / "lock").open("a+"))
    except OSError as error:
        why = "it is not a directory" if path.exists() and not path.is_dir() else error.strerror or error
        raise StartError(f"data directory {path}: cannot be made or written: {why}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        raise StartError(f"data directory {path}: in use by the mailsandbox of process {lock.read().strip()}") from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
