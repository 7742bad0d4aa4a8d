"""Case 20: many messages, one dead domain; and a message that grows beyond the next hop's SIZE."""

import asyncio
import socket

import pytest
from reports import read_report

from mailsandbox.encoding import prepare
from mailsandbox.mailqueue.attempts import QueueLimits


async def test_dead_domain_does_not_delay_the_other_and_concurrency_is_never_exceeded(make_rig, make_hop):
    silent = socket.socket()  # a full backlog: connections neither succeed nor fail
    silent.bind(("127.0.0.1", 0))
    silent.listen(0)
    fill = []
    for _ in range(4):
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex(silent.getsockname())
        fill.append(one)
    hop = await make_hop()
    rig = await make_rig(limits=QueueLimits(concurrency=4, initial_concurrency=2))
    rig.zone(
        {
            "dead.test": {"A": "127.0.0.1", "port": silent.getsockname()[1]},
            "live.test": {"A": "127.0.0.1", "port": hop.port},
        }
    )
    for number in range(100):
        await rig.enqueue(f"b{number}@dead.test")
        await rig.enqueue(f"b{number}@live.test")
    async with asyncio.timeout(4):  # the dead domain's first connection would fail after five seconds
        while len(hop.messages) < 100:
            await asyncio.sleep(0.01)
    assert hop.most_open <= 4
    assert len({got.recipients[0] for got in hop.messages}) == 100
    assert hop.connections <= 8  # connections are used again
    for one in (silent, *fill):
        one.close()


async def test_what_waits_behind_a_dead_destination_is_deferred_with_its_answer(make_rig):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    rig = await make_rig(limits=QueueLimits(concurrency=2, initial_concurrency=1))
    rig.zone({"dead.test": {"A": "127.0.0.1", "port": port}})
    names = [await rig.enqueue(f"b{number}@dead.test") for number in range(50)]
    await rig.queue.quiet()
    assert sum(len(rig.attempts(name)) for name in names) < 10
    items = await rig.queue.items()
    assert len(items) == 50
    assert {item.recipients[0].reply.enhanced for item in items} == {"4.4.1"}
    assert {item.recipients[0].attempts for item in items} == {1}


@pytest.mark.rfc(1870, "6.1")
async def test_message_that_grows_beyond_size_by_conversion_bounces_552_5_3_4_without_data(make_rig, make_hop):
    hop = await make_hop(offers=("PIPELINING", "SIZE 1000000"))
    rig = await make_rig(prepare=prepare)
    rig.route("beta.test", hop)
    octets = (
        "From: a@alpha.test\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
        "Content-Transfer-Encoding: 8bit\r\n\r\n" + ("я" * 35 + "\r\n") * 12_500
    ).encode()
    assert 880_000 < len(octets) < 1_000_000
    await rig.send("b@beta.test", octets=octets, body="8BITMIME")
    [fields] = read_report(rig.home[0].octets).recipients
    assert fields["Status"] == "5.3.4"
    assert "552 5.3.4" in fields["Diagnostic-Code"]
    assert not any(line.startswith("DATA") for line in hop.lines)
