"""What an attempt's outcomes mean for the recipients: who is done, who waits how long, and what the sender is told.

Pure: rows, outcomes, the time and a seeded generator in; a settlement out, which the runner writes in one transaction.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, assert_never

from mailsandbox.mailqueue.model import (
    Action,
    Done,
    Later,
    Never,
    Outcome,
    QueuedItem,
    QueuedRecipient,
    RecipientReport,
    RecipientStatus,
)
from mailsandbox.mailqueue.moves import move
from mailsandbox.mailqueue.schedule import Deadlines, RetryPolicy, backoff, deadlines, due, wants_delay
from mailsandbox.mailqueue.spool import Deferral
from mailsandbox.message.envelope import Envelope, Recipient
from mailsandbox.smtp.replies import Reply, reply

EXPIRED: Final = "5.4.7"  # delivery time expired, RFC 3463 §3.5; what failed last stays in the diagnostic
_NO_WORD: Final = reply(451, "4.3.0", "the courier reported nothing about this recipient")


@dataclass(slots=True)
class Settlement:
    """Rows to remove, rows to let wait, and what is to be told."""

    dropped: list[int] = field(default_factory=list)
    deferred: list[Deferral] = field(default_factory=list)
    reports: list[RecipientReport] = field(default_factory=list)


def settle(
    item: QueuedItem, outcomes: Mapping[str, Outcome], *, policy: RetryPolicy, now: float, rng: random.Random
) -> Settlement:
    """The settlement of an attempt that ended at `now` for all recipients of `item`."""
    limits = deadlines(policy, item.envelope, item.received_at)
    result = Settlement()
    for row in item.recipients:
        match outcomes.get(row.address, Later(_NO_WORD)):
            case Done() as done:
                _finish(result, row, "deliver")
                _tell_success(result, row, done, now)
            case Never(answer, remote):
                _finish(result, row, "fail")
                _tell_failure(
                    result, row, item.envelope, status=status_of(answer, "5.0.0"), answer=answer, remote=remote, now=now
                )
            case Later(answer, remote) if now >= limits.expires_at:
                _finish(result, row, "expire")
                _tell_failure(result, row, item.envelope, status=EXPIRED, answer=answer, remote=remote, now=now)
            case Later(answer, remote):
                move(row.status, "defer")
                attempts = row.attempts + 1
                again = min(now + backoff(policy, attempts, rng), limits.expires_at)
                waits = QueuedRecipient(
                    row.number, row.recipient, RecipientStatus.WAITING, attempts, again, row.warned, answer, remote
                )
                _wait(result, waits, limits, now)
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
        if row.next_attempt <= now and (now < limits.expires_at or not row.attempts):
            tried.append(row)
        elif now >= limits.expires_at:
            _finish(result, row, "expire")
            _tell_failure(result, row, item.envelope, status=EXPIRED, answer=row.reply, remote=row.remote, now=now)
        else:
            _wait(result, row, limits, now)
    return tried, result


def give_up(item: QueuedItem, answer: Reply, *, now: float) -> Settlement:
    """The settlement of an operator's wish to return the message to its sender."""
    result = Settlement()
    for row in item.recipients:
        _finish(result, row, "bounce")
        _tell_failure(result, row, item.envelope, status=status_of(answer, "5.0.0"), answer=answer, remote="", now=now)
    return result


def status_of(answer: Reply, otherwise: str) -> str:
    """The reply's enhanced status code where it fits the class of `otherwise`, else `otherwise`."""
    return answer.enhanced if answer.enhanced[:1] == otherwise[:1] else otherwise


def _finish(result: Settlement, row: QueuedRecipient, event: str) -> None:
    move(row.status, event)
    result.dropped.append(row.number)


def _wait(result: Settlement, row: QueuedRecipient, limits: Deadlines, now: float) -> None:
    """Let `row` wait until its next attempt; tell its delay if that is due."""
    warned = row.warned
    if limits.warn_at is not None and now >= limits.warn_at and not warned:
        warned = True
        if wants_delay(row.recipient):
            result.reports.append(
                RecipientReport(
                    row.recipient,
                    Action.DELAYED,
                    status_of(row.reply, "4.0.0"),
                    row.reply,
                    row.remote,
                    now,
                    retry_until=limits.expires_at,
                )
            )
    waits = QueuedRecipient(
        row.number,
        row.recipient,
        RecipientStatus.WAITING,
        row.attempts,
        row.next_attempt,
        warned,
        row.reply,
        row.remote,
    )
    result.deferred.append(
        Deferral(
            row.number, row.attempts, row.next_attempt, due(waits, limits), warned, reply=row.reply, remote=row.remote
        )
    )


def _tell_success(result: Settlement, row: QueuedRecipient, done: Done, now: float) -> None:
    # RFC 3461 §4.1: success is told only where NOTIFY names it. §5.2.2: a hop that cannot notify makes it "relayed";
    # a hop that can has been given NOTIFY and tells it itself.
    if "SUCCESS" not in row.recipient.notify or not (done.local or done.relayed):
        return
    action = Action.DELIVERED if done.local else Action.RELAYED
    status = status_of(done.reply, "2.0.0")
    result.reports.append(RecipientReport(row.recipient, action, status, done.reply, done.remote, now))


def _tell_failure(
    result: Settlement, row: QueuedRecipient, envelope: Envelope, *, status: str, answer: Reply, remote: str, now: float
) -> None:
    # A null reverse-path is told nothing; the notifier records the double bounce, NOTIFY=NEVER or not.
    if wants_failure(row.recipient) or not envelope.reverse_path:
        result.reports.append(RecipientReport(row.recipient, Action.FAILED, status, answer, remote, now))


def wants_failure(recipient: Recipient) -> bool:
    """Whether the sender is to be told that delivery failed."""
    # RFC 3461 §4.1: without NOTIFY, or where it names FAILURE.
    return not recipient.notify or "FAILURE" in recipient.notify
