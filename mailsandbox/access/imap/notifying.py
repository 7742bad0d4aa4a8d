"""NOTIFY (RFC 5465): what this client wants to be told, of which mailboxes, and how it is told.

Invariant: what waits to be told is a set of names and of UIDs, never a queue of events, so its size is bounded by the
account. The first event group that fits a mailbox decides (RFC 5465 §4).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from mailsandbox.access.imap.announcing import announce
from mailsandbox.access.imap.grammar.notify import EventGroup
from mailsandbox.access.imap.handlers.fetched import show
from mailsandbox.access.imap.names import SEPARATOR, encode_name
from mailsandbox.access.imap.responses import astring, string
from mailsandbox.errors import StoreError
from mailsandbox.store.logrow import LogRow
from mailsandbox.store.model import ChangeType, Uid

if TYPE_CHECKING:
    from mailsandbox.access.imap.session import Session

_MESSAGE_EVENTS: Final = {
    ChangeType.MESSAGE_NEW: "MessageNew",
    ChangeType.MESSAGE_APPEND: "MessageNew",
    ChangeType.MESSAGE_EXPUNGE: "MessageExpunge",
    ChangeType.FLAGS_SET: "FlagChange",
    ChangeType.FLAGS_CLEAR: "FlagChange",
}
_MAILBOX_EVENTS: Final = {
    ChangeType.MAILBOX_CREATE: "MailboxName",
    ChangeType.MAILBOX_DELETE: "MailboxName",
    ChangeType.MAILBOX_RENAME: "MailboxName",
    ChangeType.MAILBOX_SUBSCRIBE: "SubscriptionChange",
    ChangeType.MAILBOX_UNSUBSCRIBE: "SubscriptionChange",
}


class Notifications:
    """One NOTIFY SET in force."""

    def __init__(self, groups: Sequence[EventGroup], subscribed: Sequence[str]) -> None:
        self.selected_group = next((group for group in groups if group.scope.startswith("SELECTED")), None)
        self.groups = [group for group in groups if not group.scope.startswith("SELECTED")]
        self._subscribed = set(subscribed)
        self._statuses: dict[str, None] = {}  # mailboxes whose STATUS is to be told, in order
        self._lists: dict[str, tuple[bytes, str]] = {}  # attributes and old name to be told, the latest for each name
        self._metadata: dict[tuple[str, str], None] = {}
        self._new: list[Uid] = []  # of the selected mailbox: to be fetched

    def events_of(self, mailbox: str) -> frozenset[str]:
        """The events wanted of a mailbox that is not selected."""
        for group in self.groups:
            if self._covers(group, mailbox):
                return group.events
        return frozenset()

    def _covers(self, group: EventGroup, mailbox: str) -> bool:
        match group.scope:
            case "INBOXES":
                return mailbox == "INBOX"
            case "PERSONAL":
                return True
            case "SUBSCRIBED":
                return mailbox in self._subscribed
            case "SUBTREE":
                return any(mailbox == root or mailbox.startswith(root + SEPARATOR) for root in group.mailboxes)
            case _:
                return mailbox in group.mailboxes

    # -- noting

    def note(self, rows: Sequence[LogRow], *, selected: str | None) -> None:
        """Changes just committed. `selected`: the open mailbox, whose messages the view tells of."""
        for row in rows:
            event = _MESSAGE_EVENTS.get(row.type)
            if event is not None:
                if row.mailbox != selected and event in self.events_of(row.mailbox):
                    self._statuses[row.mailbox] = None
                continue
            if row.type is ChangeType.METADATA_CHANGE:
                if self._wants_metadata(row.mailbox):
                    self._metadata[row.mailbox, row.other_name] = None
                continue
            event = _MAILBOX_EVENTS.get(row.type)
            wanted = self.events_of(row.mailbox) | self.events_of(row.other_name)
            self._keep_subscriptions(row)
            # What was subscribed until now is told that it no longer is, and the reverse.
            if event is not None and event in wanted | self.events_of(row.mailbox):
                self._note_list(row)

    def _wants_metadata(self, mailbox: str) -> bool:
        if mailbox:
            return "MailboxMetadataChange" in self.events_of(mailbox)
        return any("ServerMetadataChange" in group.events for group in self.groups)  # RFC 5465 §5.7: of no mailbox

    def _keep_subscriptions(self, row: LogRow) -> None:
        if row.type is ChangeType.MAILBOX_SUBSCRIBE:
            self._subscribed.add(row.mailbox)
        elif row.type is ChangeType.MAILBOX_UNSUBSCRIBE:
            self._subscribed.discard(row.mailbox)

    def _note_list(self, row: LogRow) -> None:
        """RFC 5465 §5.4, §5.5: LIST, with OLDNAME for a rename."""
        words, old_name = b"", ""
        match row.type:
            case ChangeType.MAILBOX_DELETE:
                words = b"\\NonExistent"
                self._statuses.pop(row.mailbox, None)
            case ChangeType.MAILBOX_RENAME:
                old_name = row.other_name
            case ChangeType.MAILBOX_SUBSCRIBE:
                words = b"\\Subscribed"
            case _:
                pass
        if row.type is ChangeType.MAILBOX_CREATE and row.mailbox in self._subscribed:
            words = b"\\Subscribed"
        self._lists[row.mailbox] = words, old_name

    # -- telling

    def push(self, session: "Session") -> None:
        """No command runs: the selected mailbox at once, what must be read from the store by the worker."""
        if self.selected_group is None:
            if session.idling:  # nothing was said about the selected mailbox: IDLE tells of it as ever
                self._announce(session, expunge=True)
        elif self.selected_group.events:
            self._announce(session, expunge=self.selected_group.scope == "SELECTED" or session.idling)
        if self._new or self._statuses or self._lists or self._metadata or self._contexts_wait(session):
            session.input.poke()

    def _contexts_wait(self, session: "Session") -> bool:
        return session.selected is not None and bool(session.selected.contexts)

    def _announce(self, session: "Session", *, expunge: bool) -> None:
        new = announce(session, expunge=expunge)
        if self.selected_group is not None and self.selected_group.attributes:
            self._new += new

    async def attend(self, session: "Session") -> None:
        """The worker's part of `push`."""
        await self._tell_rest(session)

    async def tell(self, session: "Session", *, expunge: bool) -> None:
        """At the end of a command."""
        self._announce(session, expunge=expunge)
        await self._tell_rest(session)

    async def _tell_rest(self, session: "Session") -> None:
        lists, self._lists = self._lists, {}
        for name, (words, old_name) in lists.items():
            extra = b""
            if old_name:
                extra = b' ("OLDNAME" (%b))' % string(encode_name(old_name, utf8=session.utf8), utf8=session.utf8)
            session.say(b'LIST (%b) "/" %b%b' % (words, session.name(name), extra))
        metadata, self._metadata = self._metadata, {}
        for mailbox, entry in metadata:
            # RFC 5464 §4.4.2: an unsolicited METADATA has entry names only.
            entries = b" ".join(astring(each.encode()) for each in entry.split())
            session.say(b"METADATA %b %b" % (session.name(mailbox) if mailbox else b'""', entries))
        new, self._new = self._new, []
        selected, group = session.selected, self.selected_group
        if new and selected is not None and group is not None:
            rows = [selected.state.rows[uid] for uid in new if uid in selected.state.rows]
            numbers = [selected.view.sequence_number(row.uid) for row in rows]
            await show(session, selected, group.attributes, numbers, rows, uid=True)
        names, self._statuses = self._statuses, {}
        for name in names:
            await self.tell_status(session, name)

    async def tell_status(self, session: "Session", name: str) -> None:
        """RFC 5465 §5.1 to §5.3: what changed about a mailbox that is not selected."""
        events = self.events_of(name)
        try:
            found = await session.context.store.status(session.account, name)
        except StoreError:
            return  # it was deleted meanwhile
        words = []
        if events & {"MessageNew", "MessageExpunge"}:
            words.append(b"MESSAGES %d" % found.messages)
        if "MessageNew" in events:
            words.append(b"UIDNEXT %d" % found.uid_next)
        if events & {"MessageNew", "FlagChange"}:
            words.append(b"UIDVALIDITY %d" % found.uid_validity)
        if "FlagChange" in events:
            words.append(b"UNSEEN %d" % found.unseen)
        if ("FlagChange" in events and "CONDSTORE" in session.on) or session.condstore:
            words.append(b"HIGHESTMODSEQ %d" % found.highest_mod_seq)
        if words:
            session.say(b"STATUS %b (%b)" % (session.name(name), b" ".join(words)))
