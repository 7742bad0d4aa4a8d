"""What the store's errors are called in POP3: the one table from StoreError to text and response code."""

from typing import Final

from mailsandbox import errors

_WORDS: Final[tuple[tuple[type[errors.StoreError], str, str], ...]] = (
    (errors.MaildropInUse, "in-use", "IN-USE"),  # RFC 2449 §8.1.2
    (errors.StoreUnavailable, "temporary", "SYS/TEMP"),  # RFC 3206 §4
    (errors.StoreFull, "temporary", "SYS/TEMP"),
    (errors.NoSuchAccount, "permanent", "SYS/PERM"),
    (errors.NoSuchMailbox, "permanent", "SYS/PERM"),
    (errors.StoreError, "temporary", "SYS/TEMP"),
)


def words(error: errors.StoreError) -> tuple[str, str]:
    """Key of the text, and the response code."""
    return next((text, code) for kind, text, code in _WORDS if isinstance(error, kind))
