"""Values of the relay queue: the life of a recipient, and what couriers are given and give back. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from mailsandbox.journey.model import Attempted
from mailsandbox.message.envelope import Envelope, Recipient
from mailsandbox.smtp.replies import Reply


class RecipientStatus(StrEnum):
    """Where one recipient stands. `mailqueue/moves.py` has the table of legal moves."""

    WAITING = "waiting"  # never tried, or deferred: due at next_attempt
    ACTIVE = "active"  # an attempt holds the lease
    DELIVERED = "delivered"
    FAILED = "failed"
    EXPIRED = "expired"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Done:
    """The next hop took it. `relayed`: that hop cannot notify, so we do (RFC 3461 §5.2.2)."""

    reply: Reply
    relayed: bool = False
    local: bool = False


@dataclass(frozen=True, slots=True)
class Later:
    """Transient: to be tried again."""

    reply: Reply
    remote: str = ""  # the host that said so; "" when we did


@dataclass(frozen=True, slots=True)
class Never:
    """Permanent: to be notified."""

    reply: Reply
    remote: str = ""


Outcome = Done | Later | Never


@dataclass(frozen=True, slots=True)
class QueuedMessage:
    """What a courier carries. `octets` includes this site's Received field."""

    queue_id: str
    journey_id: str
    site: str
    envelope: Envelope
    octets: bytes
    received_at: float
    attempt: int  # number of this attempt, from 1


@dataclass(frozen=True, slots=True)
class AttemptReport:
    """One attempt's result: an outcome for every recipient it was asked for, and the record for the journey."""

    outcomes: dict[str, Outcome]  # by forward-path
    record: Attempted | None


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
