"""The report of a gate: findings and edits as they are stored with the hop and shown to people.

Invariant: excerpts are bounded (160 octets), so that a report of any conversion stays small; octets are shown
readably and without loss of meaning. Knows nothing of storage or terminals.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from mailsandbox.encoding.classify import first_eight_bit
from mailsandbox.journey.model import EditRecord
from mailsandbox.message.findings import Edit

EXCERPT: Final = 160  # octets of before and after in a stored report
MAX_RECORDS: Final = 200  # edits of one hop that are stored singly


def shown(octets: bytes) -> str:
    """Octets for people: UTF-8 text where it is valid, other octets as \\xNN; line ends as they are."""
    text = octets.decode("utf-8", "backslashreplace")
    return "".join(
        character if character in "\r\n\t" or character.isprintable() else f"\\x{ord(character):02x}"
        for character in text
    )


def excerpt(octets: bytes) -> str:
    """At most 160 octets, with a note of what was left out."""
    if len(octets) <= EXCERPT:
        return shown(octets)
    return f"{shown(octets[:EXCERPT])}… ({len(octets)} octets)"


def edit_records(octets: bytes, edits: Sequence[Edit]) -> list[EditRecord]:
    """Edits of `octets` as stored in a journey; beyond 200 one record says how many more there were."""
    records = [
        EditRecord(
            edit.part,
            edit.start,
            edit.end,
            edit.rule,
            edit.source,
            excerpt(octets[edit.start : edit.end]),
            excerpt(edit.after),
        )
        for edit in edits[:MAX_RECORDS]
    ]
    if len(edits) > MAX_RECORDS:
        rest = edits[MAX_RECORDS:]
        note = f"{len(rest)} more edits"
        records.append(EditRecord("", rest[0].start, rest[-1].end, "more-edits", "", note, note))
    return records


@dataclass(frozen=True, slots=True)
class DiffLine:
    """One line of a diff: sign "-", "+", " " or "@"; text without its line end."""

    sign: str
    text: str


def diff(octets: bytes, edits: Sequence[Edit], *, max_lines: int = 12) -> Iterator[DiffLine]:
    """A readable diff: for each edit a heading, then whole lines before and after; long replacements are cut.

    Edits that share a line are shown together.
    """
    for group in _groups(octets, edits):
        first, last = group[0], group[-1]
        start = octets.rfind(b"\n", 0, first.start) + 1
        end = octets.find(b"\n", max(last.end - 1, last.start)) + 1 if not _ends_line(octets, last) else last.end
        end = max(end, last.end) if end else len(octets)
        rules = ", ".join(dict.fromkeys(f"{edit.rule} ({edit.source})" for edit in group))
        part = f"part {first.part}, " if first.part else ""
        yield DiffLine("@", f"{part}octets {first.start}-{last.end}: {rules}")
        yield from _side("-", octets[start:end] if end > start else b"", max_lines)
        yield from _side("+", _replaced(octets, group, start, end), max_lines)


def _ends_line(octets: bytes, edit: Edit) -> bool:
    """An edit that ends with a line, or inserts whole lines between two."""
    return octets[edit.end - 1 : edit.end] == b"\n"


def _groups(octets: bytes, edits: Sequence[Edit]) -> Iterator[list[Edit]]:
    group: list[Edit] = []
    for edit in edits:
        if group and octets.find(b"\n", group[-1].end, edit.start) >= 0:
            yield group
            group = []
        group.append(edit)
    if group:
        yield group


def _replaced(octets: bytes, group: list[Edit], start: int, end: int) -> bytes:
    pieces, done = [], start
    for edit in group:
        pieces += [octets[done : edit.start], edit.after]
        done = edit.end
    pieces.append(octets[done:end])
    return b"".join(pieces)


def _side(sign: str, octets: bytes, max_lines: int) -> Iterator[DiffLine]:
    lines = octets.splitlines() if first_eight_bit(octets, 0, len(octets)) < 0 else octets.split(b"\n")
    if lines and not lines[-1]:
        lines.pop()
    for line in lines[:max_lines]:
        yield DiffLine(sign, excerpt(line.rstrip(b"\r")))
    if len(lines) > max_lines:
        yield DiffLine(sign, f"… {len(lines) - max_lines} more lines")
