"""What went wrong in the engine, in the words of the error tree: no room, or not available."""

import sqlite3
from typing import Final

from mailsandbox.errors import MailsandboxError, StoreFull, StoreUnavailable

_FULL: Final = ("SQLITE_FULL", "SQLITE_TOOBIG")
_DAMAGED: Final = ("SQLITE_CORRUPT", "SQLITE_NOTADB")


def sqlite_failure(error: sqlite3.Error, place: str) -> MailsandboxError | None:
    """The store error for an SQLite error at `place`; None for a bug of ours (a constraint, a wrong statement)."""
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith(_FULL):
        return StoreFull(f"{place}: no room left ({error})")
    if name.startswith(_DAMAGED):
        return StoreUnavailable(
            f"{place}: the database file is damaged ({error}); restore a backup, or save what is left with "
            f"`sqlite3 {place} .recover`"
        )
    if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError | sqlite3.InterfaceError):
        return None
    if name in ("SQLITE_ERROR", "SQLITE_MISUSE", "SQLITE_RANGE"):
        return None
    return StoreUnavailable(f"{place}: {error} ({name or type(error).__name__})")
