"""LIST, LSUB and STATUS (RFC 9051 §6.3.9, §6.3.11; RFC 5258, 5819, 6154, 9590; RFC 3501 §6.3.9)."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from mailsandbox.access.imap.grammar.mailboxes import List, Lsub, Status, StatusItems
from mailsandbox.access.imap.names import SEPARATOR, ListPattern, canonical, list_pattern, parents
from mailsandbox.access.imap.responses import Result, astring, bad, nstring, ok, parenthesized
from mailsandbox.access.imap.session import Session
from mailsandbox.errors import NoSuchMailbox
from mailsandbox.store.model import MailboxStatus

_QUOTED_SEPARATOR: Final = b'"' + SEPARATOR.encode() + b'"'


@dataclass(slots=True)
class Tree:
    """An account's mailboxes with what LIST must know of each name. `status` None: the name is only a parent."""

    status: dict[str, MailboxStatus]
    subscribed: frozenset[str]
    names: list[str]
    having_children: frozenset[str]


async def tree_of(session: Session) -> Tree:
    """All names: mailboxes, subscribed ones that are gone, and parents of either (RFC 9051 §6.3.9.7)."""
    store = session.context.store
    status = {each.name: each for each in await store.mailboxes(session.account)}
    subscribed = frozenset(await store.subscriptions(session.account))
    having_children = frozenset(parent for name in status for parent in parents(name))
    names = sorted({*status, *having_children, *subscribed}, key=lambda name: (name != "INBOX", name))
    return Tree(status, subscribed, names, having_children)


async def list_(session: Session, command: List) -> Result:
    refused = _refused(session, command)
    if refused is not None:
        return refused
    if not command.extended and command.patterns == ("",):
        # RFC 9051 §6.3.9: an empty pattern asks for the separator and the root of the reference.
        root = command.reference.partition(SEPARATOR)[0] + SEPARATOR if SEPARATOR in command.reference else ""
        session.say(b"LIST (\\Noselect) %b %b" % (_QUOTED_SEPARATOR, session.name(root)))
        return ok("List completed")
    tree = await tree_of(session)
    # RFC 5258 §6: an empty pattern among several fits nothing.
    patterns = [
        list_pattern(command.reference, pattern) for pattern in command.patterns if pattern or command.reference
    ]
    for name in tree.names:
        if any(pattern.fits(name) for pattern in patterns):
            await _list_one(session, command, tree, name, patterns)
    return ok("List completed")


def _refused(session: Session, command: List) -> Result | None:
    """Options whose capability is off."""
    if command.extended and "LIST-EXTENDED" not in session.on:
        return bad("Extended LIST is not offered")
    wanted = [
        ("SPECIAL-USE", "SPECIAL-USE" in command.selection or command.returns.special_use),
        ("LIST-STATUS", command.returns.status is not None),
        ("LIST-METADATA", bool(command.returns.metadata)),
    ]
    for capability, used in wanted:
        if used and capability not in session.on:
            return bad(f"{capability} is not offered")
    if command.returns.status is not None:
        return status_refused(session, command.returns.status)
    return None


async def _list_one(session: Session, command: List, tree: Tree, name: str, patterns: Iterable[ListPattern]) -> None:
    status = tree.status.get(name)
    selected = _is_selected(command, tree, name)
    child_info = _child_info(command, tree, name, patterns)
    if not selected and not child_info:
        return
    if status is None and not selected and name not in tree.having_children:
        return
    words = _attributes(session, tree, name, extended=command.extended)
    if name in tree.subscribed and (command.returns.subscribed or "SUBSCRIBED" in command.selection):
        words.append(b"\\Subscribed")
    line = b"LIST %b %b %b" % (parenthesized(words), _QUOTED_SEPARATOR, session.name(name))
    if child_info:
        line += b' ("CHILDINFO" %b)' % parenthesized(b'"%b"' % each.encode() for each in child_info)
    session.say(line)
    if status is not None and command.returns.status is not None:
        session.say(await status_line(session, status, command.returns.status))
    if status is not None and command.returns.metadata:
        values = await session.context.store.metadata(session.account, name, command.returns.metadata)
        pairs = [astring(each.encode()) + b" " + nstring(values.get(each)) for each in command.returns.metadata]
        session.say(b"METADATA %b %b" % (session.name(name), parenthesized(pairs)))


def _is_selected(command: List, tree: Tree, name: str) -> bool:
    """RFC 5258 §3.1: all selection options must fit; without any, what exists and parents of what exists are listed."""
    status = tree.status.get(name)
    if "SPECIAL-USE" in command.selection and not (status is not None and status.special_use):
        return False
    if "SUBSCRIBED" in command.selection:
        return name in tree.subscribed
    return status is not None or name in tree.having_children


def _child_info(command: List, tree: Tree, name: str, patterns: Iterable[ListPattern]) -> list[str]:
    """RFC 5258 §3.5: criteria that inferiors meet which this answer does not list by themselves."""
    if "RECURSIVEMATCH" not in command.selection:
        return []
    prefix = name + SEPARATOR
    for below in tree.names:
        if (
            below.startswith(prefix)
            and _is_selected(command, tree, below)
            and not any(pattern.fits(below) for pattern in patterns)
        ):
            return [option for option in ("SUBSCRIBED", "SPECIAL-USE") if option in command.selection]
    return []


