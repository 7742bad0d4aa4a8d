"""COPY, MOVE and their UID forms (RFC 9051 §6.4.7, §6.4.8)."""

from mailsandbox.access.imap.grammar.messages import Copy, Move
from mailsandbox.access.imap.responses import Result, bad, no, ok
from mailsandbox.access.imap.session import Selected, Session
from mailsandbox.access.imap.sets import write_pairs_in_order
from mailsandbox.errors import NoSuchMailbox
from mailsandbox.store.model import CopyResult, Uid


async def copy(session: Session, command: Copy) -> Result:
    selected = session.opened
    uids = _uids(selected, command)
    if uids is None:
        return bad("No such message")
    if not uids:
        return ok("No messages found")  # RFC 9051 §6.4.9: UIDs that do not exist are no error
    if not command.uid and any(uid not in selected.state.rows for uid in uids):
        return no("Some messages were expunged meanwhile", "EXPUNGEISSUED")
    try:
        result = await session.context.store.copy(session.account, selected.state.name, uids, command.mailbox)
    except NoSuchMailbox:
        return no("Mailbox does not exist", "TRYCREATE")
    return ok("Copy completed", _code(session, result))


async def move(session: Session, command: Move) -> Result:
    selected = session.opened
    if selected.read_only:
        return no("Mailbox is read-only", "READ-ONLY")
    uids = _uids(selected, command)
    if uids is None:
        return bad("No such message")
    if not uids:
        return ok("No messages found")
    try:
        result = await session.context.store.move(session.account, selected.state.name, uids, command.mailbox)
    except NoSuchMailbox:
        return no("Mailbox does not exist", "TRYCREATE")
    code = _code(session, result)
    if code:
        session.untagged(f"OK [{code}] Moved")  # RFC 6851 §4.3: before the expunges
    mod_seq = f"HIGHESTMODSEQ {selected.state.highest_mod_seq}" if result.sources and session.qresync else ""
    return ok("Move completed", mod_seq)


def _uids(selected: Selected, command: Copy | Move) -> list[Uid] | None:
    indexes = selected.view.indexes(command.set, uid=command.uid, saved=selected.saved)
    if indexes is None:
        return None
    listed = selected.view.numbers
    return [uid for found in indexes for uid in listed[found.start : found.stop]]


def _code(session: Session, result: CopyResult) -> str:
    """RFC 4315 §3; nothing where nothing was copied."""
    if not result.sources or "UIDPLUS" not in session.on:
        return ""
    sources, targets = write_pairs_in_order(result.sources), write_pairs_in_order(result.targets)
    return f"COPYUID {result.uid_validity} {sources.decode()} {targets.decode()}"
