"""Runs a session: one command after the other, each looked up in the table, parsed, executed and answered.

Invariants: answers go out in the order of the commands; nothing a client sends ends the session except LOGOUT; a bug of
ours costs one command (NO [SERVERBUG]), not the connection.
"""

import logging
import re
from typing import Final

from mailsandbox.access.imap import progress
from mailsandbox.access.imap.attending import attend, tell
from mailsandbox.access.imap.framing import CommandOctets, LiteralAsked, Refused, tag_of
from mailsandbox.access.imap.grammar.scanner import Scanner
from mailsandbox.access.imap.grammar.search import BadCharset
from mailsandbox.access.imap.input import Ended, Poked
from mailsandbox.access.imap.responses import GrammarError, Result, bad, no
from mailsandbox.access.imap.session import KNOWN, Session, State
from mailsandbox.access.imap.table import COMMANDS, Command
from mailsandbox.errors import (
    BadMailboxName,
    Conflict,
    MailboxExists,
    NoSuchAccount,
    NoSuchMailbox,
    NoSuchMessage,
    OverQuota,
    StoreError,
    StoreFull,
    StoreUnavailable,
    TooLarge,
)
from mailsandbox.faults.plan import Delay, Drop, Respond

_log = logging.getLogger(__name__)

_HEAD: Final = re.compile(
    rb"([^\x00-\x20(){%*\"\\+\x7f-\xff]{1,255}) (?:(UID) )?([A-Za-z]{1,20})(?= |\Z)", re.IGNORECASE
)
_SECRETS: Final = re.compile(rb"(\S+ (?:LOGIN|AUTHENTICATE \S+)) .*", re.IGNORECASE | re.DOTALL)
_MAILBOX: Final = re.compile(rb"\S+ (?:UID )?(?:APPEND|REPLACE [0-9*]+)(?= )", re.IGNORECASE)
_MARKER: Final = re.compile(rb" ?~?\{[0-9]+\+?\}\Z")

_SELECTING: Final = frozenset({"SELECT", "EXAMINE"})  # what comes behind them speaks of the mailbox that they open

MAX_ARGUMENT: Final = 65_536  # octets of a literal that is no message
MAX_EARLY: Final = 8_192  # octets of a literal before login

# RFC 5530 §3, RFC 9051 §7.1: this package's one table from errors of the store to its own words.
ERRORS: Final[tuple[tuple[type[StoreError], str, str], ...]] = (
    (NoSuchMailbox, "NONEXISTENT", "Mailbox does not exist"),
    (NoSuchAccount, "NONEXISTENT", "Account does not exist"),
    (NoSuchMessage, "EXPUNGEISSUED", "Message does not exist any more"),
    (MailboxExists, "ALREADYEXISTS", "Mailbox exists already"),
    (BadMailboxName, "CANNOT", ""),
    (OverQuota, "OVERQUOTA", "Quota exceeded"),
    (TooLarge, "TOOBIG", "Message too large"),
    (Conflict, "INUSE", "Changed meanwhile, try again"),
    (StoreFull, "UNAVAILABLE", "No room left in the store"),
    (StoreUnavailable, "UNAVAILABLE", "The store does not answer, try again later"),
)


def refusal(error: StoreError) -> Result:
    """The tagged answer to an error of the store."""
    for kind, code, text in ERRORS:
        if isinstance(error, kind):
            return no(text or str(error).replace("\r", " ").replace("\n", " "), code)
    return no("Refused", "CANNOT")


def literal_limit(session: Session, text: bytes) -> int:
    """The largest literal for a command that begins with `text`; -1: none (asked by the framer)."""
    if session.state is State.NOT_AUTHENTICATED:
        return MAX_EARLY
    head = _HEAD.match(text)
    if head is not None and head[3].upper() in (b"APPEND", b"REPLACE"):
        return session.options.append_limit
    return MAX_ARGUMENT


