"""One French message from alpha to beta, seen through every delivery model.

Binary in, 7-bit out: alpha takes BINARYMIME, beta offers nothing of the kind, so the hop has to convert; what arrives
is compared part by part with what was sent. Works against any running daemon; `run_demo` starts a sandbox for it.

The row of SMTP is the hop itself: the push of mail ends at the reader's mail server, so its "client" is beta, and its
latency runs from alpha's 250 to beta's commit; octets and commands are those of the journey's transcript. All other
rows run from that commit to the moment when the reader heard of the message.
"""

import asyncio
import hashlib
import re
import secrets
import struct
import time
import zlib
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from mailsandbox.errors import PeerViolation
from mailsandbox.journey.assemble import Journey
from mailsandbox.journey.model import Accepted, Attempted, Delivered
from mailsandbox.lab.counting import Counters
from mailsandbox.lab.models.http import Exchange
from mailsandbox.lab.models.smtp import MODEL as SMTP
from mailsandbox.lab.submission import submit
from mailsandbox.lab.watchers import MODELS, POLLERS, Notice, Watcher, watcher
from mailsandbox.message.compose import Attached, BodyEncoding, compose
from mailsandbox.message.rendering import PartEntry, render
from mailsandbox.message.transfer import decode_transfer
from mailsandbox.runtime.embedded import Sandbox

SENDER: Final = "Zoé Dupré <zoe@alpha.test>"
ACCOUNT: Final = "bob@beta.test"
SUBJECT: Final = "Été à la plage – déjà vu"
TEXT: Final = (
    "Cher Bob,\r\n\r\nl’été à la plage, c’est du déjà vu : sable, crème glacée, coups de soleil.\r\n"
    ".\r\nÀ bientôt, Zoé\r\n"
)
HTML: Final = (
    "<p>Cher Bob,</p><p>l’été à la plage, c’est du <b>déjà vu</b> : sable, crème glacée.</p>"
    '<p><img src="cid:plage@alpha.test" alt="la plage"></p><p>À bientôt, Zoé</p>\r\n'
)
PATIENCE: Final = 10.0  # seconds for the message to reach every reader
_CONVERTED: Final = re.compile(rb"[^\x00-\x7f]|=[0-9A-F]{2}")  # what a line has to show for the hop
EXCERPT: Final = 64  # characters of a body that are shown


class Row(Struct, kw_only=True, frozen=True):
    """One delivery model. Milliseconds since the commit: until the reader heard of it, until it held the message."""

    model: str
    title: str
    kind: str
    opened_by: str
    delivered: bool
    notified_ms: float | None
    held_ms: float | None
    connections: int
    requests: int
    empty_answers: int
    octets_out: int
    octets_in: int


class Side(Struct, frozen=True):
    """A part on one side of the hop; `excerpt` is the beginning of its body, as it is encoded."""

    encoding: str
    octets: int
    excerpt: str


class PartChange(Struct, kw_only=True, frozen=True):
    """A part before and after the hop; `same`: it decodes to the same octets."""

    part: str
    content_type: str
    before: Side
    after: Side
    same: bool


class DemoResult(Struct, kw_only=True, frozen=True):
    """What happened. `complete`: every model delivered the message, and every part decodes to what was sent."""

    subject: str
    sender: str
    recipient: str
    journey_id: str
    body: str
    octets_sent: int
    octets_received: int
    interval: float
    rows: list[Row]
    parts: list[PartChange]
    edits: int

    @property
    def complete(self) -> bool:
        return all(row.delivered for row in self.rows) and bool(self.parts) and all(part.same for part in self.parts)


async def run_demo(*, interval: float = 1.0, models: Sequence[str] = tuple(MODELS)) -> DemoResult:
    """Start a sandbox, send the message, watch it arrive. `interval`: seconds between two polls."""
    async with Sandbox() as box:
        services = {name: str(service) for name, service in box.services.items()}
        return await demonstrate(services, interval=interval, models=models)


