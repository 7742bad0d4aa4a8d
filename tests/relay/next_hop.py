"""A next hop that says what the test wants: an SMTP and LMTP server by script, on a free port of 127.0.0.1."""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

HANG = "HANG"  # no answer
DROP = "DROP"  # connection closed without an answer


@dataclass
class Got:
    """One message as it came."""

    mail: str
    recipients: list[str]
    octets: bytes
    tls: bool
    connection: int


@dataclass
class NextHop:
    """`script`: for a verb (and "." for the end of data, "connect", "BDAT") the answers in turn; None and what comes
    after them mean the usual answer. `decide(verb, line)` is asked first."""

    offers: tuple[str, ...] = ("PIPELINING", "8BITMIME", "SIZE 10000000", "ENHANCEDSTATUSCODES")
    script: dict[str, list[str | None]] = field(default_factory=dict)
    decide: Callable[[str, str], str | None] = lambda verb, line: None
    lmtp: bool = False
    tls: ssl.SSLContext | None = None
    broken_tls: bool = False
    name: str = "hop.test"
    messages: list[Got] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    connections: int = 0
    open_now: int = 0
    most_open: int = 0
    gate: asyncio.Event | None = None  # end of data is answered only when it is set
    port: int = 0
    _server: asyncio.Server | None = None
    _tasks: set = field(default_factory=set)

    async def start(self, port: int = 0) -> "NextHop":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, limit=1 << 25)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def aclose(self) -> None:
        if self._server is not None:
            self._server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        self.connections += 1
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        try:
            await _Session(self, reader, writer, self.connections).run()
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):
            pass
        finally:
            self.open_now -= 1
            self._tasks.discard(task)
            writer.transport.abort()

    def answer(self, verb: str, line: str, usual: str) -> str:
        if (decided := self.decide(verb, line)) is not None:
            return decided
        queue = self.script.get(verb)
        return (queue.pop(0) if queue else None) or usual


class _Session:
    def __init__(self, hop: NextHop, reader, writer, number: int) -> None:
        self.hop, self.reader, self.writer, self.number = hop, reader, writer, number
        self.secure = False
        self.reset()

    def reset(self) -> None:
        self.mail = ""
        self.recipients: list[str] = []
        self.chunks = b""

    async def say(self, text: str) -> bool:
        if text == HANG:
            await asyncio.Event().wait()
        if text == DROP:
            return False
        self.writer.write("".join(f"{line}\r\n" for line in text.split("\n")).encode("utf-8", "surrogateescape"))
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()
        return not text.startswith("421")

    async def run(self) -> None:
        if not await self.say(self.hop.answer("connect", "", f"220 {self.hop.name} ESMTP")):
            return
        while True:
            raw = await self.reader.readline()
            if not raw:
                return
            line = raw.decode("utf-8").rstrip("\r\n")
            self.hop.lines.append(line)
            verb = line.split(" ")[0].split(":")[0].upper()
            if not await self.command(verb, line):
                return

    async def command(self, verb: str, line: str) -> bool:
        hop = self.hop
        match verb:
            case "EHLO" | "LHLO":
                offers = [one for one in hop.offers if not (self.secure and one == "STARTTLS")]
                rows = [hop.name, *offers]
                usual = "\n".join(f"250{' ' if row is rows[-1] else '-'}{row}" for row in rows)
                return await self.say(hop.answer(verb, line, usual))
            case "MAIL":
                usual = "250 2.1.0 sender ok" if not self.mail else "503 5.5.1 nested MAIL"
                text = hop.answer(verb, line, usual)
                if text.startswith("250"):
                    self.mail = line
                return await self.say(text)
            case "RCPT":
                text = hop.answer(verb, line, "250 2.1.5 recipient ok" if self.mail else "503 5.5.1 MAIL first")
                if text.startswith("250"):
                    self.recipients.append(line)
                return await self.say(text)
            case "DATA":
                text = hop.answer(verb, line, "354 go on" if self.recipients else "503 5.5.1 no valid recipients")
                if not await self.say(text):
                    return False
                return not text.startswith("354") or await self.data()
            case "BDAT":
                return await self.bdat(line)
            case "RSET":
                self.reset()
                return await self.say(hop.answer(verb, line, "250 2.0.0 reset"))
            case "STARTTLS":
                return await self.starttls(line)
            case "QUIT":
                await self.say(hop.answer(verb, line, "221 2.0.0 bye"))
                return False
            case _:
                return await self.say(hop.answer(verb, line, "250 2.0.0 ok"))

    async def data(self) -> bool:
        block = b""
        while not (block.endswith(b"\r\n.\r\n") or block == b".\r\n"):
            piece = await self.reader.readline()
            if not piece:
                return False
            block += piece
        content = block[:-3]
        content = content.removeprefix(b".").replace(b"\r\n.", b"\r\n") if b"." in content else content
        return await self.end(content)

    async def bdat(self, line: str) -> bool:
        words = line.split()
        self.chunks += await self.reader.readexactly(int(words[1]))
        if words[-1].upper() == "LAST":
            usual = "250 2.0.0 queued" if self.recipients else "503 5.5.1 no valid recipients"
            return await self.end(self.chunks, verb="BDAT", usual=usual)
        return await self.say(self.hop.answer("BDAT", line, "250 2.0.0 chunk ok"))

    async def end(self, octets: bytes, *, verb: str = ".", usual: str = "250 2.0.0 queued") -> bool:
        hop = self.hop
        if hop.gate is not None:
            await hop.gate.wait()
        answers = [
            hop.answer(verb, recipient, usual) for recipient in (self.recipients if hop.lmtp else self.recipients[:1])
        ] or [hop.answer(verb, "", usual)]
        if any(answer.startswith("250") for answer in answers) and self.recipients:
            hop.messages.append(Got(self.mail, self.recipients, octets, self.secure, self.number))
        self.reset()
        return all([await self.say(answer) for answer in answers])

    async def starttls(self, line: str) -> bool:
        text = self.hop.answer("STARTTLS", line, "220 2.0.0 go ahead")
        if not await self.say(text):
            return False
        if text.startswith("220"):
            if self.hop.broken_tls:
                self.writer.write(b"this is no TLS record\r\n")
                await self.writer.drain()
                return False
            loop = asyncio.get_running_loop()
            transport = await loop.start_tls(
                self.writer.transport, self.writer.transport.get_protocol(), self.hop.tls, server_side=True
            )
            self.reader._transport = transport
            self.writer._transport = transport
            self.secure = True
            self.reset()
        return True
