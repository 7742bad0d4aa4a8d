"""IDLE (RFC 2177, RFC 9051 §6.3.13): a state of the reader, in which changes are written as they are committed."""

from mailsandbox.access.imap.announcing import announce
from mailsandbox.access.imap.attending import attend
from mailsandbox.access.imap.framing import Refused
from mailsandbox.access.imap.grammar.connection import Idle
from mailsandbox.access.imap.input import Ended, Poked
from mailsandbox.access.imap.lint import IDLE_LIMIT
from mailsandbox.access.imap.responses import Result, ok
from mailsandbox.access.imap.session import Session, State


async def idle(session: Session, command: Idle) -> Result:
    """Returns when the client has said DONE; nothing else ends it but the end of the connection."""
    clock = session.context.clock
    began = clock.now()
    # Some clients look for the word; a bare "+" hangs them (and Exchange sends just that).
    session.send(b"+ \r\n" if session.manners.bare_idle else b"+ idling\r\n")
    session.record.server("+ idling")
    session.idling = True
    try:
        if session.notifications is None:
            announce(session, expunge=True)
        else:
            await session.notifications.tell(session, expunge=True)
        await _until_done(session)
    finally:
        session.idling = False
    if clock.now() - began > IDLE_LIMIT:
        session.report("idle-over-29-minutes")
    return ok("Idle completed")


async def _until_done(session: Session) -> None:
    while session.state is not State.LOGOUT:
        match await session.input.line():
            case bytes() as line if line.strip().upper() == b"DONE":
                session.record.client("DONE")
                return
            case bytes() as line:
                session.record.client(line.decode("utf-8", "replace"))
                session.report("command-in-idle", line[:40].decode("ascii", "replace"))
                session.untagged("BAD Expected DONE")
            case Refused(_, reason):
                session.untagged(f"BAD {reason}")
            case Poked():
                await attend(session)
            case Ended():
                session.move(State.LOGOUT)
