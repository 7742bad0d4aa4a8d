"""How many attempts run at once towards each destination: slow start, shrinking, and what a dead one costs. Pure.

Invariant: a destination never runs more attempts than its window, and the window never exceeds the limit. Where
nothing can be reached the window shrinks to one, so that dead destinations cannot crowd out living ones.
Precedents: Postfix's qmgr starts at 5, ends at 20, grows by feedback and holds a destination for dead after one
cohort of failures; TCP's slow start.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

J = TypeVar("J")

FAILURES_OF_DEAD: Final = 3  # attempts in a row that reached nobody
MAX_KNOWN: Final = 1_000  # destinations whose window is remembered while they have no work


@dataclass(slots=True)
class Window:
    """The number of attempts allowed at once."""

    limit: int
    size: float
    failures: int = 0

    @property
    def allowed(self) -> int:
        """Attempts that may run now; at least one."""
        return max(1, int(self.size))

    @property
    def dead(self) -> bool:
        """Whether the last attempts all reached nobody."""
        return self.failures >= FAILURES_OF_DEAD

    def reached(self) -> None:
        """An attempt talked to a server: one more at once, until the limit."""
        self.failures = 0
        self.size = min(float(self.limit), self.size + 1.0)

    def unreached(self) -> None:
        """An attempt reached nobody: half as many at once."""
        self.failures += 1
        self.size = 1.0 if self.dead else max(1.0, self.size / 2)


@dataclass(slots=True)
class Destination(Generic[J]):
    """The jobs that wait for one destination, and how many run."""

    name: str
    window: Window
    jobs: deque[J] = field(default_factory=deque)
    running: int = 0

    @property
    def ready(self) -> bool:
        """Whether a job waits and may run."""
        return bool(self.jobs) and self.running < self.window.allowed

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing runs."""
        return not self.jobs and not self.running


class Destinations(Generic[J]):
    """All destinations with work, and the windows of some that had."""

    def __init__(self, *, initial: int, limit: int) -> None:
        self._initial = initial
        self._limit = limit
        self._known: dict[str, Destination[J]] = {}
        self._waiting: dict[str, Destination[J]] = {}  # those with jobs

    def add(self, name: str, job: J) -> Destination[J]:
        """Put a job behind those that wait for `name`."""
        destination = self._known.get(name)
        if destination is None:
            window = Window(self._limit, float(min(self._initial, self._limit)))
            destination = self._known[name] = Destination(name, window)
        destination.jobs.append(job)
        self._waiting[name] = destination
        return destination

    def next(self, destination: Destination[J]) -> J | None:
        """Take the job that has waited longest for `destination`."""
        if not destination.jobs:
            return None
        job = destination.jobs.popleft()
        if not destination.jobs:
            self._waiting.pop(destination.name, None)
        return job

    def take_all(self, destination: Destination[J]) -> list[J]:
        """Take all jobs that wait for `destination`."""
        jobs = list(destination.jobs)
        destination.jobs.clear()
        self._waiting.pop(destination.name, None)
        return jobs

    def ready(self) -> list[Destination[J]]:
        """Destinations where a job may start, those with the fewest running first: nobody is crowded out."""
        if not self._waiting:
            return []
        return sorted([one for one in self._waiting.values() if one.ready], key=lambda one: one.running)

    def settle(self, destination: Destination[J]) -> None:
        """Forget a destination that is idle, once so many are known that their windows are not worth the memory."""
        if destination.idle and len(self._known) > MAX_KNOWN:
            self._known.pop(destination.name, None)

    def waiting(self) -> list[J]:
        """Take all jobs that have not started."""
        return [job for destination in list(self._waiting.values()) for job in self.take_all(destination)]
