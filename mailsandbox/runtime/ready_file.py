"""The ready file: how other processes find a running daemon. Written atomically when all listen, removed at exit."""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mailsandbox.errors import MailsandboxError, StartError

VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Ready:
    """The content: the daemon's process id, and "host:port" by service name."""

    pid: int
    services: dict[str, str]


def write_ready_file(path: Path, services: Mapping[str, str]) -> None:
    """Whoever sees the file sees all of it. Raises StartError where it cannot be written."""
    content = json.dumps({"version": VERSION, "pid": os.getpid(), "services": dict(services)}, indent=2)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content + "\n")
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        raise StartError(f"ready file {path}: cannot be written: {error.strerror or error}") from None


def read_ready_file(path: Path) -> Ready:
    """Raises MailsandboxError where there is none, or not one of ours."""
    try:
        content = json.loads(path.read_text("utf-8"))
        if content["version"] != VERSION:
            raise MailsandboxError(f"ready file {path}: version {content['version']}, expected {VERSION}")
        return Ready(int(content["pid"]), {str(name): str(at) for name, at in content["services"].items()})
    except FileNotFoundError:
        raise MailsandboxError(f"ready file {path}: not there; is `mailsandbox serve --ready-file` running?") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MailsandboxError(f"ready file {path}: cannot be read: {error}") from None
