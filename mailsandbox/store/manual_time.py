"""The manual clock of a sandbox that keeps its data: time goes on where it stood, however the last daemon ended.

Invariant: a time is in the database before the clock reaches it, so that nothing that is kept there lies in the future
of the next clock on it. Of several daemons that share a database the furthest counts. Knows nothing of who waits.
"""

from typing import Final

from mailsandbox.clock import ManualClock
from mailsandbox.database.schema import Migration, migrate
from mailsandbox.database.tx import Database, Tx

MIGRATIONS: Final[list[Migration]] = [["CREATE TABLE manual_clock (name TEXT PRIMARY KEY, at REAL NOT NULL)"]]

_RECENT: Final = (
    1000  # events of journeys looked at, for data that a daemon without this record, or on system time, wrote
)


async def keep_time(clock: ManualClock, database: Database) -> None:
    """Let `clock` go on from the latest time that `database` knows of, and write down where it goes from now on.

    The tables of journeys are there already.
    """

    async def keep(at: float) -> None:
        await database.write(lambda tx: _keep_in(tx, at))

    clock.go_on(await database.write(_latest_in), keep=keep)


def _latest_in(tx: Tx) -> float:
    migrate(tx, "clock", MIGRATIONS)
    [kept] = tx.execute("SELECT MAX(at) FROM manual_clock").fetchone()
    [newest] = tx.execute("SELECT MAX(id) FROM journey_events").fetchone()
    [seen] = tx.execute("SELECT MAX(at) FROM journey_events WHERE id > ?", ((newest or 0) - _RECENT,)).fetchone()
    return max(kept or 0.0, seen or 0.0)


def _keep_in(tx: Tx, at: float) -> None:
    tx.execute(
        "INSERT INTO manual_clock (name, at) VALUES ('now', ?) "
        "ON CONFLICT (name) DO UPDATE SET at = excluded.at WHERE excluded.at > manual_clock.at",
        (at,),
    )
