"""What listings and single messages look like to HTTP and the command line, and the question they put. Pure."""

from dataclasses import dataclass

from mailsandbox.store.model import MessageId, MessageRow


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """One message with its summary. `received_at` is the internal date; addresses are decoded for display."""

    message_id: MessageId
    account: str
    mailbox: str
    row: MessageRow
    journey_id: str  # "" for an appended message
    recipient: str  # forward-path as received, "" for an appended message
    trace_octets: int
    subject: str
    sender: str
    to: str
    cc: str
    sent_at: float | None  # Date field
    header_message_id: str  # Message-ID field
    preview: str
    attachments: int

    @property
    def received_at(self) -> float:
        """POSIX seconds."""
        return self.row.internal_date


@dataclass(frozen=True, slots=True)
class MessageQuery:
    """Which messages; empty fields match all. Texts match any case, anywhere.

    `to` matches the envelope's recipient as well as To and Cc. `text` searches header and body. `before` is the `next`
    of the page before; `since` keeps those saved at or after that moment (POSIX seconds).
    """

    account: str = ""
    mailbox: str = ""
    to: str = ""
    sender: str = ""
    subject: str = ""
    text: str = ""
    message_id: str = ""  # Message-ID field, exact
    since: float | None = None
    before: str = ""
    limit: int = 50


@dataclass(frozen=True, slots=True)
class MessagePage:
    """Newest first. `next`: hand it in as `before` for the page after this one; None at the end."""

    messages: list[StoredMessage]
    next: str | None
