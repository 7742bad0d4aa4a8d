"""APPEND and REPLACE (RFC 9051 §6.3.12; RFC 3502, 4469, 3516 §4.4, 6855 §4, 8508)."""

from typing import Final

from mailsandbox.access.imap.fetching import sections
from mailsandbox.access.imap.grammar.append import Append, AppendMessage, Replace, TextPart, UrlPart
from mailsandbox.access.imap.grammar.fetch import Body
from mailsandbox.access.imap.handlers.flagging import invalid_flag, kept_flags
from mailsandbox.access.imap.responses import GrammarError, Result, bad, no, ok
from mailsandbox.access.imap.session import Session
from mailsandbox.access.imap.sets import write_numbers
from mailsandbox.access.imap.storable import without_binary
from mailsandbox.access.imap.urls import ImapUrl, parse_url
from mailsandbox.errors import NoSuchMailbox, StoreError
from mailsandbox.message.rendering import unpack_parts
from mailsandbox.store.model import AppendItem, Flags, Landed, Uid

_OWN_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})


async def append(session: Session, command: Append) -> Result:
    """All messages or none (RFC 3502 §6.3.11)."""
    refused = _refused(session, command.messages)
    if refused is not None:
        return refused
    items = []
    if any(message.catenate for message in command.messages):
        # RFC 4469 §4.2: what the URLs name matters only if there is a mailbox to append to.
        try:
            await session.context.store.status(session.account, command.mailbox)
        except NoSuchMailbox:
            return no("Mailbox does not exist", "TRYCREATE")
    for message in command.messages:
        item = await _item(session, message)
        if isinstance(item, Result):
            return item
        items.append(item)
    try:
        landed = await session.context.store.append(session.account, command.mailbox, items)
    except NoSuchMailbox:
        return no("Mailbox does not exist", "TRYCREATE")
    return ok("Append completed", _code(session, landed))


async def replace(session: Session, command: Replace) -> Result:
    """RFC 8508 §3: the new message is there before the old one goes."""
    selected = session.opened
    if selected.read_only:
        return no("Mailbox is read-only", "READ-ONLY")
    refused = _refused(session, (command.message,))
    if refused is not None:
        return refused
    view = selected.view
    number = command.number or (view.last_uid if command.uid else view.exists)
    uid = Uid(number) if command.uid else view.numbers[number - 1] if 0 < number <= view.exists else None
    if uid is None:
        return bad("No such message")
    if uid not in selected.state.rows:
        return no("Message does not exist", "NONEXISTENT" if command.uid else "EXPUNGEISSUED")
    item = await _item(session, command.message)
    if isinstance(item, Result):
        return item
    try:
        landed = await session.context.store.append(session.account, command.mailbox, [item])
    except NoSuchMailbox:
        return no("Mailbox does not exist", "TRYCREATE")
    # RFC 8508 §3.3: APPENDUID comes untagged, before the EXPUNGE.
    code = _code(session, landed)
    if code:
        session.untagged(f"OK [{code}] Replacement message appended")
    await session.context.store.remove(session.account, selected.state.name, [uid])
    return ok("Replace completed", f"HIGHESTMODSEQ {selected.state.highest_mod_seq}" if session.qresync else "")


def _code(session: Session, landed: list[Landed]) -> str:
    """RFC 4315 §3 APPENDUID."""
    if "UIDPLUS" not in session.on:
        return ""
    return f"APPENDUID {landed[0].uid_validity} {write_numbers([each.uid for each in landed]).decode()}"


def _refused(session: Session, messages: tuple[AppendMessage, ...]) -> Result | None:
    if len(messages) > 1 and "MULTIAPPEND" not in session.on:
        return bad("Several messages in one APPEND are not offered")
    for message in messages:
        if message.catenate and "CATENATE" not in session.on:
            return bad("CATENATE is not offered")
        wrong = invalid_flag(message.flags)
        if wrong:
            return bad(f"Invalid flag {wrong}")
    return None


async def _item(session: Session, message: AppendMessage) -> AppendItem | Result:
    pieces = []
    for part in message.parts:
        match part:
            case TextPart(octets):
                pieces.append(octets)
            case UrlPart(url):
                found = await _fetch_url(session, url)
                if found is None:
                    # RFC 4469 §4.2
                    return no("The URL names nothing that can be had here", f'BADURL "{_printable(url)}"')
                pieces.append(found)
    octets = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    if not octets:
        return no("A message cannot be empty", "CANNOT")
    if len(octets) > session.options.append_limit:
        return no(f"Message over {session.options.append_limit} octets", "TOOBIG")  # RFC 7889 §4, RFC 4469 §4.1
    flags = Flags.of(kept_flags(session, None, message.flags))
    return AppendItem(without_binary(octets), flags, message.internal_date)


def _printable(url: str) -> str:
    return "".join(character if " " < character <= "~" and character not in '"\\]' else "?" for character in url[:200])


async def _fetch_url(session: Session, text: str) -> bytes | None:
    """The octets of an IMAP URL (RFC 5092 §5, RFC 4469 §3) in this account; None where there are none."""
    try:
        url = parse_url(text, account=session.account, hosts=_OWN_HOSTS | {session.context.hostname})
    except GrammarError:
        return None
    name = url.mailbox
    if not name:
        if session.selected is None:
            return None
        name = session.selected.state.name
    store = session.context.store
    try:
        state = await store.open_mailbox(session.account, name)
    except StoreError:
        return None
    try:
        row = state.rows.get(Uid(url.uid))
        if row is None or url.uid_validity not in (None, state.uid_validity):
            return None
        (octets,) = await store.contents([row])
        (values,) = await store.rendered([row], ("parts", "trace_octets"))
    finally:
        state.release()
    if octets is None or values is None:
        return None
    return _cut(octets, values[0], values[1], url)


def _cut(octets: bytes, packed: bytes, trace: int, url: ImapUrl) -> bytes | None:
    wanted: Body = url.section
    found = sections.section(octets, unpack_parts(packed), trace, wanted)
    return None if found is None else sections.cut(found, url.partial)
