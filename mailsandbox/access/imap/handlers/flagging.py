"""STORE, EXPUNGE and their UID forms."""

from collections.abc import Sequence
from itertools import chain
from typing import Final

from mailsandbox.access.imap import announcing
from mailsandbox.access.imap.grammar.messages import Expunge, Store
from mailsandbox.access.imap.responses import Result, bad, no, ok
from mailsandbox.access.imap.session import Selected, Session
from mailsandbox.access.imap.sets import write_numbers
from mailsandbox.store.model import MessageRow, Uid

SYSTEM: Final = frozenset({"\\answered", "\\flagged", "\\deleted", "\\seen", "\\draft"})
MAX_FLAG: Final = 255  # octets of a keyword


async def store(session: Session, command: Store) -> Result:
    """RFC 9051 §6.4.6; UNCHANGEDSINCE RFC 7162 §3.1.3."""
    selected = session.opened
    if selected.read_only:
        return no("Mailbox is read-only", "READ-ONLY")
    wrong = invalid_flag(command.flags)
    if wrong:
        return bad(f"Invalid flag {wrong}")
    if command.unchanged_since is not None:
        if "CONDSTORE" not in session.on:
            return bad("UNCHANGEDSINCE is not offered")
        session.use_condstore()
    uids = selected_uids(selected, command)
    if uids is None:
        return bad("No such message")
    flags = kept_flags(session, selected, command.flags)
    result = await session.context.store.store_flags(
        session.account,
        selected.state.name,
        uids,
        add=flags if command.action == "+" else (),
        remove=flags if command.action == "-" else (),
        replace=None if command.action else flags,
        unchanged_since=command.unchanged_since,
    )
    selected.view.told_flags(result.changed)
    if not command.silent or session.condstore:
        failed = set(result.failed)
        current = map(selected.state.rows.get, uids)
        _answer(session, selected, command, [row for row in current if row is not None and row.uid not in failed])
    else:
        announcing.tell_keywords(session, selected, [change.flags for change in result.changed])
    if result.failed:
        # RFC 7162 §3.1.3: MODIFIED has numbers of the kind that the command used.
        refused = sorted(result.failed)
        numbers = refused if command.uid else [selected.view.sequence_number(uid) for uid in refused]
        return ok("Conditional STORE failed for some", f"MODIFIED {write_numbers(numbers).decode()}")
    if result.found < len(uids) and not command.uid:
        return ok("Some messages were expunged meanwhile", "EXPUNGEISSUED")
    return ok("Store completed")


def _answer(session: Session, selected: Selected, command: Store, rows: list[MessageRow]) -> None:
    """RFC 9051 §6.4.6: the new flags, unless .SILENT; RFC 7162 §3.1.3: MODSEQ in any case, once CONDSTORE is in use."""
    if not rows:
        return
    announcing.tell_keywords(session, selected, [row.flags for row in rows])
    recent = None if session.rev2 or not selected.recent.ranges else selected.recent
    with_uid = not session.uid_only and (command.uid or session.qresync or session.manners.trailing_flags)
    if recent is None and _are_alike(rows):
        template = _template(session, command, rows[0], with_uid=with_uid) * len(rows)
    else:
        template = b"".join(
            _template(session, command, row, with_uid=with_uid, recent=recent is not None and row.uid in recent)
            for row in rows
        )
    numbers = [row.uid for row in rows] if session.uid_only else _numbers(selected, rows)
    values = chain.from_iterable((number, row.uid) for number, row in zip(numbers, rows, strict=True))
    octets = template % tuple(values if with_uid else numbers)
    logged = min(len(rows), announcing.LOGGED)
    announcing.log(session, octets.split(b"\r\n", logged)[:logged], total=len(rows))
    session.send(octets)
    if not command.silent:
        selected.view.shown_flags(rows)


def _template(session: Session, command: Store, row: MessageRow, *, with_uid: bool, recent: bool = False) -> bytes:
    """The line of a message but for its numbers; of many that were changed together it is the same."""
    items = [b"UID %d"] if with_uid else []
    if not command.silent:
        flags = row.flags.octets.replace(b"%", b"%%")
        items.append(b"FLAGS (%b)" % ((b"%b \\Recent" % flags).lstrip() if recent else flags))
    if session.condstore:
        items.append(b"MODSEQ (%d)" % row.mod_seq)
    return b"* %%d %b (%b)\r\n" % (b"UIDFETCH" if session.uid_only else b"FETCH", b" ".join(items))


def _are_alike(rows: list[MessageRow]) -> bool:
    """Whether all have the same flags since the same change."""
    flags, mod_seq = rows[0].flags, rows[0].mod_seq
    for row in rows:  # noqa: SIM110  # all() of a generator takes four times as long
        if row.flags is not flags or row.mod_seq != mod_seq:
            return False
    return True


def _numbers(selected: Selected, rows: list[MessageRow]) -> Sequence[int]:
    view = selected.view
    if len(rows) == view.exists:
        return range(1, view.exists + 1)
    return [view.sequence_number(row.uid) for row in rows]


def selected_uids(selected: Selected, command: Store) -> list[Uid] | None:
    """The UIDs of a command's set; None where a sequence number is not in use."""
    indexes = selected.view.indexes(command.set, uid=command.uid, saved=selected.saved)
    if indexes is None:
        return None
    listed = selected.view.numbers
    uids: list[Uid] = []
    for found in indexes:
        uids += listed[found.start : found.stop]
    return uids


def invalid_flag(flags: tuple[str, ...]) -> str:
    """The first that cannot be stored; "" if all can. RFC 9051 §2.3.2: clients make no system flags, nor \\Recent."""
    for flag in flags:
        if (flag.startswith("\\") and flag.lower() not in SYSTEM) or len(flag) > MAX_FLAG:
            return flag[:40]
    return ""


def kept_flags(session: Session, selected: Selected | None, flags: tuple[str, ...]) -> tuple[str, ...]:
    """The flags as the mailbox keeps them: a personality may know no keywords.

    RFC 9051 §2.3.2: a keyword in another case is the same keyword; the spelling that is known stays.
    """
    keywords = [flag for flag in flags if not flag.startswith("\\")]
    if not keywords:
        return flags
    if not session.manners.keywords:
        return tuple(flag for flag in flags if flag.startswith("\\"))
    known = {name.lower(): name for name in selected.keywords} if selected is not None else {}
    return tuple(flag if flag.startswith("\\") else known.setdefault(flag.lower(), flag) for flag in flags)


async def expunge(session: Session, command: Expunge) -> Result:
    """RFC 9051 §6.4.3, §6.4.9. What is gone is told by `announcing`, as for every session."""
    selected = session.opened
    if selected.read_only:
        return no("Mailbox is read-only", "READ-ONLY")
    uids = None
    if command.set is not None:
        indexes = selected.view.indexes(command.set, uid=True, saved=selected.saved) or []
        listed = selected.view.numbers
        uids = [uid for found in indexes for uid in listed[found.start : found.stop]]
    gone = await session.context.store.expunge(session.account, selected.state.name, uids)
    # RFC 7162 §3.2.7: HIGHESTMODSEQ, so that the client need not ask.
    code = f"HIGHESTMODSEQ {selected.state.highest_mod_seq}" if gone and session.qresync else ""
    return ok("Expunge completed", code)
