"""What the conversation asks of the connection besides sending a reply: the whole vocabulary between the two."""

from dataclasses import dataclass

from mailsandbox.smtp.replies import Reply


@dataclass(frozen=True, slots=True)
class TakeData:
    """Say 354 and read message data up to CRLF.CRLF."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class TakeChunk:
    """Read so many octets, then answer (RFC 3030 §2).

    `refusal`: the octets are read and thrown away, as the client has sent them already, and this is the answer.
    """

    octets: int
    last: bool
    refusal: Reply | None = None


@dataclass(frozen=True, slots=True)
class StartTls:
    """Say 220 and begin TLS; nothing said before counts afterwards (RFC 3207 §4.2)."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Renew:
    """The client is someone else from now on (XCLIENT): greet again."""


@dataclass(frozen=True, slots=True)
class Hang:
    """Send the reply and close. `outcome` is the session's."""

    reply: Reply
    outcome: str = "closed"


Answer = Reply | TakeData | TakeChunk | StartTls | Renew | Hang
