"""Large octets in files of their own beside the database: written once, where the log and the table would write twice.

    write ─▶ fsync ─▶ fsync of the directory ─▶ COMMIT of the row that names it ─▶ … ─▶ COMMIT without it ─▶ unlink

Written by the transaction itself, or ahead of it: then several are on their way to the disk at once, and no other
transaction waits for them. Invariants: a row never names a file that is not durable, whenever the machine stops; a name
is never given twice, so what it stands for never changes; what no row names is removed, at the latest at the next
start. Knows no tables.
"""

import contextlib
import errno
import itertools
import logging
import os
import secrets
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from mailsandbox.errors import DamagedContent, MailsandboxError, StoreFull, StoreUnavailable

LARGE: Final = 1 << 20  # octets; a file costs two fsyncs more, and 5 MB in pages of a table twice the writing
FRESH: Final = 64 << 20  # octets that the system may hold in memory for who waits for a message and reads it at once

_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_log = logging.getLogger(__name__)


class Files:
    """The files in `directory`. `later` runs a job off the loop once every read that is under way has ended."""

    def __init__(self, directory: Path, later: Callable[[Callable[[], None]], None]) -> None:
        self._directory = directory
        self._later = later
        self._prefix = secrets.token_hex(4)
        self._numbers = itertools.count(1)
        self._descriptor = -1  # of the directory
        self._lock = threading.RLock()
        self._doomed: set[str] = set()  # released, and not removed yet
        self._ahead: dict[str, bytes | None] = {}  # sha256 by name, once written; neither taken nor given up
        self._fresh: deque[tuple[str, int]] = deque()
        self._fresh_octets = 0
        self._swept = False

    def open(self) -> None:
        """Make the directory. Raises OSError."""
        self._swept = False
        self._directory.mkdir(mode=0o700, exist_ok=True)
        self._descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Nothing is read or written any more. May be called again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def write(self, octets: bytes) -> str:
        """The name of a new file that holds `octets`, durable. Raises StoreFull, StoreUnavailable."""
        name = self._new_name()
        self._write(name, octets)
        return name

    def ahead(self) -> str:
        """A name for octets that are to be there before the transaction that will ask for them by `take`."""
        name = self._new_name()
        with self._lock:  # `take` may look through them in another thread
            self._ahead[name] = None
        return name

    def write_ahead(self, name: str, octets: bytes, *, sha256: bytes) -> None:
        """`write`; may run in any thread, as several of it may."""
        self._write(name, octets)
        with self._lock:
            if wanted := name in self._ahead:
                self._ahead[name] = sha256
        if not wanted:
            self.discard([name])

    def take(self, sha256: bytes) -> str | None:
        """The name of a file that was written ahead and has these octets, once; None where there is none."""
        with self._lock:
            name = next((name for name, digest in self._ahead.items() if digest == sha256), None)
            if name is not None:
                del self._ahead[name]
        return name

    def give_up(self, name: str) -> None:
        """Nobody will take it any more: it has been taken, is here in vain, or is being written still."""
        with self._lock:
            in_vain = self._ahead.pop(name, None) is not None
        if in_vain:
            self.discard([name])

    def read(self, name: str, size: int, *, first: int | None = None) -> bytes:
        """The `size` octets of a file, or the `first` of them. Raises DamagedContent."""
        path = self._directory / name
        try:
            with path.open("rb", buffering=0) as file:
                found = os.fstat(file.fileno()).st_size
                wanted = size if first is None else min(first, size)
                octets = os.read(file.fileno(), wanted)
                # Linux reads 2 GiB at a time at most.
                while len(octets) < wanted and (more := os.read(file.fileno(), wanted - len(octets))):
                    octets += more
        except FileNotFoundError:
            raise DamagedContent(f"{path}, which holds a large message, is missing; a backup may have it") from None
        except OSError as error:
            raise DamagedContent(f"{path}, which holds a large message, cannot be read: {error.strerror}") from error
        if found != size or len(octets) < wanted:
            raise DamagedContent(f"{path}, which holds a large message, has {found} octets instead of {size}")
        return octets

    def remove(self, name: str) -> None:
        """No row names it any more, and that is committed; reads that are under way may."""
        with self._lock:
            self._doomed.add(name)
        self._later(self._remove_doomed)

    def discard(self, names: Iterable[str]) -> None:
        """Files of a work that failed: no row has ever named them."""
        for name in names:
            self._unlink(name)

    def sweep(self, named: Collection[str]) -> None:
        """At the start: remove what a crash has left. `named`: by rows. Looks only once."""
        if self._swept:
            return
        self._swept = True
        found = set(os.listdir(self._directory))
        self.discard(found.difference(named))
        if missing := set(named) - found:
            _log.error(
                "%s: the files of %d large messages are missing, among them %s; a backup may have them",
                self._directory,
                len(missing),
                min(missing),
            )

    def copy_out(self) -> dict[str, bytes]:
        """All of them, by name; not those written ahead, which no row names yet."""
        copied: dict[str, bytes] = {}
        for path in self._directory.iterdir():
            if path.name in self._ahead:
                continue
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                copied[path.name] = path.read_bytes()
        return copied

    @contextlib.contextmanager
    def putting_back(self, copied: Mapping[str, bytes]) -> Iterator[None]:
        """Have these files, durable; when the rows that name them are back, only these."""
        with self._lock:
            self._doomed.clear()
            here = set(os.listdir(self._directory))
            for name in copied.keys() - here:
                self._write(name, copied[name])
            yield
            self._doomed.update(here.difference(copied, self._ahead))
        self._later(self._remove_doomed)

    def _new_name(self) -> str:
        return f"{self._prefix}{next(self._numbers):06x}"

    def _write(self, name: str, octets: bytes) -> None:
        path = self._directory / name
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                view = memoryview(octets)
                while view:
                    view = view[os.write(descriptor, view) :]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.fsync(self._descriptor)  # the name
        except OSError as error:
            self._unlink(name)
            raise _failure(error, path) from error
        self._was_written(name, len(octets))

    def _was_written(self, name: str, octets: int) -> None:
        """Let the system forget the oldest of what it holds in memory.

        Mail that may never be read would take all the memory there is. That costs most on a virtual machine, which
        gets it from its host page by page: 10 ms for 5 MB, where memory that is used again takes 2.
        """
        old = []
        with self._lock:
            self._fresh.append((name, octets))
            self._fresh_octets += octets
            while self._fresh_octets > FRESH and len(self._fresh) > 1:
                oldest, size = self._fresh.popleft()
                self._fresh_octets -= size
                old.append(oldest)
        for name in old:
            with contextlib.suppress(OSError), (self._directory / name).open("rb", buffering=0) as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def _remove_doomed(self) -> None:
        with self._lock:
            doomed, self._doomed = self._doomed, set()
            self.discard(doomed)

    def _unlink(self, name: str) -> None:
        try:
            os.unlink(self._directory / name)
        except FileNotFoundError:
            pass
        except OSError as error:  # the next start tries again
            _log.warning("%s: %s cannot be removed: %s", self._directory, name, error.strerror)


def _failure(error: OSError, path: Path) -> MailsandboxError:
    if error.errno in _NO_ROOM:
        return StoreFull(f"{path}: no room left ({error.strerror})")
    return StoreUnavailable(f"{path}: {error.strerror}")
