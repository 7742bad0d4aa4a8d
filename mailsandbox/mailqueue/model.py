"""Values of the relay queue: the life of a recipient, and what couriers are given and give back. Pure."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, Protocol

import msgspec

from mailsandbox.journey.model import Attempted
from mailsandbox.message.envelope import Envelope, Recipient
from mailsandbox.smtp.replies import Reply, reply


class RecipientStatus(StrEnum):
    """Where one recipient stands. `mailqueue/moves.py` has the table of legal moves."""

    WAITING = "waiting"  # never tried, or deferred: due at next_attempt
    ACTIVE = "active"  # an attempt holds the lease
    DELIVERED = "delivered"
    FAILED = "failed"
    EXPIRED = "expired"
    REMOVED = "removed"


class Done(msgspec.Struct, frozen=True):
    """The next hop took it. `relayed`: that hop cannot notify, so we do (RFC 3461 §5.2.2).

    `traced`: the sender is told of the relay, as the message's deadline does not go on or is traced (RFC 2852 §4.1.4).
    """

    reply: Reply
    relayed: bool = False
    local: bool = False
    traced: bool = False
    remote: str = ""  # the host that took it


class Later(msgspec.Struct, frozen=True):
    """Transient: to be tried again."""

    reply: Reply
    remote: str = ""  # the host that said so; "" when we did


class Never(msgspec.Struct, frozen=True):
    """Permanent: to be notified."""

    reply: Reply
    remote: str = ""


Outcome = Done | Later | Never

NOT_TRIED: Final = reply(450, "4.4.0", "no attempt has been made yet")


class NewItem(msgspec.Struct, frozen=True):
    """A message to be queued: `trace`, which ends with this site's Received field, then `octets`."""

    queue_id: str
    journey_id: str
    envelope: Envelope
    octets: bytes
    received_at: float  # POSIX seconds
    trace: bytes = b""
    sha256: bytes | None = None  # of `octets`, where it is known
    clean: bool = False  # trace and octets are known to be what every SMTP server can carry


class QueuedMessage(msgspec.Struct, frozen=True):
    """What a courier carries. `octets` includes this site's Received field."""

    queue_id: str
    journey_id: str
    site: str
    envelope: Envelope
    octets: bytes
    received_at: float
    attempt: int  # number of this attempt, from 1
    sha256: str = ""  # of `octets` in hex, where it is known already
    clean: bool = False  # they are known to be what every SMTP server can carry


class AttemptReport(msgspec.Struct, frozen=True):
    """One attempt's result: an outcome for every recipient it was asked for, and what the journey shall show.

    `records`: one per hop that was tried, in order. `reached` is False where no server of the destination could be
    talked to: what waits behind this message would fare the same.
    """

    outcomes: dict[str, Outcome]  # by forward-path
    records: tuple[Attempted, ...] = ()
    reached: bool = True


class Courier(Protocol):
    """Carries a message to the recipients of one destination. Implemented by `relay` and `deliver`."""

    def destination(self, recipient: Recipient) -> str:
        """Key by which recipients share one transaction and its concurrency limit."""
        ...

    async def attempt(self, message: QueuedMessage, recipients: Sequence[Recipient]) -> AttemptReport:
        """Try once; never raises for what a peer or the network does."""
        ...

    async def aclose(self) -> None:
        """Close kept connections."""
        ...


class QueuedRecipient(msgspec.Struct, frozen=True):
    """One recipient as the queue holds it. Times are POSIX seconds."""

    number: int  # position in the envelope, from 0; names the recipient together with the queue id
    recipient: Recipient
    status: RecipientStatus
    attempts: int
    next_attempt: float
    warned: bool  # the delay notification has been sent (at most one)
    reply: Reply = NOT_TRIED  # the last one
    remote: str = ""  # the host that gave it; "" when we did
    last_attempt: float | None = None  # when that was

    @property
    def address(self) -> str:
        """The forward-path."""
        return self.recipient.address


class QueuedItem(msgspec.Struct, frozen=True):
    """One message as the queue holds it, with the recipients that are not done. `octets` is its size."""

    queue_id: str
    journey_id: str
    site: str
    envelope: Envelope  # with all the recipients it came with
    received_at: float
    octets: int
    held: bool
    recipients: tuple[QueuedRecipient, ...]


class Action(StrEnum):
    """What a delivery status notification reports (RFC 3464 §2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"


class RecipientReport(msgspec.Struct, frozen=True):
    """What is to be told to the sender about one recipient.

    `status` is the enhanced status code (RFC 3463) of the report; `reply` the diagnostic, as `remote` gave it ("":
    ourselves). `retry_until` is set for delays: POSIX seconds until which delivery is tried (RFC 3464 §2.3.9).
    """

    recipient: Recipient
    action: Action
    status: str
    reply: Reply
    remote: str
    at: float  # of the last attempt, POSIX seconds
    retry_until: float | None = None
