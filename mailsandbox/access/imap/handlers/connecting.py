"""CAPABILITY, NOOP, CHECK, LOGOUT, ID, ENABLE, NAMESPACE, STARTTLS, COMPRESS."""

from importlib.metadata import PackageNotFoundError, version

from mailsandbox.access.imap.capabilities import CAPABILITIES
from mailsandbox.access.imap.grammar import connection as commands
from mailsandbox.access.imap.names import SEPARATOR
from mailsandbox.access.imap.responses import Result, bad, no, ok, status_line, string
from mailsandbox.access.imap.session import Session, State


async def capability(session: Session, command: commands.Capability) -> Result:
    """RFC 9051 §6.1.1."""
    session.untagged(f"CAPABILITY {session.capability_text()}")
    return ok("Capability completed")


async def noop(session: Session, command: commands.Noop | commands.Check) -> Result:
    """RFC 9051 §6.1.2; CHECK RFC 3501 §6.4.1: everything is durable already."""
    return ok("Completed")


async def logout(session: Session, command: commands.Logout) -> Result:
    """RFC 9051 §6.1.3."""
    session.send(status_line("BYE", "Logging out"))
    session.record.server("* BYE Logging out")
    session.logged_out = True
    session.move(State.LOGOUT)
    return ok("Logout completed")


async def identify(session: Session, command: commands.Id) -> Result:
    """RFC 2971 §3.1."""
    if command.fields:
        session.client_id = {name: value or "" for name, value in command.fields}
        session.record.note("client: " + ", ".join(f"{name}={value}" for name, value in session.client_id.items()))
    try:
        own = version("mailsandbox")
    except PackageNotFoundError:
        own = "unknown"
    pairs = {"name": "mailsandbox", "version": own}
    session.say(b"ID (%b)" % b" ".join(string(each.encode()) for pair in pairs.items() for each in pair))
    return ok("ID completed")


async def enable(session: Session, command: commands.Enable) -> Result:
    """RFC 5161 §3.1: unknown names are ignored; the answer lists what was newly enabled."""
    if session.state is State.SELECTED and "UTF8=ACCEPT" in command.capabilities:
        # RFC 6855 §3: ENABLE UTF8=ACCEPT only outside of the selected state.
        return bad("ENABLE UTF8=ACCEPT is not allowed while a mailbox is selected")
    by_upper = {name.upper(): name for name in session.on if CAPABILITIES[name].enable}
    newly = []
    for wanted in command.capabilities:
        name = by_upper.get(wanted)
        if name is None or name in session.enabled:
            continue
        session.enable(name)
        newly.append(name)
        if name == "QRESYNC":
            session.enable("CONDSTORE")  # RFC 7162 §3.2.3
    session.untagged("ENABLED " + " ".join(newly) if newly else "ENABLED")
    if session.selected is not None and session.condstore and {"CONDSTORE", "QRESYNC"} & set(newly):
        session.untagged(f"OK [HIGHESTMODSEQ {session.selected.state.highest_mod_seq}] Highest")
    return ok("Enabled")


async def namespace(session: Session, command: commands.Namespace) -> Result:
    """RFC 9051 §6.3.10: personal mailboxes only."""
    session.untagged(f'NAMESPACE (("" "{SEPARATOR}")) NIL NIL')
    return ok("Namespace completed")


async def start_tls(session: Session, command: commands.StartTls) -> Result:
    """RFC 9051 §6.2.1."""
    if session.rim.tls or session.context.tls is None:
        return bad("TLS is not possible now")
    if session.input.framer.buffered:
        # RFC 9051 §11.1: what was pipelined behind STARTTLS came in clear and must not be taken for protected.
        return bad("Nothing may follow STARTTLS before its answer")
    session.after_reply = session.rim.start_tls
    return ok("Begin TLS negotiation now")


async def compress(session: Session, command: commands.Compress) -> Result:
    """RFC 4978 §3."""
    if command.mechanism != "DEFLATE":
        return bad("Unknown compression mechanism")
    if session.compressed:
        return no("DEFLATE is active already", "COMPRESSIONACTIVE")
    session.compressed = True
    session.after_reply = session.rim.start_compression
    return ok("DEFLATE active")
