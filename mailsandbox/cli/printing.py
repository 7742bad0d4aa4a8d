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
    headings: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    right: Sequence[int] = (),
    fixed: Sequence[int] = (),
    whole: bool = False,
) -> str:
    """Rows under headings, two blanks between columns. Too wide for the terminal: the widest columns are cut.

    `right`: columns to align right. `fixed`: columns to cut only when all others are as narrow as can be. `whole`: cut
    nothing.
    """
    cells = [[clean(cell) for cell in row] for row in rows]
    widths = [max([width_of(heading), *(width_of(row[at]) for row in cells)]) for at, heading in enumerate(headings)]
    if not whole:
        room = terminal_width() - 2 * (len(headings) - 1)
        for group in ([at for at in range(len(widths)) if at not in fixed], list(range(len(widths)))):
            _shrink(widths, group, room)
    lines = [_line(headings, widths, right)]
    lines.extend(_line(row, widths, right) for row in cells)
    return "\n".join(lines)


def _shrink(widths: list[int], group: Sequence[int], room: int) -> None:
    """Make the columns of `group` narrower, the widest first, until all fit or none can be."""
    while group and sum(widths) > room:
        widest = max(group, key=lambda at: widths[at])
        if widths[widest] <= _MIN_COLUMN:
            return
        # Down to the next widest at once, but no further than is needed.
        next_widest = max((widths[at] for at in group if widths[at] < widths[widest]), default=_MIN_COLUMN)
        floor = max(next_widest, _MIN_COLUMN)
        same = [at for at in group if widths[at] == widths[widest]]
        give = min(widths[widest] - floor, -(-(sum(widths) - room) // len(same)))
        for at in same:
            widths[at] -= max(give, 1)


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


def short_time(moment: str) -> str:
    """ "03:04:22" for today, else "2026-11-20 03:04", of RFC 3339."""
    shown = clock_time(moment)
    today = datetime.now().astimezone().strftime("%Y-%m-%d ")
    return shown.removeprefix(today) if shown.startswith(today) else shown[:16]


def many(count: int, word: str) -> str:
    """ "1 message", "2 messages"."""
    return f"{count} {word}{'' if count == 1 else 's'}"


def milliseconds(seconds: float) -> str:
    """ "0.8 ms", "12 ms", "3.2 s"."""
    if seconds < 0.01:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