async def run(session: Session) -> None:
    """From the greeting to the end of the connection."""
    session.untagged(f"OK [CAPABILITY {session.capability_text()}] {session.manners.greeting}")
    while session.state is not State.LOGOUT:
        match await session.input.command():
            case CommandOctets() as octets:
                await _execute(session, octets)
            case LiteralAsked() as asked:
                await _admit(session, asked)
            case Refused(tag, reason, too_big, not_offered):
                if not_offered:
                    session.report("literal-plus-not-offered")
                reply(session, tag, no(reason, "TOOBIG") if too_big else bad(reason))
            case Poked():
                await attend(session)
            case Ended():
                return


def reply(session: Session, tag: bytes, result: Result) -> None:
    """The tagged answer, or an untagged one where no tag could be read."""
    octets = result.octets(tag or b"*")
    session.record.server(octets[:-2].decode("utf-8", "replace"))
    session.send(octets)


async def _execute(session: Session, octets: CommandOctets) -> None:
    head = _HEAD.match(octets.text)
    _transcribe(session, octets)
    if head is None:
        tag = tag_of(octets.text)
        reply(session, tag, bad("Missing command" if tag else "Missing or invalid tag"))
        return
    name = head[3].decode("ascii").upper()
    if head[2]:
        name = f"UID {name}"
    command = COMMANDS.get(name)
    session.tag = head[1]
    session.busy = True
    try:
        if command is None:
            result = bad(f"Unknown command {name}")
        else:
            result = await _perform(session, command, octets, head.end())
        if session.state is not State.LOGOUT or name == "LOGOUT":
            if session.state is State.SELECTED:
                await tell(session, expunge=command is None or command.expunge)
                if command is not None and command.expunge and name not in _SELECTING:
                    session.ambiguous = session.input.framer.buffered > 0
            reply(session, session.tag, result)
    finally:
        session.busy = False
    if session.after_reply is not None:
        session.rim.flush()
        then, session.after_reply = session.after_reply, None
        then()


async def _perform(session: Session, command: Command, octets: CommandOctets, at: int) -> Result:
    refused = _not_now(session, command, octets)
    if refused is not None:
        return refused
    scanner = Scanner(octets, at, utf8=session.utf8)
    try:
        parsed = command.parse(scanner)
        scanner.end()
        if scanner.eight_bit and not session.utf8:
            session.report("eight-bit-name", command.name)
    except BadCharset as error:
        if error.saving and session.selected is not None:
            session.selected.saved = []  # RFC 5182 §2.1: after NO "$" is empty
        # RFC 9051 §7.1 BADCHARSET
        return no(str(error), "BADCHARSET (US-ASCII UTF-8 ISO-8859-1)")
    except GrammarError as error:
        return bad(f"Error in {command.name}: {error}")
    if len(session.context.faults):
        answer = await _fault(session, command, octets)
        if answer is not None:
            return answer
    told = progress.report(session) if command.long and "INPROGRESS" in session.on else None
    try:
        result: Result = await command.handle(session, parsed)
    except GrammarError as error:
        return bad(f"Error in {command.name}: {error}")
    except StoreError as error:
        return refusal(error)
    except ConnectionError:
        raise
    except Exception:
        _log.exception("IMAP %s failed", command.name)
        session.record.note(f"bug: {command.name} failed, see the log")
        return no("Internal error; it was logged", "SERVERBUG")
    finally:
        if told is not None:
            told.cancel()
    return result


def _not_now(session: Session, command: Command, octets: CommandOctets) -> Result | None:
    """Why the command cannot be executed in this session's state."""
    _inspect(session, command, octets)
    if command.capability and not session.on.intersection(command.capability):
        session.report("capability-off", command.name)
        return bad(f"Unknown command {command.name}")
    if session.state not in command.states:
        session.report("command-in-wrong-state", command.name)
        if session.state is State.NOT_AUTHENTICATED:
            return bad("Log in first")
        return bad("Already logged in" if State.SELECTED not in command.states else "No mailbox is selected")
    if command.numbers and session.uid_only:
        return bad("Sequence numbers are off; use the UID form", "UIDREQUIRED")  # RFC 9586 §3
    return None


