"""Why no transaction came about at a next hop: exceptions of aiosmtplib, ssl and asyncio in words for people. Pure.

`Cause.text` goes on after the server's name. Invariant: it names what was seen, never a number of the system's that
stands for something else (an ssl.SSLError has error numbers of its own), and never the representation of an exception.
"""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import aiosmtplib

from mailsandbox.wording import cause_of

E = TypeVar("E", bound=BaseException)
_NO_REPLY: Final = -1  # aiosmtplib's code of what is no reply
_MALFORMED: Final = "Malformed SMTP response line: "
_SHOWN: Final = 100  # characters of a line that is no reply
# OpenSSL's words for octets that are no TLS record.
_NO_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"})


@dataclass(frozen=True, slots=True)
class Step:
    """What was being done. `command` "" is the way to the greeting; `tls`: a handshake is part of it."""

    seconds: float  # its limit
    command: str = ""
    tls: bool = False


@dataclass(frozen=True, slots=True)
class Cause:
    """`text` begins with a space or a colon; `tls`: the handshake failed, in clear text it may work."""

    enhanced: str
    text: str
    tls: bool = False


def cause_at(step: Step, error: BaseException) -> Cause:
    """What kept `step` from being done. RFC 3463 §3.5: X.4.1 no answer, X.4.2 bad connection; §3.8: X.7.z is TLS."""
    seen = _causes(error)
    if (said := _first(seen, aiosmtplib.SMTPResponseException)) is not None and said.code == _NO_REPLY:
        return Cause("4.5.0", f": it {_no_reply(said.message, step.command)}")
    if (broken := _first(seen, ssl.SSLError)) is not None:
        return _handshake(step, broken)
    return _silent(step, seen) or _network(step, seen)


def _handshake(step: Step, error: ssl.SSLError) -> Cause:
    if isinstance(error, ssl.SSLCertVerificationError):
        return Cause("4.7.5", f": its certificate is not trusted: {error.verify_message}", tls=True)
    why = cause_of(error)
    if error.reason not in _NO_TLS:
        return Cause("4.7.5", f": TLS failed: {why}", tls=True)
    if step.command:
        return Cause("4.7.5", f" offers {step.command}, but does not speak TLS then ({why})", tls=True)
    # RFC 3463 §3.8: X.7.4 security features not supported.
    return Cause("4.7.4", f" does not speak TLS ({why})", tls=True)


def _silent(step: Step, seen: Sequence[BaseException]) -> Cause | None:
    """Where a time limit was reached: of the system's own, the error number tells."""
    within = f"within {step.seconds:g} seconds"
    if _first(seen, aiosmtplib.SMTPReadTimeoutError) is not None:
        return Cause("4.4.2", f" said nothing {within}")
    handshake = step.tls and any("TLS handshake" in str(each) for each in seen)  # asyncio's own limit
    limit = handshake or any(isinstance(each, TimeoutError) and each.errno is None for each in seen)
    if not limit and not (step.tls and step.command and _first(seen, ConnectionAbortedError)):
        return None
    if step.command:
        return Cause("4.7.5", f" did not finish the TLS handshake {within}", tls=True)
    return Cause("4.4.1", f": no {'TLS ' if step.tls else ''}connection {within}")


def _network(step: Step, seen: Sequence[BaseException]) -> Cause:
    inner = seen[-1]
    if not isinstance(inner, ConnectionError) or isinstance(inner, ConnectionRefusedError):
        code = "4.4.2" if step.command else "4.4.1"
        if not isinstance(inner, OSError) and step.command == "AUTH":
            code = "4.7.0"  # aiosmtplib's own: it knows none of the mechanisms
        return Cause(code, f": {cause_of(inner)}")
    heard = not isinstance(inner, aiosmtplib.SMTPServerDisconnected)  # which is aiosmtplib's while it waits for a reply
    handshake = step.tls and (heard or bool(step.command))  # with STARTTLS it is also what comes between 220 and TLS
    when = "during the TLS handshake" if heard else f"during {step.command}"
    if handshake:
        text = f" closed the connection {when}" if inner.errno is None else f": {cause_of(inner)} {when}"
        return Cause("4.7.5", text, tls=True)
    if inner.errno is not None:
        return Cause("4.4.2", f": {cause_of(inner)}")
    awaited = f"its answer to {step.command}" if step.command else "its greeting"
    return Cause("4.4.2", f" closed the connection before {awaited}")


def _no_reply(message: str, command: str) -> str:
    did = f"answered {command} with" if command else "greeted with"
    if not message.startswith(_MALFORMED):
        return f"{did} more than a reply may have"  # "Response too long"
    line = message.removeprefix(_MALFORMED).rstrip("\r\n")
    shown = repr(line if len(line) <= _SHOWN else f"{line[:_SHOWN]}...")
    return f"{did} {shown}, which is no SMTP reply"


def _causes(error: BaseException) -> list[BaseException]:
    """From the outermost to the innermost that says something: a time limit's is a CancelledError."""
    seen = [error]
    while (error := seen[-1].__cause__ or seen[-1]) is not seen[-1] and isinstance(error, Exception):
        seen.append(error)
    return seen


def _first(seen: Sequence[BaseException], kind: type[E]) -> E | None:
    return next((each for each in seen if isinstance(each, kind)), None)
