"""SORT (RFC 5256 §3, RFC 5957): the keys of each criterion, and the stable sort over them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from mailsandbox.access.imap.envelopes import CC, FROM, TO, first_address
from mailsandbox.access.imap.kept import kept_of
from mailsandbox.message.casemap import casemap
from mailsandbox.store.model import MessageRow

if TYPE_CHECKING:
    from mailsandbox.access.imap.session import Session
    from mailsandbox.store.state import MailboxState

_POSITIONS: Final = {"FROM": FROM, "TO": TO, "CC": CC, "DISPLAYFROM": FROM, "DISPLAYTO": TO}
_BATCH: Final = 2_000


async def sort_rows(
    session: "Session", state: "MailboxState", rows: Sequence[MessageRow], criteria: Sequence[tuple[str, bool]]
) -> list[MessageRow]:
    """The rows in the order of the criteria; ties keep their order, which is that of sequence numbers."""
    order = list(range(len(rows)))
    columns: dict[str, list[Any]] = {}
    for name, reverse in reversed(criteria):
        if name not in columns:
            columns[name] = await _keys(session, state, rows, name)
        # list.sort is stable, reversed too: sorting by the last criterion first leaves the first in charge.
        order.sort(key=columns[name].__getitem__, reverse=reverse)
    return [rows[index] for index in order]


async def _keys(session: "Session", state: "MailboxState", rows: Sequence[MessageRow], name: str) -> list[Any]:
    """One comparable value a row. Any: text, date or number, one kind within a column."""
    match name:
        case "ARRIVAL":
            return [row.internal_date for row in rows]
        case "SIZE":
            return [row.octets for row in rows]
    kept = await kept_of(session, state)
    return await kept.column(name, rows, lambda missing: _read(session, missing, name))


async def _read(session: "Session", rows: Sequence[MessageRow], name: str) -> list[Any]:
    match name:
        case "SUBJECT":
            return [_collated(text or "") for text in await column(session, rows, "base_subject")]
        case "DATE":
            # RFC 5256 §2.2: the internal date stands in for a Date field that cannot be read.
            sent = await column(session, rows, "date")
            return [row.internal_date if date is None else date for row, date in zip(rows, sent, strict=True)]
    position = _POSITIONS[name]
    envelopes = await column(session, rows, "envelope")
    addresses = [first_address(envelope or b"", position) for envelope in envelopes]
    if name.startswith("DISPLAY"):
        return [_collated(address.display) for address in addresses]
    return [_collated(address.mailbox) for address in addresses]


def _collated(text: str) -> str:
    """RFC 5051 §2: i;unicode-casemap compares titlecase letters, so "[" and "_" come behind "z"."""
    return casemap(text).upper()


async def column(session: "Session", rows: Sequence[MessageRow], name: str) -> list[Any]:
    """One column of Rendered for all rows (Any: as the column is); None for a message that vanished."""
    values: list[Any] = []
    for start in range(0, len(rows), _BATCH):
        found = await session.context.store.rendered(rows[start : start + _BATCH], (name,))
        values += [None if each is None else each[0] for each in found]
    return values
