"""What commands write: tables that fit the terminal, JSON, and texts from messages made harmless.

Invariant: nothing that came from a message or a server can move the cursor or set colours. stdout carries results,
stderr everything else.
"""

import re
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import click

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # C0, C1, and direction overrides
_MIN_COLUMN: Final = 8
PLAIN_WIDTH: Final = 80  # where the output is no terminal that says otherwise


def clean(text: object) -> str:
    """One line without control characters; they are shown as U+FFFD."""
    return _CONTROL.sub("\ufffd", str(text).replace("\r\n", " ").replace("\n", " ").replace("\t", " "))


def clean_lines(text: str) -> str:
    """The same for text of several lines, which stay lines."""
    return "\n".join(clean(line) for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))


def width_of(text: str) -> int:
    """Columns that a terminal takes for it."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def cut(text: str, width: int) -> str:
    """At most `width` columns; what is cut ends in an ellipsis."""
    if width_of(text) <= width:
        return text
    kept, used = [], 0
    for character in text:
        used += width_of(character)
        if used > width - 1:
            break
        kept.append(character)
    return "".join(kept) + "…"


def terminal_width() -> int:
    """Columns of the terminal; 80 where there is none."""
    return shutil.get_terminal_size((PLAIN_WIDTH, 24)).columns


def table(
    headings: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[int] = (), whole: bool = False
) -> str:
    """Rows under headings, two blanks between columns. Too wide for the terminal: the widest columns are cut.

    `right`: columns to align right. `whole`: cut nothing.
    """
    cells = [[clean(cell) for cell in row] for row in rows]
    widths = [max([width_of(heading), *(width_of(row[at]) for row in cells)]) for at, heading in enumerate(headings)]
    room = terminal_width() - 2 * (len(headings) - 1)
    while not whole and sum(widths) > room and max(widths) > _MIN_COLUMN:
        # Take from the widest what is too much, but not below the second widest.
        widest = widths.index(max(widths))
        others = [width for at, width in enumerate(widths) if at != widest]
        floor = max([_MIN_COLUMN, *(width for width in others if width < widths[widest])])
        widths[widest] = max(floor - (floor == widths[widest]), widths[widest] - (sum(widths) - room), _MIN_COLUMN)
    lines = [_line(headings, widths, right)]
    lines.extend(_line(row, widths, right) for row in cells)
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[int]) -> str:
    shown = []
    for at, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        text = cut(cell, width)
        blanks = " " * (width - width_of(text))
        shown.append(blanks + text if at in right else text + blanks)
    return "  ".join(shown).rstrip()


def say(text: str) -> None:
    """A result."""
    click.echo(text)


def note(text: str) -> None:
    """What is not the result: progress, warnings."""
    click.echo(text, err=True)


def say_json(value: Any) -> None:  # Any: any JSON value
    """A result as indented JSON."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode("utf-8"))


def say_json_line(value: Any) -> None:  # Any: any JSON value
    """One of many results, on a line of its own, at once."""
    import msgspec

    click.echo(msgspec.json.encode(value).decode("utf-8"))
    sys.stdout.flush()


def octets(count: int) -> str:
    """ "1.4 MB"."""
    if count < 1000:
        return f"{count} B"
    size = float(count)
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 999.5 or unit == "GB":
            return f"{size:.1f} {unit}" if size < 10 else f"{size:.0f} {unit}"
    raise AssertionError("unreachable")


def clock_time(moment: str | float) -> str:
    """ "2026-11-21 03:04:22" in local time, of RFC 3339 or POSIX seconds."""
    if isinstance(moment, str):
        try:
            at = datetime.fromisoformat(moment)
        except ValueError:
            return clean(moment)
    else:
        at = datetime.fromtimestamp(moment).astimezone()
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def milliseconds(seconds: float) -> str:
    """ "0.8 ms", "12 ms", "3.2 s"."""
    if seconds < 0.01:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
