"""Every refusal is a problem document."""

import asyncio
import json

import pytest

from mailsandbox import errors
from mailsandbox.access.http.problems import Problem, problem_of


def every_error(kind=errors.MailsandboxError):
    for each in kind.__subclasses__():
        yield each
        yield from every_error(each)


@pytest.mark.rfc(9457, "3.1")
@pytest.mark.parametrize("path", ["/nothing", "/v1", "/v1/", "/v1/nothing", "/v1/messages/", "/v1/accounts//changes"])
async def test_a_path_that_leads_nowhere_is_404(house, path):
    answer = await house.client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert (document["type"], document["title"], document["status"]) == ("about:blank", "Not Found", 404)
    assert "/openapi.json" in document["detail"]


@pytest.mark.rfc(9110, "15.5.6")
@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/messages", {"GET", "HEAD", "DELETE"}),
        ("GET", "/v1/send", {"POST"}),
        ("POST", "/v1/messages/1-1/raw", {"GET", "HEAD"}),
        ("PATCH", "/v1/faults", {"GET", "HEAD", "POST", "DELETE"}),
        ("TRACE", "/v1/clock", {"GET", "HEAD"}),
        ("BREW", "/v1/clock", {"GET", "HEAD"}),
    ],
)
async def test_a_wrong_method_is_405_and_names_the_right_ones(house, method, path, allowed):
    answer = await house.client.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (405, "application/problem+json")
    assert set(answer.headers["allow"].split(", ")) == allowed


@pytest.mark.parametrize("kind", list(every_error()))
def test_every_error_of_the_lower_layers_has_a_status(kind):
    problem = problem_of(kind("what happened"))
    assert problem.detail == "what happened"
    document = problem.document()
    assert list(document)[:4] == ["type", "title", "status", "detail"]
    assert 400 <= document["status"] < 600
    if issubclass(kind, errors.StoreError) and kind is not errors.StoreError:
        assert document["status"] != 500


def test_the_table_is_exact():
    table = {
        errors.NoSuchAccount: 404,
        errors.NoSuchMailbox: 404,
        errors.NoSuchMessage: 404,
        errors.NoSuchQueueItem: 404,
        errors.MailboxExists: 409,
        errors.MaildropInUse: 409,
        errors.Conflict: 409,
        errors.TooLarge: 413,
        errors.BadMailboxName: 422,
        errors.OverQuota: 507,
        errors.StoreFull: 507,
        errors.StoreUnavailable: 503,
    }
    assert {kind: problem_of(kind()).status for kind in table} == table


def test_what_can_be_tried_again_says_when():
    assert problem_of(errors.StoreUnavailable()).headers == {"Retry-After": "1"}


async def test_a_defect_of_ours_is_500_and_tells_nothing_but_is_logged(house, monkeypatch, caplog):
    async def broken():
        raise RuntimeError("the secret is 42")

    monkeypatch.setattr(house.store, "accounts", broken)
    answer = await house.client.get("/v1/accounts")
    assert answer.status_code == 500
    assert "42" not in answer.text
    assert "the secret is 42" in caplog.text


async def test_a_store_that_cannot_be_read_is_503(house, monkeypatch):
    async def broken():
        raise errors.StoreUnavailable("the disk is gone")

    monkeypatch.setattr(house.store, "accounts", broken)
    answer = await house.client.get("/v1/accounts")
    assert (answer.status_code, answer.json()["title"]) == (503, "Store unavailable")
    assert (await house.client.get("/readyz")).status_code == 503


def test_extension_members_follow_the_standard_ones():
    document = Problem(422, "no", "wrong-value", {"errors": []}).document()
    assert list(document) == ["type", "title", "status", "detail", "errors"]


@pytest.mark.parametrize(
    ("query", "where", "said"),
    [
        ("limit=zz", "?limit", "limit: expected a whole number, got 'zz'"),
        ("limit=0", "?limit", "limit: expected a whole number at least 1, got '0'"),
        (
            "limti=5",
            "?limti",
            "there is no parameter limti; there are account, mailbox, to, from, subject, text, after, limit",
        ),
        ("limit=1&limit=2", "?limit", "the parameter limit is given 2 times"),
    ],
)
async def test_a_wrong_parameter_is_told_in_words(house, query, where, said):
    document = (await house.client.get(f"/v1/messages?{query}")).json()
    assert (document["status"], document["detail"]) == (422, said)
    assert document["errors"] == [{"where": where, "detail": said}]


async def test_a_wrong_member_is_told_in_words(house):
    answer = await house.client.post("/v1/faults", json={"protocol": 5, "drop": True})
    assert answer.json()["detail"] == "expected text, got a whole number (at /protocol)"


@pytest.mark.parametrize(
    "octets",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",  # RFC 9112 §3.2: Host is required
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n bad\r\n: x\r\n\r\n",
        b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),  # a TLS client
        b"\x00" * 70_000,
    ],
)
@pytest.mark.rfc(9112, "3")
async def test_garbage_is_answered_with_400_and_the_server_goes_on(house, octets):
    reader, writer = await asyncio.open_connection("127.0.0.1", house.server.port)
    writer.write(octets)
    try:
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 4")
        assert b"application/problem+json" in head
        document = json.loads(body)
        assert document["status"] == (431 if b"a" * 70_000 in octets else 400)
        assert document["detail"].startswith("this is no HTTP request: ")
    except ConnectionResetError:
        pass  # it had more to say than we wanted to hear
    writer.close()
    assert (await house.client.get("/livez")).status_code == 200


async def test_a_client_that_hangs_up_in_its_body_has_done_nothing_and_is_no_defect(house, caplog):
    _reader, writer = await asyncio.open_connection("127.0.0.1", house.server.port)
    head = (
        "POST /v1/accounts HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n"
    )
    writer.write(head.encode() + b'{"address": "a@b.test"')
    await writer.drain()
    while not house.server._state.tasks:
        await asyncio.sleep(0)
    writer.close()
    await writer.wait_closed()
    while house.server._state.tasks:
        await asyncio.sleep(0)
    assert not caplog.records
    assert (await house.client.get("/v1/accounts")).json() == {"accounts": []}


async def test_a_body_that_does_not_come_is_408(house, monkeypatch):
    monkeypatch.setattr("mailsandbox.access.http.typed.PATIENCE", 0.01)
    reader, writer = await asyncio.open_connection("127.0.0.1", house.server.port)
    head = "POST /v1/accounts HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{"
    writer.write(head.encode())
    assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
    writer.close()


async def test_a_connection_that_says_nothing_is_closed(house, monkeypatch):
    monkeypatch.setattr("mailsandbox.access.http.server.FIRST_OCTET", 0.01)
    reader, writer = await asyncio.open_connection("127.0.0.1", house.server.port)
    assert await reader.read() == b""
    writer.close()
