"""SEARCH RETURN (UPDATE) (RFC 5267 §4.3): a search that stays, and tells what comes into its result and what leaves it.

Invariant: `members` are the UIDs that the client knows to be in the result. What leaves by expunge is told before the
EXPUNGE, in the numbers that still hold; all else after the numbers have moved.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from mailsandbox.access.imap.grammar.fetch import Attribute
from mailsandbox.access.imap.grammar.search import Key
from mailsandbox.access.imap.handlers.fetched import show
from mailsandbox.access.imap.responses import quote
from mailsandbox.access.imap.searching import Evaluation
from mailsandbox.access.imap.sets import write_numbers
from mailsandbox.access.imap.view import View
from mailsandbox.store.logrow import LogRow
from mailsandbox.store.model import Uid

if TYPE_CHECKING:
    from mailsandbox.access.imap.session import Session

MAX_CONTEXTS: Final = 16  # of one mailbox; RFC 5267 §4.3.2 lets the server refuse with NOUPDATE


class SearchContext:
    """One search that stays; `tag` is the command's own, by which the client knows it."""

    __slots__ = ("_touched", "attributes", "key", "members", "tag", "uid")

    def __init__(
        self, tag: bytes, key: Key, *, uid: bool, members: Sequence[Uid], attributes: tuple[Attribute, ...] = ()
    ) -> None:
        self.tag = tag
        self.key = key
        self.uid = uid
        self.members = set(members)
        self.attributes = attributes
        self._touched: set[Uid] = set()

    def note(self, rows: Sequence[LogRow]) -> None:
        """Messages came or changed; `update` looks at them."""
        for row in rows:
            self._touched.update(row.uids)

    def drop_expunged(self, session: "Session", view: View) -> None:
        """Tell which members are gone, before their EXPUNGE is told."""
        gone = [uid for uid in view.ghosts() if uid in self.members]
        if gone:
            self.members.difference_update(gone)
            self._tell(session, view, b"REMOVEFROM", gone)

    async def update(self, session: "Session") -> None:
        """Tell what the noted changes did to the result."""
        selected = session.selected
        if not self._touched or selected is None:
            return
        touched, self._touched = self._touched, set()
        view, rows = selected.view, selected.state.rows
        told = [rows[uid] for uid in sorted(touched) if uid in rows and uid <= view.last_uid]
        # What came and has no number yet waits for its EXISTS.
        self._touched = {uid for uid in touched if uid > view.last_uid and uid in rows}
        found = {row.uid for row in await Evaluation(session, selected).matching(self.key, told)}
        added = [row.uid for row in told if row.uid in found and row.uid not in self.members]
        removed = [row.uid for row in told if row.uid not in found and row.uid in self.members]
        self.members.difference_update(removed)
        self.members.update(added)
        if removed:
            self._tell(session, view, b"REMOVEFROM", removed)
        if added:
            self._tell(session, view, b"ADDTO", added)
            if self.attributes:  # RFC 5465 §7
                numbers = [view.sequence_number(uid) for uid in added]
                await show(session, selected, self.attributes, numbers, [rows[uid] for uid in added], uid=True)

    def _tell(self, session: "Session", view: View, word: bytes, uids: Sequence[Uid]) -> None:
        numbers = uids if self.uid else [view.sequence_number(uid) for uid in uids]
        # RFC 5267 §4.3.3: position 0, as a search's result has no order of its own.
        kind = b" UID" if self.uid else b""
        session.say(b"ESEARCH (TAG %b)%b %b (0 %b)" % (quote(self.tag), kind, word, write_numbers(numbers)))
