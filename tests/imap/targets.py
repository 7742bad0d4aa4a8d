"""Servers that a program is driven against: this one, and a private Dovecot with the same content."""

import asyncio
import hashlib
import imaplib
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from private_dovecot import PASSWORD

from tests.imap import messages
from tests.imap.serving import ACCOUNT

DEADLINE = 60.0

Program = Callable[[str], str]
State = dict[str, list[tuple[str, str, tuple[str, ...]]]]


@dataclass(frozen=True)
class Target:
    """A server to drive a program against."""

    name: str
    host: str
    port: int
    home: Path

    @property
    def url_user(self) -> str:
        return ACCOUNT.replace("@", "%40")

    def run(self, *command: str | Path, expect: int | None = 0, text: str | None = None) -> str:
        """Run a program to its end; its output, both streams joined."""
        environment = {**os.environ, "HOME": str(self.home), "TERM": "xterm", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            [str(word) for word in command],
            env=environment,
            cwd=self.home,
            input=text,
            stdin=None if text is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=DEADLINE,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        assert expect is None or done.returncode == expect, f"{self.name}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def fill(self) -> None:
        """INBOX with the three messages, the first of them seen."""
        with imaplib.IMAP4(self.host, self.port) as client:
            client.login(ACCOUNT, PASSWORD)
            for number, octets in enumerate(messages.ALL):
                assert client.append("INBOX", "\\Seen" if number == 0 else "", None, octets)[0] == "OK"

    def state(self) -> State:
        """All mailboxes with their messages: digest, Message-ID, flags."""
        found: State = {}
        with imaplib.IMAP4(self.host, self.port) as client:
            client.login(ACCOUNT, PASSWORD)
            for line in client.list()[1]:
                assert isinstance(line, bytes)
                if b"\\Noselect" in line:
                    continue
                name = line.rpartition(b'"/" ')[2].decode().strip('"')
                assert client.select(f'"{name}"', readonly=True)[0] == "OK"
                found[name] = sorted(self._messages(client))
        return found

    def _messages(self, client: imaplib.IMAP4) -> Iterator[tuple[str, str, tuple[str, ...]]]:
        for item in client.uid("FETCH", "1:*", "(FLAGS BODY.PEEK[])")[1]:
            if not isinstance(item, tuple):
                continue
            flags = re.search(rb"FLAGS \(([^)]*)\)", item[0])
            assert flags
            kept = tuple(sorted(word.decode() for word in flags[1].split() if word != b"\\Recent"))
            message_id = re.search(rb"(?im)^message-id: *(\S+)", item[1])
            yield hashlib.sha256(item[1]).hexdigest()[:12], message_id[1].decode() if message_id else "", kept


async def both(ours: Target, theirs: Target | None, drive: Callable[[Target], None]) -> State:
    """Drive a program against both servers; the state it leaves here, which must be that which it leaves there."""
    await asyncio.to_thread(drive, ours)
    left = await asyncio.to_thread(ours.state)
    if theirs is not None:
        await asyncio.to_thread(drive, theirs)
        assert left == await asyncio.to_thread(theirs.state)
    return left


def flags_of(state: State, box: str = "INBOX") -> dict[str, tuple[str, ...]]:
    return {message_id: flags for _, message_id, flags in state[box]}


async def both_but_headers(ours: Target, theirs: Target | None, drive: Callable[[Target], None]) -> State:
    """As `both`, for programs that write the time or a random name into the messages they add."""

    def shown(state: State) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
        return {box: sorted((message_id, flags) for _, message_id, flags in found) for box, found in state.items()}

    await asyncio.to_thread(drive, ours)
    left = await asyncio.to_thread(ours.state)
    if theirs is not None:
        await asyncio.to_thread(drive, theirs)
        assert shown(left) == shown(await asyncio.to_thread(theirs.state))
    return left
