"""One queue in PostgreSQL, several daemons: nothing is tried twice, and nothing is left behind by one that dies."""

import asyncio

from interleaving import meanwhile
from kit import LATER_OUTCOME, Kit
from postgres_cluster import postgres  # noqa: F401

from mailsandbox.clock import ManualClock
from mailsandbox.database.opening import open_database
from mailsandbox.mailqueue.attempts import QueueLimits
from mailsandbox.mailqueue.model import RecipientStatus
from mailsandbox.mailqueue.spool import Spool


async def test_the_queue_works_there_as_in_sqlite(make_kit, postgres):  # noqa: F811
    kit = await make_kit(database=open_database(postgres.new_database()))
    kit.courier.answers["b@beta.test"] = [LATER_OUTCOME]
    queue_id = await kit.send("b@beta.test", "c@gamma.test", octets=b"\x00binary\xff")
    [row] = (await kit.queue.item(queue_id)).recipients
    assert (row.address, row.status, row.attempts) == ("b@beta.test", RecipientStatus.WAITING, 1)
    await kit.queue.hold(queue_id)
    await kit.clock.advance(60)
    assert len(kit.courier.attempts) == 2
    await kit.queue.release(queue_id)
    await kit.clock.advance(0)
    assert await kit.queue.count() == 0
    assert {octets for *_, octets in kit.courier.attempts} == {b"\x00binary\xff"}


async def test_two_daemons_share_what_is_due_without_trying_anything_twice(make_kit, postgres):  # noqa: F811
    url, clock = postgres.new_database(), ManualClock()
    first = await make_kit(database=open_database(url), clock=clock, limits=QueueLimits(claim=3))
    for number in range(40):
        first.courier.answers[f"b{number}@beta.test"] = [LATER_OUTCOME]
        await first.send(f"b{number}@beta.test")
    second = await make_kit(database=open_database(url), clock=clock, limits=QueueLimits(claim=3))
    await asyncio.gather(first.queue.run(), second.queue.run())
    await clock.advance(0)
    tried = [
        addresses[0] for kit in (first, second) for _, _, addresses, number, _ in kit.courier.attempts if number == 2
    ]
    assert sorted(tried) == sorted(f"b{number}@beta.test" for number in range(40))
    assert second.courier.attempts
    assert await first.queue.count() == 0


async def test_daemons_that_meet_on_an_empty_database_all_start(postgres):  # noqa: F811
    url = postgres.new_database()
    kits = [Kit(database=open_database(url)) for _ in range(6)]
    await asyncio.gather(*(kit.start() for kit in kits))
    await kits[0].send("b@beta.test")
    assert await kits[5].queue.count() == 0
    for kit in kits:
        await kit.aclose()


async def test_the_last_two_recipients_done_at_two_daemons_at_once_take_the_message_along(make_kit, postgres):  # noqa: F811
    url = postgres.new_database()
    kit = await make_kit(database=open_database(url))
    for address in ("b@beta.test", "c@gamma.test"):
        kit.courier.answers[address] = [LATER_OUTCOME]
    queue_id = await kit.send("b@beta.test", "c@gamma.test")
    await kit.queue.hold(queue_id)
    spool = Spool("alpha")
    content = await kit.database.read(lambda tx: spool.item_in(tx, queue_id).content)
    dropped = await meanwhile(
        url,
        lambda tx: spool.drop_in(tx, queue_id, content, [0]),
        lambda: kit.database.write(lambda tx: spool.drop_in(tx, queue_id, content, [1])),
    )
    assert dropped == 1
    tables = ("queue_messages", "queue_recipients", "blobs")
    left = await kit.database.read(lambda tx: [tx.execute(f"SELECT * FROM {name}").fetchall() for name in tables])
    assert left == [[], [], []]
