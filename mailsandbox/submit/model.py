"""Values of the SMTP server: what a listener is, what it hands over, and what it is given to work with.

Knows no socket and no library; `conversation` decides with these, `connection` and `listener` act.
"""

import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

import msgspec

from mailsandbox.clock import Clock, SystemClock
from mailsandbox.faults import Faults
from mailsandbox.journey.model import Accepted
from mailsandbox.journey.sessions import SessionLog
from mailsandbox.message.envelope import Envelope
from mailsandbox.message.underway import Known, Underway
from mailsandbox.sasl import random_nonce
from mailsandbox.smtp.extensions import Offers
from mailsandbox.smtp.replies import Reply
from mailsandbox.store.credentials import Credentials
from mailsandbox.submit.spool import Memory

DEFAULT_MESSAGE_OCTETS: Final = 26_214_400  # 25 MiB: what the large providers take
DEFAULT_OFFERS: Final = (
    "PIPELINING",
    f"SIZE {DEFAULT_MESSAGE_OCTETS}",
    "8BITMIME",
    "SMTPUTF8",
    "CHUNKING",
    "BINARYMIME",
    "DSN",
    "STARTTLS",
)


class Kind(StrEnum):
    """What a listener is for."""

    SMTP = "smtp"  # server to server: RFC 5321
    SUBMISSION = "submission"  # from the author's client: RFC 6409
    SUBMISSIONS = "submissions"  # the same in TLS from the first octet: RFC 8314 §3.3
    LMTP = "lmtp"  # final delivery, one reply per recipient: RFC 2033


class Authentication(StrEnum):
    """Whether AUTH is there."""

    OFF = "off"
    OFFERED = "offered"
    REQUIRED = "required"  # 530 5.7.0 to MAIL without it


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may take of the server. 0 means no limit where it is said so."""

    command_line: int = 512  # octets with CRLF, RFC 5321 §4.5.3.1.4; parameters of extensions come on top
    auth_line: int = 12_288  # octets, RFC 4954 §4
    recipients: int = 1_000  # per transaction; RFC 5321 §4.5.3.1.8 asks for 100 at least
    messages: int = 0  # transactions per session; 0: any number
    message_octets: int = DEFAULT_MESSAGE_OCTETS  # where SIZE announces none
    connections: int = 2_000  # of the listener
    connections_per_peer: int = 1_000  # 0: any number
    command_seconds: float = 300.0  # between two reads, and for one line, RFC 5321 §4.5.3.2.7
    message_seconds: float = 3_600.0  # from DATA to its end, however busy the client
    unknown_commands: int = 10  # then the connection is closed; aiosmtpd has 5
    calls: int = 0  # of one command in a session; 0: any number
    errors: int = 100  # refused commands of one session; Postfix has a hard limit of 20, a sandbox sees more
    auth_failures: int = 5
    greeting_delay: float = 0.0  # seconds in which a client that talks first is found out
    received_fields: int = 100  # RFC 5321 §6.3: loop detection


@dataclass(frozen=True, slots=True)
class ListenerSpec:
    """One listener. `service` is its name in the ready file, "alpha.smtp"."""

    service: str
    kind: Kind = Kind.SMTP
    site: str = "alpha"
    domain: str = "alpha.test"  # completes addresses without one: <Postmaster>
    hostname: str = "mx.alpha.test"
    host: str = "127.0.0.1"
    port: int = 0  # 0: any free one
    socket: str = ""  # path of a UNIX socket, instead of host and port
    offers: Offers = field(default_factory=lambda: Offers.parse(DEFAULT_OFFERS))
    mode: str = "lenient"  # strict | lenient | normalize
    limits: Limits = field(default_factory=Limits)
    authentication: Authentication = Authentication.OFFERED
    mechanisms: frozenset[str] | None = None  # of AUTH; None: all that the accounts allow
    auth_needs_tls: bool = False  # 538 5.7.11 without; real servers say true, a sandbox on loopback need not
    tls_required: bool = False  # 530 5.7.0 to MAIL without TLS
    enhanced_codes: bool = True  # ENHANCEDSTATUSCODES, RFC 2034
    verify: bool = True  # VRFY
    expand: bool = True  # EXPN
    check_sender: bool = True  # submission: the reverse-path is the login's own
    greylist: float = 0.0  # seconds a new triplet waits; 0: off
    xclient_peers: tuple[str, ...] = ()  # networks that may use XCLIENT
    proxy_peers: tuple[str, ...] = ()  # networks whose connections begin with a PROXY header
    max_octets: int = field(init=False)  # largest message: SIZE as offered, or the limit
    lmtp: bool = field(init=False)  # every recipient has a reply of its own
    submission: bool = field(init=False)  # clients are authors' programs: the message is completed (RFC 6409)
    tolerant: bool = field(init=False)  # harmless breaches of syntax pass with a remark

    @property
    def greeting_word(self) -> str:
        """What the greeting calls the protocol."""
        return "LMTP" if self.lmtp else "ESMTP"

    def __post_init__(self) -> None:
        object.__setattr__(self, "max_octets", self.offers.size or self.limits.message_octets)
        object.__setattr__(self, "lmtp", self.kind is Kind.LMTP)
        object.__setattr__(self, "submission", self.kind in (Kind.SUBMISSION, Kind.SUBMISSIONS))
        object.__setattr__(self, "tolerant", self.mode != "strict")


class Incoming(msgspec.Struct, frozen=True):
    """One accepted message, to be made durable. `octets`: un-stuffed content; `received`: what its Received fields say;
    `trace`: fields that go before it.

    `reply` is what the client shall be told when it is; the transcript in `accepted` ends with it. `clean`: trace and
    octets are known to be what every SMTP server can carry; `known`: whose octets are the last of these.
    """

    queue_id: str
    envelope: Envelope
    octets: bytes
    received: list[bytes]
    trace: bytes
    accepted: Accepted
    reply: Reply
    each: bool = False  # every recipient is answered on its own (LMTP)
    clean: bool = False
    known: Known | None = None


@dataclass(frozen=True, slots=True)
class EachReply:
    """LMTP's answer to a message: that to each recipient, by forward-path, in the order of RCPT (RFC 2033 §4.2)."""

    replies: dict[str, Reply]


