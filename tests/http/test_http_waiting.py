"""GET /v1/wait, and the same in process."""

import asyncio
import re

import pytest

from mailsandbox.access.http.waiting import Arrived, TimedOut, addressed, wait_for

BOB = "bob@beta.test"


def letter(subject: str, text: str = "x", to: str = BOB) -> bytes:
    return f"From: Alice <alice@alpha.test>\r\nTo: {to}\r\nSubject: {subject}\r\n\r\n{text}\r\n".encode()


async def waiting(house, **parameters):
    task = asyncio.create_task(house.client.get("/v1/wait", params=parameters))
    while not house.context.counts.readers["wait"]:
        await asyncio.sleep(0)
    return task


async def test_what_is_there_already_counts(house):
    landed = await house.deliver()
    answer = await house.client.get("/v1/wait", params={"to": BOB, "subject": "été"})
    assert [message["id"] for message in answer.json()["messages"]] == [landed.message_id]


async def test_what_comes_is_answered_at_its_commit(house):
    task = await waiting(house, to=BOB, subject="second", timeout=30)
    await house.deliver(octets=letter("first"))
    await house.deliver("eve@beta.test", letter("second", to="eve@beta.test"))
    landed = await house.deliver(octets=letter("the SECOND one"))
    assert [message["id"] for message in (await task).json()["messages"]] == [landed.message_id]


async def test_count_waits_for_so_many_and_gives_the_oldest_first(house):
    first = await house.deliver()
    task = await waiting(house, count=3, timeout=30)
    second = await house.deliver()
    third = await house.deliver("eve@beta.test")
    ids = [message["id"] for message in (await task).json()["messages"]]
    assert set(ids) == {first.message_id, second.message_id, third.message_id}


async def test_text_is_found_before_the_store_has_indexed_it(house):
    task = await waiting(house, text="déjà VU", timeout=30)
    await house.deliver(octets=letter("no", "nothing"))
    landed = await house.deliver(octets=letter("yes", "c'est du Déjà vu"))
    assert (await task).json()["messages"][0]["id"] == landed.message_id


async def test_a_regular_expression_stands_between_slashes(house):
    await house.deliver(octets=letter("code 12"))
    landed = await house.deliver(octets=letter("Code 123456"))
    answer = await house.client.get("/v1/wait", params={"subject": r"/code \d{6}$/"})
    assert answer.json()["messages"][0]["id"] == landed.message_id


async def test_after_a_message_means_those_that_came_later(house):
    first = await house.deliver()
    task = await waiting(house, to=BOB, after=first.message_id, timeout=30)
    second = await house.deliver()
    assert [message["id"] for message in (await task).json()["messages"]] == [second.message_id]


async def test_after_a_time_leaves_the_older_ones_out(house):
    await house.deliver()
    await house.context.clock.advance(100)
    second = await house.deliver()
    for after in (str(house.context.clock.now() - 50), "2026-09-21T14:14:10Z"):
        answer = await house.client.get("/v1/wait", params={"after": after, "timeout": 0.05})
        assert [message["id"] for message in answer.json()["messages"]] == [second.message_id], after


async def test_time_out_is_408_with_the_nearest_misses_first(house):
    await house.deliver("eve@beta.test", letter("something else", to="eve@beta.test"))
    near = await house.deliver(octets=letter("Your invoice"))
    answer = await house.client.get("/v1/wait", params={"to": BOB, "subject": "receipt", "timeout": 0.01})
    assert (answer.status_code, answer.headers["content-type"]) == (408, "application/problem+json")
    misses = answer.json()["near_misses"]
    assert misses[0]["id"] == near.message_id
    assert misses[0]["differs"] == ["subject: wanted 'receipt', it is 'Your invoice'"]
    assert len(misses[1]["differs"]) == 2
    assert "Your invoice" in answer.json()["detail"]


async def test_a_time_out_for_text_says_that_the_text_is_missing(house):
    await house.deliver(octets=letter("x", "hello"))
    answer = await house.client.get("/v1/wait", params={"text": "goodbye", "timeout": 0.01})
    assert answer.json()["near_misses"][0]["differs"] == ["text: 'goodbye' is not in it"]


async def test_too_few_show_those_that_came(house):
    landed = await house.deliver()
    answer = await house.client.get("/v1/wait", params={"count": 2, "timeout": 0.01})
    assert [message["id"] for message in answer.json()["messages"]] == [landed.message_id]


@pytest.mark.parametrize(
    ("parameters", "where"),
    [
        ({"subject": "/(/"}, "?subject"),
        ({"text": "/" + "a" * 300 + "/"}, "?text"),
        ({"after": "yesterday"}, "?after"),
        ({"after": "1-99"}, "?after"),
        ({"count": 0}, "?count"),
        ({"timeout": -1}, "?timeout"),
        ({"timeout": "nan"}, "?timeout"),
        ({"timeout": "x"}, "?timeout"),
        ({"form": "x"}, "?form"),
    ],
)
async def test_a_wrong_parameter_is_named(house, parameters, where):
    answer = await house.client.get("/v1/wait", params=parameters)
    assert (answer.status_code, answer.json()["errors"][0]["where"]) == (422, where)


@pytest.mark.parametrize(
    ("wanted", "texts", "found"),
    [
        ("bob@beta.test", ["Bob <bob@beta.test>"], True),
        ("BOB@beta.test", ["bob@BETA.test"], True),
        ("bob@beta.test", ["jim-bob@beta.test"], False),
        ("bob@beta.test", ["bob@beta.test.example"], False),
        ("bob@beta.test", ["bob@beta.test, eve@beta.test"], True),
        ("bob@", ["jim-bob@beta.test"], True),
    ],
)
def test_a_whole_address_is_not_found_inside_a_longer_one(wanted, texts, found):
    assert addressed(wanted, texts) is found


async def test_in_process_patterns_are_searched_for_and_misses_described(house):
    landed = await house.deliver(octets=letter("order 77"))
    found = await wait_for(house.store, house.context.hub, subject=re.compile(r"order \d+"), timeout=5)
    assert isinstance(found, Arrived)
    assert [stored.message_id for stored in found.messages] == [landed.message_id]
    missed = await wait_for(house.store, house.context.hub, subject=re.compile("invoice"), timeout=0.01)
    assert isinstance(missed, TimedOut)
    assert missed.describe().startswith("0 of 1 message(s) came within 0.01 s with subject /invoice/")
    assert "order 77" in missed.describe()
    assert house.store.listeners == [house.context.hub._committed]


async def test_a_message_deleted_meanwhile_is_passed_over(house):
    task = await waiting(house, subject="kept", timeout=30)
    landed = await house.deliver(octets=letter("kept not"))
    await house.store.remove(BOB, "INBOX", [landed.uid])
    await house.deliver(octets=letter("kept"))
    assert (await task).status_code == 200
