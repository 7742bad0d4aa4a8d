"""Thunderbird without a display: it fetches what is there, and what comes later as soon as it comes."""

import asyncio
import email.utils
import imaplib
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from private_dovecot import PASSWORD

from tests.imap import messages, thunderbird
from tests.imap.serving import ACCOUNT, Server
from tests.imap.targets import DEADLINE, Program, Target, both_but_headers

PROFILE = (
    "import sys; from pathlib import Path; from tests.imap.thunderbird import write_profile; "
    "write_profile(Path(sys.argv[1]), port=int(sys.argv[2]), user=sys.argv[3], password=sys.argv[4])"
)


@pytest.mark.client("thunderbird")
async def test_thunderbird_synchronises_and_is_pushed_what_comes(
    server: Server, ours: Target, theirs: Target | None, program: Program
) -> None:
    path = program("thunderbird")
    if not await asyncio.to_thread(thunderbird.LIBRARY.exists):
        program("libnss3.so of thunderbird")  # skips, or fails in CI

    def drive(target: Target) -> None:
        profile = target.home / "profile"
        profile.mkdir()
        # In a process of its own: NSS can be initialised once, and stays.
        arguments = [str(profile), str(target.port), ACCOUNT, PASSWORD]
        root = Path(__file__).parents[2]
        subprocess.run([sys.executable, "-c", PROFILE, *arguments], check=True, cwd=root, env=environment(root))
        folder = profile / "ImapMail" / "server"
        with thunderbird.running(path, profile, target.home):
            until(
                lambda: all(kept(folder, text) for text in (b"one@alpha.test", b"two@alpha.test", b"three@beta.test"))
            )
            with imaplib.IMAP4(target.host, target.port) as client:
                client.login(ACCOUNT, PASSWORD)
                # Of today, and so kept for reading offline.
                today = b"Date: " + email.utils.formatdate().encode()
                pushed = re.sub(rb"Date: [^\r]*", today, messages.PLAIN.replace(b"<one@", b"<pushed@"))
                assert client.append("INBOX", "", None, pushed)[0] == "OK"
            until(lambda: kept(folder, b"Message-ID: <pushed@alpha.test>") and kept(folder, b"Hi Bob"))

    state = await both_but_headers(ours, theirs, drive)
    assert len(state["INBOX"]) == 4
    lines = [line.text for record in server.context.sessions for line in record.transcript if line.side == "C"]
    for word in ("COMPRESS DEFLATE", "ENABLE UTF8=ACCEPT", "IDLE", "CHANGEDSINCE"):
        assert any(word in line for line in lines), (word, lines)
    found = {finding.rule for record in server.context.sessions for finding in record.findings}
    assert found <= {"login-in-clear"}


def environment(root: Path) -> dict[str, str]:
    return {"PYTHONPATH": f"{root}:{root / 'tests'}", "LD_LIBRARY_PATH": str(thunderbird.LIBRARY.parent)}


def kept(folder: Path, text: bytes) -> bool:
    """Whether it stands in the folder's mails or in their index."""
    return any(text in path.read_bytes() for path in folder.glob("INBOX*"))


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not true():
        assert time.monotonic() < deadline, "Thunderbird did not come to it"
        time.sleep(0.1)
