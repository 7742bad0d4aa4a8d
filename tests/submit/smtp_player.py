"""Plays wire transcripts against a listener.

# comment
! listener kind=lmtp mode=strict      settings of the listener, before anything else
! listener account=tim:x nonce=y      the only account there is; what AUTH makes its challenges of
C: EHLO client.test                   a line that the client sends; lines without a reply between go in one segment
S: 250 2.1.0 Sender ok                a line that must come; "*" at its end stands for any rest
! send "a\\r\\n"                        octets exactly so, with Python's escapes
! tls | eof | closed | connect        TLS handshake; end of the client's side; the server closed; a new connection
! clock 300                           the manual clock moves on
! ehlo                                the whole reply to EHLO, whatever it offers
! accepted 1 | message "..."          so many messages have been accepted; the last one's content
"""

import ast
import asyncio
import shlex
import ssl
from functools import partial
from pathlib import Path

from mailsandbox.smtp.extensions import Offers
from mailsandbox.store.credentials import AccountSpec, Credentials
from mailsandbox.submit.model import Authentication, Kind, Limits

DEADLINE = 10.0  # seconds for one reply: a hanging server fails the test instead of stopping it


class Player:
    def __init__(self, text: str, serve, client_tls: ssl.SSLContext) -> None:
        self.lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
        self.serve = serve
        self.client_tls = client_tls
        self.service = None

    async def play(self) -> None:
        settings: dict = {}
        while self.lines and self.lines[0].startswith("! listener"):
            settings.update(_settings(self.lines.pop(0).removeprefix("! listener")))
        context = settings.pop("context", {})
        self.service = await self.serve(context=context, **settings)
        await self.connect()
        try:
            await self.converse()
        finally:
            self.writer.close()

    async def converse(self) -> None:
        index = 0
        while index < len(self.lines):
            if self.lines[index].startswith("C:"):
                segment = b""
                while index < len(self.lines) and self.lines[index].startswith("C:"):
                    segment += self.lines[index][3:].encode() + b"\r\n"
                    index += 1
                self.writer.write(segment)
                continue
            await self.step(self.lines[index], f"line {index + 1}: {self.lines[index]}")
            index += 1

    async def connect(self) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.service.port)

    async def step(self, line: str, where: str) -> None:
        if line.startswith("S:"):
            expected = line[3:]
            got = (await asyncio.wait_for(self.reader.readline(), DEADLINE)).decode("utf-8", "replace")
            assert got.endswith("\r\n"), f"{where}: the server said {got!r}"
            if expected.endswith("*"):
                assert got.startswith(expected[:-1]), f"{where}: the server said {got!r}"
            else:
                assert got[:-2] == expected, f"{where}: the server said {got!r}"
            return
        assert line.startswith("! "), where
        verb, _, rest = line[2:].partition(" ")
        match verb:
            case "send":
                self.writer.write(_octets(ast.literal_eval(rest)))
            case "tls":
                await asyncio.wait_for(self.writer.start_tls(self.client_tls, server_hostname="localhost"), DEADLINE)
            case "eof":
                self.writer.write_eof()
            case "closed":
                assert await asyncio.wait_for(self.reader.read(), DEADLINE) == b"", where
            case "connect":
                self.writer.close()
                await self.connect()
            case "clock":
                await self.service.context.clock.advance(float(rest))
            case "ehlo":
                while (await asyncio.wait_for(self.reader.readline(), DEADLINE)).startswith(b"250-"):
                    pass
            case "accepted":
                assert len(self.service.accepted) == int(rest), where
            case "message":
                assert self.service.accepted[-1].octets == _octets(ast.literal_eval(rest)), where
            case _:
                raise AssertionError(f"unknown step: {where}")


def _octets(text: str) -> bytes:
    """What `! send` and `! message` write with Python's escapes: each character is an octet."""
    return text.encode("latin-1")


def _settings(text: str) -> dict:
    settings: dict = {}
    context: dict = {}
    limits: dict = {}
    for word in shlex.split(text):
        key, _, value = word.partition("=")
        match key:
            case "kind":
                settings[key] = Kind(value)
            case "authentication":
                settings[key] = Authentication(value)
            case "offers":
                settings[key] = Offers.parse(value.split(","))
            case "greylist":
                settings[key] = float(value)
            case "xclient_peers" | "proxy_peers":
                settings[key] = tuple(value.split(","))
            case "auth_needs_tls" | "tls_required" | "enhanced_codes" | "verify" | "expand":
                settings[key] = value == "yes"
            case "no_tls":
                context["tls"] = None
            case "account":
                login, _, password = value.partition(":")
                context["credentials"] = Credentials(any_account=False, specs={login: AccountSpec(password)})
            case "nonce":
                context[key] = partial(str, value)
            case _ if key in Limits.__dataclass_fields__:
                limits[key] = float(value) if "." in value else int(value)
            case _:
                settings[key] = value
    if context:
        settings["context"] = context
    if limits:
        settings["limits"] = Limits(**limits)
    return settings


def transcripts() -> list[Path]:
    return sorted((Path(__file__).parent / "transcripts").glob("*.txt"))
