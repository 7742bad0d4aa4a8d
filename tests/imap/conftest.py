"""An IMAP server in memory on a free port."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from postgres_cluster import postgres  # noqa: F401
from private_dovecot import installed, private_dovecot

from tests.imap.serving import Server, StartServer, serving
from tests.imap.targets import Target


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as started:
        yield started


@pytest.fixture
def start() -> StartServer:
    """For servers that are not like the others."""
    return serving


@pytest.fixture
async def ours(server: Server, tmp_path: Path) -> Target:
    """The server of the test, with three messages in INBOX."""
    home = tmp_path / "ours"
    home.mkdir()
    target = Target("mailsandbox", server.listener.host, server.listener.port, home)
    await asyncio.to_thread(target.fill)
    return target


@pytest.fixture
def theirs(tmp_path: Path) -> Iterator[Target | None]:
    """A private dovecot-imapd with the same content; None where it is not installed."""
    if not installed():
        yield None
        return
    home = tmp_path / "theirs"
    home.mkdir()
    with private_dovecot() as dovecot:
        target = Target("dovecot", "127.0.0.1", dovecot.imap, home)
        target.fill()
        yield target
