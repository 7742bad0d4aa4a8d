"""Two daemons on one PostgreSQL brought to the same point of their transactions, without a sleep.

A session of the test holds rows, or does the one daemon's statements by hand; the other daemon runs until it is done or
waits for a row, which the server tells.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import psycopg

from mailsandbox.database.postgres_tx import PostgresTx, Statements
from mailsandbox.database.tx import Tx

Work = Callable[[], Awaitable[object]]


async def at_once(url: str, hold: Sequence[str], *works: Work) -> list[object]:
    """Run works so that each has read all it reads before it wants a row, while none of the others has committed.

    `hold`: tables whose rows keep them waiting, in the order of the works. Results, or exceptions.
    """
    with psycopg.connect(url) as gate, psycopg.connect(url, autocommit=True) as watcher:
        for table in hold:
            gate.execute(f"SELECT 1 FROM {table} FOR UPDATE")  # type: ignore[arg-type]
        running: list[asyncio.Future[object]] = []
        for work in works:
            running.append(asyncio.ensure_future(work()))
            await _stopped(watcher, running)
        gate.rollback()
        return list(await asyncio.gather(*running, return_exceptions=True))


async def meanwhile(url: str, first: Callable[[Tx], object], second: Work) -> object:
    """Run `second` while `first` has done its statements and not committed; returns what `second` does."""
    with psycopg.connect(url) as connection, psycopg.connect(url, autocommit=True) as watcher:
        first(PostgresTx(connection, Statements()))
        running = asyncio.ensure_future(second())
        await _stopped(watcher, [running])
        connection.commit()
        return await running


async def eventually(condition: Callable[[], object]) -> None:
    """What another daemon did, or its death, is learned by a thread and a socket: no one moment to wait for."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def _stopped(watcher: psycopg.Connection[tuple[int]], running: Sequence[asyncio.Future[object]]) -> None:
    """Until as many sessions of daemons wait for a row as there are works that are not done."""
    async with asyncio.timeout(30):
        while _waiting(watcher) < sum(not each.done() for each in running):
            await asyncio.sleep(0)


def _waiting(watcher: psycopg.Connection[tuple[int]]) -> int:
    row = watcher.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mailsandbox' AND wait_event_type = 'Lock'"
    ).fetchone()
    return row[0] if row else 0
