"""GETMETADATA and SETMETADATA (RFC 5464)."""

from typing import Final

from mailsandbox.access.imap.grammar.annotations import GetMetadata, SetMetadata
from mailsandbox.access.imap.names import canonical
from mailsandbox.access.imap.responses import Result, astring, literal, no, ok, string
from mailsandbox.access.imap.session import Session

MAX_VALUE: Final = 65_536  # octets of one value, RFC 5464 §4.3 MAXSIZE
MAX_ENTRIES: Final = 200  # of one mailbox, RFC 5464 §4.3 TOOMANY


async def get_metadata(session: Session, command: GetMetadata) -> Result:
    """RFC 5464 §4.2."""
    everything = await session.context.store.metadata(session.account, canonical(command.mailbox))
    found = {
        name: value
        for name, value in everything.items()
        if any(name == entry or _is_below(name, entry, command.depth) for entry in command.entries)
    }
    longest = 0
    words = []
    for name, value in found.items():
        if command.max_size is not None and len(value) > command.max_size:
            longest = max(longest, len(value))
            continue
        words.append(astring(name.encode()) + b" " + (b"~" + literal(value) if b"\0" in value else string(value)))
    if command.depth == 0:
        # RFC 5464 §4.4.1: an entry that has no value is NIL.
        words += [astring(entry.encode()) + b" NIL" for entry in command.entries if entry not in found]
    if words:
        place = session.name(command.mailbox) if command.mailbox else b'""'
        session.say(b"METADATA %b (%b)" % (place, b" ".join(words)))
    # RFC 5464 §4.2.1
    return ok("Getmetadata completed", f"METADATA LONGENTRIES {longest}" if longest else "")


def _is_below(name: str, entry: str, depth: int) -> bool:
    if not depth or not name.startswith(entry + "/"):
        return False
    return depth < 0 or name.count("/") == entry.count("/") + 1


async def set_metadata(session: Session, command: SetMetadata) -> Result:
    """RFC 5464 §4.3: all entries or none."""
    for _, value in command.entries:
        if value is not None and len(value) > MAX_VALUE:
            return no("Value too large", f"METADATA MAXSIZE {MAX_VALUE}")
    mailbox = canonical(command.mailbox)
    store = session.context.store
    present = await store.metadata(session.account, mailbox)
    added = {entry for entry, value in command.entries if value is not None} - set(present)
    if len(present) + len(added) > MAX_ENTRIES:
        return no("Too many entries", "METADATA TOOMANY")
    await store.set_metadata(session.account, mailbox, dict(command.entries))
    return ok("Setmetadata completed")
