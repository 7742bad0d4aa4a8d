"""The log of changes, polled: plainly, conditionally, and with patience."""

import asyncio
import dataclasses

import pytest

from mailsandbox.access.http.changes import preferred_wait
from mailsandbox.access.http.context import HttpOptions

BOB = "bob@beta.test"
LOG = f"/v1/accounts/{BOB}/changes"


async def cursor_of(house) -> int:
    return (await house.client.get(LOG)).json()["cursor"]


async def test_an_entry_has_the_documented_members(house):
    landed = await house.deliver()
    log = (await house.client.get(LOG)).json()
    entry = log["changes"][-1]
    assert {"seq", "type", "mailbox", "uid", "message_id", "at"} <= entry.keys()
    assert (entry["type"], entry["mailbox"], entry["uid"]) == ("MessageNew", "INBOX", landed.uid)
    assert (entry["message_id"], entry["committed_ns"]) == (landed.message_id, landed.committed_ns)
    assert log["cursor"] == entry["seq"] == landed.seq


async def test_since_gives_only_what_came_after(house):
    first = await house.deliver()
    second = await house.deliver()
    log = (await house.client.get(LOG, params={"since": first.seq})).json()
    assert [change["seq"] for change in log["changes"]] == [second.seq]


async def test_limit_pages_without_gaps(house):
    for _ in range(5):
        await house.deliver()
    seen, cursor = [], 0
    for _ in range(20):
        log = (await house.client.get(LOG, params={"since": cursor, "limit": 2})).json()
        if not log["changes"]:
            break
        assert len(log["changes"]) <= 2
        seen += [change["seq"] for change in log["changes"]]
        cursor = log["cursor"]
    assert seen == list(range(1, cursor + 1))


async def test_an_account_that_has_not_come_into_being_has_an_empty_log(house):
    log = (await house.client.get("/v1/accounts/later@beta.test/changes")).json()
    assert log == {"changes": [], "cursor": 0}


async def test_a_cursor_from_the_future_is_told_to_start_over(house):
    landed = await house.deliver()
    log = (await house.client.get(LOG, params={"since": landed.seq + 100})).json()
    assert log == {"changes": [], "cursor": landed.seq, "reset": True}


async def test_types_and_mailboxes_select(house):
    landed = await house.deliver()
    await house.store.store_flags(BOB, "INBOX", [landed.uid], add=["\\Seen"])
    by_type = (await house.client.get(LOG, params={"types": "FlagsSet,FlagsClear"})).json()
    assert [change["type"] for change in by_type["changes"]] == ["FlagsSet"]
    assert by_type["changes"][0]["flags"] == ["\\Seen"]
    by_mailbox = (await house.client.get(LOG, params={"mailbox": "Elsewhere"})).json()
    assert by_mailbox["changes"] == []
    assert by_mailbox["cursor"] == by_type["cursor"]
    assert (await house.client.get(LOG, params={"types": "MessageRead"})).status_code == 422


@pytest.mark.rfc(9110, "13.1.2")
async def test_a_poller_with_the_newest_cursor_gets_304_until_something_comes(house):
    await house.deliver()
    first = await house.client.get(LOG)
    tag = first.headers["etag"]
    assert tag == f'"{first.json()["cursor"]}"'
    url = f"{LOG}?since={first.json()['cursor']}"
    assert (await house.client.get(url, headers={"If-None-Match": tag})).status_code == 304
    landed = await house.deliver()
    again = await house.client.get(url, headers={"If-None-Match": tag})
    assert [change["seq"] for change in again.json()["changes"]] == [landed.seq]


@pytest.mark.rfc(7240, "4.3")
async def test_a_long_poll_is_answered_when_the_message_is_committed(house):
    cursor = await cursor_of(house)
    waiting = asyncio.create_task(house.client.get(f"{LOG}?since={cursor}", headers={"Prefer": "wait=30"}))
    while not house.context.counts.readers["long-poll"]:
        await asyncio.sleep(0)
    landed = await house.deliver()
    answer = await waiting
    assert landed.message_id in [change["message_id"] for change in answer.json()["changes"]]
    assert answer.headers["preference-applied"] == "wait=30"


async def test_a_long_poll_with_something_to_tell_does_not_wait(house):
    landed = await house.deliver()
    answer = await house.client.get(f"{LOG}?since={landed.seq - 1}", headers={"Prefer": "wait=30"})
    assert [change["seq"] for change in answer.json()["changes"]] == [landed.seq]


@pytest.mark.rfc(7240, "4.3")
async def test_a_long_poll_without_news_ends_in_204(house):
    landed = await house.deliver()
    answer = await house.client.get(f"{LOG}?since={landed.seq}", headers={"Prefer": "wait=0"})
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["preference-applied"] == "wait=0"
    answer = await house.client.get(f"{LOG}?since={landed.seq}", headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.headers["preference-applied"]) == (204, "wait=1")


async def test_a_long_poll_for_one_type_sleeps_through_the_others(house):
    landed = await house.deliver()
    url = f"{LOG}?since={landed.seq}&types=MessageExpunge"
    waiting = asyncio.create_task(house.client.get(url, headers={"Prefer": "wait=30"}))
    while not house.context.counts.readers["long-poll"]:
        await asyncio.sleep(0)
    await house.deliver()
    await house.store.remove(BOB, "INBOX", [landed.uid])
    assert [change["type"] for change in (await waiting).json()["changes"]] == ["MessageExpunge"]


async def test_a_long_poller_that_leaves_is_not_waited_for(house):
    _reader, writer = await asyncio.open_connection("127.0.0.1", house.server.port)
    writer.write(f"GET {LOG} HTTP/1.1\r\nHost: localhost\r\nPrefer: wait=300\r\n\r\n".encode())
    while not house.context.counts.readers["long-poll"]:
        await asyncio.sleep(0)
    writer.close()
    await writer.wait_closed()
    while house.context.counts.readers["long-poll"]:
        await asyncio.sleep(0)
    assert len(house.context.hub) == 0


@pytest.mark.rfc(7240, "2")
@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ([], None),
        (["wait=5"], 5),
        (["respond-async, wait=10"], 10),
        (["respond-async", "wait=7; note"], 7),
        (['wait="5"'], 5),
        (["WAIT = 5"], 5),
        (["wait=100000"], 300),
        (["wait=-1"], None),
        (["wait=soon"], None),
        (["wait"], None),
        (["wait=1, wait=2"], 1),
        (["wait=" + "9" * 5000], None),
        (["await=5"], None),
    ],
)
def test_prefer_wait_is_read_as_rfc_7240_says(fields, seconds):
    assert preferred_wait(fields, 300.0) == seconds


@pytest.mark.parametrize(
    "bad",
    ["since=x", "since=-1", "since=1&since=2", "limit=0", "limit=1001", "sinse=1", "since=1.5", "since=9" + "9" * 40],
)
async def test_a_parameter_that_is_wrong_is_named(house, bad):
    answer = await house.client.get(f"{LOG}?{bad}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["where"] == f"?{bad.partition('=')[0]}"


class TestStopping:
    """What a stop does to those who wait."""

    @pytest.fixture
    def options(self):
        return dataclasses.replace(HttpOptions(), longest_wait=300.0)

    async def test_the_stop_of_the_server_ends_a_long_poll(self, house):
        waiting = asyncio.create_task(house.client.get(LOG, headers={"Prefer": "wait=300"}))
        while not house.context.counts.readers["long-poll"]:
            await asyncio.sleep(0)
        await house.server.aclose()
        assert (await waiting).status_code == 204
        assert len(house.context.tasks) == 0
