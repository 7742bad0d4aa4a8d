"""The journey of a message: what happened to it, hop by hop, as plain values that are stored and shown as JSON.

A journey begins when a site first answers 250 to a message. Its id is the queue id that site gave; later sites find it
by the Received fields the message carries, so a foreign relay in between does not break it.
Events are appended and never changed; `assemble` (journeys.py) joins them into one view. They are msgspec structs, as
some are made for every message and ten lines of transcript with them: a frozen dataclass costs four times as much.
"""

from typing import NewType

import msgspec

from mailsandbox.message.findings import Finding

JourneyId = NewType("JourneyId", str)


class TranscriptLine(msgspec.Struct, frozen=True, gc=False):
    """One line of a connection. `at`: seconds since it began; `side`: "C" (client), "S" (server) or "!".

    Message data is not repeated here: `text` then says "[N octets of message data]". Passwords are shown as "***".
    """

    at: float
    side: str
    text: str


class EditRecord(msgspec.Struct, frozen=True):
    """An edit as shown: excerpts of at most 160 octets, decoded for display."""

    part: str
    start: int
    end: int
    rule: str
    source: str
    before: str
    after: str


class EnvelopeRecord(msgspec.Struct, frozen=True):
    """Reverse-path and forward-paths with the ESMTP parameters as they were on the wire."""

    reverse_path: str
    recipients: list[str]
    mail_parameters: dict[str, str] = {}
    recipient_parameters: dict[str, dict[str, str]] = {}


class Accepted(msgspec.Struct, frozen=True):
    """A site took responsibility: end of data was answered 250 at `at` (POSIX seconds)."""

    site: str
    queue_id: str
    at: float
    session_id: str
    peer: str
    helo: str
    protocol: str  # the "with" word of Received: ESMTP, ESMTPS, ESMTPA, UTF8SMTP, LMTP ... (RFC 3848, RFC 6531 §4.3)
    tls: str  # "" or version and cipher
    envelope: EnvelopeRecord
    octets: int
    sha256: str
    findings: list[Finding]
    transcript: list[TranscriptLine]


class RecipientOutcome(msgspec.Struct, frozen=True):
    """How one recipient fared in one attempt: "delivered", "relayed", "deferred" or "failed"."""

    address: str
    outcome: str
    reply: str  # the deciding reply, "250 2.0.0 Ok: queued as ..."; or the connection's failure
    enhanced: str


class Attempted(msgspec.Struct, frozen=True):
    """One attempt of a site's relay at a next hop."""

    site: str
    queue_id: str
    number: int
    started_at: float
    ended_at: float
    host: str
    address: str  # ip:port, "" where no connection was made
    offers: list[str]
    tls: str
    envelope: EnvelopeRecord
    octets_in: int
    sha256_in: str
    octets_out: int  # of the message as sent, before dot-stuffing; 0 where no data was sent, or it is not known
    sha256_out: str
    body: str  # BODY parameter sent: "", "8BITMIME", "BINARYMIME"
    findings: list[Finding]
    edits: list[EditRecord]
    outcomes: list[RecipientOutcome]
    possible_duplicate: bool  # the reply to the message was lost after its last octet was sent, or nobody knows
    transcript: list[TranscriptLine]
    interrupted: bool = False  # nobody wrote down its end: host, offers, times and octets sent are not known


class Delivered(msgspec.Struct, frozen=True):
    """A copy was committed to a mailbox."""

    site: str
    recipient: str
    account: str
    mailbox: str
    uid: int
    message_id: str  # the /v1 id
    seq: int  # number of the change in the account's log
    octets: int
    at: float
    committed_ns: int  # CLOCK_MONOTONIC


class Expanded(msgspec.Struct, frozen=True):
    """A recipient was an alias or a list: its members took its place (RFC 5321 §3.9)."""

    site: str
    address: str
    members: list[str]
    at: float


class Undelivered(msgspec.Struct, frozen=True):
    """A recipient of an accepted message was given up: no mailbox could take it, or its time was over.

    `reply` says why; `queue_id` is set where a queue gave it up.
    """

    site: str
    recipient: str
    reply: str
    at: float
    queue_id: str = ""


class Operated(msgspec.Struct, frozen=True):
    """An operator did something to the message in a site's queue, which did change something there."""

    site: str
    queue_id: str
    at: float
    action: str  # hold, release, retry, bounce, remove
    recipients: list[str]  # that were in the queue then
    attempts: int  # that had ended by then: it comes before the attempt of the next number


class Notified(msgspec.Struct, frozen=True):
    """A delivery status notification was sent about recipients of this journey."""

    site: str
    at: float
    action: str  # failed, delayed, relayed, delivered, expanded (RFC 3464 §2.3.3)
    recipients: list[str]
    dsn_journey: str


class FirstShown(msgspec.Struct, frozen=True):
    """The first time that a protocol showed a delivered copy to a client."""

    message_id: str
    protocol: str  # pop3, imap, imap-idle, http, long-poll, sse, websocket, stream
    at: float
    after_ms: float  # since the commit


JourneyEvent = Accepted | Attempted | Delivered | Expanded | Undelivered | Operated | Notified | FirstShown