class RunQueue(Protocol):
    """ETRN (RFC 1985): try what waits for a domain now."""

    async def __call__(self, domain: str, *, below: bool) -> int:
        """How many messages are tried. `below`: those for the domains below it too."""
        ...


@dataclass(slots=True)
class SubmitContext:
    """What the listeners of a site share. `accept` returns when the message is durable, or raises StoreError or
    QueueError, which the client sees as 452 4.3.1; its reply goes to the client. It is begun where the last octet is
    read, goes on where the first future it waits for is done, and becomes a task when it waits again: before that there
    is no current task, as asyncio.timeout() needs one.
    EachReply is for `Incoming.each` only. `expand`: the members of an alias or list, None where an address is none.
    """

    accept: Callable[[Incoming], Awaitable[Reply | EachReply]]
    new_id: Callable[[], str]
    check_recipient: Callable[[str], Reply | None] = lambda address: None
    check_sender: Callable[[str], Reply | None] = lambda address: None  # never asked about the null path
    expand: Callable[[str], Sequence[str] | None] = lambda address: None
    credentials: Credentials = field(default_factory=Credentials)
    nonce: Callable[[], str] = random_nonce  # of challenges in AUTH
    sessions: SessionLog = field(default_factory=lambda: SessionLog(SystemClock()))
    faults: Faults = field(default_factory=Faults)
    clock: Clock = field(default_factory=SystemClock)
    tls: ssl.SSLContext | None = None
    memory: Memory = field(default_factory=Memory)  # one for the whole process bounds all listeners together
    underway: Underway = field(default_factory=Underway)  # of the whole process: what comes in may be known
    run_queue: RunQueue | None = None
