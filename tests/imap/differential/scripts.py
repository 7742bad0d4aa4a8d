"""Reads the scripts and says them to a server.

    == title                        a script; it has an account of its own on each server
    = odd                           it begins with INBOX filled from messages.py (`few`, `odd`) and selected;
                                    `empty`: selected and empty; `login`; `greeting`
    SELECT INBOX                    a command; the tag is added
    2> NOOP                         the same on a second connection, which begins like the first
    ! tag1 NOOP\\r\\n               octets as they are, with Python's escapes
    APPEND box {<a: b\\r\\n>}         a literal that waits for "+"; {+<...>} does not wait, ~{<...>} is literal8
    ~ reason                        the answers to the command above differ, and why that is so

Within `<>` and after `!` Python's escapes hold.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.imap.differential import messages
from tests.imap.differential.answers import Meaning, meaning
from tests.imap.wire import Wire

FOLDER: Final = Path(__file__).parent
_LITERAL: Final = re.compile(r"(~?)\{(\+?)<(.*?)>\}")


@dataclass(frozen=True)
class Step:
    connection: int
    text: str
    raw: bool = False
    reason: str = ""  # why the answers differ; "": they must not


@dataclass
class Script:
    """One conversation."""

    group: str
    title: str
    start: str = "few"
    steps: list[Step] = field(default_factory=list)


def read(path: Path) -> list[Script]:
    found: list[Script] = []
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("== "):
            found.append(Script(path.stem, line[3:]))
        elif line.startswith("= "):
            found[-1].start = line[2:]
        elif line.startswith("~ "):
            last = found[-1].steps[-1]
            found[-1].steps[-1] = Step(last.connection, last.text, last.raw, line[2:])
        elif line.startswith("! "):
            found[-1].steps.append(Step(1, line[2:], raw=True))
        elif line.startswith("2> "):
            found[-1].steps.append(Step(2, line[3:]))
        elif line and not line.startswith("#"):
            found[-1].steps.append(Step(1, line))
    return found


def unescaped(text: str) -> bytes:
    return text.encode("utf-8").decode("unicode_escape").encode("latin-1")


class Talk:
    """A script's connections to one server."""

    def __init__(self, host: str, port: int, account: str, password: str) -> None:
        self.address = (host, port)
        self.login = f"LOGIN {account} {password}"
        self.wires: dict[int, Wire] = {}
        self.numbers = 0

    async def run(self, script: Script) -> list[Meaning]:
        try:
            if script.start in messages.FILLS:
                await self.fill(messages.FILLS[script.start])
            return [await self.say(script, step) for step in script.steps]
        finally:
            for wire in self.wires.values():
                wire.close()

    async def fill(self, letters: list[bytes]) -> None:
        wire = await Wire.open(*self.address)
        await wire.ok(self.login)
        for number, letter in enumerate(letters):
            date = f"{number % 28 + 1:2}-Mar-1996 10:{number:02}:00 +0100"
            await wire.ok(f'APPEND INBOX ({messages.FLAGS[number % 4]}) "{date}" {{}}', letter)
        await wire.ok("LOGOUT")
        wire.close()

    async def wire(self, script: Script, number: int) -> Wire:
        if number not in self.wires:
            wire = self.wires[number] = await Wire.open(*self.address)
            await wire.line()
            if script.start != "greeting":
                await wire.ok(self.login)
            if script.start not in ("greeting", "login"):
                await wire.ok("SELECT INBOX")
        return self.wires[number]

    async def say(self, script: Script, step: Step) -> Meaning:
        try:
            wire = await self.wire(script, step.connection)
            if step.raw:
                wire.send(unescaped(step.text))
                return meaning(await self.until(wire, await self.tag(wire, b"NOOP\r\n")))
            return meaning(await self.command(wire, step.text), step.text)
        except ConnectionError:
            return ["the connection was closed"]

    async def tag(self, wire: Wire, rest: bytes) -> bytes:
        self.numbers += 1
        tag = b"t%d" % self.numbers
        wire.send(tag + b" " + rest)
        return tag

    async def until(self, wire: Wire, tag: bytes) -> list[bytes]:
        """Everything up to the tagged answer; with b"" at the end where the connection was closed before."""
        found = []
        while True:
            response = await wire.response()
            found.append(response)
            if not response or response.startswith(tag + b" "):
                return found

    async def command(self, wire: Wire, text: str) -> list[bytes]:
        at = 0
        tag = await self.tag(wire, b"")
        found: list[bytes] = []
        for literal in _LITERAL.finditer(text):
            octets = unescaped(literal[3])
            marker = b"%b{%d%b}\r\n" % (literal[1].encode(), len(octets), literal[2].encode())
            wire.send(text[at : literal.start()].encode() + marker)
            at = literal.end()
            while not literal[2]:
                response = await wire.response()
                if response.startswith(b"+"):
                    break
                found.append(response)
                if not response or response.startswith(tag + b" "):
                    return found
            wire.send(octets)
        wire.send(text[at:].encode() + b"\r\n")
        if text.upper().startswith("IDLE"):
            response = await wire.response()
            if not response.startswith(b"+"):
                return [*found, response]
            wire.send(b"DONE\r\n")
        return found + await self.until(wire, tag)
