"""A store opened without a daemon, for work that needs nothing else of the sandbox."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from mailsandbox.database.opening import open_database
from mailsandbox.errors import StartError
from mailsandbox.runtime.daemon import claim_data_directory
from mailsandbox.store.store import Store


@contextlib.asynccontextmanager
async def offline_store(*, data: Path | None = None, database: str = "") -> AsyncIterator[Store]:
    """The store in a directory, which no daemon may be using meanwhile, or on a PostgreSQL server.

    Raises StartError where there is none, or another process holds the directory.
    """
    async with contextlib.AsyncExitStack() as stack:
        if data is not None:
            _claim(data, stack)
        opened = open_database(str(data) if data is not None else database)
        stack.push_async_callback(opened.aclose)
        await opened.start()
        store = Store(opened)
        stack.push_async_callback(store.aclose)
        await store.start()
        yield store


def _claim(data: Path, stack: contextlib.AsyncExitStack) -> None:
    if not data.is_dir():
        raise StartError(f"data directory {data}: there is none")
    claim_data_directory(data, stack)