async def demonstrate(
    services: Mapping[str, str], *, interval: float = 1.0, models: Sequence[str] = tuple(MODELS), account: str = ACCOUNT
) -> DemoResult:
    """The same against a running daemon, whose services these are."""
    readers = [watcher(name, services, account, interval=interval) for name in models if name != SMTP.name]
    octets = french_message(account)
    try:
        await asyncio.gather(*(reader.start() for reader in readers))
        await _quiet(readers, interval)
        reply = await submit(services["alpha.smtp"], "zoe@alpha.test", [account], octets, body="BINARYMIME")
        notices = await asyncio.gather(*(_notice(reader) for reader in readers))
        journey = await _journey(services["http"], reply.text)
    finally:
        await asyncio.gather(*(reader.aclose() for reader in readers))
    delivered = journey.deliveries[0]
    received = await _raw(services["http"], delivered.message_id)
    rows = [_row(reader, notice, delivered, received) for reader, notice in zip(readers, notices, strict=True)]
    attempts = [attempt for hop in journey.hops for attempt in hop.attempts]
    if SMTP.name in models:
        rows.insert(0, _smtp_row(journey, delivered))
    return DemoResult(
        subject=SUBJECT,
        sender="zoe@alpha.test",
        recipient=account,
        journey_id=journey.id,
        body="BINARYMIME",
        octets_sent=len(octets),
        octets_received=len(received),
        interval=interval,
        rows=rows,
        parts=part_changes(octets, received),
        edits=sum(len(attempt.edits) for attempt in attempts),
    )


def french_message(account: str) -> bytes:
    """Text, HTML with the picture inside, the picture as a file; nothing of it encoded."""
    png = beach()
    return compose(
        sender=SENDER,
        to=[account],
        subject=SUBJECT,
        text=TEXT,
        html=HTML,
        attachments=[
            Attached("plage.png", "image/png", png, content_id="plage@alpha.test"),
            Attached("déjà vu.png", "image/png", png),
        ],
        date=time.time(),
        message_id=f"<{secrets.token_hex(8)}@alpha.test>",
        body_encoding=BodyEncoding.BINARY,
    )


