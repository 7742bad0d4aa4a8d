"""When a recipient is tried next, when the sender is told of a delay, and when we give up. Pure.

Invariant: the same policy, times and random numbers give the same schedule. Knows nothing of clocks or storage.
"""

import random
from dataclasses import dataclass
from typing import Final

from mailsandbox.mailqueue.model import QueuedRecipient
from mailsandbox.message.envelope import Envelope, Recipient
from mailsandbox.smtp.deliver_by import parse_deliver_by

_MINUTE: Final = 60.0
_HOUR: Final = 3600.0
_DAY: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Seconds. The delay after the n-th failed attempt is min(first · factorⁿ⁻¹, limit), ± `jitter` (a fraction).

    Precedents: RFC 5321 §4.5.4.1 asks for 30 minutes or more between later attempts and a give-up time of 4-5 days;
    Postfix starts at 5 minutes and ends at 66; a sandbox starts at one, as people watch it.
    """

    first: float = _MINUTE
    factor: float = 2.0
    jitter: float = 0.1
    limit: float = 4 * _HOUR
    lifetime: float = 5 * _DAY
    warn: float = 4 * _HOUR  # 0: delays are not told

    def __post_init__(self) -> None:
        """Raises ValueError for a policy that cannot be meant."""
        if self.first <= 0 or self.limit <= 0 or self.lifetime <= 0 or self.warn < 0:
            raise ValueError("first, limit and lifetime must be longer than nothing, warn at least 0")
        if self.factor < 1 or not 0 <= self.jitter < 1:
            raise ValueError("factor must be 1 or more, jitter at least 0 and below 1")


@dataclass(frozen=True, slots=True)
class Deadlines:
    """For one message: from when the sender is told of the delay (None: never), and when we give up.

    `promised`: the sender has named that time himself, by a deadline of by-mode N.
    """

    warn_at: float | None
    expires_at: float
    promised: bool = False


def backoff(policy: RetryPolicy, attempts: int, rng: random.Random) -> float:
    """Seconds until the next attempt, after `attempts` (at least 1) of them failed."""
    # The exponent is capped before the power: a float overflows at attempt 1025 with factor 2.
    delay = policy.first
    for _ in range(min(attempts - 1, 64)):
        delay *= policy.factor
        if delay >= policy.limit:
            break
    delay = min(delay, policy.limit)
    return delay * (1.0 + policy.jitter * (2.0 * rng.random() - 1.0))


def deadlines(policy: RetryPolicy, envelope: Envelope, received_at: float) -> Deadlines:
    """The deadlines of a message accepted at `received_at`.

    RFC 2852 §4.1.3: in by-mode R the message is returned when the time is over; in mode N the delay is told then, not
    at the time of our own. A time that was over when the message came was told by who had it before.
    """
    warn_at = received_at + policy.warn if policy.warn else None
    expires_at = received_at + policy.lifetime
    by = parse_deliver_by(envelope.deliver_by)
    if by is not None and by.returns:
        expires_at = min(expires_at, received_at + by.seconds)
    promised = by is not None and not by.returns and by.seconds > 0
    if by is not None and promised:
        warn_at = received_at + by.seconds
    if not envelope.reverse_path:
        warn_at = None  # RFC 3464 §2: no notification about a notification
    return Deadlines(warn_at, expires_at, promised)


def wants_delay(recipient: Recipient) -> bool:
    """Whether the sender is to be told that this recipient is delayed."""
    # RFC 3461 §4.1: without NOTIFY the MTA may tell delays; with it, only where DELAY is named.
    return not recipient.notify or "DELAY" in recipient.notify


def due(row: QueuedRecipient, limits: Deadlines) -> float:
    """When this recipient next needs attention: an attempt, its delay notification, or its end."""
    when = min(row.next_attempt, limits.expires_at)
    if limits.warn_at is not None and not row.warned and wants_delay(row.recipient):
        when = min(when, limits.warn_at)
    return when
