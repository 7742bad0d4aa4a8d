"""What an attempt's outcomes mean for the recipients: who is done, who waits how long, and what the sender is told.

Pure: rows, outcomes, the time and a seeded generator in; a settlement out, which the runner writes in one transaction.
"""

import random
from collections.abc import Mapping
from typing import Final, assert_never

import msgspec
from msgspec import structs

from mailsandbox.journey.model import Operated, Undelivered
from mailsandbox.mailqueue.model import (
    Action,
    Done,
    Later,
    Never,
    Outcome,
    QueuedItem,
    QueuedRecipient,
    RecipientReport,
)
from mailsandbox.mailqueue.moves import move
from mailsandbox.mailqueue.schedule import Deadlines, RetryPolicy, backoff, deadlines, due, wants_delay
from mailsandbox.mailqueue.spool import Deferral
from mailsandbox.message.envelope import Envelope, Recipient
from mailsandbox.smtp.replies import Reply, reply

EXPIRED: Final = "5.4.7"  # delivery time expired, RFC 3463 §3.5; what failed last stays in the diagnostic
LATE: Final = "4.4.7"  # the same while we go on
_NO_WORD: Final = Later(reply(451, "4.3.0", "the courier reported nothing about this recipient"))


class Settlement(msgspec.Struct):
    """Rows to remove, rows to let wait, what is to be told, and what the journey says that no attempt does."""

    dropped: list[int] = []
    deferred: list[Deferral] = []
    reports: list[RecipientReport] = []
    events: list[Undelivered | Operated] = []


def settle(
    item: QueuedItem, outcomes: Mapping[str, Outcome], *, policy: RetryPolicy, now: float, rng: random.Random
) -> Settlement:
    """The settlement of an attempt that ended at `now` for all recipients of `item`."""
    result = Settlement()
    limits: Deadlines | None = None
    for row in item.recipients:
        recipient = row.recipient
        outcome = outcomes.get(recipient.address, _NO_WORD)
        if isinstance(outcome, Done) and not item.envelope.deliver_by and "SUCCESS" not in recipient.notify:
            _finish(result, row, "deliver")  # the usual case: nobody is told anything
            continue
        limits = limits or deadlines(policy, item.envelope, item.received_at)
        if isinstance(outcome, Done) and limits.promised:
            # RFC 2852 §4.1.3: not relayed before the time is told as a delay, though it has been relayed since.
            _tell_delay(result, structs.replace(row, reply=outcome.reply, remote=outcome.remote), limits, now)
        tried = structs.replace(row, reply=outcome.reply, remote=outcome.remote, last_attempt=now)
        match outcome:
            case Done() as done:
                _finish(result, row, "deliver")
                _tell_success(result, tried, done, now)
            case Never(answer):
                _finish(result, row, "fail")
                _tell_failure(result, tried, item.envelope, status_of(answer, "5.0.0"), now)
            case Later() if now >= limits.expires_at:
                _expire(result, item, tried, now)
            case Later():
                attempts = row.attempts + 1
                again = min(now + backoff(policy, attempts, rng), limits.expires_at)
                status = move(row.status, "defer")
                waiting = structs.replace(tried, status=status, attempts=attempts, next_attempt=again)
                _wait(result, waiting, limits, now)
            case other:
                assert_never(other)
    return result


def attend(item: QueuedItem, *, policy: RetryPolicy, now: float) -> tuple[list[QueuedRecipient], Settlement]:
    """Sort the recipients of a claimed item: those to be tried now, and the settlement of the others.

    The others came due because their time is over, or because a delay is to be told; neither takes an attempt.
    """
    limits = deadlines(policy, item.envelope, item.received_at)
    tried: list[QueuedRecipient] = []
    result = Settlement()
    for row in item.recipients:
        if row.next_attempt <= now and (now < limits.expires_at or row.last_attempt is None):
            tried.append(row)
        elif now >= limits.expires_at:
            _expire(result, item, row, now)
        else:
            _wait(result, structs.replace(row, status=move(row.status, "shed")), limits, now)
    return tried, result


