"""Tells senders what became of their messages: turns the queue's reports into notifications on the normal path.

Invariants: a notification enters the path in the transaction that settles the recipients it tells of, so none is lost
and none sent twice; a message with the null reverse-path causes none, and what would have been one is recorded in its
journey as a double bounce (RFC 5321 §4.5.5).
"""

import hashlib
import logging
from collections.abc import Callable, Sequence
from typing import Final

from mailsandbox.clock import Clock
from mailsandbox.database.tx import Tx
from mailsandbox.deliver.notifications import FULL_BELOW, Original, Reporter, ToSevenBit, compose_notification
from mailsandbox.journey.model import Accepted, EnvelopeRecord, JourneyEvent, JourneyId, Notified, TranscriptLine
from mailsandbox.mailqueue.model import Action, QueuedItem, RecipientReport
from mailsandbox.message.envelope import Envelope

DOUBLE_BOUNCE: Final = "double-bounce"  # the action shown in the journey where nobody can be told

HandOver = Callable[[Tx, Envelope, bytes, str], None]  # envelope, octets, queue id
Record = Callable[[Tx, JourneyId, JourneyEvent], None]

_log = logging.getLogger(__name__)


class Notifier:
    """Notifications of one site. `hand_over_in` puts a message made here into the site's normal path."""

    def __init__(
        self,
        *,
        site: str,
        hostname: str,
        clock: Clock,
        new_id: Callable[[], str],
        hand_over_in: HandOver,
        record: Record,
        to_seven_bit: ToSevenBit | None = None,
        full_below: int = FULL_BELOW,
    ) -> None:
        self._site = site
        self._hostname = hostname
        self._clock = clock
        self._new_id = new_id
        self._hand_over_in = hand_over_in
        self._record = record
        self._to_seven_bit = to_seven_bit
        self._full_below = full_below

    def notices(
        self, item: QueuedItem, reports: Sequence[RecipientReport], octets: bytes
    ) -> Callable[[Tx], None] | None:
        """What is to be done, in the transaction that settles the recipients, so that `reports` are told."""
        if not reports:
            return None
        if not item.envelope.reverse_path:
            return self._double_bounce(item, [report for report in reports if report.action is Action.FAILED])
        groups = [[report for report in reports if _kind(report.action) == kind] for kind in ("bad", "late", "good")]
        works = [self._notice(item, group, octets) for group in groups if group]

        def work(tx: Tx) -> None:
            for one in works:
                one(tx)

        return work

    def _notice(self, item: QueuedItem, reports: Sequence[RecipientReport], octets: bytes) -> Callable[[Tx], None]:
        now = self._clock.now()
        queue_id = self._new_id()
        envelope, notification = compose_notification(
            reports,
            original=Original(item.envelope, octets, item.received_at),
            reporter=Reporter(self._hostname, queue_id, now),
            to_seven_bit=self._to_seven_bit,
            full_below=self._full_below,
        )
        born = self._accepted(queue_id, envelope, notification, now)
        told = [report.recipient.address for report in reports]
        notified = Notified(self._site, now, reports[0].action, told, queue_id)

        def work(tx: Tx) -> None:
            self._record(tx, JourneyId(queue_id), born)
            self._record(tx, JourneyId(item.journey_id), notified)
            self._hand_over_in(tx, envelope, notification, queue_id)

        return work

    def _accepted(self, queue_id: str, envelope: Envelope, octets: bytes, now: float) -> Accepted:
        """The first event of the notification's own journey: it was made here, nobody handed it in."""
        return Accepted(
            site=self._site,
            queue_id=queue_id,
            at=now,
            session_id="",
            peer="",
            helo=self._hostname,
            protocol="DSN",
            tls="",
            envelope=EnvelopeRecord(envelope.reverse_path, envelope.addresses),
            octets=len(octets),
            sha256=hashlib.sha256(octets).hexdigest(),
            findings=[],
            transcript=[TranscriptLine(0.0, "!", "made here: delivery status notification (RFC 3464)")],
        )

    def _double_bounce(self, item: QueuedItem, reports: Sequence[RecipientReport]) -> Callable[[Tx], None] | None:
        # RFC 5321 §4.5.5, RFC 3464 §2: no notification about a message with the null reverse-path.
        if not reports:
            return None
        told = [report.recipient.address for report in reports]
        _log.info("%s: double bounce: %s could not be delivered to %s", self._site, item.queue_id, ", ".join(told))
        event = Notified(self._site, self._clock.now(), DOUBLE_BOUNCE, told, "")
        return lambda tx: self._record(tx, JourneyId(item.journey_id), event)


def _kind(action: Action) -> str:
    """Reports of one kind share a notification (RFC 3464 §2: one may tell of several recipients)."""
    match action:
        case Action.FAILED:
            return "bad"
        case Action.DELAYED:
            return "late"
        case _:
            return "good"
