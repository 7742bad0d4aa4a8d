"""Message data while it comes in: in memory as long as all of it together is little, on disk from then on.

Invariant: what all spools of one `Memory` hold in memory stays below its bound, and what is made whole for the gate
and the store is bounded too; fifty clients that send 25 MB at once take disk, not memory.
Knows nothing of SMTP: octets in, the same octets out.
"""

import asyncio
import os
import tempfile
from collections import deque
from typing import IO, Final

HELD: Final = 32 << 20  # octets that incoming messages may hold in memory, all together
WHOLE: Final = 40 << 20  # octets of large messages that may be whole in memory at a time, for gate and store
SMALL: Final = 1 << 20  # messages up to this size are not counted: their number is bounded by the connections
CRUMB: Final = 4 << 10  # octets; smaller pieces are gathered
BLOCK: Final = 64 << 10  # octets at which what was gathered becomes a piece


class Memory:
    """What the spools of a process may hold. Grants for whole messages are given in the order asked for."""

    def __init__(self, *, held: int = HELD, whole: int = WHOLE) -> None:
        self._held_bound = held
        self._whole_bound = whole
        self.held = 0  # octets held now
        self.whole = 0  # octets of large messages granted now
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def hold(self, octets: int) -> bool:
        """Whether so many octets more may be held in memory; counted if so."""
        if self.held + octets > self._held_bound:
            return False
        self.held += octets
        return True

    def let_go(self, octets: int) -> None:
        """Octets held before are not any longer."""
        self.held -= octets

    def try_grant(self, octets: int) -> bool:
        """Whether a message of that size may be whole in memory now. One alone always may, whatever its size."""
        if octets <= SMALL:
            return True
        if self._waiting or (self.whole and self.whole + octets > self._whole_bound):
            return False
        self.whole += octets
        return True

    async def grant(self, octets: int) -> None:
        """Wait until it may."""
        if self.try_grant(octets):
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((octets, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(octets)
            else:
                self._waiting.remove((octets, turn))
            raise

    def give_back(self, octets: int) -> None:
        """The message granted before is not in memory any longer."""
        if octets <= SMALL:
            return
        self.whole -= octets
        while self._waiting:
            octets, turn = self._waiting[0]
            if self.whole and self.whole + octets > self._whole_bound:
                return
            self._waiting.popleft()
            if not turn.done():
                self.whole += octets
                turn.set_result(None)


class Spool:
    """One message coming in. `size` counts all octets given, those dropped for a limit too."""

    __slots__ = ("_crumbs", "_file", "_limit", "_memory", "_pieces", "size")

    def __init__(self, memory: Memory, *, limit: int) -> None:
        self._memory = memory
        self._limit = limit
        self._pieces: list[bytes] = []
        self._crumbs = bytearray()  # pieces too small to be worth an object each
        self._file: IO[bytes] | None = None
        self.size = 0

    @property
    def too_large(self) -> bool:
        """Whether more than the limit came; nothing is kept then."""
        return self.size > self._limit

    def append(self, octets: bytes) -> None:
        """The next piece."""
        held = self.size
        self.size += len(octets)
        if self.too_large:
            # Consume, keep nothing: the client is told at the end of data (RFC 1870 §6.1).
            if held <= self._limit:
                self._drop(held)
            return
        if self._file is None:
            if self._memory.hold(len(octets)):
                self._keep(octets)
                return
            self._file = tempfile.TemporaryFile(prefix="mailsandbox-", buffering=0)  # noqa: SIM115  # closed in _drop
            for piece in self._pieces:
                _write(self._file, piece)
            _write(self._file, self._crumbs)
            self._memory.let_go(held)
            self._pieces, self._crumbs = [], bytearray()
        _write(self._file, octets)

    def _keep(self, octets: bytes) -> None:
        if not self._crumbs and (len(octets) >= CRUMB or not self._pieces):
            self._pieces.append(octets)
            return
        self._crumbs += octets
        if len(self._crumbs) >= BLOCK:
            self._pieces.append(bytes(self._crumbs))
            self._crumbs = bytearray()

    def whole(self) -> bytes:
        """Everything, once; the spool is empty afterwards. Large ones need a grant of `Memory` first."""
        if self._file is not None:
            octets = os.pread(self._file.fileno(), self.size, 0)
            if len(octets) != self.size:
                octets = _read_all(self._file, self.size)
        elif len(self._pieces) == 1 and not self._crumbs:
            octets = self._pieces[0]
        else:
            octets = b"".join((*self._pieces, self._crumbs))
        self._drop(self.size)
        return octets

    def discard(self) -> None:
        """Throw away what is held. May be called at any time, and again."""
        if not self.too_large:
            self._drop(self.size)
        self.size = 0

    def _drop(self, held: int) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        elif self._pieces or self._crumbs:
            self._memory.let_go(held)
        self._pieces, self._crumbs = [], bytearray()


def _write(file: IO[bytes], octets: bytes | bytearray) -> None:
    view = memoryview(octets)
    while view:
        view = view[file.write(view) :]


def _read_all(file: IO[bytes], size: int) -> bytes:
    """pread gives at most 2 GiB at a time, and may give less."""
    pieces, at = [], 0
    while at < size and (piece := os.pread(file.fileno(), size - at, at)):
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)
