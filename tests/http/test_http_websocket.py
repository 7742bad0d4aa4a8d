"""The WebSocket, driven by python-websockets."""

import asyncio
import json

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

BOB = "bob@beta.test"
LOG = f"/v1/accounts/{BOB}/changes"
PROTOCOL = "mailsandbox.v1+json"


def socket(house, query: str = "", **arguments):
    url = house.url.replace("http", "ws") + f"{LOG}/ws{query}"
    return connect(url, subprotocols=[PROTOCOL], proxy=None, **arguments)


async def said(link) -> dict:
    return json.loads(await asyncio.wait_for(link.recv(), 5))


async def subscribe(link, **wanted) -> dict:
    await link.send(json.dumps({"subscribe": wanted}))
    return await said(link)


async def test_it_pushes_what_polling_shows(house):
    landed = await house.deliver()
    async with socket(house, f"?since={landed.seq - 1}") as link:
        pushed = await said(link)
        assert link.subprotocol == PROTOCOL
    (polled,) = (await house.client.get(LOG, params={"since": landed.seq - 1})).json()["changes"]
    assert pushed == polled


async def test_without_since_only_what_comes_is_pushed(house):
    await house.deliver()
    async with socket(house) as link:
        await subscribe(link)
        landed = await house.deliver()
        assert (await said(link))["seq"] == landed.seq


async def test_a_subscription_is_confirmed_with_its_cursor_and_replaces_the_one_before(house):
    first = await house.deliver()
    second = await house.deliver()
    async with socket(house) as link:
        assert await subscribe(link, since=first.seq) == {"type": "subscribed", "cursor": first.seq}
        assert (await said(link))["seq"] == second.seq
        await subscribe(link, types=["MessageExpunge"])
        await house.deliver()
        await house.store.remove(BOB, "INBOX", [first.uid])
        assert (await said(link))["type"] == "MessageExpunge"


async def test_a_window_holds_the_rest_back_until_it_is_acknowledged(house):
    landed = [await house.deliver() for _ in range(5)]
    async with socket(house) as link:
        await subscribe(link, since=landed[0].seq - 1, window=2)
        assert [(await said(link))["seq"] for _ in range(2)] == [landed[0].seq, landed[1].seq]
        await link.send(json.dumps({"ping": "still there"}))
        assert await said(link) == {"type": "pong", "ping": "still there"}
        await link.send(json.dumps({"ack": landed[0].seq}))
        assert (await said(link))["seq"] == landed[2].seq
        await link.send(json.dumps({"ack": landed[2].seq}))
        assert [(await said(link))["seq"] for _ in range(2)] == [landed[3].seq, landed[4].seq]


async def test_an_expired_cursor_gets_reset_and_the_socket_goes_on(house):
    landed = await house.deliver()
    async with socket(house, f"?since={landed.seq + 5}") as link:
        assert await said(link) == {"type": "reset", "cursor": landed.seq}
        new = await house.deliver()
        assert (await said(link))["seq"] == new.seq


@pytest.mark.parametrize(
    "message",
    [
        "",
        "x",
        "[]",
        "{}",
        '{"ack": 1, "ping": "a"}',
        '{"ack": -1}',
        '{"subscribe": {"window": 0}}',
        '{"subscribe": {"types": ["Nothing"]}}',
        '{"unsubscribe": true}',
        '{"ping": "' + "a" * 200 + '"}',
        b"\x00\x01",
    ],
)
@pytest.mark.rfc(6455, "7.4.1")
async def test_a_message_outside_the_protocol_is_named_and_closes_with_1008(house, message):
    async with socket(house) as link:
        await link.send(message)
        answer = await said(link)
        assert answer["type"] == "error"
        assert answer["detail"]
        with pytest.raises(ConnectionClosed) as closed:
            await link.recv()
        assert closed.value.rcvd.code == 1008


@pytest.mark.rfc(6455, "7.4.1")
async def test_an_overlong_message_closes_with_1009(house):
    async with socket(house) as link:
        await link.send("x" * 100_000)
        with pytest.raises(ConnectionClosed) as closed:
            await link.recv()
        assert closed.value.rcvd.code == 1009


@pytest.mark.parametrize("query", ["?since=x", "?since=-1", "?other=1", "?types=Nothing"])
async def test_a_wrong_query_is_refused_before_the_handshake(house, query):
    with pytest.raises(InvalidStatus) as refused:
        async with socket(house, query):
            pass
    assert refused.value.response.status_code == 422
    assert json.loads(refused.value.response.body)["status"] == 422


async def test_a_client_without_the_subprotocol_is_served_without_it(house):
    async with connect(house.url.replace("http", "ws") + f"{LOG}/ws", proxy=None) as link:
        assert link.subprotocol is None
        assert (await subscribe(link))["type"] == "subscribed"


async def test_pings_are_answered(house):
    async with socket(house) as link:
        await asyncio.wait_for(await link.ping(), 5)


async def test_a_socket_that_leaves_is_forgotten(house):
    async with socket(house) as link:
        await subscribe(link)
        assert house.context.counts.readers["websocket"] == 1
    while len(house.context.hub) or len(house.context.tasks):
        await asyncio.sleep(0)
    assert house.context.counts.readers["websocket"] == 0


async def test_the_stop_of_the_server_closes_the_socket_as_a_restart(house):
    async with socket(house) as link:
        await subscribe(link)
        await house.server.aclose()
        with pytest.raises(ConnectionClosed) as closed:
            await link.recv()
        assert closed.value.rcvd.code in (1001, 1012)
    assert len(house.context.tasks) == 0
