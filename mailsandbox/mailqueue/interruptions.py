"""What the journey says of an attempt that nobody finished: it may have got through. Pure.

Whoever takes recipients over from a daemon that died, or gives them back because it closes, cannot know whether the
next hop had answered 250 already. So the attempt is written down as interrupted, and as one whose reply may have been
lost (RFC 1047 §1), in the transaction that lets the recipients wait again.
"""

from typing import Final

from mailsandbox.journey.model import Attempted, EnvelopeRecord, RecipientOutcome, TranscriptLine
from mailsandbox.mailqueue.model import QueuedItem
from mailsandbox.smtp.replies import reply

INTERRUPTED: Final = reply(451, "4.3.0", "the attempt was cut short and may have got through")


def interrupted(item: QueuedItem, *, now: float, why: str) -> Attempted:
    """The record of the attempt that `item.recipients`, which count it already, were taken from."""
    addresses = [row.address for row in item.recipients]
    return Attempted(
        site=item.site,
        queue_id=item.queue_id,
        number=max(row.attempts for row in item.recipients),
        started_at=now,  # when it began is not known
        ended_at=now,
        host="",
        address="",
        offers=[],
        tls="",
        envelope=EnvelopeRecord(item.envelope.reverse_path, addresses),
        octets_in=item.octets,
        sha256_in="",
        octets_out=0,
        sha256_out="",
        body="",
        findings=[],
        edits=[],
        outcomes=[
            RecipientOutcome(address, "deferred", str(INTERRUPTED), INTERRUPTED.enhanced) for address in addresses
        ],
        possible_duplicate=True,
        transcript=[TranscriptLine(0.0, "!", why)],
        interrupted=True,
    )
