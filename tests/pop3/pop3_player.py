"""Plays the wire transcripts of tests/pop3/transcripts against a server.

# RFC 1939 §5: the source and the sentence that is proved
C: what the client sends         C2: on the second connection
S: what the server must say      S2: ("*" stands for any text, <n> for the unique-id of UID n)
S: [end]                         the server closes
! something from outside         see Player.action
"""

import asyncio
import hashlib
import re
from pathlib import Path

from mailsandbox.errors import StoreUnavailable
from mailsandbox.faults import Delay, Drop, Fault, Respond
from mailsandbox.store.credentials import AccountSpec

TRANSCRIPTS = Path(__file__).parent / "transcripts"

MESSAGES = {
    "hello": b"From: ann@alpha.test\r\nSubject: hello\r\n\r\nHello Bob,\r\nthis is Ann.\r\n",
    "dots": b"Subject: dots\r\n.in-header: no\r\n\r\n.\r\n..\r\n.a line\r\nnot. here.\r\n...\r\nend\r\n.\r\n",
    "french": "Subject: Été à la plage – déjà vu\r\n\r\nÀ bientôt !\r\n".encode(),
    "header-only": b"Subject: nothing else\r\n",
    "no-final-line-end": b"Subject: open\r\n\r\nno end",
}


def sources(path: Path) -> list[tuple[int, str]]:
    """The requirements that a transcript's first line names."""
    head = path.read_text(encoding="utf-8").splitlines()[0]
    found, number = [], 0
    for rfc, section in re.findall(r"(?:RFC (\d+) )?§([\d.]+)", head.partition(": ")[0]):
        number = int(rfc) if rfc else number
        found.append((number, section.rstrip(".")))
    return found


class Player:
    """One transcript against one server, which is started when its first word is needed."""

    def __init__(self, start, identity_context):
        self.start, self.client_tls = start, identity_context
        self.options, self.accounts, self.any_account = {}, {}, True
        self.pending = []
        self.box = None
        self.clients = {}

    async def play(self, name: str, script: str) -> None:
        for number, line in enumerate(script.splitlines()[1:], 2):
            side, _, text = line.partition(" ")
            try:
                async with asyncio.timeout(10):
                    await self.step(side, text)
            except (AssertionError, TimeoutError, asyncio.IncompleteReadError) as failure:
                raise AssertionError(f"{name}:{number}: {line}\n{failure!r}") from failure
        for client in self.clients.values():
            await client.hang_up()

    async def step(self, side: str, text: str) -> None:
        match side:
            case "!":
                await self.action(text)
            case "C:" | "C2:":
                (await self.client(side[1:-1])).send(text)
            case "S:" | "S2:":
                heard = await (await self.client(side[1:-1])).line()
                if text == "[end]":
                    assert heard == b""
                    await self.clients.pop(side[1:-1]).hang_up()
                else:
                    self.compare(text, heard)
            case _:
                raise ValueError(side)

    def compare(self, text: str, heard: bytes) -> None:
        assert heard.endswith(b"\r\n"), heard
        validity = f"{self.validity:x}"
        text = re.sub(r"<(\d)>", lambda uid: f"{validity}.{uid[1]}", text)
        pattern = ".*".join(map(re.escape, text.split("*"))) if "*" in text else re.escape(text)
        assert re.fullmatch(pattern, heard[:-2].decode().rstrip(" ")), heard

    async def server(self):
        if self.box is None:
            self.box = await self.start(accounts=self.accounts, any_account=self.any_account, **self.options)
            await self.box.store.ensure_account("bob@beta.test")
            self.validity = (await self.box.store.status("bob@beta.test", "INBOX")).uid_validity
        return self.box

    async def client(self, name: str):
        box = await self.server()
        if name not in self.clients:
            self.clients[name] = await box.connect()
        return self.clients[name]

    async def action(self, text: str) -> None:
        word, _, rest = text.partition(" ")
        match word:
            case "options":
                name, _, value = rest.partition("=")
                self.options[name] = {"True": True, "False": False}.get(value, int(value) if value.isdigit() else value)
            case "accounts":
                for item in rest.split():
                    if item == "only":
                        self.any_account = False
                    else:
                        login, _, password = item.partition("=")
                        password, _, personality = password.partition("/")
                        self.accounts[login] = AccountSpec(password, personality=personality)
            case _:
                await self.live(word, rest, await self.server())

    async def live(self, word: str, rest: str, box) -> None:
        match word:
            case "put":
                await box.put(MESSAGES[rest])
            case "expunge":
                await box.store.remove("bob@beta.test", "INBOX", [int(rest)])
            case "left":
                assert await box.left() == int(rest)
            case "login":
                self.clients[""] = await box.login()
            case "connect":
                self.clients[""] = await box.connect()
            case "second":
                self.clients["2"] = await box.connect()
            case "hang":
                await self.clients.pop("").hang_up()
                while box.listener.connections:
                    await asyncio.sleep(0)
            case "end":
                self.clients[""].writer.write_eof()
            case "send":
                self.clients[""].send(spelled(rest))
            case "tls":
                await self.clients[""].writer.start_tls(self.client_tls, server_hostname="localhost")
            case "apop":
                await self.apop(box, *rest.split())
            case "advance":
                await asyncio.sleep(0.01)  # what was sent must have come, so that the clock has who waits for it
                await box.clock.advance(float(rest))
            case "fault":
                box.context.faults.add(scripted(*rest.split(" ", 2)))
            case "finding":
                assert rest in [finding.rule for finding in box.last_session.findings]
            case "store":
                break_store(box, broken=rest == "fails")
            case _:
                raise ValueError(word)

    async def apop(self, box, login: str, password: str) -> None:
        await self.clients.pop("").hang_up()
        client = self.clients[""] = await box.connect()
        stamp = (await client.line()).split()[-1]
        client.send(f"APOP {login} {hashlib.md5(stamp + password.encode()).hexdigest()}")


def spelled(text: str) -> bytes:
    if match := re.fullmatch(r"(\d+) octets in one line", text):
        return b"x" * int(match[1]) + b"\r\n"
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1")


def scripted(stage: str, action: str, argument: str = "") -> Fault:
    match action:
        case "respond":
            return Fault(Respond(0, argument), protocol="pop3", stage=stage, times=1)
        case "delay":
            return Fault(Delay(float(argument)), protocol="pop3", stage=stage, times=1)
        case _:
            return Fault(Drop(), protocol="pop3", stage=stage, times=1)


def break_store(box, *, broken: bool) -> None:
    async def refuse(*_, **__):
        raise StoreUnavailable("the disk is gone")

    for name in ("remove", "open_mailbox"):
        if broken:
            setattr(box.store, name, refuse)
        else:
            delattr(box.store, name)
