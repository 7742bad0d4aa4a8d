"""Daemons as processes of their own."""

import os
import signal
import subprocess
import sys
from pathlib import Path


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAILSANDBOX_")}
    return kept | {"COLUMNS": "80"} | more


def started(ready_file: Path, *options: str, **more: str) -> subprocess.Popen[str]:
    """A daemon that has said that it is ready; `more` is its environment."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "mailsandbox",
            "serve",
            "--ephemeral",
            "--ready-file",
            str(ready_file),
            "--json",
            *options,
        ],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(**more),
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith('{"pid":'), "the daemon did not start"
    return process


def stopped(process: subprocess.Popen[str]) -> int:
    process.send_signal(signal.SIGTERM)
    code = process.wait(10)
    assert process.stdout is not None
    process.stdout.close()
    return code