def give_up(item: QueuedItem, answer: Reply, *, now: float) -> Settlement:
    """The settlement of an operator's wish to return the message to its sender."""
    result = Settlement(events=[operated(item, "bounce", now=now)])
    for row in item.recipients:
        _finish(result, row, "bounce")
        given_up = structs.replace(row, reply=answer, remote="")
        _tell_failure(result, given_up, item.envelope, status_of(answer, "5.0.0"), now)
    return result


def operated(item: QueuedItem, action: str, *, now: float) -> Operated:
    """What the journey says of an operator's action on the item as it was before."""
    addresses = [row.address for row in item.recipients]
    attempts = max((row.attempts for row in item.recipients), default=0)
    return Operated(item.site, item.queue_id, now, action, addresses, attempts)


def status_of(answer: Reply, otherwise: str) -> str:
    """The reply's enhanced status code where it fits the class of `otherwise`, else `otherwise`."""
    return answer.enhanced if answer.enhanced[:1] == otherwise[:1] else otherwise


def wants_failure(recipient: Recipient) -> bool:
    """Whether the sender is to be told that delivery failed."""
    # RFC 3461 §4.1: without NOTIFY, or where it names FAILURE.
    return not recipient.notify or "FAILURE" in recipient.notify


def _finish(result: Settlement, row: QueuedRecipient, event: str) -> None:
    move(row.status, event)
    result.dropped.append(row.number)


def _expire(result: Settlement, item: QueuedItem, row: QueuedRecipient, now: float) -> None:
    """Give `row` up, as its time is over. The journey says so even where the sender is told nothing."""
    _finish(result, row, "expire")
    _tell_failure(result, row, item.envelope, EXPIRED, now)
    why = f"554 {EXPIRED} Delivery time expired; the last answer was: {row.reply}"
    result.events.append(Undelivered(item.site, row.address, why, now, item.queue_id))


def _wait(result: Settlement, row: QueuedRecipient, limits: Deadlines, now: float) -> None:
    """Let `row` wait until its next attempt; tell its delay if that is due."""
    if _tell_delay(result, row, limits, now):
        row = structs.replace(row, warned=True)
    result.deferred.append(Deferral(row, due(row, limits)))


def _tell_delay(result: Settlement, row: QueuedRecipient, limits: Deadlines, now: float) -> bool:
    """Tell the delay of `row` if its time has come and the sender wants to know; whether its time has come."""
    if limits.warn_at is None or now < limits.warn_at or row.warned:
        return False
    if wants_delay(row.recipient):
        # RFC 2852 §4.1.3: 4.4.7, delivery time expired, where the sender named the time.
        status = LATE if limits.promised else status_of(row.reply, "4.0.0")
        report = _report(row, Action.DELAYED, status, now)
        retry_until = None if row.reply.positive else limits.expires_at
        result.reports.append(structs.replace(report, retry_until=retry_until))
    return True


def _tell_success(result: Settlement, row: QueuedRecipient, done: Done, now: float) -> None:
    # RFC 3461 §4.1: success is told only where NOTIFY names it. §5.2.2: a hop that cannot notify makes it "relayed";
    # a hop that can has been given NOTIFY and tells it itself.
    # RFC 2852 §4.1.4: a deadline that ends here, or is traced, is told unless nothing at all is to be told.
    success = "SUCCESS" in row.recipient.notify and (done.local or done.relayed)
    if success or (done.traced and "NEVER" not in row.recipient.notify):
        action = Action.DELIVERED if done.local else Action.RELAYED
        result.reports.append(_report(row, action, status_of(done.reply, "2.0.0"), now))


def _tell_failure(result: Settlement, row: QueuedRecipient, envelope: Envelope, status: str, now: float) -> None:
    # A null reverse-path is told nothing; the notifier records the double bounce, NOTIFY=NEVER or not.
    if wants_failure(row.recipient) or not envelope.reverse_path:
        result.reports.append(_report(row, Action.FAILED, status, now))


def _report(row: QueuedRecipient, action: Action, status: str, now: float) -> RecipientReport:
    at = now if row.last_attempt is None else row.last_attempt
    return RecipientReport(row.recipient, action, status, row.reply, row.remote, at)
