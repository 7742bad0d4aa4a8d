"""A raw IMAP client for tests: sends what it is told, reads whole responses, knows nothing."""

import asyncio
import re
import ssl

_LITERAL = re.compile(rb"\{(\d+)\}\r\n\Z")
TIMEOUT = 10.0


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.number = 0

    @classmethod
    async def open(cls, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> "Wire":
        reader, writer = await asyncio.open_connection(
            host, port, ssl=tls, server_hostname="localhost" if tls else None, limit=2**26
        )
        return cls(reader, writer)

    async def line(self) -> bytes:
        """One line without its CRLF; b"" at the end of the connection."""
        async with asyncio.timeout(TIMEOUT):
            return (await self.reader.readline()).removesuffix(b"\r\n")

    def send(self, octets: bytes) -> None:
        self.writer.write(octets)

    async def response(self) -> bytes:
        """One whole response, literals included; b"" at the end of the connection."""
        async with asyncio.timeout(TIMEOUT):
            whole = line = await self.reader.readline()
            while marker := _LITERAL.search(line):
                whole += await self.reader.readexactly(int(marker[1]))
                line = await self.reader.readline()
                whole += line
        return whole

    async def until(self, prefix: bytes) -> list[bytes]:
        """Responses up to and including the one that begins with `prefix`."""
        found = []
        while True:
            response = await self.response()
            if not response:
                raise EOFError(f"connection ended before {prefix!r}: {found}")
            found.append(response)
            if response.startswith(prefix):
                return found

    async def command(self, text: str | bytes, *literals: bytes) -> list[bytes]:
        """Send a command (each "{}" in it becomes a synchronising literal) and read up to its tagged answer."""
        octets = text.encode() if isinstance(text, str) else text
        self.number += 1
        tag = b"t%d" % self.number
        pieces = octets.split(b"{}")
        found: list[bytes] = []
        self.send(tag + b" " + pieces[0])
        for literal, piece in zip(literals, pieces[1:], strict=True):
            self.send(b"{%d}\r\n" % len(literal))
            answer = await self.response()
            while not answer.startswith(b"+"):
                found.append(answer)
                if answer.startswith(tag + b" "):
                    return found
                if not answer:
                    raise EOFError(f"connection ended before an answer to {octets!r}: {found}")
                answer = await self.response()
            self.send(literal + piece)
        self.send(b"\r\n")
        return found + await self.until(tag + b" ")

    async def ok(self, text: str | bytes, *literals: bytes) -> list[bytes]:
        """A command that must succeed; its untagged responses."""
        found = await self.command(text, *literals)
        assert b" OK" in found[-1], found
        return found[:-1]

    async def status(self, text: str | bytes, *literals: bytes) -> str:
        """The tagged answer without its tag."""
        return (await self.command(text, *literals))[-1].split(b" ", 1)[1].decode().rstrip()

    async def append(self, mailbox: str, message: bytes, flags: str = "") -> None:
        await self.ok(f"APPEND {mailbox} ({flags}) {{}}", message)

    def close(self) -> None:
        self.writer.close()
