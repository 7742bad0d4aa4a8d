"""Logging in: the portal over the credentials, with failures slowed down and bounded by the clock."""

import asyncio

import pytest

from mailsandbox.access.login import Admitted, Denied, HashedPassword, IMailAccount, LoginPolicy, Logins, Realm
from mailsandbox.clock import ManualClock
from mailsandbox.sasl import Failure, FailureCode, Success
from mailsandbox.store.credentials import AccountSpec, Credentials

CREDENTIALS = Credentials(
    any_account=False, specs={"bob@beta.test": AccountSpec("secret"), "any@beta.test": AccountSpec()}
)


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def made():
    return []


@pytest.fixture
def logins(clock, made):
    async def ensure(address):
        made.append(address)

    return Logins(CREDENTIALS, ensure=ensure, clock=clock, policy=LoginPolicy())


async def test_a_right_password_opens_the_account_in_lower_case_and_makes_it(logins, made):
    assert await logins.guard().password("Bob@Beta.Test", "secret") == Admitted("bob@beta.test")
    assert made == ["bob@beta.test"]


@pytest.mark.parametrize(("login", "password"), [("bob@beta.test", "wrong"), ("nobody@beta.test", "secret"), ("", "")])
async def test_a_wrong_password_and_an_unknown_login_are_told_alike_and_make_nothing(logins, made, login, password):
    assert await logins.guard().password(login, password) == Denied(
        "login or password is wrong", FailureCode.CREDENTIALS
    )
    assert made == []


async def test_a_digest_is_checked_against_the_password(logins):
    assert await logins.guard().digest("bob@beta.test", lambda key: key == b"secret") == Admitted("bob@beta.test")
    assert isinstance(await logins.guard().digest("bob@beta.test", lambda key: False), Denied)


async def test_any_digest_opens_an_account_without_a_password(logins):
    assert await logins.guard().digest("any@beta.test", lambda key: False) == Admitted("any@beta.test")


async def test_the_end_of_a_sasl_exchange_is_taken_as_it_is(logins):
    guard = logins.guard()
    assert await guard.sasl(Success("bob@beta.test", "bob@beta.test")) == Admitted("bob@beta.test")
    refused = Failure("may not", FailureCode.FORBIDDEN, "bob@beta.test")
    assert await guard.sasl(refused) == Denied("may not", FailureCode.FORBIDDEN)


async def test_failures_on_one_connection_are_answered_ever_later_and_the_fifth_is_final(logins, clock):
    guard, answered = logins.guard(), []

    async def guess():
        for _ in range(5):
            outcome = await guard.password("bob@beta.test", "guess")
            answered.append((clock.now() - start, outcome.final))

    start = clock.now()
    guessing = asyncio.ensure_future(guess())
    await clock.advance(60)
    await guessing
    assert answered == [(0.0, False), (0.5, False), (1.5, False), (3.5, False), (7.5, True)]


async def test_a_burst_of_failures_slows_the_account_down_on_every_connection(logins, clock):
    for _ in range(20):
        await logins.guard().password("bob@beta.test", "guess")
    slow = asyncio.ensure_future(logins.guard().password("bob@beta.test", "guess"))
    await clock.advance(3.9)
    assert not slow.done()
    await clock.advance(0.2)
    assert isinstance(await slow, Denied)
    assert await logins.guard().password("bob@beta.test", "secret") == Admitted("bob@beta.test")
    await clock.advance(60)
    assert isinstance(await asyncio.wait_for(logins.guard().password("bob@beta.test", "guess"), 1), Denied)


async def test_what_is_remembered_of_failures_is_bounded(logins):
    for number in range(1_100):
        await logins.guard().password(f"user{number}@beta.test", "x")
    assert len(logins._failures) == 1_000


async def test_a_store_that_cannot_make_the_account_is_heard(clock):
    async def ensure(address):
        raise OSError("disk")

    logins = Logins(CREDENTIALS, ensure=ensure, clock=clock, policy=LoginPolicy())
    with pytest.raises(OSError, match="disk"):
        await logins.guard().password("bob@beta.test", "secret")


def test_the_realm_serves_mail_accounts_only():
    with pytest.raises(NotImplementedError):
        Realm().requestAvatar(b"bob", None, HashedPassword)
    assert IMailAccount is not None
