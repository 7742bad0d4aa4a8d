"""Hears what other daemons announce: LISTEN on a connection and a thread of its own."""

import asyncio
import threading
from collections.abc import Callable
from typing import Final

import psycopg

_POLL: Final = 0.25  # seconds; how long closing waits at most
_RETRY: Final = 0.5  # seconds between attempts to connect again


class Listening:
    """Calls `heard` on the loop's thread with each topic of other daemons; "" when some may have been missed."""

    def __init__(self, url: str, daemon: str, heard: Callable[[str], None], loop: asyncio.AbstractEventLoop) -> None:
        self._url = url
        self._daemon = daemon
        self._heard = heard
        self._loop = loop
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
                with psycopg.connect(self._url, autocommit=True, application_name="mailsandbox listen") as connection:
                    connection.execute("LISTEN mailsandbox")
                    self._tell("")  # what was announced before this moment was not heard
                    self._listen(connection)
            except psycopg.Error:
                self._stop.wait(_RETRY)

    def _listen(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        while not self._stop.is_set():
            for notice in connection.notifies(timeout=_POLL):
                daemon, *topics = notice.payload.split(" ")
                if daemon != self._daemon:
                    for topic in topics:
                        self._tell(topic)
                if self._stop.is_set():
                    return

    def _tell(self, topic: str) -> None:
        try:
            self._loop.call_soon_threadsafe(self._heard, topic)
        except RuntimeError:  # the loop was closed
            self._stop.set()
