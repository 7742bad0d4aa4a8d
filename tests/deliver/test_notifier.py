"""The notifier: which notifications are made of which reports, and what goes into the transaction."""

import itertools

import pytest

from mailsandbox.clock import ManualClock
from mailsandbox.database.opening import open_database
from mailsandbox.deliver.notifier import DOUBLE_BOUNCE, Notifier
from mailsandbox.errors import StoreUnavailable
from mailsandbox.journey.model import Accepted, Notified
from mailsandbox.mailqueue.model import Action, QueuedItem, RecipientReport
from mailsandbox.message.envelope import Envelope, Recipient
from mailsandbox.smtp.replies import reply

OCTETS = b"From: a@alpha.test\r\n\r\nHello\r\n"


class Site:
    """What the notifier is given by its site."""

    def __init__(self) -> None:
        numbers = itertools.count(1)
        self.handed_over = []
        self.recorded = []
        self.notifier = Notifier(
            site="alpha",
            hostname="mx.alpha.test",
            clock=ManualClock(),
            new_id=lambda: f"D{next(numbers)}",
            hand_over_in=self._hand_over_in,
            record=lambda tx, journey_id, event: self.recorded.append((journey_id, event)),
        )

    def _hand_over_in(self, tx, envelope, octets, queue_id) -> None:
        tx.after_commit(lambda: self.handed_over.append((envelope, octets, queue_id)))


def report(action: Action, address: str = "b@beta.test") -> RecipientReport:
    return RecipientReport(Recipient(address), action, "5.1.1", reply(550, "5.1.1", "x"), "hop", 0.0)


def item(sender: str = "a@alpha.test") -> QueuedItem:
    return QueuedItem("Q1", "J1", "alpha", Envelope(sender, ()), 0.0, len(OCTETS), False, ())


@pytest.fixture
async def database():
    database = open_database(":memory:")
    await database.start()
    yield database
    await database.aclose()


async def test_reports_of_one_kind_share_a_notification_and_kinds_do_not(database):
    site = Site()
    reports = [
        report(Action.FAILED, "one@beta.test"),
        report(Action.DELAYED, "two@beta.test"),
        report(Action.FAILED, "three@beta.test"),
        report(Action.RELAYED, "four@beta.test"),
        report(Action.DELIVERED, "five@beta.test"),
    ]
    await database.write(site.notifier.notices(item(), reports, OCTETS))
    told = [event.recipients for _, event in site.recorded if isinstance(event, Notified)]
    assert told == [["one@beta.test", "three@beta.test"], ["two@beta.test"], ["four@beta.test", "five@beta.test"]]
    assert [queue_id for *_, queue_id in site.handed_over] == ["D1", "D2", "D3"]


async def test_both_journeys_are_told_of_it(database):
    site = Site()
    await database.write(site.notifier.notices(item(), [report(Action.FAILED)], OCTETS))
    (own, born), (original, notified) = site.recorded
    assert isinstance(born, Accepted)
    assert (own, born.queue_id, born.protocol, born.octets) == ("D1", "D1", "DSN", len(site.handed_over[0][1]))
    assert isinstance(notified, Notified)
    assert (original, notified.dsn_journey, notified.action) == ("J1", "D1", "failed")


async def test_nothing_is_handed_over_when_the_transaction_fails(database):
    site = Site()
    notice = site.notifier.notices(item(), [report(Action.FAILED)], OCTETS)

    def work(tx) -> None:
        notice(tx)
        raise StoreUnavailable("no")

    with pytest.raises(StoreUnavailable):
        await database.write(work)
    assert site.handed_over == []


@pytest.mark.rfc(5321, "4.5.5")
async def test_null_path_is_recorded_as_double_bounce_for_failures_and_not_at_all_for_others(database):
    site = Site()
    await database.write(site.notifier.notices(item(""), [report(Action.FAILED)], OCTETS))
    [(journey_id, event)] = site.recorded
    assert (journey_id, event.action, event.dsn_journey) == ("J1", DOUBLE_BOUNCE, "")
    assert site.handed_over == []
    assert site.notifier.notices(item(""), [report(Action.DELAYED)], OCTETS) is None
    assert site.notifier.notices(item(), [], OCTETS) is None