def _attributes(session: Session, tree: Tree, name: str, *, extended: bool) -> list[bytes]:
    status = tree.status.get(name)
    words = []
    if status is None:
        # RFC 5258 §3.4 and RFC 9051 §7.3.1: \NonExistent implies \Noselect, which old clients know.
        words.append(b"\\NonExistent" if extended or session.rev2 else b"\\Noselect")
    if "CHILDREN" in session.on or session.rev2 or extended:
        words.append(b"\\HasChildren" if name in tree.having_children else b"\\HasNoChildren")
    if status is not None and status.special_use and "SPECIAL-USE" in session.on:
        words += [word.encode() for word in status.special_use.split()]
    return words


async def attributes_of(session: Session, name: str) -> bytes:
    """The attributes of one mailbox, for the LIST that SELECT sends."""
    return b" ".join(_attributes(session, await tree_of(session), name, extended=True))


async def lsub(session: Session, command: Lsub) -> Result:
    """RFC 3501 §6.3.9: with "%", a parent of a subscribed name stands for it as \\Noselect."""
    if not command.pattern:
        session.say(b'LSUB (\\Noselect) %b ""' % _QUOTED_SEPARATOR)
        return ok("Lsub completed")
    subscribed = await session.context.store.subscriptions(session.account)
    pattern = list_pattern(command.reference, command.pattern)
    listed = {name: b"" for name in subscribed if pattern.fits(name)}
    if "%" in command.pattern:
        for name in subscribed:
            if name not in listed:
                for parent in parents(name):
                    if pattern.fits(parent):
                        listed.setdefault(parent, b"\\Noselect")
    for name in sorted(listed, key=lambda name: (name != "INBOX", name)):
        session.say(b"LSUB (%b) %b %b" % (listed[name], _QUOTED_SEPARATOR, session.name(name)))
    return ok("Lsub completed")


async def status(session: Session, command: Status) -> Result:
    """RFC 9051 §6.3.11."""
    refused = status_refused(session, command.items)
    if refused is not None:
        return refused
    selected = session.selected
    if selected is not None and canonical(command.mailbox) == selected.state.name:
        session.report("status-of-selected", command.mailbox)
    if "HIGHESTMODSEQ" in command.items.names:
        session.use_condstore()
    found = await session.context.store.status(session.account, command.mailbox)
    session.say(await status_line(session, found, command.items))
    return ok("Status completed")


_NEEDED: Final[Mapping[str, str]] = {
    "HIGHESTMODSEQ": "CONDSTORE",
    "MAILBOXID": "OBJECTID",
    "APPENDLIMIT": "APPENDLIMIT",
    "DELETED-STORAGE": "QUOTA=RES-STORAGE",
    "SIZE": "STATUS=SIZE",
}


def status_refused(session: Session, items: StatusItems) -> Result | None:
    """Items whose capability is off are unknown items."""
    for name in items.names:
        if _NEEDED.get(name, "IMAP4rev1") not in session.on and name in _NEEDED:
            return bad(f"Unknown STATUS item {name}")
    return None


async def status_line(session: Session, found: MailboxStatus, items: StatusItems) -> bytes:
    """The STATUS response."""
    words = [
        b"%b %b" % (name.encode(), _COUNTERS[name](found))
        if name in _COUNTERS
        else b"%b %d" % (name.encode(), await _counted(session, found, name))
        for name in items.names
    ]
    return b"STATUS %b (%b)" % (session.name(found.name), b" ".join(words))


_COUNTERS: Final[Mapping[str, Callable[[MailboxStatus], bytes]]] = {
    "MESSAGES": lambda found: b"%d" % found.messages,
    "UIDNEXT": lambda found: b"%d" % found.uid_next,
    "UIDVALIDITY": lambda found: b"%d" % found.uid_validity,
    "UNSEEN": lambda found: b"%d" % found.unseen,
    "DELETED": lambda found: b"%d" % found.deleted,
    "SIZE": lambda found: b"%d" % found.octets,
    "HIGHESTMODSEQ": lambda found: b"%d" % found.highest_mod_seq,
    "MAILBOXID": lambda found: b"(%b)" % found.mailbox_id.encode(),
}


async def _counted(session: Session, found: MailboxStatus, name: str) -> int:
    """What is kept as no counter; it is rarely asked for."""
    if name == "APPENDLIMIT":
        return session.options.append_limit if found.append_limit is None else found.append_limit
    try:
        state = await session.context.store.open_mailbox(session.account, found.name)
    except NoSuchMailbox:
        return 0
    try:
        if name == "RECENT":
            own = session.selected if session.selected is not None and session.selected.state is state else None
            marks = own.recent if own is not None else ()
            return sum(1 for uid in state.uids if uid >= state.recent_from_uid or uid in marks)
        return sum(row.octets for row in state.rows.values() if "\\Deleted" in row.flags.names)
    finally:
        state.release()
