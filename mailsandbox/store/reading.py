"""Reading stored messages: whole octets, rendered columns. SQL only; works on any `Tx`.

What vanished between the listing and the reading is None in its place, never an error.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from mailsandbox.database.blobs import in_files
from mailsandbox.database.tx import Row, Tx
from mailsandbox.store.model import MessageRow

_CHUNK: Final = 500  # placeholders in one statement

# Where each column of `Rendered` is stored. "header" and "trace_octets" are per message.
_CONTENT_COLUMNS: Final = {
    "header_end": "c.header_end",
    "attachments": "c.attachments",
    "date": "c.sent_date",
    "date_zone": "c.sent_zone",
    "subject": "c.subject",
    "subject_key": "c.subject_key",  # case-folded, None where equal
    "sender": "c.sender",
    "to": "c.to_list",
    "cc": "c.cc_list",
    "message_id": "c.message_id",
    "in_reply_to": "c.in_reply_to",
    "references": "c.reference_ids",
    "base_subject": "c.base_subject",
    "preview": "c.preview",
    "size": "c.size",
    "envelope": "r.envelope",
    "body": "r.body",
    "bodystructure": "r.bodystructure",
    "parts": "r.parts",
    "search_header": "t.header",
    "search_text": "t.body",
}
_TABLES: Final = {
    "c": "contents c",
    "r": "renderings r",
    "t": "texts t",
}
_KEYS: Final = {"c": "c.id", "r": "r.content_id", "t": "t.content_id"}


def read_contents(tx: Tx, rows: Sequence[MessageRow]) -> list[bytes | None]:
    """Whole messages, trace fields first."""
    keys = {row.content_id for row in rows}
    blobs: dict[int, bytes] = dict(_by_key(tx, "SELECT id, octets FROM blob_octets WHERE id", keys))
    blobs.update(in_files(tx, list(keys - blobs.keys())))
    traces = _traces(tx, rows)
    if not traces:
        return [blobs.get(row.content_id) for row in rows]
    return [
        None if (octets := blobs.get(row.content_id)) is None else traces.get((row.mailbox_key, row.uid), b"") + octets
        for row in rows
    ]


def read_rendered(tx: Tx, rows: Sequence[MessageRow], columns: Sequence[str]) -> list[Row | None]:
    """For each row the values of `columns`: names of Rendered's fields, "size", "header" (raw octets), "trace_octets".

    "references" is a list. Raises KeyError for a column that does not exist.
    """
    if tuple(columns) == ("header",):  # what clients that list messages ask for
        found_headers = _headers(tx, rows)
        return [
            None if (octets := found_headers.get((row.mailbox_key, row.uid))) is None else (octets,) for row in rows
        ]
    stored = [column for column in columns if column not in ("header", "trace_octets")]
    ids = [row.content_id for row in rows]
    if len(stored) == len(columns) and (in_order := _in_order(tx, ids, stored)) is not None:
        return in_order
    values = _columns(tx, set(ids), stored)
    headers = _headers(tx, rows) if "header" in columns else {}
    lengths = _trace_octets(tx, rows) if "trace_octets" in columns else {}
    if len(stored) == len(columns):
        return [values.get(row.content_id) for row in rows]
    result: list[Row | None] = []
    for row in rows:
        found = values.get(row.content_id)
        place = (row.mailbox_key, row.uid)
        if found is None:
            result.append(None)
            continue
        left = iter(found)
        result.append(
            tuple(
                headers.get(place)
                if name == "header"
                else lengths.get(place, 0)
                if name == "trace_octets"
                else next(left)
                for name in columns
            )
        )
    return result


def _in_order(tx: Tx, ids: Sequence[int], columns: Sequence[str]) -> list[Row | None] | None:
    """The values for contents that were stored one after the other, as those of one mailbox often are.

    None where they were not, or where some vanished: then each has to be looked up.
    """
    if len(ids) < 2 or ids[-1] - ids[0] != len(ids) - 1 or ids != list(range(ids[0], ids[-1] + 1)):
        return None
    key, sources, tables = _sources(columns)
    sql = f"SELECT {sources} FROM {tables} WHERE {key} BETWEEN ? AND ? ORDER BY {key}"
    found = tx.execute(sql, (ids[0], ids[-1])).fetchall()
    if len(found) != len(ids):
        return None
    return [_split(row, columns) for row in found] if "references" in columns else found


def _columns(tx: Tx, keys: set[int], columns: Sequence[str]) -> dict[int, Row]:
    if not columns:
        return {key: () for (key,) in _by_key(tx, "SELECT id FROM contents WHERE id", keys)}
    key, sources, tables = _sources(columns)
    found = _by_key(tx, f"SELECT {key}, {sources} FROM {tables} WHERE {key}", keys)
    if "references" in columns:
        return {row[0]: _split(row[1:], columns) for row in found}
    return {row[0]: row[1:] for row in found}


def _sources(columns: Sequence[str]) -> tuple[str, str, str]:
    """Of a statement for these columns: the key, what is selected, and from where."""
    sources = [_CONTENT_COLUMNS[column] for column in columns]
    used = sorted({source[0] for source in sources})
    first = used[0]
    tables = _TABLES[first] + "".join(f" JOIN {_TABLES[each]} ON {_KEYS[each]} = {_KEYS[first]}" for each in used[1:])
    return _KEYS[first], ", ".join(sources), tables


def _split(row: Row, columns: Sequence[str]) -> Row:
    at = columns.index("references")
    return (*row[:at], row[at].split(), *row[at + 1 :])


def _headers(tx: Tx, rows: Sequence[MessageRow]) -> dict[tuple[int, int], bytes]:
    """Raw headers with their trace fields; only the header's octets are read."""
    sql = "SELECT b.id, substr(b.octets, 1, c.header_end) FROM blob_octets b JOIN contents c ON c.id = b.id WHERE b.id"
    keys = {row.content_id for row in rows}
    headers: dict[int, bytes] = dict(_by_key(tx, _for_bytes(tx, sql), keys))
    if others := keys - headers.keys():
        ends: dict[int, int] = dict(_by_key(tx, "SELECT id, header_end FROM contents WHERE id", others))
        headers.update(in_files(tx, list(ends), first=ends))
    traces = _traces(tx, rows)
    if not traces:
        return {(row.mailbox_key, row.uid): headers[row.content_id] for row in rows if row.content_id in headers}
    return {
        (row.mailbox_key, row.uid): traces.get((row.mailbox_key, row.uid), b"") + headers[row.content_id]
        for row in rows
        if row.content_id in headers
    }


