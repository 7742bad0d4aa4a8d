"""Hears what other daemons announce, and when one of them dies: LISTEN on a connection and a thread of its own."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import psycopg

from mailsandbox.database.presence import Presence

_POLL: Final = 0.25  # seconds; how long closing waits at most
_RETRY: Final = 0.5  # seconds between attempts to connect again
_CONNECT_TIMEOUT: Final = 5  # seconds

_Connection = psycopg.Connection[tuple[Any, ...]]  # Any: columns of any type


class Listening:
    """Calls back on the loop's thread.

    `heard`: each topic of other daemons; "" when some may have been missed. `died`: a daemon that is gone.
    """

    def __init__(
        self,
        url: str,
        daemon: str,
        loop: asyncio.AbstractEventLoop,
        *,
        heard: Callable[[str], None],
        died: Callable[[str], None],
    ) -> None:
        self._url = url
        self._daemon = daemon
        self._heard = heard
        self._died = died
        self._loop = loop
        self._presence = Presence(daemon)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._main, name="database-listener", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    async def aclose(self) -> None:
        """End the thread."""
        self._stop.set()
        await asyncio.to_thread(self._thread.join)

    def _main(self) -> None:
        while not self._stop.is_set():
            try:
                with self._connect() as connection:
                    with self._connect() as witness:
                        self._presence.enter(connection, witness)
                    connection.execute("LISTEN mailsandbox")
                    self._tell(self._heard, "")  # what was announced before this moment was not heard
                    self._listen(connection)
            except psycopg.Error:
                self._stop.wait(_RETRY)

    def _connect(self) -> _Connection:
        name = f"mailsandbox {self._daemon}"
        return psycopg.connect(self._url, autocommit=True, application_name=name, connect_timeout=_CONNECT_TIMEOUT)

    def _listen(self, connection: _Connection) -> None:
        while not self._stop.is_set():
            for notice in connection.notifies(timeout=_POLL):
                daemon, *topics = notice.payload.split(" ")
                if daemon != self._daemon:
                    for topic in topics:
                        self._tell(self._heard, topic)
                if self._stop.is_set():
                    return
            for name in self._presence.dead(connection, time.monotonic()):
                self._tell(self._died, name)

    def _tell(self, whom: Callable[[str], None], what: str) -> None:
        try:
            self._loop.call_soon_threadsafe(whom, what)
        except RuntimeError:  # the loop was closed
            self._stop.set()
