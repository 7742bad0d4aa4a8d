"""Listings across mailboxes and accounts, newest first, for HTTP, the command line and retention. SQL only."""

from collections.abc import Mapping, Sequence
from typing import Final

from mailsandbox.database.tx import Row, Tx
from mailsandbox.errors import NoSuchMessage
from mailsandbox.message.casemap import casemap
from mailsandbox.store.content_rows import storable
from mailsandbox.store.credentials import canonical
from mailsandbox.store.messages import rows_of
from mailsandbox.store.model import MessageRow, parse_message_id
from mailsandbox.store.names import mailbox_name
from mailsandbox.store.search import contains
from mailsandbox.store.views import MessagePage, MessageQuery, StoredMessage

MAX_PAGE: Final = 1000  # messages

_SELECT: Final = (
    "SELECT m.uid, m.mailbox_id, m.mod_seq, m.flags, m.internal_date, m.octets, m.content_id, m.save_date, m.email_id, "
    "m.thread_id, a.address, b.name, m.journey_id, m.recipient, m.trace_octets, c.subject, c.sender, c.to_list, "
    "c.cc_list, c.sent_date, c.message_id, c.preview, c.attachments "
    # CROSS JOIN: SQLite then takes the tables in this order, so the index of messages gives the order of the page.
    "FROM messages m CROSS JOIN mailboxes b CROSS JOIN accounts a CROSS JOIN contents c "
    "WHERE b.id = m.mailbox_id AND a.id = b.account_id AND c.id = m.content_id"
)
_ORDER: Final = "ORDER BY m.save_date DESC, m.mailbox_id DESC, m.uid DESC"


def read_message(tx: Tx, message_id: str) -> StoredMessage:
    """One message; raises NoSuchMessage."""
    place = parse_message_id(message_id)
    row = tx.execute(f"{_SELECT} AND m.mailbox_id = ? AND m.uid = ?", place).fetchone() if place else None
    if row is None:
        raise NoSuchMessage(f"there is no message {message_id}")
    return _stored(tx, [row])[0]


def list_messages(tx: Tx, query: MessageQuery, pending: Mapping[int, tuple[str, str]]) -> MessagePage:
    """A page of messages, newest first by the moment they were saved. `pending`: see `textindex`."""
    limit = max(1, min(query.limit, MAX_PAGE))
    start = _parse_cursor(query.before)
    conditions, parameters = _conditions(tx, query)
    if query.text:
        _text_condition(tx, query.text, pending, conditions, parameters)
    found: list[StoredMessage] = []
    for mailbox in _mailboxes(tx, query):
        place, where = _place(mailbox, start)
        sql = f"{_SELECT} AND {' AND '.join([*place, *conditions, 'TRUE'])} {_ORDER} LIMIT ?"
        found += _stored(tx, tx.execute(sql, (*where, *parameters, limit + 1)).fetchall())
    found.sort(key=_age, reverse=True)
    return MessagePage(found[:limit], _cursor(found[limit - 1]) if len(found) > limit else None)


def _mailboxes(tx: Tx, query: MessageQuery) -> list[int | None]:
    """Keys of the mailboxes to look at, each by its own index; [None] for all at once."""
    if not query.account:
        return [None]
    sql = "SELECT b.id FROM mailboxes b JOIN accounts a ON a.id = b.account_id WHERE a.address = ? AND b.messages > 0"
    if query.mailbox:
        rows = tx.execute(f"{sql} AND b.name = ?", (canonical(query.account), mailbox_name(query.mailbox)))
    else:
        rows = tx.execute(sql, (canonical(query.account),))
    return [row[0] for row in rows]


def _place(mailbox: int | None, start: tuple[float, int, int] | None) -> tuple[list[str], list[object]]:
    """Conditions on where a message lies and how old it is, in the order of an index."""
    if mailbox is None:
        return (["(m.save_date, m.mailbox_id, m.uid) < (?, ?, ?)"], [*start]) if start else ([], [])
    place: list[str] = ["m.mailbox_id = ?"]
    where: list[object] = [mailbox]
    if start is not None:
        saved, key, uid = start
        if mailbox == key:
            place.append("(m.save_date, m.uid) < (?, ?)")
            where += [saved, uid]
        else:
            place.append("m.save_date <= ?" if mailbox < key else "m.save_date < ?")
            where.append(saved)
    return place, where


def _age(message: StoredMessage) -> tuple[float, int, int]:
    return message.row.save_date, message.row.mailbox_key, message.row.uid


def _conditions(tx: Tx, query: MessageQuery) -> tuple[list[str], list[object]]:
    conditions: list[str] = []
    parameters: list[object] = []

    def where(condition: str, *values: object) -> None:
        conditions.append(condition)
        parameters.extend(values)

    if query.mailbox and not query.account:
        where("b.name = ?", mailbox_name(query.mailbox))
    if query.since is not None:
        where("m.save_date >= ?", query.since)
    if query.message_id:
        where("c.message_id = ?", query.message_id)
    for needle, columns in (
        (query.subject, ["coalesce(c.subject_key, c.subject)"]),
        (query.sender, ["coalesce(c.sender_key, c.sender)"]),
        (query.to, ["coalesce(c.to_key, c.to_list)", "coalesce(c.cc_key, c.cc_list)", "lower(m.recipient)"]),
    ):
        if needle:
            tests = " OR ".join(contains(tx, column) for column in columns)
            where(f"({tests})", *[storable(casemap(needle))] * len(columns))
    return conditions, parameters


def _text_condition(
    tx: Tx, text: str, pending: Mapping[int, tuple[str, str]], conditions: list[str], parameters: list[object]
) -> None:
    wanted = storable(casemap(text))
    hits = [key for key, (header, body) in pending.items() if wanted in header or wanted in body]
    tests = f"{contains(tx, 't.header')} OR {contains(tx, 't.body')}"
    condition = f"EXISTS (SELECT 1 FROM texts t WHERE t.content_id = m.content_id AND ({tests}))"
    parameters += [wanted, wanted]
    if hits:
        condition = f"({condition} OR m.content_id IN ({','.join('?' * len(hits))}))"
        parameters += hits
    conditions.append(condition)


def _stored(tx: Tx, rows: Sequence[Row]) -> list[StoredMessage]:
    messages = rows_of(tx, [row[:10] for row in rows])
    return [_with_details(message, row) for message, row in zip(messages, rows, strict=True)]


def _with_details(message: MessageRow, row: Row) -> StoredMessage:
    return StoredMessage(
        message.message_id,
        row[10],
        row[11],
        message,
        journey_id=row[12],
        recipient=row[13],
        trace_octets=row[14],
        subject=row[15],
        sender=row[16],
        to=row[17],
        cc=row[18],
        sent_at=row[19],
        header_message_id=row[20],
        preview=row[21],
        attachments=row[22],
    )


def _cursor(message: StoredMessage) -> str:
    return f"{message.row.save_date!r}_{message.message_id}"


def _parse_cursor(cursor: str) -> tuple[float, int, int] | None:
    """Raises ValueError for what `_cursor` did not make."""
    if not cursor:
        return None
    saved, _, message_id = cursor.partition("_")
    place = parse_message_id(message_id)
    if place is None:
        raise ValueError(f"not a cursor: {cursor}")
    return float(saved), *place