def _for_bytes(tx: Tx, sql: str) -> str:
    """PostgreSQL's substr of bytea counts in int."""
    return sql if tx.dialect == "sqlite" else sql.replace("c.header_end)", "CAST(c.header_end AS int))")


def _traces(tx: Tx, rows: Sequence[MessageRow]) -> dict[tuple[int, int], bytes]:
    return _per_message(tx, rows, "SELECT uid, octets FROM traces WHERE mailbox_id = ? AND uid")


def _trace_octets(tx: Tx, rows: Sequence[MessageRow]) -> dict[tuple[int, int], int]:
    return _per_message(tx, rows, "SELECT uid, trace_octets FROM messages WHERE mailbox_id = ? AND uid")


def _per_message(
    tx: Tx, rows: Sequence[MessageRow], sql: str
) -> dict[tuple[int, int], Any]:  # Any: the type of the column that `sql` names
    by_mailbox: dict[int, list[int]] = {}
    for row in rows:
        by_mailbox.setdefault(row.mailbox_key, []).append(row.uid)
    found: dict[tuple[int, int], Any] = {}  # Any: see above
    for key, uids in by_mailbox.items():
        for uid, value in _in_mailbox(tx, sql, key, uids):
            found[key, uid] = value
    return found


def _in_mailbox(tx: Tx, sql: str, key: int, uids: list[int]) -> Iterator[Row]:
    """Rows of those UIDs: by range where they are dense, else by list."""
    low, high = min(uids), max(uids)
    if high - low < 2 * len(uids):
        yield from tx.execute(f"{sql} BETWEEN ? AND ?", (key, low, high))
        return
    for at in range(0, len(uids), _CHUNK):
        chunk = uids[at : at + _CHUNK]
        yield from tx.execute(f"{sql} IN ({','.join('?' * len(chunk))})", (key, *chunk))


def _by_key(tx: Tx, sql: str, keys: set[int]) -> list[Row]:
    """Rows of `sql`, which ends in the key's column, for those keys: by range where they are dense, else by list."""
    if not keys:
        return []
    low, high = min(keys), max(keys)
    if high - low < len(keys) + len(keys) // 8:
        return tx.execute(f"{sql} BETWEEN ? AND ?", (low, high)).fetchall()
    found: list[Row] = []
    ordered = sorted(keys)
    for at in range(0, len(ordered), _CHUNK):
        chunk = ordered[at : at + _CHUNK]
        found += tx.execute(f"{sql} IN ({','.join('?' * len(chunk))})", chunk).fetchall()
    return found
