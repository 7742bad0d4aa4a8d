"""Header fields that clients list again and again, kept as they go over the wire.

Invariant: an entry belongs to one MailboxState object, so it is never older than the mailbox in memory; what is
kept is bounded in octets, the mailbox that was asked for longest ago going first. Messages do not change, and a UID is
never given twice, so nothing in it needs to be brought up to date.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mailsandbox.store.model import MessageRow, Uid

if TYPE_CHECKING:
    from mailsandbox.store.state import MailboxState

MAX_OCTETS: Final = 16_000_000  # of all mailboxes; Dovecot's cache file has the same purpose and no bound
_OVERHEAD: Final = 150  # octets that an entry costs besides its own

Values = dict[Uid, bytes]


@dataclass(slots=True)
class _Mailbox:
    state: "MailboxState"
    octets: int = 0
    by_label: dict[bytes, Values] = field(default_factory=dict)


class HeaderCache:
    """One for a service."""

    def __init__(self, limit: int = MAX_OCTETS) -> None:
        self._limit = limit
        self._octets = 0
        self._mailboxes: OrderedDict[int, _Mailbox] = OrderedDict()

    @property
    def octets(self) -> int:
        """What is kept now, about."""
        return self._octets

    def find(self, state: "MailboxState", label: bytes, rows: Sequence[MessageRow]) -> list[bytes | None]:
        """The values of an attribute (by its label) for `rows`; None for those that are not kept."""
        kept = self._mailboxes.get(state.key)
        values = kept.by_label.get(label) if kept is not None and kept.state is state else None
        if values is None:
            return [None] * len(rows)
        self._mailboxes.move_to_end(state.key)
        get = values.get
        return [get(row.uid) for row in rows]

    def keep(self, state: "MailboxState", label: bytes, rows: Sequence[MessageRow], found: Sequence[bytes]) -> None:
        """Remember values."""
        kept = self._mailboxes.get(state.key)
        if kept is None or kept.state is not state:
            self._drop(state.key)
            kept = self._mailboxes[state.key] = _Mailbox(state)
        kept.by_label.setdefault(label, {}).update(zip((row.uid for row in rows), found, strict=True))
        added = sum(map(len, found)) + _OVERHEAD * len(found)
        kept.octets += added
        self._octets += added
        while self._octets > self._limit and self._mailboxes:
            self._drop(next(iter(self._mailboxes)))

    def _drop(self, key: int) -> None:
        dropped = self._mailboxes.pop(key, None)
        if dropped is not None:
            self._octets -= dropped.octets
