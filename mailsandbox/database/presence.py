"""Which daemons share a PostgreSQL database and live: each holds an advisory lock of its session while it does.

The server drops the lock with the session, however its daemon ended, so a death is known within seconds and not when
some lease runs out. A session may also end without its daemon (the server was restarted, a network broke): a daemon is
held for dead only when its lock stayed free for `GRACE` under the eyes of one session of ours, time enough to come
back. Engines that speak the protocol but have no such locks are found out at the start and left to their leases.
Invariant: a daemon is buried once, by one other, in the transaction in which the heirs take what it held.
"""

from hashlib import blake2b
from typing import Any, Final, LiteralString

import psycopg

from mailsandbox.database.schema import Migration
from mailsandbox.database.tx import Heir, Tx

MIGRATIONS: Final[list[Migration]] = [["CREATE TABLE daemons (name TEXT PRIMARY KEY) WITHOUT ROWID"]]

LOOK: Final = 1.0  # seconds between two looks at the others
GRACE: Final = 3.0  # seconds; a living daemon connects again within one

_Connection = psycopg.Connection[tuple[Any, ...]]  # Any: columns of any type


class Presence:
    """One daemon's lock, and its eyes on those of the others. Used from one thread, but for `bury`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._works = False
        self._held = False
        self._missed: dict[str, float] = {}  # since when a daemon's lock has been free
        self._next_look = 0.0

    def enter(self, connection: _Connection, witness: _Connection) -> None:
        """Take the lock for a session, and see by `witness`, another one, whether the engine has such locks."""
        self._missed.clear()
        try:
            # Never waited for: an earlier session of ours, whose end the server has not noticed, may still have it.
            self._held = _taken(connection, "pg_try_advisory_lock", self._name)
            self._works = not (self._held and _taken(witness, "pg_try_advisory_lock", self._name))
        except psycopg.Error:
            if connection.closed:
                raise
            self._works = False  # not known there
        if self._works and self._held:
            self._register(connection)

    def dead(self, connection: _Connection, now: float) -> list[str]:
        """The daemons that are gone, looked for once in `LOOK`; `now` in seconds of a monotonic clock."""
        if not self._works or now < self._next_look:
            return []
        self._next_look = now + LOOK
        self._held = self._held or _taken(connection, "pg_try_advisory_lock", self._name)
        names = {name for (name,) in connection.execute("SELECT name FROM daemons").fetchall()}
        if self._held and self._name not in names:  # new, or held for dead, or put back to a snapshot
            self._register(connection)
        # The session commits each statement, which gives the locks back at once.
        free = {name for name in names - {self._name} if _taken(connection, "pg_try_advisory_xact_lock", name)}
        self._missed = {name: self._missed.get(name, now) for name in free}
        return [name for name, since in self._missed.items() if now - since >= GRACE]

    def _register(self, connection: _Connection) -> None:
        connection.execute("INSERT INTO daemons (name) VALUES (%s) ON CONFLICT DO NOTHING", (self._name,))


def _taken(connection: _Connection, function: LiteralString, name: str) -> bool:
    return connection.execute(f"SELECT {function}(%s)", (_key(name),)).fetchone() == (True,)


def bury(tx: Tx, name: str, heirs: list[Heir]) -> None:
    """Let the heirs take what the daemon held; nothing happens where it is back, or another buries it."""
    (free,) = tx.execute("SELECT pg_try_advisory_xact_lock(?)", (_key(name),)).fetchone()
    if free and tx.execute("DELETE FROM daemons WHERE name = ?", (name,)).rowcount:
        for heir in heirs:
            heir(tx, name)


def _key(name: str) -> int:
    return int.from_bytes(blake2b(b"daemon " + name.encode(), digest_size=8).digest(), "big") >> 1
