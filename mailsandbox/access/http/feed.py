"""The log of changes as HTTP shows it: which entries, in what form, from which cursor. Every model of delivery uses it.

Notification is not the message: an entry carries ids, `GET /v1/messages/{id}` the rest. Knows no transport.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from msgspec import UNSET, Meta, Struct

from mailsandbox.access.http import shapes
from mailsandbox.access.http.problems import invalid
from mailsandbox.access.http.times import rfc3339
from mailsandbox.errors import NoSuchAccount
from mailsandbox.store.model import Change, ChangePage, ChangeType, MessageId, Seq
from mailsandbox.store.store import Store

_NEW: Final = (ChangeType.MESSAGE_NEW, ChangeType.MESSAGE_APPEND)


class ChangesQuery(Struct, kw_only=True, forbid_unknown_fields=True):
    """From where, and which entries."""

    since: shapes.Cursor | None = None
    limit: shapes.Limit = 1000
    types: Annotated[list[str], Meta(description="RFC 5423 names, repeated or with commas; all by default")] = []
    mailbox: Annotated[list[str], Meta(description="mailbox names, repeated; all by default")] = []


@dataclass(frozen=True, slots=True)
class Selection:
    """Which entries a reader wants; empty sets want all."""

    types: frozenset[ChangeType] = frozenset()
    mailboxes: frozenset[str] = frozenset()

    @classmethod
    def of(cls, types: Sequence[str], mailboxes: Sequence[str], *, where: str = "?types") -> "Selection":
        """Raises Problem 422 for a name that is no type of change."""
        wanted: set[ChangeType] = set()
        for name in (name.strip() for row in types for name in row.split(",")):
            try:
                wanted.add(ChangeType(name))
            except ValueError:
                known = ", ".join(ChangeType)
                raise invalid(f"{name!r} is no type of change; there are {known}", where=where) from None
        return cls(frozenset(wanted), frozenset(mailboxes))

    def of_page(self, page: ChangePage) -> list[Change]:
        """The entries of a page that are wanted."""
        if not self.types and not self.mailboxes:
            return list(page.changes)
        return [
            change
            for change in page.changes
            if (not self.types or change.type in self.types)
            and (not self.mailboxes or change.mailbox in self.mailboxes or change.other_name in self.mailboxes)
        ]


def view_of(change: Change) -> shapes.ChangeView:
    """One entry."""
    return shapes.ChangeView(
        seq=change.seq,
        type=change.type.value,
        mailbox=change.mailbox,
        uid=change.uid,
        message_id=change.message_id,
        at=rfc3339(change.at),
        mod_seq=change.mod_seq,
        committed_ns=change.committed_ns,
        flags=list(change.flags) if change.uid is not None and change.type != ChangeType.MESSAGE_EXPUNGE else UNSET,
        other_name=change.other_name,
    )


def new_messages(changes: Sequence[Change]) -> list[MessageId]:
    """The messages that these entries show for the first time."""
    return [change.message_id for change in changes if change.message_id is not None and change.type in _NEW]


async def read(store: Store, account: str, since: Seq, limit: int) -> ChangePage:
    """A page of the log; an account that has not come into being has an empty one."""
    try:
        return await store.changes(account, since, limit)
    except NoSuchAccount:
        return ChangePage([], Seq(0), reset=since > 0)
