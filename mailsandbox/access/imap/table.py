"""Every command: states, capability, source, parser, handler. Drives dispatch, CAPABILITY, `standards`, personalities.

Invariant: what the capability table offers is implemented by a command here or a feature in FEATURES; `verify` checks
that when a server starts.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, TypeVar

from mailsandbox.access.imap import (
    announcing,
    contexts,
    framing,
    names,
    personalities,
    progress,
    results,
    searching,
    sorting,
    threads,
)
from mailsandbox.access.imap.capabilities import CAPABILITIES
from mailsandbox.access.imap.fetching import columns
from mailsandbox.access.imap.grammar import annotations, append, connection, fetch, mailboxes, messages, notify, search
from mailsandbox.access.imap.grammar.scanner import Scanner
from mailsandbox.access.imap.handlers import (
    appending,
    connecting,
    copying,
    fetched,
    flagging,
    idling,
    listing,
    logging_in,
    managing,
    metadata,
    quota,
    searched,
    selecting,
    watching,
)
from mailsandbox.access.imap.responses import Result
from mailsandbox.access.imap.session import ANY, KNOWN, OPEN, UNKNOWN, Session, State
from mailsandbox.errors import StartError
from mailsandbox.message.casemap import casemap

C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class Command:
    """One command. `capability`: one of these must be on; empty: IMAP itself.

    `expunge`: EXPUNGE may be told with its answer (RFC 9051 §7.5.1). `numbers`: it speaks in sequence numbers, which
    UIDONLY forbids. `long`: worth telling of progress. Any: what `parse` gives `handle` takes; `_command` checks.
    """

    name: str
    states: frozenset[State]
    source: str
    parse: Callable[[Scanner], Any]
    handle: Callable[[Session, Any], Awaitable[Result]]
    capability: frozenset[str] = frozenset()
    expunge: bool = True
    numbers: bool = False
    long: bool = False


def _command(
    name: str,
    states: frozenset[State],
    source: str,
    parse: Callable[[Scanner], C],
    handle: Callable[[Session, C], Awaitable[Result]],
    *capability: str,
    expunge: bool = True,
    numbers: bool = False,
    long: bool = False,
) -> Command:
    return Command(name, states, source, parse, handle, frozenset(capability), expunge, numbers, long)


_C: Final = connection
_M: Final = mailboxes
_THREADS: Final = ("THREAD=ORDEREDSUBJECT", "THREAD=REFERENCES", "THREAD=REFS")

_TABLE: Final = (
    _command("CAPABILITY", ANY, "RFC 9051 §6.1.1", lambda _: _C.Capability(), connecting.capability),
    _command("NOOP", ANY, "RFC 9051 §6.1.2", lambda _: _C.Noop(), connecting.noop),
    _command("LOGOUT", ANY, "RFC 9051 §6.1.3", lambda _: _C.Logout(), connecting.logout),
    _command("ID", ANY, "RFC 2971 §3.1", _C.identify, connecting.identify, "ID"),
    _command("STARTTLS", UNKNOWN, "RFC 9051 §6.2.1", lambda _: _C.StartTls(), connecting.start_tls, "STARTTLS"),
    _command("LOGIN", UNKNOWN, "RFC 9051 §6.2.3", _C.login, logging_in.login),
    _command("AUTHENTICATE", UNKNOWN, "RFC 9051 §6.2.2", _C.authenticate, logging_in.authenticate),
    _command("ENABLE", KNOWN, "RFC 5161 §3.1", _C.enable, connecting.enable, "ENABLE"),
    _command("COMPRESS", KNOWN, "RFC 4978 §3", _C.compress, connecting.compress, "COMPRESS=DEFLATE"),
    _command("IDLE", KNOWN, "RFC 2177 §3", lambda _: _C.Idle(), idling.idle, "IDLE"),
    _command("NAMESPACE", KNOWN, "RFC 9051 §6.3.10", lambda _: _C.Namespace(), connecting.namespace, "NAMESPACE"),
    _command("SELECT", KNOWN, "RFC 9051 §6.3.2", _M.select, selecting.select),
    _command("EXAMINE", KNOWN, "RFC 9051 §6.3.3", _M.examine, selecting.select),
    _command("CREATE", KNOWN, "RFC 9051 §6.3.4", _M.create, managing.create),
    _command("DELETE", KNOWN, "RFC 9051 §6.3.5", _M.delete, managing.delete),
    _command("RENAME", KNOWN, "RFC 9051 §6.3.6", _M.rename, managing.rename),
    _command("SUBSCRIBE", KNOWN, "RFC 9051 §6.3.7", _M.subscribe, managing.subscribe),
    _command("UNSUBSCRIBE", KNOWN, "RFC 9051 §6.3.8", _M.unsubscribe, managing.unsubscribe),
    _command("LIST", KNOWN, "RFC 9051 §6.3.9", _M.list_, listing.list_),
    _command("LSUB", KNOWN, "RFC 3501 §6.3.9", _M.lsub, listing.lsub, "IMAP4rev1"),
    _command("STATUS", KNOWN, "RFC 9051 §6.3.11", _M.status, listing.status),
    _command("APPEND", KNOWN, "RFC 9051 §6.3.12", append.append, appending.append),
    _command("GETMETADATA", KNOWN, "RFC 5464 §4.2", annotations.get_metadata, metadata.get_metadata, "METADATA"),
    _command("SETMETADATA", KNOWN, "RFC 5464 §4.3", annotations.set_metadata, metadata.set_metadata, "METADATA"),
    _command("GETQUOTA", KNOWN, "RFC 9208 §4.1.2", annotations.get_quota, quota.get_quota, "QUOTA"),
    _command("GETQUOTAROOT", KNOWN, "RFC 9208 §4.1.3", annotations.get_quota_root, quota.get_quota_root, "QUOTA"),
    _command("NOTIFY", KNOWN, "RFC 5465 §3", notify.notify, watching.notify, "NOTIFY"),
    _command("CHECK", OPEN, "RFC 3501 §6.4.1", lambda _: _C.Check(), connecting.noop, "IMAP4rev1"),
    _command("CLOSE", OPEN, "RFC 9051 §6.4.1", lambda _: _C.Close(), selecting.close),
    _command("UNSELECT", OPEN, "RFC 9051 §6.4.2", lambda _: _C.Unselect(), selecting.unselect, "UNSELECT"),
    _command("EXPUNGE", OPEN, "RFC 9051 §6.4.3", lambda _: messages.Expunge(), flagging.expunge, long=True),
    _command("UID EXPUNGE", OPEN, "RFC 4315 §2.1", messages.uid_expunge, flagging.expunge, "UIDPLUS", long=True),
    _command("SEARCH", OPEN, "RFC 9051 §6.4.4", search.search, searched.search, expunge=False, numbers=True, long=True),
    _command("UID SEARCH", OPEN, "RFC 9051 §6.4.4", search.uid_search, searched.search, long=True),
    _command("FETCH", OPEN, "RFC 9051 §6.4.5", fetch.fetch, fetched.fetch, expunge=False, numbers=True),
    _command("UID FETCH", OPEN, "RFC 9051 §6.4.9", fetch.uid_fetch, fetched.fetch),
    _command("STORE", OPEN, "RFC 9051 §6.4.6", messages.store, flagging.store, expunge=False, numbers=True, long=True),
    _command("UID STORE", OPEN, "RFC 9051 §6.4.9", messages.uid_store, flagging.store, long=True),
    _command("COPY", OPEN, "RFC 9051 §6.4.7", messages.copy, copying.copy, numbers=True, long=True),
    _command("UID COPY", OPEN, "RFC 9051 §6.4.9", messages.uid_copy, copying.copy, long=True),
    _command("MOVE", OPEN, "RFC 6851 §3.1", messages.move, copying.move, "MOVE", numbers=True, long=True),
    _command("UID MOVE", OPEN, "RFC 6851 §3.2", messages.uid_move, copying.move, "MOVE", long=True),
    _command("REPLACE", OPEN, "RFC 8508 §3", append.replace, appending.replace, "REPLACE", numbers=True),
    _command("UID REPLACE", OPEN, "RFC 8508 §3", append.uid_replace, appending.replace, "REPLACE"),
    _command("SORT", OPEN, "RFC 5256 §3", search.sort, searched.sort, "SORT", expunge=False, numbers=True, long=True),
    _command("UID SORT", OPEN, "RFC 5256 §3", search.uid_sort, searched.sort, "SORT", long=True),
    _command(
        "THREAD", OPEN, "RFC 5256 §3", search.thread, searched.thread, *_THREADS, expunge=False, numbers=True, long=True
    ),
    _command("UID THREAD", OPEN, "RFC 5256 §3", search.uid_thread, searched.thread, *_THREADS, long=True),
    _command("CANCELUPDATE", OPEN, "RFC 5267 §4.3.4", search.cancel_update, watching.cancel_update, "CONTEXT=SEARCH"),
)

COMMANDS: Final[Mapping[str, Command]] = MappingProxyType({command.name: command for command in _TABLE})

# Capabilities that are no command of their own, and what implements each: removing one of these objects is noticed.
FEATURES: Final[Mapping[str, object]] = MappingProxyType(
    {
        "IMAP4rev1": announcing.recent,
        "IMAP4rev2": results.extended,
        "LITERAL+": framing.Framer,
        "LITERAL-": framing.MAX_LITERAL_MINUS,
        "SASL-IR": logging_in.authenticate,
        "LOGINDISABLED": Session.login_disabled,
        "CHILDREN": listing.attributes_of,
        "LIST-EXTENDED": mailboxes.SELECTIONS,
        "LIST-STATUS": mailboxes.status_items,
        "LIST-METADATA": mailboxes.ListReturn,
        "SPECIAL-USE": mailboxes.SPECIAL_USES,
        "CREATE-SPECIAL-USE": managing.create,
        "MULTIAPPEND": append.append,
        "CATENATE": append.UrlPart,
        "BINARY": fetch.Binary,
        "CONDSTORE": search.SinceModSeq,
        "QRESYNC": mailboxes.Resync,
        "ESEARCH": results.extended,
        "SEARCHRES": results.to_save,
        "WITHIN": search.Age,
        "PARTIAL": fetch.PartialRange,
        "SORT=DISPLAY": sorting.sort_rows,
        "ESORT": results.extended,
        "STATUS=SIZE": listing.status_line,
        "SAVEDATE": search.SaveDateSupported,
        "PREVIEW": columns.column,
        "OBJECTID": search.ObjectId,
        "UIDONLY": searching.uses_numbers,
        "UTF8=ACCEPT": names.decode_name,
        "APPENDLIMIT": personalities.DEFAULT_APPEND_LIMIT,
        "QUOTA=RES-STORAGE": quota.get_quota,
        "INPROGRESS": progress.report,
        # RFC 5255 §4.7: searches and sorts compare by i;unicode-casemap, which level 1 asks for.
        "I18NLEVEL=1": casemap,
        "CONTEXT=SEARCH": contexts.SearchContext,
        "THREAD=ORDEREDSUBJECT": threads.ordered_subject,
        "THREAD=REFERENCES": threads.references,
        "THREAD=REFS": threads.refs,
    }
)


def sources() -> list[tuple[str, str]]:
    """What is implemented and where it is specified, for `mailsandbox standards`: commands, then capabilities."""
    commands = [(command.name, command.source) for command in _TABLE]
    return commands + [(capability.name, capability.source) for capability in CAPABILITIES.values()]


def verify() -> None:
    """Advertised is implemented: raises StartError if the tables say otherwise."""
    by_commands = {name for command in _TABLE for name in command.capability}
    missing = set(CAPABILITIES) - by_commands - set(FEATURES)
    if missing:
        raise StartError(f"IMAP would announce what it does not do: {', '.join(sorted(missing))}")
    unknown = (by_commands | set(FEATURES)) - set(CAPABILITIES)
    if unknown:
        raise StartError(f"IMAP does what it does not announce: {', '.join(sorted(unknown))}")
