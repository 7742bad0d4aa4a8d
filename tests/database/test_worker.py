"""The thread behind the database: order, errors, and when a job begins."""

import asyncio
import contextlib
import sys
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from mailsandbox.database import worker as worker_module
from mailsandbox.database.worker import Worker


@contextlib.contextmanager
def switching_after(seconds: float) -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(seconds)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    worker = Worker("tested", asyncio.get_running_loop())
    yield worker
    await worker.aclose()


async def test_a_job_that_was_begun_runs_while_the_loop_has_not_rested(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "_LATE", 30.0)
    running, ended, free = threading.Event(), asyncio.Event(), threading.Event()

    def job() -> None:
        running.set()
        free.wait()  # which gives up the GIL, as a COMMIT does

    with switching_after(30.0):  # so a thread is given the GIL only by who waits
        worker.begin(job, lambda outcome: ended.set())
        was_running = running.is_set()
    free.set()
    await ended.wait()

    assert was_running


async def test_a_job_begun_behind_another_does_not_hold_up_the_loop_and_runs_in_its_turn(worker: Worker) -> None:
    order: list[object] = []
    free = threading.Event()
    ended = asyncio.Event()

    def first() -> str:
        free.wait()
        order.append("first ran")
        return "first"

    def second() -> str:
        order.append("second ran")
        return "second"

    def reported(outcome: object) -> None:
        order.append(outcome)
        ended.set()

    worker.submit(first, order.append)
    worker.begin(second, reported)
    order.append("the loop goes on")
    free.set()
    await ended.wait()

    assert order[0] == "the loop goes on"
    assert [one for one in order if one in ("first ran", "second ran")] == ["first ran", "second ran"]
    assert [one for one in order if one in ("first", "second")] == ["first", "second"]


async def test_the_error_of_a_job_is_reported_and_the_next_runs(worker: Worker) -> None:
    ended: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    def fails() -> None:
        raise ZeroDivisionError("of the job")

    worker.begin(fails, ended.set_result)

    assert isinstance(await ended, ZeroDivisionError)
    assert await worker.run(lambda: "next") == "next"
