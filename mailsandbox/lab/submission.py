"""A message handed over by SMTP over a counting connection: pipelined, in one BDAT chunk where the body is binary."""

from collections.abc import Sequence
from typing import Final

from mailsandbox.errors import PeerViolation
from mailsandbox.lab.counting import Counters, Wire
from mailsandbox.smtp.replies import Reply, parse_reply

HELO: Final = "client.test"


async def submit(
    address: str, sender: str, recipients: Sequence[str], octets: bytes, *, body: str = "8BITMIME"
) -> Reply:
    """The reply to the message. `body` is "", "8BITMIME" or "BINARYMIME" (RFC 6152, RFC 3030).

    Raises PeerViolation where the server refuses, OSError where there is none.
    """
    wire = await Wire.open(address, Counters())
    try:
        await _expect(wire, 220)
        await wire.write(f"EHLO {HELO}\r\n".encode())
        await _expect(wire, 250)
        parameter = f" BODY={body}" if body else ""
        await _ask(wire, f"MAIL FROM:<{sender}>{parameter}", 250)
        for recipient in recipients:
            await _ask(wire, f"RCPT TO:<{recipient}>", 250)
        if body == "BINARYMIME":  # RFC 3030 §3: binary goes by BDAT only
            await wire.write(b"BDAT %d LAST\r\n" % len(octets) + octets)
        else:
            await _ask(wire, "DATA", 354)
            await wire.write(_stuffed(octets) + b".\r\n")
        reply = await _expect(wire, 250)
        await wire.write(b"QUIT\r\n")
        return reply
    finally:
        await wire.aclose()


async def _ask(wire: Wire, command: str, code: int) -> Reply:
    await wire.write(command.encode() + b"\r\n")
    return await _expect(wire, code)


async def _expect(wire: Wire, code: int) -> Reply:
    lines: list[str] = []
    while True:
        line = (await wire.line()).decode("utf-8", "replace")
        lines.append(line[4:])
        if line[3:4] != "-":
            break
    if not line[:3].isdigit():
        raise PeerViolation(f"SMTP: {line}")
    reply = parse_reply(int(line[:3]), lines)
    if reply.code != code:
        raise PeerViolation(f"SMTP: {reply}")
    return reply


def _stuffed(octets: bytes) -> bytes:
    """RFC 5321 §4.5.2: a dot before a line's first dot; the message ends with CRLF."""
    if not octets.endswith(b"\r\n"):
        octets += b"\r\n"
    octets = octets.replace(b"\r\n.", b"\r\n..")
    return b"." + octets if octets.startswith(b".") else octets
