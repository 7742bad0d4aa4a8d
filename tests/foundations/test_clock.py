"""The manual clock: it stands still, stops at every deadline, and waits for work."""

import asyncio

import pytest

from mailsandbox.clock import ManualClock
from mailsandbox.tasks import Tasks


async def test_it_stands_still_until_it_is_advanced():
    clock = ManualClock(start=100.0)
    assert clock.now() == 100.0
    assert await clock.advance(5) == clock.now() == 105.0


async def test_sleepers_wake_in_the_order_of_their_deadlines_at_their_deadlines():
    clock, tasks, woken = ManualClock(start=0.0), Tasks(), []

    async def sleep(until):
        await clock.sleep_until(until)
        woken.append((until, clock.now()))

    for until in (30.0, 10.0, 20.0):
        tasks.spawn(sleep(until), name=str(until))
    await clock.advance(20)
    assert woken == [(10.0, 10.0), (20.0, 20.0)]
    await clock.advance(100)
    assert woken[-1] == (30.0, 30.0)


async def test_a_retry_that_is_scheduled_while_advancing_happens_in_the_same_advance():
    clock, tasks, attempts = ManualClock(start=0.0), Tasks(), []

    async def retry():
        while len(attempts) < 5:
            await clock.sleep_until(clock.now() + 60)
            with clock.working():
                for _ in range(50):  # an attempt takes its time on the wire
                    await asyncio.sleep(0)
                attempts.append(clock.now())

    tasks.spawn(retry(), name="retry")
    await clock.advance(600)
    assert attempts == [60.0, 120.0, 180.0, 240.0, 300.0]


async def test_time_does_not_run_back():
    with pytest.raises(ValueError, match="cannot go back"):
        await ManualClock().advance(-1)


async def test_a_sleeper_that_was_cancelled_does_not_stop_the_clock():
    clock, tasks = ManualClock(start=0.0), Tasks()
    task = tasks.spawn(clock.sleep_until(10), name="sleeper")
    await asyncio.sleep(0)
    task.cancel()
    assert await clock.advance(20) == 20.0


async def test_work_that_rests_does_not_keep_a_manual_clock_from_moving_and_other_work_does():
    clock = ManualClock()
    woken: list[float] = []

    async def delayed() -> None:
        with clock.working(), clock.resting():
            await clock.sleep_until(clock.now() + 10)
        woken.append(clock.now())

    tasks = Tasks()
    began = clock.now()
    tasks.spawn(delayed(), name="delayed")
    with clock.working():
        moving = tasks.spawn(clock.advance(10), name="moving")
        for _ in range(20):
            await asyncio.sleep(0)
        assert clock.now() == began
    await moving
    assert woken == [began + 10]


async def test_it_tells_where_it_goes_before_it_is_there_and_never_begins_earlier_than_it_stands():
    clock, told = ManualClock(start=100.0), []

    async def keep(at):
        told.append((at, clock.now()))

    clock.go_on(50.0, keep=keep)
    assert clock.now() == 100.0
    clock.go_on(200.0, keep=keep)
    await clock.advance(5)
    await clock.advance(0)
    assert told == [(205.0, 200.0)]


async def test_whoever_advances_it_less_meanwhile_does_not_take_it_back():
    clock = ManualClock(start=0.0)
    await asyncio.gather(clock.advance(1), clock.advance(10), clock.advance(5))
    assert clock.now() == 10.0