async def _fault(session: Session, command: Command, octets: CommandOctets) -> Result | None:
    """A scripted fault for this command, if there is one."""
    faults = session.context.faults
    text = octets.text.decode("utf-8", "replace")
    match faults.match("imap", stage=command.name.lower(), account=session.account, text=text):
        case Respond(_, answer, _):
            session.record.note("fault: answered without doing it")
            return no(answer or "Refused")
        case Drop():
            session.record.note("fault: connection dropped")
            session.move(State.LOGOUT)
        case Delay(seconds):
            session.record.note(f"fault: delayed by {seconds} s")
            await session.context.clock.sleep_until(session.context.clock.now() + seconds)
        case None:
            pass
    return bad("Dropped") if session.state is State.LOGOUT else None


def _inspect(session: Session, command: Command, octets: CommandOctets) -> None:
    selected = session.selected
    if selected is not None and selected.renumbered and command.name.startswith("UID ") and b"*" not in octets.text:
        # Single UIDs right after a change of UIDVALIDITY can only be remembered ones.
        session.report("uid-across-uidvalidity", selected.state.name)
    if session.ambiguous:
        session.ambiguous = False
        if command.numbers:
            session.report("expunge-numbers-pipelined", command.name)
    if octets.bare_lf or octets.literals or "CONDSTORE" not in session.on:
        for rule in session.lint.command(
            octets,
            command.name,
            nonsync_offered=session.nonsync_limit != -1,
            condstore_offered="CONDSTORE" in session.on,
        ):
            session.report(rule, command.name)


def _transcribe(session: Session, octets: CommandOctets) -> None:
    text = octets.text
    if session.state is State.NOT_AUTHENTICATED:
        secret = _SECRETS.match(text)
        if secret is not None:
            session.record.client(secret[1].decode("utf-8", "replace") + " ***")
            return
    session.record.client(text.decode("utf-8", "replace"))
    if octets.literals:
        session.record.client(", ".join(f"[literal of {len(each)} octets]" for each in octets.literals[:20]))


async def _admit(session: Session, asked: LiteralAsked) -> None:
    """RFC 9051 §4.3: say "+" only to a literal that would be taken."""
    refused = await _literal_refused(session, asked)
    if refused is None:
        session.input.framer.accept_literal()
        session.send(b"+ OK\r\n")
        return
    session.input.framer.refuse_literal()
    session.record.client(_MARKER.sub(b" {...}", asked.text).decode("utf-8", "replace"))
    reply(session, tag_of(asked.text), refused)


async def _literal_refused(session: Session, asked: LiteralAsked) -> Result | None:
    head = _HEAD.match(asked.text)
    if head is None:
        return bad("Missing or invalid tag or command")
    name = head[3].decode("ascii").upper()
    command = COMMANDS.get(f"UID {name}" if head[2] else name)
    if command is None or (command.capability and not session.on.intersection(command.capability)):
        return bad(f"Unknown command {name}")
    if session.state not in command.states:
        return bad("Not in this state")
    limit = literal_limit(session, asked.text)
    if asked.size > limit:
        # RFC 7889 §4: TOOBIG where it is a message.
        return (
            no(f"Message over {limit} octets", "TOOBIG") if name in ("APPEND", "REPLACE") else bad("Literal too large")
        )
    if asked.number == 0 and session.state in KNOWN:
        return await _target_refused(session, asked)
    return None


async def _target_refused(session: Session, asked: LiteralAsked) -> Result | None:
    """Of an APPEND: its mailbox must exist, better said before the message is sent."""
    head = _MAILBOX.match(asked.text)
    if head is None:
        return None
    scanner = Scanner(CommandOctets(asked.text), head.end(), utf8=session.utf8)
    try:
        scanner.space()
        if _MARKER.match(asked.text, scanner.pos - 1):
            return None  # the mailbox's name is the literal
        mailbox = scanner.mailbox()
    except GrammarError as error:
        return bad(f"Error in APPEND: {error}")
    try:
        await session.context.store.status(session.account, mailbox)
    except NoSuchMailbox:
        return no("Mailbox does not exist", "TRYCREATE")  # RFC 9051 §6.3.12
    except StoreError as error:
        return refusal(error)
    return None
