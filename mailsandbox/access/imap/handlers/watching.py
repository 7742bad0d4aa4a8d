"""NOTIFY (RFC 5465 §3) and CANCELUPDATE (RFC 5267 §4.3.4)."""

from mailsandbox.access.imap.fetching.columns import column
from mailsandbox.access.imap.grammar.notify import MESSAGE_EVENTS, Notify, is_incomplete
from mailsandbox.access.imap.grammar.search import CancelUpdate
from mailsandbox.access.imap.notifying import Notifications
from mailsandbox.access.imap.responses import Result, bad, no, ok
from mailsandbox.access.imap.session import Session


async def notify(session: Session, command: Notify) -> Result:
    """Each NOTIFY replaces the one before (RFC 5465 §3.1)."""
    if not command.groups:
        session.notifications = None
        return ok("Notify completed")
    for group in command.groups:
        if "AnnotationChange" in group.events:
            # RFC 5465 §8: the answer names what is supported.
            return no(
                "AnnotationChange is not supported",
                "BADEVENT (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange"
                " MailboxMetadataChange ServerMetadataChange)",
            )
        if is_incomplete(group.events):
            session.report("notify-events-incomplete", " ".join(sorted(group.events)))
        if any(column(attribute).sets_seen for attribute in group.attributes):
            return bad("FETCH attributes of MessageNew must not set \\Seen")  # RFC 5465 §5.2
    store = session.context.store
    notifications = Notifications(command.groups, await store.subscriptions(session.account))
    if command.status:
        opened = session.selected.state.name if session.selected is not None else ""
        for mailbox in await store.mailboxes(session.account):
            if mailbox.name != opened and notifications.events_of(mailbox.name) & MESSAGE_EVENTS:
                await notifications.tell_status(session, mailbox.name)
    session.notifications = notifications
    return ok("Notify completed")


async def cancel_update(session: Session, command: CancelUpdate) -> Result:
    contexts = session.opened.contexts
    for tag in command.tags:
        if contexts.pop(tag, None) is None:
            return bad("No such search")
    return ok("Updates cancelled")
