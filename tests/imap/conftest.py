"""An IMAP server in memory on a free port."""

from collections.abc import AsyncIterator

import pytest
from postgres_cluster import postgres  # noqa: F401

from tests.imap.serving import Server, StartServer, serving


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as started:
        yield started


@pytest.fixture
def start() -> StartServer:
    """For servers that are not like the others."""
    return serving
