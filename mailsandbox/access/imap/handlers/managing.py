"""CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE (RFC 9051 §6.3.4 to §6.3.8; USE RFC 6154 §3)."""

from mailsandbox.access.imap.grammar.mailboxes import SPECIAL_USES, Create, Delete, Rename, Subscribe, Unsubscribe
from mailsandbox.access.imap.names import why_invalid
from mailsandbox.access.imap.responses import Result, bad, no, ok
from mailsandbox.access.imap.session import Session


async def create(session: Session, command: Create) -> Result:
    if command.special_uses and "CREATE-SPECIAL-USE" not in session.on:
        return bad("CREATE with USE is not offered")
    wrong = why_invalid(command.mailbox)
    if wrong:
        return no(wrong, "CANNOT")
    unknown = [use for use in command.special_uses if use not in SPECIAL_USES.values() or use == "\\All"]
    if unknown:
        return no(f"Special use {unknown[0]} cannot be given", "USEATTR")  # RFC 6154 §3
    store = session.context.store
    await store.create_mailbox(session.account, command.mailbox, " ".join(command.special_uses))
    code = ""
    if "OBJECTID" in session.on:
        # RFC 8474 §4.1
        code = f"MAILBOXID ({(await store.status(session.account, command.mailbox)).mailbox_id})"
    return ok("Create completed", code)


async def delete(session: Session, command: Delete) -> Result:
    selected = session.selected
    if selected is not None and selected.state.name == command.mailbox.removesuffix("/"):
        await session.context.store.delete_mailbox(session.account, command.mailbox)
        # RFC 9051 §6.3.5 leaves open what becomes of the session; Dovecot closes the mailbox, so do we.
        session.unselect()
        session.untagged("OK [CLOSED] The selected mailbox was deleted")
        return ok("Delete completed")
    await session.context.store.delete_mailbox(session.account, command.mailbox)
    return ok("Delete completed")


async def rename(session: Session, command: Rename) -> Result:
    wrong = why_invalid(command.target.removesuffix("/"))
    if wrong:
        return no(wrong, "CANNOT")
    await session.context.store.rename_mailbox(session.account, command.source, command.target)
    return ok("Rename completed")


async def subscribe(session: Session, command: Subscribe) -> Result:
    wrong = why_invalid(command.mailbox.removesuffix("/"))
    if wrong:
        return no(wrong, "CANNOT")
    name = command.mailbox.removesuffix("/")
    mailboxes = await session.context.store.mailboxes(session.account)
    if not any(each.name == name or each.name.startswith(name + "/") for each in mailboxes):
        return no("Mailbox does not exist", "NONEXISTENT")  # RFC 9051 §6.3.7 allows to validate; Dovecot and Cyrus do
    await session.context.store.set_subscribed(session.account, name, True)
    return ok("Subscribe completed")


async def unsubscribe(session: Session, command: Unsubscribe) -> Result:
    await session.context.store.set_subscribed(session.account, command.mailbox, False)
    return ok("Unsubscribe completed")
