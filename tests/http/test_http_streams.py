"""Server-sent events and lines of JSON, read by httpx-sse and by hand."""

import asyncio
import dataclasses
import json
import socket
from contextlib import asynccontextmanager

import pytest
from httpx_sse import aconnect_sse

from mailsandbox.access.http.context import HttpOptions

BOB = "bob@beta.test"
LOG = f"/v1/accounts/{BOB}/changes"


@asynccontextmanager
async def listening(house, **arguments):
    """The events of a stream that is known to be open."""
    async with aconnect_sse(house.client, "GET", f"{LOG}/sse", **arguments) as source:
        while not house.context.counts.readers["sse"]:
            await asyncio.sleep(0)
        yield aiter(source.aiter_sse())


async def opened(house, path: str, *fields: str, size: int = 0):
    """A raw connection whose answer has begun."""
    link = socket.socket()
    if size:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
    link.setblocking(False)
    await asyncio.get_running_loop().sock_connect(link, ("127.0.0.1", house.server.port))
    reader, writer = await asyncio.open_connection(sock=link, limit=1 << 16)
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", *fields, "", ""]
    writer.write("\r\n".join(lines).encode())
    head = await reader.readuntil(b"\r\n\r\n")
    return head.decode("latin-1"), reader, writer


async def test_each_change_is_an_event_with_its_seq_as_id(house):
    async with listening(house) as events:
        landed = await house.deliver()
        event = await anext(events)
        if json.loads(event.data)["type"] == "MailboxCreate":
            event = await anext(events)
    assert (event.event, event.id, event.retry) == ("MessageNew", str(landed.seq), event.retry)
    entry = json.loads(event.data)
    assert (entry["message_id"], entry["committed_ns"]) == (landed.message_id, landed.committed_ns)


async def test_the_event_is_the_entry_that_polling_gives(house):
    landed = await house.deliver()
    async with listening(house, params={"since": landed.seq - 1}) as events:
        pushed = json.loads((await anext(events)).data)
    (polled,) = (await house.client.get(LOG, params={"since": landed.seq - 1})).json()["changes"]
    assert pushed == polled


async def test_last_event_id_resumes_and_goes_before_since(house):
    landed = [await house.deliver() for _ in range(4)]
    headers = {"Last-Event-ID": str(landed[1].seq)}
    async with listening(house, params={"since": 0}, headers=headers) as events:
        assert [int((await anext(events)).id) for _ in range(2)] == [landed[2].seq, landed[3].seq]


async def test_without_a_cursor_only_what_comes_is_pushed(house):
    await house.deliver()
    async with listening(house) as events:
        new = await house.deliver()
        assert int((await anext(events)).id) == new.seq


async def test_an_expired_cursor_gets_reset_and_the_stream_goes_on(house):
    landed = await house.deliver()
    async with listening(house, params={"since": landed.seq + 50}) as events:
        event = await anext(events)
        assert (event.event, event.id) == ("reset", str(landed.seq))
        assert json.loads(event.data) == {"type": "reset", "cursor": landed.seq}
        new = await house.deliver()
        assert int((await anext(events)).id) == new.seq


@pytest.mark.parametrize("given", ["x", "-1", "1.0", "é", "9" * 30, "1 2"])
async def test_an_id_that_no_stream_gave_is_refused(house, given):
    answer = await house.client.get(f"{LOG}/sse", headers={"Last-Event-ID": given.encode()})
    assert answer.status_code == 422


async def test_the_stream_is_utf8_unbuffered_and_uncached(house):
    head, _, writer = await opened(house, f"{LOG}/sse")
    assert "content-type: text/event-stream; charset=utf-8" in head.lower()
    assert "x-accel-buffering: no" in head.lower()
    assert "cache-control: no-store" in head.lower()
    writer.close()


