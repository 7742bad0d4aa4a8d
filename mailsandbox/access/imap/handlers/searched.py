"""SEARCH, SORT, THREAD and their UID forms (RFC 9051 §6.4.4, RFC 5256)."""

from mailsandbox.access.imap import results, sorting
from mailsandbox.access.imap.contexts import MAX_CONTEXTS, SearchContext
from mailsandbox.access.imap.grammar.search import (
    Age,
    Key,
    ObjectId,
    Recent,
    Returns,
    SaveDateSupported,
    Search,
    SinceModSeq,
    Sort,
    Thread,
)
from mailsandbox.access.imap.kept import Threads, kept_of
from mailsandbox.access.imap.responses import Result, bad, no, ok
from mailsandbox.access.imap.results import Found
from mailsandbox.access.imap.searching import Evaluation, uses, uses_numbers
from mailsandbox.access.imap.session import Selected, Session
from mailsandbox.access.imap.threads import Forest
from mailsandbox.database.tx import Row
from mailsandbox.message.base_subject import is_reply
from mailsandbox.message.casemap import casemap
from mailsandbox.store.model import MessageRow

_NEEDED = ((SinceModSeq, "CONDSTORE"), (Age, "WITHIN"), (ObjectId, "OBJECTID"), (SaveDateSupported, "SAVEDATE"))
_ALL = Returns(frozenset({"ALL"}))
_BATCH = 2_000  # messages read at once
_VANISHED: Row = ("", [], "", "", None, "", None)


async def search(session: Session, command: Search) -> Result:
    selected = session.opened
    returns = command.returns
    refused = _refused(session, command.key, returns)
    if refused is not None:
        return refused
    if returns is None and session.rev2:
        returns = _ALL  # RFC 9051 §6.4.4: always ESEARCH, ALL where nothing is asked for
    saving = returns is not None and "SAVE" in returns.options
    try:
        rows = await _matching(session, selected, command.key)
    except Exception:
        if saving:
            selected.saved = []  # RFC 5182 §2.1: after a failure "$" is empty
        raise
    found = _found(session, selected, rows, command.key, uid=command.uid)
    if returns is None:
        session.say(results.plain(found))
        return ok("Search completed")
    if saving:
        selected.saved = [row.uid for row in results.to_save(found, returns)]
    code = ""
    if "UPDATE" in returns.options:
        code = _keep(session, selected, command)
        if not code:
            selected.contexts[session.tag] = SearchContext(
                session.tag,
                command.key,
                uid=command.uid,
                members=[row.uid for row in rows],
                attributes=returns.fetched,
            )
    if not returns.only_save:
        session.say(results.extended(found, returns, session.tag))
    return ok("Search completed", code)


def _keep(session: Session, selected: Selected, command: Search) -> str:
    """RFC 5267 §4.3.2: a response code where the search cannot stay."""
    if len(selected.contexts) >= MAX_CONTEXTS:
        return f'NOUPDATE "{session.tag.decode()}"'
    return ""


def _refused(session: Session, key: Key, returns: Returns | None) -> Result | None:
    for kind, capability in _NEEDED:
        if capability not in session.on and uses(key, kind):
            return bad(f"Unknown search key: {capability} is not offered")
    if session.uid_only and uses_numbers(key):
        return bad("Sequence numbers are off", "UIDREQUIRED")  # RFC 9586 §3
    if session.rev2 and uses(key, Recent) and "IMAP4rev1" not in session.on:
        return bad("RECENT is no more")  # RFC 9051 Appendix E
    if uses(key, SinceModSeq):
        session.use_condstore()
    if returns is not None:
        if returns.fetched and "NOTIFY" not in session.on:
            return bad("UPDATE with FETCH attributes is not offered")  # RFC 5465 §7
        wanted = {"SAVE": "SEARCHRES", "UPDATE": "CONTEXT=SEARCH", "CONTEXT": "CONTEXT=SEARCH"}
        for option, capability in wanted.items():
            if option in returns.options and capability not in session.on:
                return bad(f"{option} is not offered")
        if "ESEARCH" not in session.on and not session.rev2:
            return bad("RETURN is not offered")
        if returns.partial is not None and not session.on & {"PARTIAL", "CONTEXT=SEARCH"}:
            return bad("PARTIAL is not offered")
    return None


