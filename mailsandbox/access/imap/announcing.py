"""Telling a client what changed in its mailbox: EXPUNGE or VANISHED, EXISTS, RECENT, FETCH of flags.

Invariant: the order is the one in which sequence numbers stay right: what leaves a search context, then expunges, then
EXISTS, then flags. Whether EXPUNGE is allowed now is the caller's to know (RFC 9051 §7.5.1).
"""

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from mailsandbox.access.imap.sets import write_numbers
from mailsandbox.store.model import Flags, MessageRow, Uid, distinct

if TYPE_CHECKING:
    from mailsandbox.access.imap.session import Selected, Session

_SYSTEM_FLAGS: Final = "\\Answered \\Flagged \\Deleted \\Seen \\Draft"
_KNOWN_FLAGS: Final = 10_000  # sets of flags remembered, as many as the store keeps interned
LOGGED: Final = 20  # responses of one command that go to the transcript
_LOGGED_OCTETS: Final = 1_200
_LITERAL: Final = re.compile(rb"\{([0-9]+)\}\r\n")


def announce(session: "Session", *, expunge: bool) -> list[Uid]:
    """Tell all that is pending; returns the UIDs of new messages."""
    selected = session.selected
    if selected is None or not selected.view.has_pending:
        return []
    view = selected.view
    if expunge and selected.contexts:
        for context in selected.contexts.values():
            context.drop_expunged(session, view)
    pending = view.pull(expunge=expunge)
    lines = []
    if pending.expunged:
        lines += _expunged(session, pending.expunged)
    if pending.expunged and pending.exists is None and selected.recent.ranges:
        lines += recent(session, selected)  # there may be fewer of them now
    if pending.exists is not None:
        lines.append(b"* %d EXISTS\r\n" % pending.exists)
        lines += recent(session, selected)
    if pending.flags:
        lines += flag_lines(session, selected, pending.flags)
    log(session, lines)
    session.send(b"".join(lines))
    if pending.new:
        session.announced(pending.new)
    return pending.new


def log(session: "Session", lines: Sequence[bytes], *, total: int | None = None) -> None:
    """Put responses into the transcript, the first of them if there are many. `total`: where not all are given."""
    for line in lines[:LOGGED]:
        session.record.server(_shown(line))
    more = (len(lines) if total is None else total) - LOGGED
    if more > 0:
        session.record.server(f"[{more} more responses]")


def _shown(line: bytes) -> str:
    """A response for the transcript: without the octets of literals."""
    pieces: list[bytes] = []
    at = 0
    while len(pieces) < LOGGED and (literal := _LITERAL.search(line, at, at + _LOGGED_OCTETS)):
        pieces.append(line[at : literal.end() - 2] + b" [...]")
        at = literal.end() + int(literal[1])
    pieces.append(line[at : at + _LOGGED_OCTETS])
    return b"".join(pieces).rstrip().decode("utf-8", "replace")


def _expunged(session: "Session", expunged: Sequence[tuple[int, Uid]]) -> list[bytes]:
    # RFC 7162 §3.2.10, RFC 9586 §3.5: VANISHED takes the place of EXPUNGE.
    if session.qresync or session.uid_only:
        return [b"* VANISHED %b\r\n" % write_numbers([uid for _, uid in expunged])]
    return [b"* %d EXPUNGE\r\n" % number for number, _ in expunged]


def recent(session: "Session", selected: "Selected") -> list[bytes]:
    """The RECENT line, with the messages that are recent taken by this session (RFC 3501 §2.3.2)."""
    if session.rev2:  # RFC 9051 Appendix E: \Recent is no more
        return []
    claim_recent(session, selected)
    return [b"* %d RECENT\r\n" % selected.recent.count(selected.view.numbers[: selected.view.exists])]


def tell_keywords(session: "Session", selected: "Selected", told: Iterable[Flags]) -> None:
    """Before flags are told: FLAGS again, if there are keywords among them that the client has not heard of."""
    known = selected.known_flags
    unknown = {key: flags for key, flags in distinct(told).items() if key not in known}
    if not unknown:
        return
    if len(known) > _KNOWN_FLAGS:
        known.clear()
    known.update(unknown)
    names = {name for flags in unknown.values() for name in flags.names if not name.startswith("\\")}
    if not names <= selected.keywords:
        selected.keywords |= names
        tell_flags(session, selected)


def tell_flags(session: "Session", selected: "Selected") -> None:
    """FLAGS and PERMANENTFLAGS (RFC 9051 §7.3.5, §7.1)."""
    flags = " ".join([_SYSTEM_FLAGS, *sorted(selected.keywords)])
    session.untagged(f"FLAGS ({flags})")
    if selected.read_only:
        session.untagged("OK [PERMANENTFLAGS ()] Read-only mailbox")
    else:
        permanent = f"{flags} \\*" if session.manners.keywords else flags
        session.untagged(f"OK [PERMANENTFLAGS ({permanent})] Flags permitted")


def claim_recent(session: "Session", selected: "Selected") -> None:
    """Take what no session has seen yet; EXAMINE only looks."""
    if selected.read_only:
        first = selected.state.recent_from_uid
        selected.recent.ranges.clear()
    else:
        first = session.context.store.claim_recent(selected.state)
    selected.recent.add(first, selected.view.last_uid)


def flag_lines(session: "Session", selected: "Selected", rows: Sequence[tuple[int, MessageRow]]) -> list[bytes]:
    """Untagged FETCH with the flags of rows, as this client wants to be told of changes."""
    tell_keywords(session, selected, [row.flags for _, row in rows])
    lines = []
    recents = selected.recent.ranges
    for number, row in rows:
        flags = row.flags.octets
        if recents and not session.rev2 and row.uid in selected.recent:
            flags = b"%b \\Recent" % flags if flags else b"\\Recent"
        mod_seq = b" MODSEQ (%d)" % row.mod_seq if session.condstore else b""
        if session.uid_only:
            # RFC 9586 §3.3: UIDFETCH takes the place of FETCH.
            lines.append(b"* %d UIDFETCH (FLAGS (%b)%b)\r\n" % (row.uid, flags, mod_seq))
        elif session.qresync or session.rev2 or session.notifications is not None:
            # RFC 7162 §3.2.4: UID must be in it after ENABLE QRESYNC, RFC 5465 §5.1: after NOTIFY; RFC 9051 §7.5.2
            # recommends it.
            lines.append(b"* %d FETCH (UID %d FLAGS (%b)%b)\r\n" % (number, row.uid, flags, mod_seq))
        else:
            lines.append(b"* %d FETCH (FLAGS (%b)%b)\r\n" % (number, flags, mod_seq))
    return lines
