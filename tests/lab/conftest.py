"""A whole sandbox, and peers that misbehave by script."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from mailsandbox import Sandbox


@pytest.fixture
async def services() -> AsyncIterator[dict[str, str]]:
    """The services of a sandbox of the test's own."""
    async with Sandbox() as box:
        yield {name: str(service) for name, service in box.services.items()}


@asynccontextmanager
async def peer(*says: bytes, hear: bool = True) -> AsyncIterator[str]:
    """A server that says one thing after each line it hears (the first at once), then closes."""
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for number, said in enumerate(says):
                if number and hear:
                    await reader.readline()
                writer.write(said)
        finally:
            writer.close()
            done.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"{host}:{port}"
    finally:
        server.close()


@pytest.fixture
def played() -> Callable[..., object]:
    return peer
