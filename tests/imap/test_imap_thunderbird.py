"""Thunderbird without a display: it fetches what is there, and what comes later as soon as it comes."""

import asyncio
import imaplib
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from private_dovecot import PASSWORD

from tests.imap import messages, thunderbird
from tests.imap.serving import ACCOUNT, Server
from tests.imap.targets import DEADLINE, Program, Target

PROFILE = (
    "import sys; from pathlib import Path; from tests.imap.thunderbird import write_profile; "
    "write_profile(Path(sys.argv[1]), port=int(sys.argv[2]), user=sys.argv[3], password=sys.argv[4])"
)


@pytest.mark.client("thunderbird")
async def test_thunderbird_synchronises_and_is_pushed_what_comes(
    server: Server, ours: Target, program: Program
) -> None:
    path = program("thunderbird")
    if not await asyncio.to_thread(thunderbird.LIBRARY.exists):
        program("libnss3.so of thunderbird")  # skips, or fails in CI

    def drive() -> None:
        profile = ours.home / "profile"
        profile.mkdir()
        # In a process of its own: NSS can be initialised once, and stays.
        arguments = [str(profile), str(ours.port), ACCOUNT, PASSWORD]
        root = Path(__file__).parents[2]
        subprocess.run([sys.executable, "-c", PROFILE, *arguments], check=True, cwd=root, env=environment(root))
        with thunderbird.running(path, profile, ours.home):
            # Looked at here: Thunderbird writes its own files at some time later.
            until(lambda: "IDLE" in said(server))
            with imaplib.IMAP4(ours.host, ours.port) as client:
                client.login(ACCOUNT, PASSWORD)
                assert client.append("INBOX", "", None, messages.PLAIN.replace(b"<one@", b"<pushed@"))[0] == "OK"
            until(lambda: "UID fetch 4 (UID RFC822.SIZE FLAGS BODY" in said(server))

    await asyncio.to_thread(drive)
    for word in ("COMPRESS DEFLATE", "ENABLE UTF8=ACCEPT", "UID fetch 1:3 (UID RFC822.SIZE FLAGS"):
        assert word in said(server)
    found = {finding.rule for record in server.context.sessions for finding in record.findings}
    assert found <= {"login-in-clear"}


def said(server: Server) -> str:
    """What clients have said, in all sessions."""
    lines = [line.text for record in server.context.sessions for line in record.transcript if line.side == "C"]
    return "\n".join(lines)


def environment(root: Path) -> dict[str, str]:
    return {"PYTHONPATH": f"{root}:{root / 'tests'}", "LD_LIBRARY_PATH": str(thunderbird.LIBRARY.parent)}


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not true():
        assert time.monotonic() < deadline, "Thunderbird did not come to it"
        time.sleep(0.1)
