"""Progress bars on stderr for long work; nothing where stderr is no terminal."""

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

Told = Callable[[float, float], None]


@contextlib.contextmanager
def bar(what: str, *, off: bool = False) -> Iterator[Told]:
    """A bar for work that tells how much is done and how much there is in all."""
    if off or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total or None)


def tracked(items: Iterable[T], what: str, *, total: int = 0, off: bool = False) -> Iterator[T]:
    """The items, one by one, with a bar that says how far they are. `total` 0: nobody knows."""
    with bar(what, off=off) as told:
        for number, item in enumerate(items):
            told(number, total)
            yield item
