"""The demonstration and the comparison as tables for people, readable in 80 columns."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mailsandbox.lab.compare import CompareResult
from mailsandbox.lab.demo import DemoResult, Row


def render_demo(result: DemoResult) -> RenderableType:
    """The table of models, the encoding before and after the hop, and how to read them."""
    return Group(
        Text.assemble(
            (f"“{result.subject}”", "bold"),
            f"\n{result.sender} → {result.recipient}, {result.octets_sent} octets as {result.body}; "
            f"arrived as 7-bit MIME, {result.octets_received} octets\n",
        ),
        _models(result),
        Text(
            "heard: milliseconds from the commit at beta until the reader knew of the message; held: until it had "
            "all of it (SMTP push: from alpha's 250 to beta's commit). asked: commands or requests; empty: answers "
            f"without news, as pollers ask every {result.interval:g} s. Octets are the reader's; for SMTP, alpha's.\n",
            style="dim",
        ),
        _parts(result),
        Text(
            f"{result.edits} edits on the way; every part decodes to what was sent."
            if all(part.same for part in result.parts)
            else "A part does not decode to what was sent.",
            style="" if result.complete else "bold red",
        ),
    )


def _models(result: DemoResult) -> Table:
    table = Table(box=None, pad_edge=False, width=80)
    table.add_column("delivery model", no_wrap=True)
    table.add_column("opened by", no_wrap=True)
    for title in ("heard", "held", "asked", "empty", "out", "in"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in result.rows:
        table.add_row(*_cells(row), style="" if row.delivered else "red")
    return table


def _cells(row: Row) -> tuple[str, ...]:
    if not row.delivered:
        return (row.title, row.opened_by, "never", "", "", "", "", "")
    return (
        row.title,
        row.opened_by,
        _milliseconds(row.notified_ms),
        _milliseconds(row.held_ms),
        str(row.requests),
        str(row.empty_answers),
        str(row.octets_out),
        str(row.octets_in),
    )


def _milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _parts(result: DemoResult) -> Table:
    table = Table(box=None, pad_edge=False, width=80, show_header=True)
    table.add_column("part", no_wrap=True)
    table.add_column("encoding, octets", no_wrap=True)
    table.add_column("before and after the hop", no_wrap=True, overflow="ellipsis", ratio=1)
    for part in result.parts:
        table.add_row(
            f"{part.part} {part.content_type}",
            f"{part.before.encoding} {part.before.octets}",
            Text(part.before.excerpt),
        )
        table.add_row(
            "" if part.same else "DIFFERS", f"{part.after.encoding} {part.after.octets}", Text(part.after.excerpt)
        )
    return table


def render_compare(result: CompareResult) -> RenderableType:
    """One line for each model, theory in brackets."""
    table = Table(box=None, pad_edge=False, width=80)
    table.add_column("delivery model", no_wrap=True)
    for title in ("p50", "p95", "max", "mean", "theory", "asked", "empty", "theory", "octets"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in result.rows:
        short = row.delivered < row.expected or row.duplicates
        table.add_row(
            row.title,
            _whole(row.p50_ms),
            _whole(row.p95_ms),
            _whole(row.max_ms),
            _whole(row.mean_ms),
            f"({row.theory_mean_ms:.0f})",
            str(row.requests),
            str(row.empty_answers),
            f"({row.theory_empty:.0f})",
            _whole(row.overhead_per_message),
            style="red" if short else "",
        )
    lost = [f"{row.model}: {row.delivered} of {row.expected}" for row in result.rows if row.delivered < row.expected]
    return Group(
        Text(
            f"{result.messages} messages in {result.seconds:g} s (Poisson, {result.rate:g}/s, seed {result.seed}); "
            f"pollers ask every {result.interval:g} s\n"
        ),
        table,
        Text(
            "Milliseconds from the commit until the reader knew of the message. octets: both ways for each message, "
            "without the message itself.",
            style="dim",
        ),
        Text("not delivered: " + "; ".join(lost) if lost else "Every message reached every reader once."),
    )


def _whole(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.1f}"
