"""SQLite connections with the settings everything here relies on."""

import sqlite3
from typing import Final

_STATEMENTS: Final = 512  # more than the program has, so that none is prepared twice

# It gives the octets themselves, by the shortest way there is. Without an adapter Python 3.11 looks for one for each
# value of bytes (not of str or int), and raises and drops an AttributeError on the way: a fifth of what binding costs.
sqlite3.register_adapter(bytes, bytes.__bytes__)


def connect(path: str, *, durable: bool = False, read_only: bool = False) -> sqlite3.Connection:
    """A connection without implicit transactions. `durable`: WAL, and an fsync for each commit."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=_STATEMENTS)
    execute = connection.execute
    execute("PRAGMA temp_store = MEMORY")  # savepoints of large works need no file
    if path != ":memory:":
        execute("PRAGMA busy_timeout = 5000")
        # Debian's would write zeros over what is removed, and pages that are free into the log: half as much again.
        execute("PRAGMA secure_delete = OFF")
        # Pages of a batch stay in memory until its commit: octets / 1024 of KiB, here 64 MiB.
        execute("PRAGMA cache_size = -65536" if durable else "PRAGMA cache_size = -16384")
    if durable:
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = FULL")  # the WAL is synchronised at every commit: 250 means committed
        execute("PRAGMA wal_autocheckpoint = 0")  # see checkpoints
        execute("PRAGMA journal_size_limit = 67108864")  # octets of log that are kept for use when it starts anew
    if read_only:
        execute("PRAGMA query_only = ON")
    return connection
