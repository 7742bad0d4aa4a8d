"""FETCH and UID FETCH (RFC 9051 §6.4.5)."""

from collections.abc import Iterator, Sequence
from typing import Final

from mailsandbox.access.imap import announcing
from mailsandbox.access.imap.fetching.columns import KEPT, Batch, Column
from mailsandbox.access.imap.fetching.plan import Plan, compile_plan, with_flags
from mailsandbox.access.imap.fetching.sections import UnknownEncoding
from mailsandbox.access.imap.grammar.fetch import PLAIN, Attribute, Binary, BinarySize, Fetch, Plain
from mailsandbox.access.imap.responses import Result, bad, no, ok
from mailsandbox.access.imap.session import Selected, Session
from mailsandbox.access.imap.sets import write_numbers
from mailsandbox.store.model import MessageRow, ModSeq

ROWS: Final = 4_000  # messages of one batch when everything is in memory
RENDERED_ROWS: Final = 1_000  # ... when renderings are read
CONTENT_ROWS: Final = 500  # ... when whole messages are read,
CONTENT_OCTETS: Final = 1_000_000  # and their octets: what a slow reader can make the server hold
_MOD_SEQ: Final = Plain("MODSEQ")


async def fetch(session: Session, command: Fetch) -> Result:
    """Answers batch by batch, waiting for the client to read before more is read from the store."""
    selected = session.opened
    refused = _refused(session, command)
    if refused is not None:
        return refused
    if command.changed_since is not None or _MOD_SEQ in command.attributes:
        session.use_condstore()
    indexes = selected.view.indexes(command.set, uid=command.uid, saved=selected.saved)
    if indexes is None:
        return bad("No such message")
    if command.vanished:
        await _tell_vanished(session, selected, command)
    numbers, rows, gone = _rows(selected, indexes)
    if command.changed_since is not None:
        since = command.changed_since
        kept = [index for index, row in enumerate(rows) if row.mod_seq > since]
        numbers, rows = [numbers[index] for index in kept], [rows[index] for index in kept]
    if command.partial is not None:
        places = command.partial.of(list(range(len(rows))))
        numbers, rows = [numbers[place] for place in places], [rows[place] for place in places]
    try:
        await show(session, selected, command.attributes, numbers, rows, uid=command.uid)
    except UnknownEncoding:
        return no("A part has an unknown transfer encoding", "UNKNOWN-CTE")  # RFC 3516 §4.3
    if gone and not command.uid:
        return ok("Some messages were expunged meanwhile", "EXPUNGEISSUED")  # RFC 5530 §3, RFC 2180 §4.1
    return ok("Fetch completed")


def _refused(session: Session, command: Fetch) -> Result | None:
    if not session.has_plan(command.attributes, uid=command.uid):
        for attribute in command.attributes:
            missing = _needed(attribute)
            if missing and missing not in session.on:
                return bad(f"Unknown FETCH attribute: {missing} is not offered")
    if command.changed_since is not None and "CONDSTORE" not in session.on:
        return bad("CHANGEDSINCE is not offered")
    if command.partial is not None and "PARTIAL" not in session.on:
        return bad("PARTIAL is not offered")
    if command.vanished and not session.qresync:
        return bad("ENABLE QRESYNC first")  # RFC 7162 §3.2.6
    return None


def _needed(attribute: Attribute) -> str:
    match attribute:
        case Plain(name):
            return PLAIN.get(name, "")
        case Binary() | BinarySize():
            return "BINARY"
        case _:
            return ""


async def _tell_vanished(session: Session, selected: Selected, command: Fetch) -> None:
    """RFC 7162 §3.2.6: UIDs of the set that were expunged since then, those not yet announced included."""
    assert command.changed_since is not None
    vanished = await session.context.store.vanished(selected.state, ModSeq(command.changed_since))
    ranges = command.set.resolve(max(selected.view.last_uid, 1))
    listed = [uid for uid in vanished if any(first <= uid <= last for first, last in ranges)]
    selected.view.forget(listed)
    if listed:
        session.say(b"VANISHED (EARLIER) %b" % write_numbers(listed))


def _rows(selected: Selected, indexes: Sequence[range]) -> tuple[list[int], list[MessageRow], bool]:
    """Sequence numbers and rows of index ranges; whether some are gone."""
    listed = selected.view.numbers
    get = selected.state.rows.get
    numbers: list[int] = []
    rows: list[MessageRow] = []
    gone = False
    for found in indexes:
        uids = listed[found.start : found.stop]
        present = [row for row in map(get, uids) if row is not None]
        if len(present) == len(uids):
            numbers.extend(range(found.start + 1, found.stop + 1))
            rows += present
            continue
        gone = True
        for number, uid in enumerate(uids, found.start + 1):
            row = get(uid)
            if row is not None:
                numbers.append(number)
                rows.append(row)
    return numbers, rows, gone


