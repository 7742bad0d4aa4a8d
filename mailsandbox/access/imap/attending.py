"""What a session has to tell of its own: at the end of a command, between commands, within IDLE.

Invariant: EXPUNGE is told only where the caller says that it may be (RFC 9051 §7.5.1).
"""

from mailsandbox.access.imap.announcing import announce
from mailsandbox.access.imap.responses import status_line
from mailsandbox.access.imap.session import Session, State


async def attend(session: Session) -> None:
    """What the session has to do of its own, between commands and within IDLE."""
    selected = session.selected
    if selected is not None and selected.gone:
        # RFC 9051 §7.1.5: the mailbox cannot be used any more, and its numbers mean nothing.
        session.send(status_line("BYE", "The selected mailbox was deleted", "UNAVAILABLE"))
        session.record.note("selected mailbox deleted")
        session.move(State.LOGOUT)
        return
    if session.notifications is not None:
        await session.notifications.attend(session)
    elif session.idling:
        announce(session, expunge=True)
    if selected is not None:
        for context in list(selected.contexts.values()):
            await context.update(session)
    session.rim.flush()


async def tell(session: Session, *, expunge: bool) -> None:
    """Before a tagged answer: what changed meanwhile, as far as it may be told now."""
    selected = session.selected
    if selected is None:
        return
    if selected.gone:
        await attend(session)
        return
    if session.notifications is not None:
        await session.notifications.tell(session, expunge=expunge)
    elif selected.view.has_pending:
        announce(session, expunge=expunge)
    if selected.contexts:
        for context in list(selected.contexts.values()):
            await context.update(session)
