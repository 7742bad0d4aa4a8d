"""Annotations of mailboxes and of the server (RFC 5464). Entry names compare without case."""

from collections.abc import Mapping, Sequence

from mailsandbox.store.model import ChangeType
from mailsandbox.store.unit import Mailbox, Unit


def read(unit: Unit, address: str, mailbox: str, entries: Sequence[str]) -> dict[str, bytes]:
    """Those of `entries` that are set, or all; by name in lower case."""
    account = unit.account(address)
    key = unit.mailbox(account, mailbox).key if mailbox else 0
    rows = unit.tx.execute(
        "SELECT entry, value FROM metadata WHERE account_id = ? AND mailbox_id = ? ORDER BY entry", (account.key, key)
    )
    wanted = {entry.lower() for entry in entries}
    return {entry: bytes(value) for entry, value in rows if not wanted or entry in wanted}


def write(unit: Unit, address: str, mailbox: str, entries: Mapping[str, bytes | None]) -> None:
    """Set each entry, or remove it (None)."""
    account = unit.account(address)
    place = unit.mailbox(account, mailbox) if mailbox else Mailbox(0, account, "", 0)
    for entry, value in entries.items():
        where = (account.key, place.key, entry.lower())
        if value is None:  # RFC 5464 §4.3: NIL removes
            unit.tx.execute("DELETE FROM metadata WHERE account_id = ? AND mailbox_id = ? AND entry = ?", where)
        else:
            unit.tx.execute(
                "INSERT INTO metadata (account_id, mailbox_id, entry, value) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (account_id, mailbox_id, entry) DO UPDATE SET value = excluded.value",
                (*where, value),
            )
    if entries:
        seq, _ = unit.number(account, 1)
        unit.log(seq, ChangeType.METADATA_CHANGE, place, other_name=" ".join(entry.lower() for entry in entries))
