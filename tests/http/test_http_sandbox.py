"""The interface over a whole sandbox: what the played site of the other tests cannot show."""

import asyncio

import httpx
import pytest

from mailsandbox import Sandbox

BOB = "bob@beta.test"


@pytest.fixture
async def box():
    async with Sandbox(clock="manual") as box:
        yield box


@pytest.fixture
async def client(box):
    async with httpx.AsyncClient(base_url=box.url, timeout=20) as client:
        yield client


async def send(client, **pieces):
    answer = await client.post("/v1/send", json={"from": "alice@alpha.test", "to": [BOB]} | pieces)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


async def test_a_message_sent_by_http_crosses_the_hop_and_its_journey_tells_all_of_it(client):
    sent = await send(client, subject="Été", text="déjà vu")
    (message,) = (await client.get("/v1/wait", params={"to": BOB, "subject": "été"})).json()["messages"]
    assert (await client.get(f"/v1/messages/{message['id']}/text")).text.strip() == "déjà vu"
    journey = (await client.get(f"/v1/journeys/{sent}")).json()
    assert journey["state"] == "delivered"
    assert [hop["site"] for hop in journey["hops"]] == ["alpha", "beta"]
    (attempt,) = journey["hops"][0]["attempts"]
    assert (attempt["octets_in"] < attempt["octets_out"], attempt["body"]) == (True, "")
    assert {line["side"] for line in attempt["transcript"]} >= {"C", "S"}
    (delivery,) = journey["hops"][1]["deliveries"]
    assert delivery["delivery"]["message_id"] == message["id"]
    assert [shown["protocol"] for shown in delivery["first_shown"]] == ["http"]
    sessions = (await client.get("/v1/sessions", params={"protocol": "smtp"})).json()["sessions"]
    assert journey["hops"][1]["accepted"]["session_id"] in [session["id"] for session in sessions]


async def test_octets_sent_by_http_arrive_at_their_own_site_as_they_were(client):
    octets = b"Subject: x\r\nX-Odd:\t spaced  \r\n\r\nbody\r\n"
    url = "/v1/send?from=a@alpha.test&to=carl@alpha.test&site=alpha"
    assert (await client.post(url, content=octets, headers={"Content-Type": "message/rfc822"})).status_code == 202
    (message,) = (await client.get("/v1/wait", params={"to": "carl@alpha.test"})).json()["messages"]
    raw = (await client.get(f"/v1/messages/{message['id']}/raw")).content
    assert raw.endswith(octets)
    assert raw[: -len(octets)].startswith(b"Return-Path: <a@alpha.test>\r\n")


async def test_a_refusal_of_the_strict_site_is_the_reply_of_its_gate(client):
    url = f"/v1/send?from=a@alpha.test&to={BOB}&site=beta"
    octets = "Subject: x\r\n\r\né\r\n".encode()
    answer = await client.post(url, content=octets, headers={"Content-Type": "message/rfc822"})
    assert answer.status_code == 422
    assert answer.json()["reply"]["code"] // 100 == 5


async def test_a_fault_defers_the_hop_and_the_clock_brings_the_message_through(client):
    fault = {"protocol": "smtp", "site": "beta", "stage": "rcpt", "reply": "451 4.7.1 come back later", "times": 1}
    assert (await client.post("/v1/faults", json=fault)).status_code == 201
    sent = await send(client, subject="late")
    while not (items := (await client.get("/v1/queue")).json()["items"]) or not items[0]["recipients"][0]["attempts"]:
        await asyncio.sleep(0)
    assert items[0]["recipients"][0]["reply"].startswith("451 4.7.1")
    assert (await client.get("/v1/faults")).json()["faults"][0]["hits"] == 1
    await client.post("/v1/clock/advance", json={"by": "10m"})
    answer = await client.get("/v1/wait", params={"to": BOB, "subject": "late"})
    assert answer.status_code == 200
    assert (await client.get("/v1/queue")).json() == {"items": []}
    journey = (await client.get(f"/v1/journeys/{sent}")).json()
    assert [attempt["outcomes"][0]["outcome"] for attempt in journey["hops"][0]["attempts"]] == ["deferred", "relayed"]


async def test_a_held_message_waits_until_it_is_released(client):
    fault = {"protocol": "smtp", "site": "beta", "stage": "mail", "reply": "451 4.7.1 later", "times": 1}
    await client.post("/v1/faults", json=fault)
    sent = await send(client, subject="held")
    while not (items := (await client.get("/v1/queue")).json()["items"]) or not items[0]["recipients"][0]["attempts"]:
        await asyncio.sleep(0)
    assert (await client.post(f"/v1/queue/{sent}/hold")).json()["held"] is True
    await client.post("/v1/clock/advance", json={"by": "1h"})
    assert (await client.get("/v1/messages", params={"account": BOB})).json()["messages"] == []
    await client.post(f"/v1/queue/{sent}/release")
    assert (await client.get("/v1/wait", params={"to": BOB})).status_code == 200


async def test_reset_empties_everything(client):
    await send(client, subject="gone")
    await client.get("/v1/wait", params={"to": BOB})
    assert (await client.post("/v1/reset")).status_code == 204
    assert (await client.get("/v1/messages")).json()["messages"] == []
    assert (await client.get("/v1/accounts")).json() == {"accounts": []}
    assert (await client.get("/readyz")).status_code == 200
