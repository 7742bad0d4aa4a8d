"""One session's view of an account's INBOX: a snapshot taken at login, message numbers, marks (RFC 1939 §4, §5). Pure.

Invariants: numbers never change within a session; nothing here deletes, marks are only counted; the unique-id of a
message is that of its UIDVALIDITY and UID, so it stays the same over sessions and is never given twice (§7).
"""

from collections.abc import Iterable, Sequence
from typing import Final

from mailsandbox.store.model import Flags, MessageRow, Uid

DELETED_KEYWORD: Final = "$POP3Deleted"  # marked by a QUIT in keep mode, as Dovecot's pop3_deleted_flag
FETCHED_KEYWORD: Final = "$POP3Fetched"  # shown before, where the personality hides such


class Maildrop:
    """The snapshot. Numbers count from 1."""

    def __init__(self, rows: Iterable[MessageRow], *, uid_validity: int, hidden: Iterable[str] = ()) -> None:
        """`hidden`: messages with one of these keywords are not part of the maildrop."""
        names = frozenset(hidden)
        if names:
            rows = _visible(rows, names)
        self.rows: Sequence[MessageRow] = tuple(rows)
        self._uid_validity = uid_validity
        self._octets = sum(row.octets for row in self.rows)
        self._deleted: set[int] = set()
        self._deleted_octets = 0
        self.retrieved: set[int] = set()

    def find(self, number: int) -> MessageRow | None:
        """The message of that number; None where there is none or it is marked as deleted."""
        if 0 < number <= len(self.rows) and number not in self._deleted:
            return self.rows[number - 1]
        return None

    def is_deleted(self, number: int) -> bool:
        """Whether it was marked in this session."""
        return number in self._deleted

    @property
    def count(self) -> int:
        """Messages that are not marked as deleted."""
        return len(self.rows) - len(self._deleted)

    @property
    def octets(self) -> int:
        """Their octets."""
        return self._octets - self._deleted_octets

    def delete(self, number: int) -> None:
        """Mark; the number must have been found."""
        self._deleted.add(number)
        self._deleted_octets += self.rows[number - 1].octets

    def undelete(self) -> None:
        """Take back all marks (RSET)."""
        self._deleted.clear()
        self._deleted_octets = 0

    def unique_id(self, row: MessageRow) -> str:
        """RFC 1939 §7: 1 to 70 characters from 0x21 to 0x7E."""
        return f"{self._uid_validity:x}.{row.uid:x}"

    def listing(self) -> bytes:
        """The lines of LIST."""
        if not self._deleted:
            return "".join([f"{number} {row.octets}\r\n" for number, row in enumerate(self.rows, 1)]).encode()
        return "".join([f"{number} {row.octets}\r\n" for number, row in self._unmarked()]).encode()

    def unique_ids(self) -> bytes:
        """The lines of UIDL."""
        prefix = f"{self._uid_validity:x}."
        pairs = self._unmarked() if self._deleted else enumerate(self.rows, 1)
        return "".join([f"{number} {prefix}{row.uid:x}\r\n" for number, row in pairs]).encode()

    def _unmarked(self) -> Iterable[tuple[int, MessageRow]]:
        deleted = self._deleted
        return ((number, row) for number, row in enumerate(self.rows, 1) if number not in deleted)

    def following(self, number: int, *, messages: int, octets: int) -> list[MessageRow]:
        """The message of `number` and those that a client reading in order will ask for next, within the bounds."""
        rows: list[MessageRow] = []
        for next_number in range(number, len(self.rows) + 1):
            row = self.rows[next_number - 1]
            octets -= row.octets
            if rows and (octets < 0 or len(rows) >= messages):
                break
            if next_number not in self._deleted:
                rows.append(row)
        return rows

    @property
    def doomed(self) -> list[Uid]:
        """UIDs that UPDATE is to remove."""
        return [self.rows[number - 1].uid for number in sorted(self._deleted)]

    @property
    def read(self) -> list[Uid]:
        """UIDs retrieved whole and not marked as deleted."""
        return [self.rows[number - 1].uid for number in sorted(self.retrieved - self._deleted)]


def _visible(rows: Iterable[MessageRow], hidden: frozenset[str]) -> list[MessageRow]:
    known: dict[Flags, bool] = {}  # flag sets are interned: a maildrop has few
    visible = []
    for row in rows:
        shown = known.get(row.flags)
        if shown is None:
            shown = known[row.flags] = hidden.isdisjoint(row.flags.names)
        if shown:
            visible.append(row)
    return visible
