"""Coverage-guided fuzzing of what an IMAP client may send; runs until it finds something or is stopped.

    python tests/imap/fuzz_grammar.py TARGET [CORPUS] [libFuzzer's options, e.g. -max_total_time=3600]
    python tests/imap/fuzz_grammar.py seeds FOLDER       the first corpus, made of the wire transcripts

grammar   octets, in pieces, through framing and every parser: a value, a GrammarError, or more octets are needed
session   a whole session on a store in memory, its state chosen by the first octet: every response is well-formed, no
          [SERVERBUG] among them, and the session ends when the client does

An input that raises, hangs (-timeout) or fills the memory (-rss_limit_mb) is kept by libFuzzer as crash-*, timeout-*
or oom-*; the program is run again with that file alone to see it.
"""

import asyncio
import logging
import re
import sys
from pathlib import Path
from typing import Final

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
with atheris.instrument_imports(include=["mailsandbox.access.imap"]):
    from mailsandbox.access.imap.dispatch import run
    from mailsandbox.access.imap.fetching.header_cache import HeaderCache
    from mailsandbox.access.imap.framing import CommandOctets, Framer, LiteralAsked, Refused
    from mailsandbox.access.imap.grammar.scanner import Scanner
    from mailsandbox.access.imap.input import Input
    from mailsandbox.access.imap.personalities import ImapOptions
    from mailsandbox.access.imap.responses import GrammarError
    from mailsandbox.access.imap.session import Session
    from mailsandbox.access.imap.table import COMMANDS
from mailsandbox.clock import ManualClock
from mailsandbox.store.model import AppendItem
from tests.imap import messages, transcript
from tests.imap.serving import serving

LITERAL_LIMIT: Final = 10_000
MAX_OUTPUT: Final = 50_000_000  # octets that one input may call forth
PRELUDES: Final = (b"", b"0 LOGIN %b x\r\n", b"0 LOGIN %b x\r\n0 SELECT INBOX\r\n")
_STARTS: Final = ("", "authenticated", "selected")
_HEAD: Final = re.compile(rb"\S+ (?:(UID) )?([A-Za-z]+)(?= |\Z)", re.IGNORECASE)
_RESPONSE: Final = re.compile(rb"(?:\*|\+|[^\x00-\x20(){%*\"\\+\x7f-\xff]+ (?:OK|NO|BAD)) ?[^\x00\r\n]*\Z")
_LITERAL: Final = re.compile(rb"~?\{(\d+)\}\Z")


def grammar(octets: bytes) -> None:
    """The first octet says in pieces of which length the rest is fed."""
    framer = Framer(lambda text: LITERAL_LIMIT)
    size = (octets[0] if octets else 0) + 1
    for start in range(1, len(octets), size):
        framer.feed(octets[start : start + size])
        while (event := framer.next_command()) is not None:
            match event:
                case LiteralAsked(_, wanted, _):
                    framer.accept_literal() if wanted <= LITERAL_LIMIT else framer.refuse_literal()
                case CommandOctets():
                    parse(event)
                case Refused():
                    pass


def parse(command: CommandOctets) -> None:
    head = _HEAD.match(command.text)
    if head is None:
        return
    name = head[2].decode().upper()
    known = COMMANDS.get(f"UID {name}" if head[1] else name)
    if known is None:
        return
    for utf8 in (False, True):
        scanner = Scanner(command, head.end(), utf8=utf8)
        try:
            known.parse(scanner)
            scanner.end()
        except GrammarError:
            pass


class Hasty(ManualClock):
    """Time passes when somebody waits for it: the slowing of wrong logins slows nothing here."""

    async def sleep_until(self, when: float) -> None:
        self._now = max(self._now, when)


class Paper:
    """The connection below the session: what is written to it."""

    tls = False

    def __init__(self) -> None:
        self.written = bytearray()

    def write(self, octets: bytes) -> None:
        self.written += octets
        assert len(self.written) < MAX_OUTPUT, "a few octets called forth many megabytes"

    def flush(self) -> None: ...

    async def drained(self) -> None: ...

    def start_tls(self) -> None: ...

    def start_compression(self) -> None: ...


def no_pause(paused: bool) -> None: ...


class Sessions:
    """One store for all inputs; an account for each."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.serving = serving(clock=Hasty(), options=ImapOptions(append_limit=LITERAL_LIMIT))
        self.server = self.loop.run_until_complete(self.serving.__aenter__())
        self.count = 0

    def __call__(self, octets: bytes) -> None:
        self.loop.run_until_complete(asyncio.wait_for(self.converse(octets), 50))

    async def converse(self, octets: bytes) -> None:
        self.count += 1
        account = f"fuzz{self.count}@beta.test"
        context, paper = self.server.context, Paper()
        await context.store.ensure_account(account)
        if octets[:1] > b"\1":
            await context.store.append(account, "INBOX", [AppendItem(each) for each in messages.ALL])
        prelude = PRELUDES[min(octets[0] if octets else 0, 2)]
        record = context.sessions.open("imap", "imap", peer="", local="")
        source = Input(Framer(lambda text: LITERAL_LIMIT), no_pause)
        session = Session(context, ImapOptions(append_limit=LITERAL_LIMIT), rim=paper, source=source, record=record,
                          headers=HeaderCache())  # fmt: skip
        source.framer.nonsync_limit = session.nonsync_limit
        source.feed((prelude % account.encode() if prelude else b"") + octets[1:])
        source.end()
        await run(session)
        session.close()
        record.close()
        for finished in await context.store.accounts():
            await context.store.delete_account(finished)
        inspect(bytes(paper.written))


def inspect(written: bytes) -> None:
    """Only whole and well-formed responses, and none that tells of a bug."""
    assert b"[SERVERBUG]" not in written, written
    at = 0
    while at < len(written):
        line = bytearray()
        while True:
            end = written.index(b"\r\n", at)
            line += written[at:end]
            marker = _LITERAL.search(written, at, end)
            at = end + 2
            if marker is None:
                break
            at += int(marker[1])
        assert _RESPONSE.match(line), bytes(line)


def seeds(folder: Path) -> None:
    """Each transcript's client, whole for `session`, and line by line for `grammar`."""
    for path in sorted(transcript.FOLDER.glob("*.txt")):
        played = transcript.read(path)
        said = [text.encode() for side, _, text in played.steps if side == "C"]
        (folder / path.stem).write_bytes(bytes([_STARTS.index(played.start)]) + b"\r\n".join(said) + b"\r\n")
        for number, line in enumerate(said):
            (folder / f"{path.stem}-{number}").write_bytes(b"\2" + line + b"\r\n")


def main(arguments: list[str]) -> None:
    target = arguments[1] if len(arguments) > 1 else ""
    if target == "seeds":
        seeds(Path(arguments[2]))
    elif target in ("grammar", "session"):
        logging.raiseExceptions = True
        atheris.Setup([arguments[0], *arguments[2:]], grammar if target == "grammar" else Sessions())
        atheris.Fuzz()
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv)