async def test_lines_of_json_carry_the_same_entries(house):
    landed = await house.deliver()
    async with house.client.stream("GET", f"{LOG}/stream", params={"since": landed.seq - 1}) as answer:
        assert answer.headers["content-type"] == "application/x-ndjson"
        async for line in answer.aiter_lines():
            pushed = json.loads(line)
            break
    (polled,) = (await house.client.get(LOG, params={"since": landed.seq - 1})).json()["changes"]
    assert pushed == polled


async def test_a_line_stream_tells_a_reset(house):
    landed = await house.deliver()
    async with house.client.stream("GET", f"{LOG}/stream", params={"since": landed.seq + 9}) as answer:
        line = await anext(answer.aiter_lines())
    assert json.loads(line) == {"type": "reset", "cursor": landed.seq}


async def test_head_of_a_stream_ends_at_once(house):
    for path in ("sse", "stream"):
        answer = await house.client.head(f"{LOG}/{path}")
        assert (answer.status_code, answer.content) == (200, b"")
    assert len(house.context.hub) == 0


async def test_a_reader_that_leaves_is_forgotten(house):
    for path in ("sse", "stream"):
        _, _, writer = await opened(house, f"{LOG}/{path}")
        while not house.context.counts.readers[path]:
            await asyncio.sleep(0)
        assert len(house.context.hub) == 1
        writer.close()
        await writer.wait_closed()
        while house.context.counts.readers[path] or len(house.context.hub) or len(house.context.tasks):
            await asyncio.sleep(0)


async def test_the_stop_of_the_server_ends_every_stream_properly(house):
    readers = [await opened(house, f"{LOG}/{path}") for path in ("sse", "stream")]
    while len(house.context.hub) < 2:
        await asyncio.sleep(0)
    await house.server.aclose()
    for _, reader, writer in readers:
        rest = await reader.read()
        assert rest.endswith(b"0\r\n\r\n")  # RFC 9112 §7.1: the last chunk
        writer.close()
    assert len(house.context.tasks) == 0


class TestHeartbeat:
    """Silence is told from a dead connection."""

    @pytest.fixture
    def options(self):
        return dataclasses.replace(HttpOptions(), heartbeat=0.01)

    async def test_an_idle_event_stream_sends_comments(self, house):
        _, reader, writer = await opened(house, f"{LOG}/sse")
        await reader.readuntil(b":\n")
        writer.close()

    async def test_an_idle_line_stream_sends_empty_lines(self, house):
        _, reader, writer = await opened(house, f"{LOG}/stream")
        await reader.readuntil(b"1\r\n\n\r\n")
        writer.close()

    async def test_a_comment_is_no_event_to_a_client(self, house):
        async with listening(house) as events:
            await house.deliver()
            while (event := await anext(events)).event != "MessageNew":
                assert event.data
            second = asyncio.create_task(anext(events))
            for _ in range(20):
                await asyncio.sleep(0.005)  # several heartbeats pass
            assert not second.done()
            landed = await house.deliver()
            assert (await second).id == str(landed.seq)


class TestStall:
    """A client that takes nothing."""

    @pytest.fixture
    def options(self):
        return dataclasses.replace(HttpOptions(), stall=0.05)

    async def test_a_client_that_takes_nothing_is_cut_off_and_costs_one_page(self, house):
        uids = [(await house.deliver(octets=b"\r\n")).uid for _ in range(200)]
        _, _reader, writer = await opened(house, f"{LOG}/stream?since=0", size=4096)
        writer.transport.pause_reading()
        for turn in range(200):  # far more than the kernel's buffers hold
            change = {"add": ["\\Seen"]} if turn % 2 else {"remove": ["\\Seen"]}
            await house.store.store_flags(BOB, "INBOX", uids, **change)
            if not house.context.counts.readers["stream"]:
                break
        while house.context.counts.readers["stream"]:
            await asyncio.sleep(0)
        assert len(house.context.hub) == 0
        writer.transport.abort()
        await asyncio.sleep(0)
