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
BLOCK: Final = 64 << 10  # octets
KEPT: Final = 8 << 20  # octets of blocks that are kept for the next message


class Memory:
    """What the spools of a process may hold. Grants for whole messages are given in the order asked for."""

    def __init__(self, *, held: int = HELD, whole: int = WHOLE) -> None:
        self._held_bound = held
        self._whole_bound = whole
        self.held = 0  # octets held now
        self.whole = 0  # octets of large messages granted now
        self._blocks: list[memoryview] = []
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

    def block(self) -> memoryview:
        """Room for BLOCK octets, which `hold` has counted."""
        return self._blocks.pop() if self._blocks else memoryview(bytearray(BLOCK))

    def keep(self, blocks: list[memoryview]) -> None:
        """Blocks that are not needed any longer."""
        self._blocks += blocks[: KEPT // BLOCK - len(self._blocks)]

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


class Piece:
    """A message that came in one piece, as small ones do: it is there already, and needs no room."""

    __slots__ = ("_octets", "size", "too_large")

    def __init__(self, octets: bytes, *, limit: int) -> None:
        self._octets = octets
        self.size = len(octets)
        self.too_large = self.size > limit

    def whole(self) -> bytes:
        """As for a spool."""
        return self._octets

    def holds(self, octets: bytes) -> bool:
        """As for a spool."""
        return self._octets == octets

    def discard(self) -> None:
        """As for a spool."""
        self._octets = b""


class Spool:
    """One message coming in. `size` counts all octets given, those dropped for a limit too.

    A message that comes in one piece is that piece. What comes in several is copied into blocks that are used again:
    kept as they come, the pieces of 5 MB would be new memory each time, as freed they are given back to the system, and
    2,000 page faults for each message cost a third of its time.
    """

    __slots__ = ("_blocks", "_end", "_file", "_held", "_limit", "_memory", "_only", "size")

    def __init__(self, memory: Memory, *, limit: int) -> None:
        self._memory = memory
        self._limit = limit
        self._only = b""  # the first piece, while there is no other
        self._blocks: list[memoryview] = []
        self._end = BLOCK  # of what is used of the last block
        self._held = 0  # octets counted in `memory`
        self._file: IO[bytes] | None = None
        self.size = 0

    @property
    def too_large(self) -> bool:
        """Whether more than the limit came; nothing is kept then."""
        return self.size > self._limit

    def append(self, octets: bytes) -> None:
        """The next piece."""
        first = not self.size
        self.size += len(octets)
        if self.size > self._limit:
            # Consume, keep nothing: the client is told at the end of data (RFC 1870 §6.1).
            self._drop()
        elif self._file is not None:
            _write(self._file, octets)
        elif first and self._hold(len(octets)):
            self._only = octets
        elif self._room_for(self.size):
            if self._only:
                self._fill(self._only)
                self._let_go(len(self._only))
                self._only = b""
            self._fill(octets)
        else:
            self._file = self._to_disk()
            _write(self._file, octets)

    def whole(self) -> bytes:
        """Everything, once; the spool is empty afterwards. Large ones need a grant of `Memory` first."""
        if self._file is not None:
            octets = os.pread(self._file.fileno(), self.size, 0)
            if len(octets) != self.size:
                octets = _read_all(self._file, self.size)
        elif self._blocks:
            octets = b"".join((*self._blocks[:-1], self._blocks[-1][: self._end]))
        else:
            octets = self._only
        self._drop()
        return octets

    def holds(self, octets: bytes) -> bool:
        """Whether it is these. False where that cannot be told without making them whole."""
        if self._file is not None or self.size != len(octets):
            return False
        if not self._blocks:
            return self._only == octets
        pieces = (*self._blocks[:-1], self._blocks[-1][: self._end])
        # startswith() compares memory; memoryviews compare themselves one element after another.
        return all(octets.startswith(piece, at * BLOCK) for at, piece in enumerate(pieces))

    def discard(self) -> None:
        """Throw away what is held. May be called at any time, and again."""
        self._drop()
        self.size = 0

    def _hold(self, octets: int) -> bool:
        if not self._memory.hold(octets):
            return False
        self._held += octets
        return True

    def _let_go(self, octets: int) -> None:
        self._memory.let_go(octets)
        self._held -= octets

    def _room_for(self, octets: int) -> bool:
        """Whether there are blocks for so many octets in all, or may be."""
        lacking = -(-octets // BLOCK) - len(self._blocks)
        return lacking <= 0 or self._hold(lacking * BLOCK)

    def _fill(self, octets: bytes) -> None:
        view = memoryview(octets)
        while view:
            if self._end == BLOCK:
                self._blocks.append(self._memory.block())
                self._end = 0
            taken = min(BLOCK - self._end, len(view))
            self._blocks[-1][self._end : self._end + taken] = view[:taken]
            self._end += taken
            view = view[taken:]

    def _to_disk(self) -> IO[bytes]:
        file = tempfile.TemporaryFile(prefix="mailsandbox-", buffering=0)  # noqa: SIM115  # closed in _drop
        if self._blocks:
            for block in self._blocks[:-1]:
                _write(file, block)
            _write(file, self._blocks[-1][: self._end])
        else:
            _write(file, self._only)
        self._drop()
        return file

    def _drop(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._held:
            self._let_go(self._held)
        if self._blocks:
            self._memory.keep(self._blocks)
            self._blocks, self._end = [], BLOCK
        self._only = b""


def _write(file: IO[bytes], octets: bytes | memoryview) -> None:
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
