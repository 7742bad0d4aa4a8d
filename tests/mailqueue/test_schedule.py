"""Back-off, deadlines, and what is due when."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsandbox.mailqueue.model import QueuedRecipient, RecipientStatus
from mailsandbox.mailqueue.schedule import Deadlines, RetryPolicy, backoff, deadlines, due
from mailsandbox.message.envelope import Envelope, Recipient

POLICIES = st.builds(
    RetryPolicy,
    first=st.floats(1, 1e5),
    factor=st.floats(1, 10),
    jitter=st.floats(0, 0.9),
    limit=st.floats(1, 1e6),
)


@given(POLICIES, st.integers(1, 10_000), st.integers())
def test_delay_is_first_times_factor_to_the_power_up_to_the_limit_within_the_jitter(policy, attempts, seed):
    delay = backoff(policy, attempts, random.Random(seed))
    exact = min(policy.first * policy.factor ** min(attempts - 1, 64), policy.limit)
    assert exact * (1 - policy.jitter) * 0.999 <= delay <= exact * (1 + policy.jitter) * 1.001


@pytest.mark.rfc(5321, "4.5.4.1")
def test_default_delays_double_from_a_minute_to_four_hours():
    policy = RetryPolicy(jitter=0)
    delays = [backoff(policy, n, random.Random(0)) for n in range(1, 12)]
    assert delays == [60, 120, 240, 480, 960, 1920, 3840, 7680, 14400, 14400, 14400]


def test_same_seed_gives_the_same_schedule():
    policy = RetryPolicy()
    assert [backoff(policy, n, random.Random(3)) for n in range(1, 9)] == [
        backoff(policy, n, random.Random(3)) for n in range(1, 9)
    ]


@pytest.mark.parametrize(
    "wrong", [{"first": 0}, {"limit": 0}, {"lifetime": 0}, {"warn": -1}, {"factor": 0.5}, {"jitter": 1.0}]
)
def test_policy_that_cannot_be_meant_is_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        RetryPolicy(**wrong)


@pytest.mark.rfc(2852, "4.1.3")
@pytest.mark.parametrize(
    ("deliver_by", "expected"),
    [
        ("", Deadlines(100.0, 1000.0)),
        ("50;R", Deadlines(100.0, 50.0)),
        ("50;RT", Deadlines(100.0, 50.0)),
        ("5000;R", Deadlines(100.0, 1000.0)),
        ("50;N", Deadlines(50.0, 1000.0, promised=True)),
        ("500;N", Deadlines(500.0, 1000.0, promised=True)),
        ("-10;N", Deadlines(100.0, 1000.0)),
        ("x;R", Deadlines(100.0, 1000.0)),
    ],
)
def test_deadlines_with_and_without_deliver_by(deliver_by, expected):
    policy = RetryPolicy(lifetime=1000, warn=100)
    assert deadlines(policy, Envelope("a@b.test", (), deliver_by=deliver_by), 0.0) == expected


def test_null_path_is_warned_never():
    assert deadlines(RetryPolicy(), Envelope("", ()), 0.0).warn_at is None


@pytest.mark.parametrize(
    ("notify", "warned", "expected"),
    [
        (frozenset(), False, 100.0),
        (frozenset(), True, 500.0),
        (frozenset({"DELAY"}), False, 100.0),
        (frozenset({"FAILURE"}), False, 500.0),
        (frozenset({"NEVER"}), False, 500.0),
    ],
)
def test_delay_notification_is_due_before_the_attempt_only_for_those_who_want_it(notify, warned, expected):
    row = QueuedRecipient(0, Recipient("b@c.test", notify), RecipientStatus.WAITING, 3, 500.0, warned)
    assert due(row, Deadlines(100.0, 1000.0)) == expected
    assert due(row, Deadlines(None, 400.0)) == 400.0