async def show(
    session: Session,
    selected: Selected,
    attributes: tuple[Attribute, ...],
    numbers: Sequence[int],
    rows: Sequence[MessageRow],
    *,
    uid: bool,
) -> None:
    """Send the attributes of these messages. Raises UnknownEncoding."""
    plan = session.plan(attributes, uid=uid)
    if len(rows) == 1 and not plan.reads:  # the usual case of clients that pipeline
        _show_row(session, selected, plan, numbers[0], rows[0])
        return
    for span in _batches(plan, rows):
        batch = Batch(numbers[span.start : span.stop], rows[span.start : span.stop])
        if plan.sets_seen and not selected.read_only:
            used = await _mark_seen(session, selected, attributes, batch, uid=uid)
        else:
            used = plan
        if used.kept is not None:
            batch = await _read_fields(session, selected, used.kept, batch)
        elif used.reads:
            batch = await _read(session, used, batch)
        if session.uid_only:
            batch.numbers = [row.uid for row in batch.rows]
        if used.has_flags:
            _tell_flags(session, selected, batch)
        lines = used.lines(batch)
        announcing.log(session, lines)
        session.send(b"".join(lines))
        if used.reads:
            session.context.ledger.shown(selected.state.key, [row.uid for row in batch.rows], "imap")
        await session.drained()


def _show_row(session: Session, selected: Selected, plan: Plan, number: int, row: MessageRow) -> None:
    batch = Batch((row.uid if session.uid_only else number,), (row,))
    if plan.has_flags:
        _tell_flags(session, selected, batch)
    (line,) = plan.lines(batch)
    session.record.server(line[:-2].decode("utf-8", "replace"))
    session.send(line)


def _tell_flags(session: Session, selected: Selected, batch: Batch) -> None:
    """FLAGS are about to be sent for these messages."""
    batch.recent = None if session.rev2 else selected.recent
    selected.view.shown_flags(batch.rows)
    if len(batch.rows) > 1 or id(batch.rows[0].flags) not in selected.known_flags:
        announcing.tell_keywords(session, selected, [row.flags for row in batch.rows])


def _batches(plan: Plan, rows: Sequence[MessageRow]) -> Iterator[range]:
    if not plan.contents:
        step = RENDERED_ROWS if plan.rendered else ROWS
        for start in range(0, len(rows), step):
            yield range(start, min(start + step, len(rows)))
        return
    start = octets = 0
    for index, row in enumerate(rows):
        if index > start and (octets + row.octets > CONTENT_OCTETS or index - start >= CONTENT_ROWS):
            yield range(start, index)
            start, octets = index, 0
        octets += row.octets
    if rows:
        yield range(start, len(rows))


async def _mark_seen(
    session: Session, selected: Selected, attributes: tuple[Attribute, ...], batch: Batch, *, uid: bool
) -> Plan:
    """RFC 9051 §6.4.5: BODY[] sets \\Seen, and the FLAGS are in the answer if that changed them."""
    unseen = [row.uid for row in batch.rows if "\\Seen" not in row.flags.names]
    if unseen:
        result = await session.context.store.store_flags(session.account, selected.state.name, unseen, add=("\\Seen",))
        selected.view.told_flags(result.changed)
        current = selected.state.rows
        batch.rows = [current.get(row.uid, row) for row in batch.rows]
        attributes = with_flags(attributes, mod_seq=session.condstore)
    return compile_plan(attributes, uid=uid, uid_only=session.uid_only)


async def _read_fields(session: Session, selected: Selected, column: Column, batch: Batch) -> Batch:
    """Header fields: remembered ones as they are, the others from the store."""
    cache, label = session.headers, column.label
    values = cache.find(selected.state, label, batch.rows)
    missing = [index for index, value in enumerate(values) if value is None]
    if missing:
        rows = [batch.rows[index] for index in missing]
        found = await session.context.store.rendered(rows, ("header",))
        present = [(index, each[0]) for index, each in zip(missing, found, strict=True) if each is not None]
        made = Batch((), (), {"header": [header for _, header in present]})
        octets = [value for value in column.values(made) if isinstance(value, bytes)]
        cache.keep(selected.state, label, [batch.rows[index] for index, _ in present], octets)
        for (index, _), value in zip(present, octets, strict=True):
            values[index] = value
    kept = [index for index, value in enumerate(values) if value is not None]
    if len(kept) < len(values):  # some vanished meanwhile
        batch = Batch([batch.numbers[index] for index in kept], [batch.rows[index] for index in kept])
    batch.columns = {KEPT: [value for value in values if value is not None]}
    return batch


async def _read(session: Session, plan: Plan, batch: Batch) -> Batch:
    """Fill the batch from the store; what vanished meanwhile is left out."""
    store = session.context.store
    rendered = await store.rendered(batch.rows, plan.rendered) if plan.rendered else None
    contents = await store.contents(batch.rows) if plan.contents else None
    if (rendered is not None and None in rendered) or (contents is not None and None in contents):
        kept = [
            index
            for index in range(len(batch.rows))
            if (rendered is None or rendered[index] is not None) and (contents is None or contents[index] is not None)
        ]
        batch = Batch([batch.numbers[index] for index in kept], [batch.rows[index] for index in kept])
        rendered = [rendered[index] for index in kept] if rendered is not None else None
        contents = [contents[index] for index in kept] if contents is not None else None
    if rendered:
        present = [values for values in rendered if values is not None]
        batch.columns = dict(zip(plan.rendered, map(list, zip(*present, strict=True)), strict=True))
    elif plan.rendered:
        batch.columns = {name: [] for name in plan.rendered}
    if contents is not None:
        batch.contents = [octets for octets in contents if octets is not None]
    return batch
