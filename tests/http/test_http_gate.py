"""Who may ask at all, scripted faults, and what every answer carries."""

import asyncio
import json

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from mailsandbox.access.http.gate import host_name, may_ask, stage_of
from mailsandbox.faults import Delay, Drop, Fault, Respond

BOB = "bob@beta.test"
LOG = f"/v1/accounts/{BOB}/changes"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8025", "localhost:1", "LOCALHOST", "a.localhost", "[::1]:80", "192.0.2.7"]
)
async def test_addresses_and_localhost_are_names_of_ours(house, host):
    assert (await house.client.get("/livez", headers={"Host": host})).status_code == 200


@pytest.mark.rfc(9110, "15.5.20")
@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "x@127.0.0.1", "a/b", ""]
)
async def test_a_name_that_was_rebound_to_us_is_misdirected(house, host):
    answer = await house.client.get("/v1/messages", headers={"Host": host})
    assert (answer.status_code, answer.json()["title"]) == (421, "Wrong host")


@pytest.mark.parametrize(
    ("host", "name"),
    [("Example.TEST.:80", "example.test"), ("[::1]", "::1"), ("a:b", None), ("a:99999", None), ("", None), ("[", None)],
)
def test_a_host_field_is_read_with_care(host, name):
    assert host_name(host) == name


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://127.0.0.1:8025", True),
        ("http://localhost:5173", True),
        ("https://localhost", True),
        ("http://[::1]:3000", True),
        ("http://127.9.9.9", True),
        ("http://evil.example", False),
        ("http://localhost.evil.example", False),
        ("http://192.0.2.1", False),
        ("null", False),
        ("file://", False),
        ("http://", False),
        ("http://[", False),
    ],
)
def test_only_pages_of_this_machine_may_ask(origin, allowed):
    assert may_ask(origin, "127.0.0.1:8025") is allowed


def test_a_page_of_our_own_origin_may_ask_wherever_we_are():
    assert may_ask("http://192.0.2.1:8025", "192.0.2.1:8025")


async def test_a_stranger_s_page_cannot_send_delete_or_listen(house):
    await house.deliver()
    headers = {"Origin": "http://evil.example"}
    for method, path in (("POST", "/v1/reset"), ("DELETE", "/v1/messages?account=" + BOB), ("GET", f"{LOG}/sse")):
        answer = await house.client.request(method, path, headers=headers)
        assert (answer.status_code, answer.json()["title"]) == (403, "Wrong origin")
        assert "access-control-allow-origin" not in answer.headers
    assert len((await house.client.get("/v1/messages")).json()["messages"]) == 1


async def test_a_stranger_s_page_cannot_open_the_websocket(house):
    with pytest.raises(InvalidStatus) as refused:
        async with connect(house.url.replace("http", "ws") + f"{LOG}/ws", origin="http://evil.example", proxy=None):
            pass
    assert refused.value.response.status_code == 403
    assert json.loads(refused.value.response.body)["title"] == "Wrong origin"


async def test_a_page_of_a_local_development_server_may_read_the_answer(house):
    headers = {"Origin": "http://localhost:5173"}
    answer = await house.client.get("/v1/messages", headers=headers)
    assert answer.headers["access-control-allow-origin"] == "http://localhost:5173"
    asked = headers | {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    answer = await house.client.options("/v1/send", headers=asked)
    assert (answer.status_code, answer.headers["access-control-allow-headers"]) == (204, "content-type")
    assert "POST" in answer.headers["access-control-allow-methods"]


@pytest.mark.rfc(9110, "6.6.1")
async def test_every_answer_is_dated(house):
    for path in ("/livez", "/nothing", "/v1/messages"):
        assert (await house.client.get(path)).headers["date"].endswith(" GMT")


async def test_a_scripted_answer_takes_the_place_of_the_real_one(house):
    house.context.faults.add(Fault(Respond(503, "come back later"), protocol="http", stage="messages", times=1))
    answer = await house.client.get("/v1/messages")
    assert (answer.status_code, answer.json()["detail"]) == (503, "come back later")
    assert (await house.client.get("/v1/messages")).status_code == 200


@pytest.mark.parametrize("reset", [False, True])
async def test_a_scripted_drop_closes_without_an_answer(house, caplog, reset):
    house.context.faults.add(Fault(Drop(reset=reset), protocol="http", stage="changes", account="bob"))
    reader, writer = await asyncio.open_connection("127.0.0.1", house.server.port)
    writer.write(f"GET {LOG} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    if reset:
        with pytest.raises(ConnectionResetError):
            await reader.read()
    else:
        assert await reader.read() == b""
    writer.close()
    assert (await house.client.get("/v1/accounts/eve@beta.test/changes")).status_code == 200
    assert not caplog.records


async def test_a_scripted_delay_waits_by_the_sandbox_s_clock(house):
    house.context.faults.add(Fault(Delay(60), protocol="http", stage="accounts"))
    waiting = asyncio.create_task(house.client.get("/v1/accounts"))
    await house.client.get("/livez")
    while not house.context.clock._sleepers:
        await asyncio.sleep(0)
    assert not waiting.done()
    await house.context.clock.advance(60)
    assert (await waiting).status_code == 200


async def test_a_fault_never_bars_the_way_to_taking_it_back(house):
    house.context.faults.add(Fault(Respond(500, "no"), protocol="http"))
    assert (await house.client.get("/v1/messages")).status_code == 500
    assert (await house.client.delete("/v1/faults")).status_code == 204
    assert (await house.client.get("/v1/messages")).status_code == 200


@pytest.mark.parametrize(
    ("path", "stage"),
    [
        ("/v1/messages/1-1/raw", "messages"),
        (f"{LOG}/sse", "changes"),
        (f"/v1/accounts/{BOB}", "accounts"),
        ("/v1/accounts", "accounts"),
        ("/v1", ""),
        ("/", ""),
        ("/openapi.json", ""),
    ],
)
def test_a_stage_is_what_the_path_is_about(path, stage):
    assert stage_of(path) == stage
