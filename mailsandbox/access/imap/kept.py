"""What was worked out of a mailbox's renderings, kept beside its index for the next SORT and THREAD.

Invariant: it holds for one generation of renderings, which the store counts: when contents are rendered anew, by
whatever daemon, it is thrown away. What is read after the generation was asked for is that new or newer, never older.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from mailsandbox.access.imap.threads import Forest
from mailsandbox.store.model import MessageRow, Uid

if TYPE_CHECKING:
    from mailsandbox.access.imap.session import Session
    from mailsandbox.store.state import MailboxState

MAX_MESSAGES: Final = 100_000  # of a mailbox; of a larger one nothing is kept
_NAME: Final = "imap"


@dataclass(frozen=True, slots=True)
class Threads:
    """An answer to THREAD over a whole mailbox: `uids` are those of its messages then."""

    uids: list[Uid]
    text: bytes


@dataclass(slots=True)
class Kept:
    """Of one mailbox. `columns`: sort keys by the name of the criterion (Any: each column its own type)."""

    generation: int
    columns: dict[str, dict[Uid, Any]] = field(default_factory=dict)
    forest: Forest = field(default_factory=Forest)
    threads: dict[str, Threads] = field(default_factory=dict)

    async def column(
        self,
        name: str,
        rows: Sequence[MessageRow],
        read: Callable[[Sequence[MessageRow]], Awaitable[list[Any]]],  # Any: see above
    ) -> list[Any]:
        """One value for each row; those that are not here yet are read."""
        values = self.columns.setdefault(name, {})
        missing = [row for row in rows if row.uid not in values]
        if missing:
            found = await read(missing)
            values.update(zip((row.uid for row in missing), found, strict=True))
        return [values[row.uid] for row in rows]

    def largest(self) -> int:
        """Messages of which something is kept, those expunged meanwhile included."""
        return max(len(self.forest.entries), *map(len, self.columns.values()), 0)


async def kept_of(session: "Session", state: "MailboxState") -> Kept:
    """What is kept of a mailbox, and still holds."""
    generation = await session.context.store.renderings()
    known = state.derived.get(_NAME)
    if isinstance(known, Kept) and known.generation == generation and known.largest() <= 2 * len(state.uids) + 1_000:
        return known
    kept = Kept(generation)
    if len(state.uids) <= MAX_MESSAGES:
        state.derived[_NAME] = kept
    return kept
