"""Plays wire transcripts against a server.

    # title of the transcript: a sentence
    # rfc 9051 6.4.5
    # capability ESEARCH            what of the capability table it proves; several lines are allowed
    # start selected                connection 1 is logged in, or has INBOX selected; else it has its greeting to come
    # off QRESYNC                   the server lacks these capabilities
    ! fill                          something happens outside; see `act`
    C: a1 SEARCH ALL                a line of connection 1 (C2: of connection 2, ...)
    S: * SEARCH 1 2 3               the next line that comes there; "…" stands for anything

Lines are compared one by one: whatever comes must be written down.
"""

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from mailsandbox.access.imap.personalities import ImapOptions
from mailsandbox.clock import ManualClock
from mailsandbox.store.credentials import AccountSpec
from mailsandbox.store.model import AppendItem, Delivery, Flags, Uid
from tests.imap import messages
from tests.imap.serving import ACCOUNT, Server, serving
from tests.imap.wire import Wire

FOLDER = Path(__file__).parent / "transcripts"
_LINE = re.compile(r"(C|S)(\d?): ?(.*)|! (.*)|# ?(.*)|")


@dataclass
class Transcript:
    """One file, taken apart."""

    name: str
    title: str = ""
    rfcs: list[tuple[int, str]] = field(default_factory=list)
    capabilities: list[str] = field(default_factory=list)
    off: frozenset[str] = frozenset()
    start: str = ""
    personality: str = ""
    quota: int | None = None
    steps: list[tuple[str, int, str]] = field(default_factory=list)


def read(path: Path) -> Transcript:
    transcript = Transcript(path.stem)
    for line in path.read_text("utf-8").splitlines():
        found = _LINE.fullmatch(line)
        assert found, f"{path.name}: {line!r}"
        side, connection, text, action, comment = found.groups()
        if side:
            transcript.steps.append((side, int(connection or 1), text))
        elif action:
            transcript.steps.append(("!", 0, action))
        elif comment:
            word, _, rest = comment.partition(" ")
            match word:
                case "rfc":
                    number, _, section = rest.partition(" ")
                    transcript.rfcs.append((int(number), section))
                case "capability":
                    transcript.capabilities.append(rest)
                case "off":
                    transcript.off |= frozenset(rest.split())
                case "start":
                    transcript.start = rest
                case "personality":
                    transcript.personality = rest
                case "quota":
                    transcript.quota = int(rest)
                case _ if not transcript.title:
                    transcript.title = comment
    return transcript


class Player:
    """One transcript being played."""

    def __init__(self, server: Server, clock: ManualClock, transcript: Transcript) -> None:
        self.server = server
        self.clock = clock
        self.transcript = transcript
        self.wires: dict[int, Wire] = {}

    async def wire(self, number: int) -> Wire:
        if number not in self.wires:
            wire = self.wires[number] = await self.server.wire()
            if self.transcript.start in ("authenticated", "selected"):
                await wire.ok(f"LOGIN {ACCOUNT} x")
            if self.transcript.start == "selected":
                await wire.ok("SELECT INBOX")
        return self.wires[number]

    async def play(self) -> None:
        for side, connection, text in self.transcript.steps:
            match side:
                case "!":
                    await act(self.server, self.clock, text)
                case "C":
                    (await self.wire(connection)).send(text.encode() + b"\r\n")
                case _:
                    await self.expect(connection, text)
        for number, wire in self.wires.items():
            left = wire.reader._buffer  # type: ignore[attr-defined]  # nothing public says what has come unread
            assert not left, f"connection {number} has more to say: {bytes(left)!r}"

    async def expect(self, connection: int, text: str) -> None:
        wire = await self.wire(connection)
        line = (await wire.line()).decode("utf-8", "replace")
        pattern = ".*".join(re.escape(piece) for piece in text.split("…"))
        assert re.fullmatch(pattern, line, re.DOTALL), f"expected {text!r}, came {line!r}"


async def act(server: Server, clock: ManualClock, text: str) -> None:
    """What happens outside of the connections."""
    store = server.store
    await store.ensure_account(ACCOUNT)
    match shlex.split(text.replace("\\", "\\\\")):
        case ["fill", *mailbox]:
            for octets in messages.ALL:
                await store.append(
                    ACCOUNT, (mailbox or ["INBOX"])[0], [AppendItem(octets, internal_date=825_000_000.0)]
                )
        case ["append", mailbox, *flags]:
            await store.append(ACCOUNT, mailbox, [AppendItem(messages.PLAIN, Flags.of(flags))])
        case ["deliver", mailbox]:
            await store.deliver([Delivery(ACCOUNT, b"Delivered-To: bob\r\n", mailbox)], messages.PLAIN)
        case ["flag", mailbox, uid, *flags]:
            await store.store_flags(ACCOUNT, mailbox, [Uid(int(uid))], add=flags)
        case ["remove", mailbox, *uids]:
            await store.remove(ACCOUNT, mailbox, [Uid(int(uid)) for uid in uids])
        case ["create", mailbox, *use]:
            await store.create_mailbox(ACCOUNT, mailbox, " ".join(use))
        case ["delete", mailbox]:
            await store.delete_mailbox(ACCOUNT, mailbox)
        case ["advance", seconds]:
            await clock.advance(float(seconds))
        case _:
            raise AssertionError(f"unknown action {text!r}")


async def play(transcript: Transcript, target: str = ":memory:") -> None:
    clock = ManualClock()
    options = ImapOptions(personality=transcript.personality, capabilities_off=transcript.off)
    specs = {ACCOUNT: AccountSpec(quota=transcript.quota)} if transcript.quota else {}
    async with serving(options=options, clock=clock, specs=specs, target=target) as server:
        await Player(server, clock, transcript).play()
