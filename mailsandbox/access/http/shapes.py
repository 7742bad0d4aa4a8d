"""The JSON that the interface takes and gives, as structs: handlers fill them, the OpenAPI document is made of them."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from mailsandbox.journey.assemble import Hop
from mailsandbox.journey.model import TranscriptLine
from mailsandbox.message.findings import Finding

Limit = Annotated[int, Meta(ge=1, le=1000)]
Count = Annotated[int, Meta(ge=1, le=1000)]
Cursor = Annotated[int, Meta(ge=0, le=2**53 - 1, description="the seq of the last change seen")]  # RFC 7493 §2.2
Address = Annotated[str, Meta(min_length=1, max_length=1000)]


class Account(Struct, kw_only=True):
    """One account."""

    address: str
    messages: int
    unseen: int
    octets: int
    cursor: int


class Accounts(Struct):
    """All of them, by address."""

    accounts: list[Account]


class NewAccount(Struct, kw_only=True, forbid_unknown_fields=True):
    """The account to make."""

    address: Address


class MailboxView(Struct, kw_only=True):
    """One mailbox with its counters."""

    name: str
    messages: int
    unseen: int
    uid_validity: int
    uid_next: int
    highest_mod_seq: int
    octets: int
    mailbox_id: str
    special_use: str
    subscribed: bool


class Mailboxes(Struct):
    """The mailboxes of an account."""

    mailboxes: list[MailboxView]


class MessageSummary(Struct, kw_only=True):
    """One message of a list. `received_at` is RFC 3339; `octets` as served, trace fields included."""

    id: str
    account: str
    mailbox: str
    uid: int
    subject: str
    sender: str = field(name="from")
    to: str
    received_at: str
    octets: int
    flags: list[str]
    attachments: int


class Messages(Struct, kw_only=True):
    """A page of messages, newest first. `next` is the `after` of the page behind it; null: this was the last one."""

    messages: list[MessageSummary]
    next: str | None


class PartView(Struct, kw_only=True, omit_defaults=True):
    """One MIME part. `octets` count its body as it is encoded; `url` gives it decoded."""

    number: str
    content_type: str
    octets: int
    encoding: str
    charset: str = ""
    disposition: str = ""
    filename: str = ""
    content_id: str = ""
    url: str = ""
    parts: "list[PartView]" = []


class HeaderField(Struct):
    """One header field, decoded for display (RFC 2047, RFC 2231 left as written)."""

    name: str
    value: str


class MessageView(MessageSummary, kw_only=True):
    """One message: its summary, its header, its MIME tree."""

    cc: str
    date: str | None
    message_id: str
    in_reply_to: str
    references: list[str]
    preview: str
    mod_seq: int
    email_id: str
    thread_id: str
    journey_id: str
    headers: list[HeaderField]
    mime: PartView


class NearMiss(MessageSummary, kw_only=True):
    """A message that did not fit, and why: "subject: wanted ..., it is ..."."""

    differs: list[str]


class Found(Struct, kw_only=True):
    """What a wait found, oldest first."""

    messages: list[MessageSummary]


class AttachmentBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """One attachment of a message to be sent; `content` is base64. A `content_id` puts it inside the HTML."""

    filename: str
    content: bytes
    content_type: str = ""
    content_id: str = ""


class Compose(Struct, kw_only=True, forbid_unknown_fields=True):
    """A message to be composed and sent. Addresses are "local@domain" or "Name <local@domain>"."""

    sender: Address = field(name="from")
    to: list[Address] = []
    cc: list[Address] = []
    bcc: list[Address] = []
    reply_to: str = ""
    subject: str = ""
    text: str | None = None
    html: str | None = None
    attachments: list[AttachmentBody] = []
    headers: dict[str, str] = {}
    body: Literal["7bit", "8bitmime", "binarymime"] = "8bitmime"
    site: str = ""


class Sent(Struct, kw_only=True):
    """A site took responsibility. `id` is the submission's and names its journey."""

    id: str
    queue_id: str
    message_id: str
    site: str
    reply: str


class ChangeView(Struct, kw_only=True, omit_defaults=True):
    """One entry of an account's log. `committed_ns` is CLOCK_MONOTONIC of this machine; `flags` are those after it."""

    seq: int
    type: str
    mailbox: str
    uid: int | None
    message_id: str | None
    at: str
    mod_seq: int
    committed_ns: int
    flags: list[str] | UnsetType = UNSET
    other_name: str = ""


class Changes(Struct, kw_only=True, omit_defaults=True):
    """Changes after `since`. Go on with `cursor`. `reset`: the log does not reach back to `since`; read a listing."""

    changes: list[ChangeView]
    cursor: int
    reset: bool = False


class JourneyView(Struct, kw_only=True):
    """The way of one message. `state`: delivered, queued, held, failed or removed; `findings` are those of all hops."""

    id: str
    state: str
    findings: list[Finding]
    hops: list[Hop]


class SessionSummary(Struct, kw_only=True):
    """One connection."""

    id: str
    protocol: str
    service: str
    peer: str
    local: str
    started_at: str
    ended_at: str | None
    outcome: str
    account: str
    tls: str
    helo: str
    rules: list[str]  # of the findings, each once


class SessionView(SessionSummary, kw_only=True):
    """One connection with what was said on it."""

    findings: list[Finding]
    transcript: list[TranscriptLine]


class Sessions(Struct):
    """By their beginning, newest first."""

    sessions: list[SessionSummary]


class QueueRecipientView(Struct, kw_only=True):
    """One recipient that is not done."""

    address: str
    status: str
    attempts: int
    next_attempt: str
    reply: str
    remote: str


class QueueItemView(Struct, kw_only=True):
    """One message of a relay queue."""

    id: str
    site: str
    journey_id: str
    sender: str = field(name="from")
    received_at: str
    octets: int
    held: bool
    recipients: list[QueueRecipientView]


class QueueItems(Struct):
    """Every site's."""

    items: list[QueueItemView]


class QueueRun(Struct):
    """How many recipients are being tried now."""

    recipients: int


class ClockView(Struct, kw_only=True):
    """The sandbox's time. Only a manual clock can be advanced."""

    mode: str
    now: str
    timestamp: float


class Advance(Struct, kw_only=True, forbid_unknown_fields=True):
    """By how much: `seconds`, or `by`: "90s", "5m", "4h", "2d"."""

    seconds: float | None = None
    by: str | None = None


class NewFault(Struct, kw_only=True, forbid_unknown_fields=True):
    """A scripted fault. Exactly one of `reply` ("451 4.7.1 text"), `drop`, `reset` and `delay` (seconds)."""

    protocol: str = ""
    site: str = ""
    stage: str = ""
    account: str = ""
    text: str = ""
    reply: str = ""
    drop: bool = False
    reset: bool = False
    delay: Annotated[float, Meta(ge=0)] | None = None
    times: Annotated[int, Meta(ge=1)] | None = None
    skip: Annotated[int, Meta(ge=0)] = 0


class FaultView(NewFault, kw_only=True):
    """A fault in force; `hits`: how often it struck."""

    id: str
    hits: int


class FaultList(Struct):
    """In the order they are asked."""

    faults: list[FaultView]


class Reset(Struct, kw_only=True, forbid_unknown_fields=True):
    """What to empty: one `account`; every account `anything+NAMESPACE@domain` or at the domain `namespace`; or all."""

    account: str = ""
    namespace: str = ""


class Services(Struct):
    """ "host:port" (or "unix:/path") by service name, as in the ready file."""

    services: dict[str, str]


class Status(Struct):
    """Of a health check."""

    status: str
