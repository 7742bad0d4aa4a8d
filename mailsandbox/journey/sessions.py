"""Every connection with its transcript, accepted or refused or broken off; bounded in memory.

Invariant: a record is open until `close`, and counts against the limits of the log from then on; the oldest go first.
Passwords never come here: the servers write "***" in their place. Knows no protocol.
"""

import itertools
import secrets
from collections import OrderedDict, deque
from collections.abc import Iterator
from time import perf_counter_ns
from typing import Final

from mailsandbox.clock import Clock
from mailsandbox.journey.model import TranscriptLine
from mailsandbox.message.findings import Finding

MAX_LINE: Final = 1_000  # characters of one transcript line; what is longer is cut, and says so
HEAD_LINES: Final = 200  # a long session keeps its beginning ...
TAIL_LINES: Final = 800  # ... and its end
MAX_FINDINGS: Final = 200
MAX_CLOSED: Final = 2_000  # sessions kept by default
OUTCOMES: Final = (
    "open",
    "closed",
    "rejected",
    "aborted",
    "hung up",
    "failed",
    "fault",
    "timed out",
    "timeout",
    "shutdown",
    "tls failed",
    "TLS on a plain port",
    "too many failed logins",
    "too many errors",
    "over-long line",
    "not all deleted",
    "internal error",
)


class SessionRecord:
    """One connection. It begins and ends at times of the sandbox's clock, in POSIX seconds.

    The transcript's offsets are measured: how long a peer took, which a clock that stands still cannot tell.
    """

    __slots__ = (
        "_head",
        "_log",
        "_origin",
        "_tail",
        "_total",
        "account",
        "ended_at",
        "findings",
        "helo",
        "id",
        "local",
        "number",
        "outcome",
        "peer",
        "protocol",
        "service",
        "started_at",
        "tls",
    )

    def __init__(self, log: "SessionLog", *, protocol: str, service: str, peer: str, local: str) -> None:
        self._log = log
        self._origin = perf_counter_ns()
        self._head: list[TranscriptLine] = []
        self._tail: deque[TranscriptLine] = deque(maxlen=TAIL_LINES)
        self._total = 0
        self.number, self.id = log.new_id()
        self.protocol = protocol  # "smtp", "lmtp", "pop3", "imap", "relay"
        self.service = service  # service name as in the ready file: "alpha.smtp", "imap"
        self.peer = peer
        self.local = local
        self.started_at = log.clock.now()
        self.ended_at: float | None = None
        self.account = ""
        self.tls = ""
        self.helo = ""
        self.outcome = "open"
        self.findings: list[Finding] = []

    def client(self, text: str) -> None:
        """A line that the client sent."""
        self._add("C", text)

    def server(self, text: str) -> None:
        """A line that the server sent."""
        self._add("S", text)

    def note(self, text: str) -> None:
        """What was not said on the wire: TLS established, fault injected, connection lost."""
        self._add("!", text)

    def finding(self, found: Finding) -> None:
        """A rule that the client broke."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(found)

    def _add(self, side: str, text: str) -> None:
        if len(text) > MAX_LINE:
            text = f"{text[:MAX_LINE]} [cut: {len(text)} characters]"
        line = TranscriptLine((perf_counter_ns() - self._origin) // 1_000 / 1e6, side, text)
        (self._head if self._total < HEAD_LINES else self._tail).append(line)
        self._total += 1

    @property
    def mark(self) -> int:
        """A place in the transcript, to be given to `since`."""
        return self._total

    def since(self, mark: int) -> list[TranscriptLine]:
        """The lines added after `mark`, as far as they are still kept."""
        kept, wanted = len(self._tail), self._total - mark
        if wanted <= kept:
            # From the end: a connection that is reused for thousands of messages asks for a few lines each time.
            latest = list(itertools.islice(reversed(self._tail), wanted))
            latest.reverse()
            return latest
        lines = self._head[mark:]
        lines.extend(self._tail)
        return lines

    @property
    def transcript(self) -> list[TranscriptLine]:
        """All lines that are kept; where the middle was dropped, a note says how much."""
        lines = self.since(0)
        dropped = self._total - len(lines)
        if dropped:
            lines.insert(HEAD_LINES, TranscriptLine(lines[HEAD_LINES].at, "!", f"[{dropped} lines not kept]"))
        return lines

    def close(self, outcome: str = "closed") -> None:
        """The connection ended: one of OUTCOMES. The first outcome given stands."""
        if self.ended_at is None:
            self.ended_at = self._log.clock.now()
            self.outcome = outcome
            self._log.ended(self)


class SessionLog:
    """The open sessions and the latest closed ones."""

    def __init__(self, clock: Clock, *, keep: int = MAX_CLOSED) -> None:
        self.clock = clock
        self._keep = keep
        self._open: dict[str, SessionRecord] = {}
        self._closed: OrderedDict[str, SessionRecord] = OrderedDict()
        self._prefix = secrets.token_hex(3)  # so that ids of two daemons on one store differ
        self._numbers = itertools.count(1)

    def new_id(self) -> tuple[int, str]:
        """How many sessions have begun with this one, and its id, unique among daemons."""
        number = next(self._numbers)
        return number, f"s{self._prefix}{number:x}"

    def open(self, protocol: str, service: str, *, peer: str, local: str) -> SessionRecord:
        """A new connection; addresses as "127.0.0.1:41234"."""
        record = SessionRecord(self, protocol=protocol, service=service, peer=peer, local=local)
        self._open[record.id] = record
        return record

    def ended(self, record: SessionRecord) -> None:
        """Called by the record when it is closed."""
        if self._open.pop(record.id, None) is not None:
            self._closed[record.id] = record
            while len(self._closed) > self._keep:
                self._closed.popitem(last=False)

    def get(self, session_id: str) -> SessionRecord | None:
        """One session, open or closed."""
        return self._open.get(session_id) or self._closed.get(session_id)

    def __iter__(self) -> Iterator[SessionRecord]:
        """By their beginning, newest first, whether still open or not."""
        return iter(sorted((*self._open.values(), *self._closed.values()), key=lambda one: one.number, reverse=True))

    @property
    def open_count(self) -> int:
        """Connections open now."""
        return len(self._open)

    def clear(self) -> None:
        """Forget the closed sessions."""
        self._closed.clear()
