"""Attributes as columns: each gives the values of one attribute for all messages of a batch. Pure.

Invariant: a column returns as many values as the batch has rows, as octets or numbers that fit its place in the
template.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mailsandbox.access.imap.dates import write_date_time
from mailsandbox.access.imap.fetching import sections
from mailsandbox.access.imap.grammar.fetch import Attribute, Binary, BinarySize, Body, Plain
from mailsandbox.access.imap.responses import literal, string
from mailsandbox.access.imap.view import RecentMarks
from mailsandbox.message.rendering import PartEntry, unpack_parts
from mailsandbox.store.model import MessageRow


@dataclass(slots=True)
class Batch:
    """Some messages with what was read of them. `columns`: of Rendered, by name (Any: each column its own type)."""

    numbers: Sequence[int]  # what stands before FETCH: sequence numbers, or UIDs for UIDFETCH
    rows: Sequence[MessageRow]
    columns: dict[str, list[Any]] = field(default_factory=dict)
    contents: Sequence[bytes] = ()
    recent: RecentMarks | None = None
    _parts: list[list[PartEntry]] | None = None

    @property
    def parts(self) -> list[list[PartEntry]]:
        """The part index of each message, unpacked once."""
        if self._parts is None:
            self._parts = [unpack_parts(packed) for packed in self.columns["parts"]]
        return self._parts

    @property
    def traces(self) -> list[int]:
        """How many octets of trace fields stand before each content."""
        return [len(octets) - size for octets, size in zip(self.contents, self.columns["size"], strict=True)]


Values = Callable[[Batch], Sequence[object]]


@dataclass(frozen=True, slots=True)
class Column:
    """One attribute: its place in the template, its values, and what they are made of."""

    template: bytes
    values: Values
    rendered: tuple[str, ...] = ()
    contents: bool = False
    sets_seen: bool = False
    label: bytes = b""  # of header fields, whose values may be kept by it


def _flags(batch: Batch) -> list[bytes]:
    recent = batch.recent
    if recent is None or not recent.ranges:
        return [row.flags.octets for row in batch.rows]
    return [
        (b"%b \\Recent" % row.flags.octets).lstrip() if row.uid in recent else row.flags.octets for row in batch.rows
    ]


def _save_dates(batch: Batch) -> list[bytes]:
    return [write_date_time(row.save_date) for row in batch.rows]


def _previews(batch: Batch) -> list[bytes]:
    # RFC 8970 §3: UTF-8; an empty preview is "" and never NIL, as previews are made at delivery.
    return [string((text or "").encode("utf-8", "replace")) for text in batch.columns["preview"]]


def _named(name: str) -> Values:
    return lambda batch: batch.columns[name]


KEPT: Final = "kept"  # the column of a batch whose header fields were remembered

_PLAIN: Final[dict[str, Column]] = {
    "FLAGS": Column(b"FLAGS (%b)", _flags),
    "UID": Column(b"UID %d", lambda batch: [row.uid for row in batch.rows]),
    "RFC822.SIZE": Column(b"RFC822.SIZE %d", lambda batch: [row.octets for row in batch.rows]),
    "INTERNALDATE": Column(
        b"INTERNALDATE %b", lambda batch: [write_date_time(row.internal_date) for row in batch.rows]
    ),
    "MODSEQ": Column(b"MODSEQ (%d)", lambda batch: [row.mod_seq for row in batch.rows]),
    "EMAILID": Column(b"EMAILID (%b)", lambda batch: [row.email_id.encode() for row in batch.rows]),
    "THREADID": Column(b"THREADID (%b)", lambda batch: [row.thread_id.encode() for row in batch.rows]),
    "SAVEDATE": Column(b"SAVEDATE %b", _save_dates),
    "PREVIEW": Column(b"PREVIEW %b", _previews, ("preview",)),
    "ENVELOPE": Column(b"ENVELOPE %b", _named("envelope"), ("envelope",)),
    "BODY": Column(b"BODY %b", _named("body"), ("body",)),
    "BODYSTRUCTURE": Column(b"BODYSTRUCTURE %b", _named("bodystructure"), ("bodystructure",)),
}


def column(attribute: Attribute) -> Column:
    """The column of an attribute."""
    match attribute:
        case Plain(name):
            return _PLAIN[name]
        case Body():
            return _body(attribute)
        case Binary(part, peek, partial):
            label = b"BINARY[%b]" % part.encode() + (b"<%d>" % partial[0] if partial is not None else b"")
            return Column(
                _escaped(label) + b" %b",
                lambda batch: _binaries(batch, part, partial),
                ("parts", "size"),
                contents=True,
                sets_seen=not peek,
            )
        case BinarySize(part):
            return Column(
                b"BINARY.SIZE[%b] %%d" % part.encode(),
                lambda batch: _binary_sizes(batch, part),
                ("parts", "size"),
                contents=True,
            )


def _body(wanted: Body) -> Column:
    template = _escaped(wanted.label) + b" %b"
    sets_seen = not wanted.peek
    if not wanted.part and not wanted.text:
        return Column(template, lambda batch: _whole(batch, wanted.partial), contents=True, sets_seen=sets_seen)
    if not wanted.part and wanted.text.startswith("HEADER"):
        # The header alone is read without the body.
        label = wanted.label if wanted.text == "HEADER.FIELDS" and wanted.partial is None else b""
        return Column(template, lambda batch: _headers(batch, wanted), ("header",), sets_seen=sets_seen, label=label)
    return Column(
        template, lambda batch: _sections(batch, wanted), ("parts", "size"), contents=True, sets_seen=sets_seen
    )


def _escaped(label: bytes) -> bytes:
    return label.replace(b"%", b"%%")


def _whole(batch: Batch, partial: tuple[int, int] | None) -> list[bytes]:
    if partial is None:
        return [literal(octets if b"\0" not in octets else sections.without_nul(octets)) for octets in batch.contents]
    return [literal(sections.without_nul(sections.cut(octets, partial))) for octets in batch.contents]


def _headers(batch: Batch, wanted: Body) -> list[bytes]:
    kept: list[bytes] | None = batch.columns.get(KEPT)
    if kept is not None:
        return kept
    found = sections.of_headers(batch.columns["header"], wanted)
    if wanted.partial is not None:
        found = [sections.cut(octets, wanted.partial) for octets in found]
    return [literal(octets if b"\0" not in octets else sections.without_nul(octets)) for octets in found]


def _sections(batch: Batch, wanted: Body) -> list[bytes]:
    values = []
    for octets, parts, trace in zip(batch.contents, batch.parts, batch.traces, strict=True):
        found = sections.section(octets, parts, trace, wanted)
        # A part that does not exist is an empty string, as in Dovecot: clients choke on NIL in the place of octets.
        values.append(literal(sections.without_nul(sections.cut(found or b"", wanted.partial))))
    return values


def _binaries(batch: Batch, number: str, partial: tuple[int, int] | None) -> list[bytes]:
    values = []
    for octets, parts, trace in zip(batch.contents, batch.parts, batch.traces, strict=True):
        found = sections.binary(octets, parts, trace, number)
        if found is None:
            values.append(b"NIL")
            continue
        found = sections.cut(found, partial)
        # RFC 3516 §4.3: literal8 where there are NULs, an ordinary literal else.
        values.append(b"~" + literal(found) if b"\0" in found else literal(found))
    return values


def _binary_sizes(batch: Batch, number: str) -> list[int]:
    return [
        len(sections.binary(octets, parts, trace, number) or b"")
        for octets, parts, trace in zip(batch.contents, batch.parts, batch.traces, strict=True)
    ]
