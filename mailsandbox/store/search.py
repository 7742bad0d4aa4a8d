"""Search for text: one function for IMAP, HTTP and the command line.

All comparing is of decoded texts that went through `casemap` (RFC 9051 §6.4.4, RFC 5051); a needle matches
anywhere. What the index has not yet written is looked at in memory.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final, Literal

from mailsandbox.database.tx import Tx
from mailsandbox.message.casemap import casemap
from mailsandbox.store.content_rows import storable
from mailsandbox.store.model import Uid

Scope = Literal["header", "body", "text", "subject", "from", "to", "cc"]

_FIELDS: Final = {
    "subject": "coalesce(c.subject_key, c.subject)",
    "from": "coalesce(c.sender_key, c.sender)",
    "to": "coalesce(c.to_key, c.to_list)",
    "cc": "coalesce(c.cc_key, c.cc_list)",
}
_FOLD: Final = re.compile(r"[ \t]*\r\n[ \t]+")
_TEXTS: Final = {"header": ("t.header",), "body": ("t.body",), "text": ("t.header", "t.body")}


def contains(tx: Tx, column: str) -> str:
    """SQL that is true where `column` contains the next parameter."""
    return f"instr({column}, ?) > 0" if tx.dialect == "sqlite" else f"strpos({column}, ?) > 0"


def search_mailbox(
    tx: Tx, mailbox_key: int, needle: str, *, scope: Scope, field: str, pending: Mapping[int, tuple[str, str]]
) -> set[Uid]:
    """UIDs of the messages of a mailbox whose `scope` contains `needle`.

    `header` with `field`: that field only; an empty needle then matches wherever the field is present.
    """
    wanted = storable(casemap(needle))
    if scope in _FIELDS:
        sql = (
            "SELECT m.uid FROM messages m JOIN contents c ON c.id = m.content_id "
            f"WHERE m.mailbox_id = ? AND {contains(tx, _FIELDS[scope])}"
        )
        return {row[0] for row in tx.execute(sql, (mailbox_key, wanted))}
    if scope == "header" and field:
        return _search_field(tx, mailbox_key, wanted, storable(field.lower()), pending)
    columns = _TEXTS[scope]
    condition = " OR ".join(contains(tx, column) for column in columns)
    sql = (
        "SELECT m.uid FROM messages m JOIN texts t ON t.content_id = m.content_id "
        f"WHERE m.mailbox_id = ? AND ({condition})"
    )
    found = {row[0] for row in tx.execute(sql, (mailbox_key, *[wanted] * len(columns)))}
    positions = [0 if column == "t.header" else 1 for column in columns]
    hits = [key for key, texts in pending.items() if any(wanted in texts[position] for position in positions)]
    if scope != "body":
        found |= {uid for uid, _ in _traces_with(tx, mailbox_key, wanted)}
    return found | _showing(tx, mailbox_key, hits)


def _search_field(
    tx: Tx, mailbox_key: int, wanted: str, field: str, pending: Mapping[int, tuple[str, str]]
) -> set[Uid]:
    """The database finds headers that contain both name and needle; which line holds them is looked at here."""
    sql = (
        "SELECT m.uid, t.header FROM messages m JOIN texts t ON t.content_id = m.content_id "
        f"WHERE m.mailbox_id = ? AND {contains(tx, 't.header')} AND {contains(tx, 't.header')}"
    )
    rows = tx.execute(sql, (mailbox_key, f"{field}:", wanted))
    found = {uid for uid, header in rows if in_field(header, field, wanted)}
    hits = [key for key, (header, _) in pending.items() if in_field(header, field, wanted)]
    found |= {uid for uid, trace in _traces_with(tx, mailbox_key, wanted) if in_field(trace, field, wanted)}
    return found | _showing(tx, mailbox_key, hits)


def in_field(header: str, field: str, wanted: str) -> bool:
    """Whether one of the fields `field` contains `wanted`. `header`: case-folded "name: value" lines."""
    prefix = f"{field}:"
    return any(line.startswith(prefix) and wanted in line[len(prefix) :] for line in header.split("\n"))


def _traces_with(tx: Tx, mailbox_key: int, wanted: str) -> Iterator[tuple[Uid, str]]:
    """UIDs with the folded trace fields that contain `wanted`: they are part of a message's header."""
    text = "CAST(octets AS TEXT)" if tx.dialect == "sqlite" else "encode(octets, 'escape')"
    sql, parameters = "SELECT uid, octets FROM traces WHERE mailbox_id = ?", [mailbox_key, wanted]
    if wanted.isascii() and wanted.isprintable() and "\\" not in wanted:
        # A space may be a fold in the octets: the database looks for the longest word.
        parameters[1] = max(wanted.split(" "), key=len)
        rows = tx.execute(f"{sql} AND {contains(tx, f'lower({text})')}", parameters)
    else:
        rows = tx.execute(sql, parameters[:1])
    for uid, octets in rows:
        header = casemap(unfolded(bytes(octets)))
        if wanted in header:
            yield uid, header


def unfolded(trace: bytes) -> str:
    """Trace fields as text, one to a line (RFC 5322 §2.2.3), with one space for a fold as in `search_header`."""
    return _FOLD.sub(" ", trace.decode("utf-8", "replace")).replace("\r\n", "\n")


def _showing(tx: Tx, mailbox_key: int, keys: list[int]) -> set[Uid]:
    """UIDs of the messages that show these contents."""
    if not keys:
        return set()
    wanted = set(keys)
    low, high = min(keys), max(keys)
    rows = tx.execute(
        "SELECT uid, content_id FROM messages WHERE mailbox_id = ? AND content_id BETWEEN ? AND ?",
        (mailbox_key, low, high),
    )
    return {uid for uid, key in rows if key in wanted}
