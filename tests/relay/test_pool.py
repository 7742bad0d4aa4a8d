"""Kept connections: how long, how often, and how they end."""

import asyncio

import pytest

from mailsandbox.clock import ManualClock
from mailsandbox.journey.sessions import SessionLog
from mailsandbox.relay.connection import Timeouts
from mailsandbox.relay.opening import open_connection
from mailsandbox.relay.pool import Pool
from mailsandbox.relay.routes import Hop
from mailsandbox.relay.tls import TlsPolicy


async def connect(hop_server):
    hop = Hop("hop.test", "127.0.0.1", hop_server.port)
    session = SessionLog(ManualClock()).open("relay", "alpha.relay", peer=hop.place, local="here")
    return await open_connection(
        hop, helo="mx.alpha.test", tls=TlsPolicy("off"), timeouts=Timeouts(connect=5, greeting=5), session=session
    )


async def until(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def test_connection_is_kept_by_hop_and_level_and_given_to_one_user_only(make_hop):
    hop = await make_hop()
    pool, connection = Pool(Timeouts()), await connect(hop)
    pool.give(connection, "off")
    assert len(pool) == 1
    assert pool.take(connection.hop, "required") is None
    assert pool.take(connection.hop, "off") is connection
    assert pool.take(connection.hop, "off") is None
    pool.give(connection, "off")
    await pool.aclose()
    assert hop.lines[-1] == "QUIT"


async def test_idle_connection_is_closed_with_quit(make_hop):
    hop = await make_hop()
    pool, connection = Pool(Timeouts(), idle=0.01), await connect(hop)
    pool.give(connection, "off")
    await until(lambda: "QUIT" in hop.lines)
    assert len(pool) == 0
    assert pool.take(connection.hop, "off") is None
    await pool.aclose()


async def test_other_connections_stay_when_one_expires(make_hop):
    hop = await make_hop()
    pool = Pool(Timeouts(), idle=0.01)
    first, second = await connect(hop), await connect(hop)
    pool.give(first, "off")
    pool._idle = 60
    pool.give(second, "off")
    await until(lambda: not first.usable)
    assert len(pool) == 1
    assert pool.take(second.hop, "off") is second
    second.abort()
    await pool.aclose()
    assert hop.lines.count("QUIT") == 1


async def test_connection_that_has_been_used_enough_is_closed(make_hop):
    hop = await make_hop()
    pool, connection = Pool(Timeouts(), uses=3), await connect(hop)
    connection.transactions = 3
    pool.give(connection, "off")
    assert len(pool) == 0
    await until(lambda: "QUIT" in hop.lines)
    await pool.aclose()


async def test_connection_that_the_server_closed_meanwhile_is_not_given_out(make_hop):
    hop = await make_hop()
    pool, connection = Pool(Timeouts()), await connect(hop)
    pool.give(connection, "off")
    await hop.aclose()
    await until(lambda: not connection.usable)
    assert pool.take(connection.hop, "off") is None
    await pool.aclose()


async def test_server_that_does_not_answer_quit_is_not_waited_for(make_hop):
    hop = await make_hop(script={"QUIT": ["HANG"]})
    pool, connection = Pool(Timeouts(quit=0.01)), await connect(hop)
    pool.give(connection, "off")
    async with asyncio.timeout(2):
        await pool.aclose()
    assert connection.session.outcome == "closed"


async def test_broken_connection_is_not_kept(make_hop):
    hop = await make_hop()
    pool, connection = Pool(Timeouts()), await connect(hop)
    connection.abort()
    pool.give(connection, "off")
    assert len(pool) == 0
    assert connection.session.outcome == "aborted"


async def test_the_alarm_of_an_earlier_wait_does_not_end_a_later_one(make_hop):
    connection = await connect(await make_hop())
    waiting = asyncio.ensure_future(connection._wait(60))
    await asyncio.sleep(0)
    connection._ring()
    await asyncio.sleep(0)
    assert not waiting.done()
    connection._deadline = 0.0
    connection._ring()
    with pytest.raises(TimeoutError):
        await waiting
    connection.abort()