def beach(width: int = 24, height: int = 16) -> bytes:
    """A PNG of sky, sea and sand (RFC 2083: signature, IHDR, IDAT, IEND)."""
    sky, sea, sand = (135, 206, 235), (0, 105, 148), (237, 201, 175)
    rows = b"".join(
        b"\0" + bytes(sky if y < height // 2 else sea if y < 3 * height // 4 else sand) * width for y in range(height)
    )

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits a channel, RGB
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


async def _quiet(readers: Sequence[Watcher], interval: float) -> None:
    """Let every poller come back empty-handed once, and the message then fall between two polls."""
    pollers = [reader for reader in readers if reader.model.name in POLLERS]
    async with asyncio.timeout(PATIENCE + 2 * interval):
        while not all(poller.counters.empty_answers for poller in pollers):
            await asyncio.sleep(interval / 10)
    await asyncio.sleep(0.4 * interval)


async def _notice(reader: Watcher) -> Notice | None:
    try:
        return await reader.next(PATIENCE)
    except (OSError, PeerViolation):
        return None  # the row says that nothing was delivered


def _row(reader: Watcher, notice: Notice | None, delivered: Delivered, received: bytes) -> Row:
    counters, model = reader.counters, reader.model
    return Row(
        model=model.name,
        title=model.title,
        kind=model.kind,
        opened_by=model.opened_by,
        delivered=notice is not None and notice.sha256 == hashlib.sha256(received).hexdigest(),
        notified_ms=None if notice is None else (notice.notified_ns - delivered.committed_ns) / 1e6,
        held_ms=None if notice is None else (notice.at_ns - delivered.committed_ns) / 1e6,
        connections=counters.connections,
        requests=counters.requests,
        empty_answers=counters.empty_answers,
        octets_out=counters.octets_out,
        octets_in=counters.octets_in,
    )


def _smtp_row(journey: Journey, delivered: Delivered) -> Row:
    accepted = next((hop.accepted for hop in journey.hops if hop.accepted is not None), None)
    attempts = [attempt for hop in journey.hops for attempt in hop.attempts]
    counters = Counters()
    for attempt in attempts:
        _count(attempt, counters)
    latency = None if accepted is None else _milliseconds(accepted, delivered)
    return Row(
        model=SMTP.name,
        title=SMTP.title,
        kind=SMTP.kind,
        opened_by=SMTP.opened_by,
        delivered=bool(attempts) and journey.state == "delivered",
        notified_ms=latency,
        held_ms=latency,
        connections=len(attempts),
        requests=counters.requests,
        empty_answers=0,
        octets_out=counters.octets_out,
        octets_in=counters.octets_in,
    )


def _milliseconds(accepted: Accepted, delivered: Delivered) -> float:
    return max(0.0, (delivered.at - accepted.at) * 1e3)


def _count(attempt: Attempted, counters: Counters) -> None:
    """Commands and octets of an attempt's transcript, in which the message stands as "[N octets of message data]"."""
    for line in attempt.transcript:
        data = re.fullmatch(r"\[(\d+) octets of message data.*\]", line.text)
        size = int(data[1]) if data else len(line.text.encode()) + 2
        if line.side == "C":
            counters.octets_out += size
            counters.requests += data is None
        elif line.side == "S":
            counters.octets_in += size


async def _journey(address: str, reply: str) -> Journey:
    """The journey whose queue id the reply names, once it has arrived."""
    queue_id = reply.rpartition(" ")[2]
    status, octets = await _get(address, f"/v1/journeys/{queue_id}")
    if status != 200:
        raise PeerViolation(f"no journey of {queue_id}: {octets.decode('utf-8', 'replace')}")
    journey = msgspec.json.decode(octets, type=Journey)
    if not journey.deliveries:
        raise PeerViolation(f"{queue_id} was not delivered within {PATIENCE:g} s; it is {journey.state}")
    return journey


async def _raw(address: str, message_id: str) -> bytes:
    status, octets = await _get(address, f"/v1/messages/{message_id}/raw")
    if status != 200:
        raise PeerViolation(f"no message {message_id}")
    return octets


async def _get(address: str, path: str) -> tuple[int, bytes]:
    exchange = Exchange(address, Counters())
    try:
        status, _, octets = await exchange.get(path)
        return status, octets
    finally:
        await exchange.aclose()


def part_changes(sent: bytes, received: bytes) -> list[PartChange]:
    """Every leaf part on both sides of the hop, in order."""
    return [
        PartChange(
            part=before.number,
            content_type=before.content_type,
            before=_side(sent, before),
            after=_side(received, after),
            same=before.content_type == after.content_type and _decoded(sent, before) == _decoded(received, after),
        )
        for before, after in zip(_leaves(sent), _leaves(received), strict=False)
    ]


def _leaves(octets: bytes) -> list[PartEntry]:
    return [part for part in render(octets).parts if part.number and not part.content_type.startswith("multipart/")]


def _decoded(octets: bytes, part: PartEntry) -> bytes:
    return decode_transfer(octets[part.body_start : part.body_end], part.encoding)


def _side(octets: bytes, part: PartEntry) -> Side:
    body = octets[part.body_start : part.body_end]
    if part.content_type.startswith("text/"):
        line = max(body.split(b"\r\n"), key=lambda line: len(_CONVERTED.findall(line[:EXCERPT])))
        shown = line.decode("utf-8", "replace")
    else:
        shown = "".join(chr(octet) if 32 <= octet < 127 else f"\\x{octet:02x}" for octet in body[:EXCERPT])
    return Side(part.encoding, len(body), shown.replace("\r\n", " ")[:EXCERPT])