async def _matching(session: Session, selected: Selected, key: Key) -> list[MessageRow]:
    view, state = selected.view, selected.state
    if view.exists == len(state.uids) and view.numbers is state.uids:
        candidates = list(state.rows.values())
    else:
        candidates = [row for row in map(state.rows.get, view.numbers[: view.exists]) if row is not None]
    return await Evaluation(session, selected).matching(key, candidates)


def _found(
    session: Session, selected: Selected, rows: list[MessageRow], key: Key, *, uid: bool, sorted_: bool = False
) -> Found:
    numbers = [row.uid for row in rows] if uid else _numbers(selected, rows)
    return Found(numbers, rows, uid, uses(key, SinceModSeq), sorted_)


def _numbers(selected: Selected, rows: list[MessageRow]) -> list[int]:
    """Sequence numbers, in the order of the rows."""
    view = selected.view
    if len(rows) * 8 < view.exists:
        return [view.sequence_number(row.uid) for row in rows]
    places = dict(zip(view.numbers, range(1, view.exists + 1), strict=False))  # newer ones have no number yet
    return [places[row.uid] for row in rows]


async def sort(session: Session, command: Sort) -> Result:
    """RFC 5256 §3; RETURN RFC 5267 §3."""
    selected = session.opened
    refused = _refused(session, command.key, command.returns)
    if refused is not None:
        return refused
    if command.returns is not None and "ESORT" not in session.on:
        return bad("RETURN is not offered")
    if any(name.startswith("DISPLAY") for name, _ in command.criteria) and "SORT=DISPLAY" not in session.on:
        return bad("Unknown sort key")
    rows = await _matching(session, selected, command.key)
    ordered = await sorting.sort_rows(session, selected.state, rows, command.criteria)
    found = _found(session, selected, ordered, command.key, uid=command.uid, sorted_=True)
    if command.returns is None:
        session.say(results.plain(found))
        return ok("Sort completed")
    if "SAVE" in command.returns.options:
        selected.saved = sorted(row.uid for row in results.to_save(found, command.returns))
    if not command.returns.only_save:
        session.say(results.extended(found, command.returns, session.tag))
    if "UPDATE" in command.returns.options:
        return no("A sorted result cannot be updated here", f'NOUPDATE "{session.tag.decode()}"')
    return ok("Sort completed")


async def thread(session: Session, command: Thread) -> Result:
    """RFC 5256 §3."""
    selected = session.opened
    if f"THREAD={command.algorithm}" not in session.on:
        return bad("Unknown threading algorithm")
    refused = _refused(session, command.key, None)
    if refused is not None:
        return refused
    rows = await _matching(session, selected, command.key)
    kept = await kept_of(session, selected.state)
    # The same messages have the same threads: those of a whole mailbox are kept.
    name = f"{command.algorithm} {'UID' if command.uid else 'numbers'}"
    uids = [row.uid for row in rows]
    whole = len(rows) == selected.view.exists
    known = kept.threads.get(name) if whole else None
    if known is not None and known.uids == uids:
        text = known.text
    else:
        await _plant(session, kept.forest, rows)
        numbers = uids if command.uid else _numbers(selected, rows)
        text = kept.forest.thread(command.algorithm, uids, numbers)
        if whole:
            kept.threads[name] = Threads(uids, text)
    session.say(b"THREAD " + text if text else b"THREAD")
    return ok("Thread completed")


async def _plant(session: Session, forest: Forest, rows: list[MessageRow]) -> None:
    """See to it that all these messages are in the forest; one that vanished meanwhile is a thread of its own."""
    missing = [row for row in rows if row.uid not in forest.entries]
    columns = ("message_id", "references", "in_reply_to", "subject", "subject_key", "base_subject", "date")
    for start in range(0, len(missing), _BATCH):
        batch = missing[start : start + _BATCH]
        for row, values in zip(batch, await session.context.store.rendered(batch, columns), strict=True):
            message_id, references, in_reply_to, subject, folded, base, date = values or _VANISHED
            forest.add(
                row.uid,
                message_id,
                # RFC 5256 §3: In-Reply-To stands in where there are no References.
                references or ([in_reply_to] if in_reply_to else []),
                subject=casemap(base) if base != subject else subject if folded is None else folded,
                is_reply=is_reply(subject, base),
                date=row.internal_date if date is None else date,
            )
