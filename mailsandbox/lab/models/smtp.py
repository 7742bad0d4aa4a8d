"""SMTP push: here the reader is a mail server, and whoever has mail for it opens the connection (RFC 5321).

A push needs an address to push to: the daemon must have a route to `address` for the domain that is watched. The server
is as small as the standard lets it be: one connection at a time matters to nobody here, loss does, so 250 is said when
the message is in `found`.
"""

import asyncio
import time
from typing import Final

from mailsandbox.errors import PeerViolation
from mailsandbox.lab.counting import Wire
from mailsandbox.lab.watcher import Model, Target, Watcher
from mailsandbox.tasks import Tasks

MODEL: Final = Model("smtp", "SMTP push", "sender", "push", "RFC 5321")
IDLE: Final = 300.0  # seconds, RFC 5321 §4.5.3.2.7
MAX_LINE: Final = 65_536  # octets of a line of data; longer ones break RFC 5321 §4.5.3.1.6 many times over


class SmtpWatcher(Watcher):
    """A server where the target says."""

    model = MODEL

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._host, self._port = target.listen
        self._server: asyncio.Server | None = None
        self._conversations = Tasks()

    @property
    def address(self) -> str:
        """Where mail is taken, once started."""
        return f"{self._host}:{self._port}"

    async def connect(self) -> None:
        self._server = await asyncio.start_server(self._serve, self._host, self._port, limit=MAX_LINE)
        self._port = self._server.sockets[0].getsockname()[1]

    async def look(self) -> None:
        """The senders do everything."""
        await asyncio.Event().wait()

    async def leave(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        await self._conversations.aclose()

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer, self.counters)
        self._conversations.spawn(self._converse(wire), name="smtp watcher conversation")

    async def _converse(self, wire: Wire) -> None:
        try:
            await wire.write(b"220 watcher.test ESMTP\r\n")
            recipients = 0
            while True:
                async with asyncio.timeout(IDLE):
                    line = await wire.line()
                self.counters.requests += 1
                match line.partition(b" ")[0].upper():
                    case b"EHLO":
                        await wire.write(b"250-watcher.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
                    case b"MAIL" | b"RSET" | b"HELO":
                        recipients = 0
                        await wire.write(b"250 2.0.0 Ok\r\n")
                    case b"RCPT":
                        recipients += 1
                        await wire.write(b"250 2.1.5 Ok\r\n")
                    case b"DATA" if recipients:
                        await wire.write(b"354 Go on\r\n")
                        self.found(await _data(wire), time.monotonic_ns())
                        await wire.write(b"250 2.0.0 Ok\r\n")
                    case b"DATA":
                        await wire.write(b"503 5.5.1 RCPT first\r\n")
                    case b"NOOP":
                        await wire.write(b"250 2.0.0 Ok\r\n")
                    case b"QUIT":
                        await wire.write(b"221 2.0.0 Bye\r\n")
                        return
                    case _:
                        await wire.write(b"502 5.5.1 Not implemented\r\n")
        except (PeerViolation, OSError, TimeoutError):
            pass  # the sender keeps its message and tries again (RFC 5321 §4.5.4.1)
        finally:
            await wire.aclose()


async def _data(wire: Wire) -> bytes:
    """The message, dots unstuffed (RFC 5321 §4.5.2)."""
    lines: list[bytes] = []
    async with asyncio.timeout(IDLE):
        while (line := await wire.line()) != b".":
            lines.append(line[1:] if line.startswith(b".") else line)
    return b"".join(line + b"\r\n" for line in lines)
