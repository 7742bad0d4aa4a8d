"""Disks that fail while a daemon works on them, and what each protocol says meanwhile.

A small file system of its own shows the real thing (ENOSPC, EROFS) where this machine may mount one. Where it may not,
a limit on the size of the daemon's files does nearly as well: every write beyond it fails (EFBIG).
"""

import contextlib
import imaplib
import poplib
import resource
import smtplib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

BOB = "bob@beta.test"
LETTER = b"From: <app@alpha.test>\r\nTo: <bob@beta.test>\r\nSubject: %b\r\n\r\n" + b"%b\r\n"


def letter(subject: str, octets: int = 100) -> bytes:
    return LETTER % (subject.encode(), b"\r\n".join([b"x" * 70] * (octets // 72 + 1)))


# What a client hears


def smtp_says(daemon, octets: bytes, recipient: str = BOB) -> tuple[int, str]:
    with smtplib.SMTP(*daemon.services["alpha.smtp"], timeout=20) as smtp:
        smtp.ehlo("client.test")
        smtp.mail("app@alpha.test")
        smtp.rcpt(recipient)
        code, text = smtp.data(octets)
        return code, text.decode()


def append_says(daemon, octets: bytes, account: str = BOB) -> str:
    with imaplib.IMAP4(*daemon.services["imap"], timeout=20) as imap:
        imap.login(account, "any")
        status, text = imap.append("INBOX", None, None, octets)
        return f"{status} {text[0].decode()}"


def pop3_update_says(daemon, account: str = BOB) -> str:
    """What QUIT answers when a message is to be removed."""
    pop = poplib.POP3(*daemon.services["pop3"], timeout=20)
    try:
        pop.user(account)
        pop.pass_("any")
        assert pop.retr(1)[0].startswith(b"+OK")  # what is stored can be read all the time
        pop.dele(1)
        return pop.quit().decode()
    except poplib.error_proto as refused:
        return refused.args[0].decode() if isinstance(refused.args[0], bytes) else str(refused)
    finally:
        with contextlib.suppress(OSError):
            pop.close()


def http_says(daemon, octets: bytes) -> httpx.Response:
    host, port = daemon.services["http"]
    return httpx.post(
        f"http://{host}:{port}/v1/send",
        params={"from": "app@alpha.test", "to": BOB},
        content=octets,
        headers={"Content-Type": "message/rfc822"},
        timeout=20,
    )


def http_get(daemon, path: str, **query) -> httpx.Response:
    host, port = daemon.services["http"]
    return httpx.get(f"http://{host}:{port}{path}", params=query, timeout=30)


def arrived(daemon, *subjects: str) -> None:
    for subject in subjects:
        answer = http_get(daemon, "/v1/wait", to=BOB, subject=subject, timeout=20)
        assert answer.status_code == 200, answer.text


def run_queues(daemon) -> None:
    """Have what waits tried now, until nothing does."""
    deadline = time.monotonic() + 30
    while http_get(daemon, "/v1/queue").json()["items"]:
        assert time.monotonic() < deadline, http_get(daemon, "/v1/queue").text
        host, port = daemon.services["http"]
        httpx.post(f"http://{host}:{port}/v1/queue/run", timeout=20)


def subjects(daemon) -> list[str]:
    return sorted(one["subject"] for one in http_get(daemon, "/v1/messages", limit=100).json()["messages"])


# Disks


class Limited:
    """An ordinary directory; the daemon's files may not grow while it is full."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pid = 0

    def fail(self) -> None:
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

    def mend(self) -> None:
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


class Full:
    """A file system of a few megabytes, filled up by a file that grows until nothing more fits."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pid = 0

    def fail(self) -> None:
        with (self.path.parent / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
            while True:
                ballast.write(bytes(4096))

    def mend(self) -> None:
        (self.path.parent / "ballast").unlink()


class ReadOnly:
    """A file system that the kernel makes read-only under the daemon, as it does after an I/O error."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pid = 0

    def fail(self) -> None:
        _run("mount", "-o", "remount,abort", str(self.path.parent))

    def mend(self) -> None:
        raise NotImplementedError("it stays so until it is mounted anew")


@contextlib.contextmanager
def small_disk(kind: str) -> Iterator[Limited | Full | ReadOnly]:
    """A place for a data directory: on a "tmpfs" or "ext4" of its own; limited where none can be mounted."""
    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailsandbox-disk-")))
        mounted = root / "disk"
        mounted.mkdir()
        data = mounted / "data"
        if kind == "tmpfs" and _mounts(stack, mounted, "-t", "tmpfs", "-o", "size=6m", "tmpfs"):
            yield Full(data)
        elif kind == "ext4" and _mounts(stack, mounted, "-o", "loop", _image(root)):
            yield ReadOnly(data)
        else:
            yield Limited(data)


def _image(root: Path) -> str:
    with (root / "image").open("wb") as empty:
        empty.truncate(24 << 20)
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        _run("mkfs.ext4", "-q", "-F", str(root / "image"))
    return str(root / "image")


def _mounts(stack: contextlib.ExitStack, at: Path, *what: str) -> bool:
    try:
        _run("mount", *what, str(at))
    except (OSError, subprocess.CalledProcessError):
        return False
    stack.callback(_run, "umount", "-l", str(at))
    return True


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
