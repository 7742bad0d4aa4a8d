"""Wakes those who wait for changes of an account.

Invariant: nothing is queued for a reader; it holds a cursor and a wake-up, and reads the log when it wakes. So a slow
reader costs no memory and misses nothing, and one that slept too long is told so by `reset`. `listen` is for those who
must act within the commit's own turn of the loop (IMAP): they are called back at once.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType

from mailsandbox.errors import NoSuchAccount
from mailsandbox.store.credentials import canonical
from mailsandbox.store.logrow import Changes, LogRow
from mailsandbox.store.model import ChangePage, Seq
from mailsandbox.store.store import Store

Wake = Callable[[Changes], None]


class Hub:
    """Distributes a store's commits by account. One for each store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._listeners: dict[str, dict[int, Wake]] = {}
        self._next = 0
        self._stopped = False
        self._readers: set[Reader] = set()
        store.listeners.append(self._committed)

    def __len__(self) -> int:
        """How many listen."""
        return sum(map(len, self._listeners.values()))

    def listen(self, account: str, wake: Wake) -> Callable[[], None]:
        """Call `wake` with the account's changes at each commit, on the loop's thread; returns what ends it."""
        key = canonical(account)
        self._next += 1
        number = self._next
        self._listeners.setdefault(key, {})[number] = wake

        def unsubscribe() -> None:
            listeners = self._listeners.get(key)
            if listeners is not None and listeners.pop(number, None) is not None and not listeners:
                del self._listeners[key]

        return unsubscribe

    def reader(self, account: str, since: Seq | None = None) -> "Reader":
        """A reader of the account's log after `since`; None: from now on."""
        return Reader(self, account, since)

    def stop(self) -> None:
        """Wake all readers, whose `next` then returns at once: the server is going down."""
        self._stopped = True
        for reader in tuple(self._readers):
            reader.wake()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped

    def _committed(self, changes: Changes) -> None:
        if not self._listeners:
            return
        by_account: dict[str, list[LogRow]] = {}
        for row in changes.rows:
            by_account.setdefault(row.account, []).append(row)
        if len(by_account) == 1:
            self._tell(changes.rows[0].account, changes)
            return
        for account, own in by_account.items():
            self._tell(account, Changes(own))

    def _tell(self, account: str, changes: Changes) -> None:
        for wake in tuple(self._listeners.get(account, {}).values()):
            wake(changes)

    def attach(self, reader: "Reader") -> Callable[[], None]:
        """Register a reader that was entered; returns what ends it."""
        self._readers.add(reader)
        unsubscribe = self.listen(reader.account, reader.wake)

        def detach() -> None:
            self._readers.discard(reader)
            unsubscribe()

        return detach


class Reader:
    """A cursor into one account's log. Use as an async context manager."""

    def __init__(self, hub: Hub, account: str, since: Seq | None) -> None:
        self.account = account
        self._hub = hub
        self._since = since
        self._awake = asyncio.Event()
        self._detach: Callable[[], None] | None = None

    @property
    def cursor(self) -> Seq:
        """Number of the last change given out. Known once entered."""
        if self._since is None:
            raise RuntimeError("a reader has a cursor once it is entered")
        return self._since

    async def __aenter__(self) -> "Reader":
        self._detach = self._hub.attach(self)  # before the log is read: no commit falls between
        if self._since is None:
            try:
                self._since = await self._hub.store.last_seq(self.account)
            except NoSuchAccount:
                self._since = Seq(0)
            except BaseException:
                self._detach()
                raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._detach is not None:
            self._detach()
            self._detach = None

    def wake(self, changes: Changes | None = None) -> None:
        """Something was committed, or the hub was stopped."""
        self._awake.set()

    async def next(self, timeout: float | None = None, *, limit: int = 1000) -> ChangePage:
        """The changes after the cursor, waiting for the first; an empty page when none came within `timeout` seconds.

        Also returns an empty page once the hub was stopped. After `reset` the cursor stands at the newest change.
        """
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        while True:
            self._awake.clear()
            page = await self._read(limit)
            if page.changes or page.reset or self._hub.stopped:
                return page
            try:
                async with asyncio.timeout_at(deadline):
                    await self._awake.wait()
            except TimeoutError:
                return ChangePage([], self.cursor)

    async def _read(self, limit: int) -> ChangePage:
        try:
            page = await self._hub.store.changes(self.account, self.cursor, limit)
        except NoSuchAccount:  # it comes into being with its first message
            page = ChangePage([], Seq(0), reset=self.cursor > 0)
        self._since = page.cursor
        return page
