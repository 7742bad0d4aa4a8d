"""Tasks are kept, failures are told, and the owner can end them."""

import asyncio
import gc
import weakref

from mailsandbox.tasks import Tasks


async def test_a_running_task_is_never_collected():
    tasks = Tasks()

    async def wait():
        # Nothing but the task refers to this future, and nothing but the future to the task: a cycle to collect.
        await asyncio.get_running_loop().create_future()

    task = weakref.ref(tasks.spawn(wait(), name="waiting"))
    await asyncio.sleep(0)
    gc.collect()
    assert task() is not None
    await tasks.aclose()


async def test_a_failure_is_logged_with_the_name_of_the_task(caplog):
    tasks = Tasks()

    async def fail():
        raise LookupError("no such thing")

    tasks.spawn(fail(), name="the failing one")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert "the failing one" in caplog.text
    assert "no such thing" in caplog.text


async def test_closing_cancels_what_still_runs():
    tasks = Tasks()
    task = tasks.spawn(asyncio.Event().wait(), name="forever")
    await asyncio.sleep(0)
    await tasks.aclose()
    await tasks.aclose()
    assert task.cancelled()
