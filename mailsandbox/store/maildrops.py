"""The exclusive lock of a POP3 session on its maildrop (RFC 1939 §4), also among daemons that share a database.

Invariant: the lock goes with the daemon, however it ends: it is kept in memory, and on PostgreSQL as an advisory lock
of the writer's session.
"""

import contextlib
from collections.abc import AsyncIterator
from hashlib import blake2b

from mailsandbox.database.tx import Database, Tx
from mailsandbox.errors import MaildropInUse, StoreError
from mailsandbox.store.credentials import canonical


class Maildrops:
    """The maildrops in use."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._held: set[str] = set()

    @contextlib.asynccontextmanager
    async def hold(self, account: str) -> AsyncIterator[None]:
        """Hold the maildrop of an account; raises MaildropInUse."""
        key = canonical(account)
        if key in self._held:
            raise MaildropInUse(f"the maildrop of {key} is in use")
        self._held.add(key)
        try:
            if self._database.shared and not await self._taken(key):
                raise MaildropInUse(f"the maildrop of {key} is in use at another daemon")
            try:
                yield
            finally:
                await self._give_back(key)
        finally:
            self._held.discard(key)

    async def _taken(self, key: str) -> bool:
        try:
            return await self._database.write(lambda tx: _take(tx, key))
        except BaseException:
            # The client left meanwhile, or the transaction failed: the session may have the lock all the same.
            self._database.submit(lambda tx: _release(tx, key), lambda outcome: None)
            raise

    async def _give_back(self, key: str) -> None:
        if self._database.shared:
            # A database that is not there has forgotten the lock with its session.
            with contextlib.suppress(StoreError):
                await self._database.write(lambda tx: _release(tx, key))


def _number(key: str) -> int:
    return int.from_bytes(blake2b(b"maildrop " + key.encode("utf-8", "replace"), digest_size=8).digest(), "big") >> 1


def _take(tx: Tx, key: str) -> bool:
    return bool(tx.execute("SELECT pg_try_advisory_lock(?)", (_number(key),)).fetchone()[0])


def _release(tx: Tx, key: str) -> None:
    # The work that took it may have run twice, and such locks count: given back until none is left.
    held = (
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() "
        "AND objid = ? AND classid = ?"
    )
    number = _number(key)
    while tx.execute(held, (number & 0xFFFFFFFF, number >> 32)).fetchone()[0]:
        tx.execute("SELECT pg_advisory_unlock(?)", (number,))
