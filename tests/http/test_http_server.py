"""The server itself: start, stop, health, metrics, the OpenAPI document, the page."""

import asyncio
import re
from pathlib import Path

import httpx
import pytest

from mailsandbox.access.http.app import ENDPOINTS, SOCKET
from mailsandbox.access.http.server import HttpServer
from mailsandbox.errors import StartError

FIXED = {
    "GET /v1/accounts",
    "POST /v1/accounts",
    "DELETE /v1/accounts/{address}",
    "GET /v1/accounts/{address}/mailboxes",
    "GET /v1/messages",
    "GET /v1/messages/{id}",
    "GET /v1/messages/{id}/raw",
    "GET /v1/messages/{id}/parts/{n}",
    "GET /v1/messages/{id}/html",
    "GET /v1/messages/{id}/text",
    "DELETE /v1/messages/{id}",
    "DELETE /v1/messages",
    "POST /v1/send",
    "GET /v1/journeys/{id}",
    "GET /v1/messages/{id}/journey",
    "GET /v1/accounts/{address}/changes",
    "GET /v1/accounts/{address}/changes/sse",
    "GET /v1/accounts/{address}/changes/stream",
    "GET /v1/accounts/{address}/changes/ws",
    "GET /v1/wait",
    "GET /v1/sessions",
    "GET /v1/sessions/{id}",
    "GET /v1/queue",
    "POST /v1/queue/run",
    "POST /v1/queue/{id}/retry",
    "POST /v1/queue/{id}/hold",
    "POST /v1/queue/{id}/release",
    "POST /v1/queue/{id}/bounce",
    "DELETE /v1/queue/{id}",
    "POST /v1/clock/advance",
    "GET /v1/clock",
    "GET /v1/faults",
    "POST /v1/faults",
    "DELETE /v1/faults",
    "POST /v1/reset",
    "GET /v1/export",
    "POST /v1/import",
    "POST /v1/reindex",
    "GET /v1/services",
    "GET /livez",
    "GET /readyz",
    "GET /metrics",
    "GET /openapi.json",
}


def test_the_routes_are_those_that_were_promised():
    served = {f"{endpoint.method} {endpoint.path}" for endpoint in ENDPOINTS} | {f"GET {SOCKET}"}
    assert served - {"GET /"} == FIXED


async def test_the_openapi_document_names_every_route_and_every_reference_leads_somewhere(house):
    answer = await house.client.get("/openapi.json")
    document = answer.json()
    assert document["openapi"] == "3.1.0"
    named = {f"{method.upper()} {path}" for path, operations in document["paths"].items() for method in operations}
    assert named - {"GET /"} == FIXED
    for name in re.findall(r'"\$ref":"#/components/schemas/([^"]+)"', answer.text):
        assert name in document["components"]["schemas"]
    ids = re.findall(r'"operationId":"([^"]+)"', answer.text)
    assert len(ids) == len(set(ids))


async def test_the_openapi_document_names_every_parameter(house):
    document = (await house.client.get("/openapi.json")).json()
    wait = {parameter["name"] for parameter in document["paths"]["/v1/wait"]["get"]["parameters"]}
    assert wait == {"to", "from", "subject", "text", "after", "count", "timeout"}
    listing = {parameter["name"] for parameter in document["paths"]["/v1/messages"]["get"]["parameters"]}
    assert {"account", "to", "from", "subject", "text", "after", "limit"} <= listing


async def test_it_lives_before_it_is_ready(house):
    house.context.ready = lambda: False
    assert (await house.client.get("/livez")).status_code == 200
    answer = await house.client.get("/readyz")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    house.context.ready = lambda: True
    assert (await house.client.get("/readyz")).status_code == 200


async def test_metrics_are_in_prometheus_text_and_count_what_was_answered(house):
    await house.client.get("/nothing")
    for _ in range(3):
        await house.client.get("/v1/messages/1-1")
    answer = await house.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'mailsandbox_http_requests_total{method="GET",route="/v1/messages/{id}",status="404"} 3' in answer.text
    assert 'mailsandbox_http_requests_total{method="GET",route="unknown",status="404"} 1' in answer.text
    for line in answer.text.splitlines():
        assert re.fullmatch(r'# (HELP|TYPE) \w+ .+|\w+(\{(\w+="([^"\\\n]|\\.)*",?)*\})? [0-9.e+-]+', line), line


async def test_a_scan_of_paths_does_not_fill_the_counters(house):
    for number in range(50):
        await house.client.get(f"/scan/{number}")
    assert sum(1 for _, route, _ in house.context.counts.requests if "scan" in route) == 0


async def test_the_page_escapes_what_strangers_wrote(house):
    await house.deliver(octets=b"Subject: <script>alert(1)</script>\r\nFrom: <b>@x.test\r\n\r\n.\r\n")
    answer = await house.client.get("/")
    assert "<script>" not in answer.text
    assert "&lt;script&gt;" in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


async def test_a_port_in_use_is_a_start_error_that_names_it(house):
    with pytest.raises(StartError, match=rf"http: cannot listen on 127\.0\.0\.1:{house.server.port}: "):
        await HttpServer(house.context, "127.0.0.1", house.server.port).start()


async def test_close_may_be_called_before_start_and_again(house):
    server = HttpServer(house.context, "127.0.0.1", 0)
    await server.aclose()
    await house.server.aclose()
    await house.server.aclose()
    with pytest.raises(httpx.ConnectError):
        await house.client.get("/livez")


async def test_the_stop_closes_idle_connections_and_leaves_no_task(house):
    await house.client.get("/livez")
    before = asyncio.all_tasks()
    await house.server.aclose()
    assert asyncio.all_tasks() <= before
    assert not house.server._state.connections
    assert not house.server._state.tasks


async def test_an_answer_under_way_is_given_before_the_stop(house):
    waiting = asyncio.create_task(house.client.get("/v1/wait", params={"subject": "never", "timeout": 60}))
    while not house.context.counts.readers["wait"]:
        await asyncio.sleep(0)
    await house.server.aclose()
    assert (await waiting).status_code == 503


async def test_one_connection_serves_many_requests(house):
    for _ in range(5):
        await house.client.get("/livez")
    assert len(house.server._state.connections) == 1


def test_the_documentation_names_every_route():
    text = Path(__file__).parents[2].joinpath("docs", "http.md").read_text()
    assert [route for route in sorted(FIXED) if f"`{route}" not in text] == []
