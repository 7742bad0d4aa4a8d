"""SELECT, EXAMINE, CLOSE, UNSELECT."""

from mailsandbox.access.imap.announcing import claim_recent, flag_lines, tell_flags
from mailsandbox.access.imap.grammar.connection import Close, Unselect
from mailsandbox.access.imap.grammar.mailboxes import Resync, Select
from mailsandbox.access.imap.handlers.listing import attributes_of
from mailsandbox.access.imap.names import SEPARATOR
from mailsandbox.access.imap.responses import Result, bad, ok
from mailsandbox.access.imap.session import Selected, Session
from mailsandbox.access.imap.sets import write_numbers
from mailsandbox.access.imap.view import View
from mailsandbox.store.model import ModSeq, distinct


async def select(session: Session, command: Select) -> Result:
    """RFC 9051 §6.3.2, §6.3.3; CONDSTORE and QRESYNC RFC 7162 §3.1.8, §3.2.5."""
    if command.resync is not None and not session.qresync:
        session.report("qresync-without-enable")
        return bad("ENABLE QRESYNC first")
    if command.condstore and "CONDSTORE" not in session.on:
        return bad("CONDSTORE is not offered")
    if session.selected is not None:
        # RFC 9051 §7.1 CLOSED: what follows is about the new mailbox. A failing SELECT leaves none selected (§6.3.2).
        session.unselect()
        session.untagged("OK [CLOSED] Previous mailbox is closed now")
    state = await session.context.store.open_mailbox(session.account, command.mailbox)
    selected = Selected(state, View(state), command.read_only)
    session.select(selected)
    if command.condstore:
        session.enabled.add("CONDSTORE")
    selected.renumbered = session.lint.selected(state.name, state.uid_validity)
    await _describe(session, selected)
    if command.resync is not None and command.resync.uid_validity == state.uid_validity:
        await _resynchronise(session, selected, command.resync)
    if command.read_only:
        return ok("Examine completed", "READ-ONLY")
    return ok("Select completed", "READ-WRITE")


async def _describe(session: Session, selected: Selected) -> None:
    state = selected.state
    first_unseen = _look_over(selected)
    tell_flags(session, selected)
    session.untagged(f"{selected.view.exists} EXISTS")
    if not session.rev2:
        claim_recent(session, selected)
        count = selected.recent.count(selected.view.numbers[: selected.view.exists])
        session.untagged(f"{count} RECENT")
        if first_unseen and session.manners.unseen_hint and not session.uid_only:
            session.untagged(f"OK [UNSEEN {first_unseen}] First unseen")
    session.untagged(f"OK [UIDVALIDITY {state.uid_validity}] UIDs valid")
    session.untagged(f"OK [UIDNEXT {state.uid_next}] Predicted next UID")
    if "CONDSTORE" in session.on:
        session.untagged(f"OK [HIGHESTMODSEQ {state.highest_mod_seq}] Highest")
    if "OBJECTID" in session.on:
        session.untagged(f"OK [MAILBOXID ({state.mailbox_id})] Ok")  # RFC 8474 §4.2
    if session.rev2:
        # RFC 9051 §6.3.2: LIST is a required answer.
        words = await attributes_of(session, state.name)
        session.say(b'LIST (%b) "%b" %b' % (words, SEPARATOR.encode(), session.name(state.name)))


def _look_over(selected: Selected) -> int:
    """Note the keywords in use; the number of the first message that is not seen, 0 for none."""
    flags = [row.flags for row in selected.state.rows.values()]
    used = selected.known_flags = distinct(flags)
    selected.keywords = {name for each in used.values() for name in each.names if not name.startswith("\\")}
    unseen = {key for key, each in used.items() if "\\Seen" not in each.names}
    if not unseen:
        return 0
    return next(number for number, each in enumerate(flags, 1) if id(each) in unseen)


async def _resynchronise(session: Session, selected: Selected, resync: Resync) -> None:
    """RFC 7162 §3.2.5.1: what vanished and what changed since the client last looked."""
    state, view = selected.state, selected.view
    since = ModSeq(resync.mod_seq)
    known = resync.known_uids.resolve(1) if resync.known_uids is not None else None
    vanished = await session.context.store.vanished(state, since)
    if known is not None:
        vanished = [uid for uid in vanished if any(first <= uid <= last for first, last in known)]
    if vanished:
        session.say(b"VANISHED (EARLIER) %b" % write_numbers(vanished))
    uids = view.numbers[: view.exists] if known is None else view.uid_ranges(known)
    changed = [
        (view.sequence_number(uid), row)
        for uid in uids
        if (row := state.rows.get(uid)) is not None and row.mod_seq > resync.mod_seq
    ]
    session.send(b"".join(flag_lines(session, selected, changed)))


async def close(session: Session, command: Close) -> Result:
    """RFC 9051 §6.4.1: expunges silently, unless the mailbox is read-only."""
    selected = session.opened
    code = ""
    if not selected.read_only and not selected.gone:
        await session.context.store.expunge(session.account, selected.state.name, None)
        if session.qresync:
            code = f"HIGHESTMODSEQ {selected.state.highest_mod_seq}"  # RFC 7162 §3.2.8
    session.unselect()
    return ok("Close completed", code)


async def unselect(session: Session, command: Unselect) -> Result:
    """RFC 9051 §6.4.2."""
    session.unselect()
    return ok("Unselect completed")
