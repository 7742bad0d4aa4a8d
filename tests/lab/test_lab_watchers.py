"""Every delivery model against a real sandbox, and against peers that break their protocols."""

import asyncio
import hashlib

import pytest

from mailsandbox import Sandbox
from mailsandbox.errors import ConfigError, PeerViolation
from mailsandbox.lab.counting import Counters, Wire, split_address
from mailsandbox.lab.models.http import Exchange
from mailsandbox.lab.models.smtp import SmtpWatcher
from mailsandbox.lab.submission import submit
from mailsandbox.lab.watchers import MODELS, Target, watcher
from mailsandbox.relay.routes import Route
from mailsandbox.specs import SandboxSpec

READERS = [name for name in MODELS if name != "smtp"]
PUSHED = [name for name in READERS if MODELS[name].kind == "push"]
BOB = "bob@beta.test"


def letter(subject: str, size: int = 0) -> bytes:
    head = (
        f"From: Alice <alice@alpha.test>\r\nTo: {BOB}\r\nSubject: {subject}\r\nMessage-ID: <{subject}@alpha.test>\r\n"
    )
    return f"{head}\r\n..dots\r\n.\r\n".encode() + b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * (size // 72)


async def send(services, subject: str, size: int = 0) -> None:
    await submit(services["beta.smtp"], "alice@alpha.test", [BOB], letter(subject, size), body="")


@pytest.mark.parametrize("name", READERS)
async def test_each_model_tells_of_new_mail_and_of_new_mail_only(services, name):
    await send(services, "old")
    reader = watcher(name, services, BOB, interval=0.02)
    await reader.start()
    try:
        for number in range(3):
            await send(services, f"new{number}", size=number * 100_000)
            notice = await reader.next(10)
            assert notice is not None
            assert (notice.subject, notice.sender) == (f"new{number}", "Alice <alice@alpha.test>")
            assert notice.message_id == f"<new{number}@alpha.test>"
            assert notice.notified_ns <= notice.at_ns
    finally:
        await reader.aclose()


@pytest.mark.parametrize("name", READERS)
async def test_each_model_gives_the_octets_that_the_store_holds(services, name):
    reader = watcher(name, services, BOB, interval=0.02)
    await reader.start()
    await send(services, "exact", size=10_000)
    notice = await reader.next(10)
    await reader.aclose()
    exchange = Exchange(services["http"], Counters())
    _, _, octets = await exchange.get("/v1/messages?account=" + BOB)
    message_id = octets.split(b'"id":"')[1].split(b'"')[0].decode()
    _, _, raw = await exchange.get(f"/v1/messages/{message_id}/raw")
    await exchange.aclose()
    assert notice is not None
    assert (notice.sha256, notice.octets) == (hashlib.sha256(raw).hexdigest(), len(raw))


@pytest.mark.parametrize("name", READERS)
async def test_several_messages_at_once_are_told_one_by_one_in_order(services, name):
    reader = watcher(name, services, BOB, interval=0.02)
    await reader.start()
    for number in range(5):
        await send(services, f"n{number}")
    notices = [await reader.next(10) for _ in range(5)]
    assert [notice.subject for notice in notices if notice] == [f"n{number}" for number in range(5)]
    assert await reader.next(0.05) is None
    await reader.aclose()


@pytest.mark.parametrize("name", ["pop3", "imap-poll", "http-poll"])
async def test_a_poller_comes_back_empty_while_there_is_nothing(services, name):
    reader = watcher(name, services, BOB, interval=0.01)
    await reader.start()
    while reader.counters.empty_answers < 3:
        assert await reader.next(0.01) is None
    asked = reader.counters.requests
    assert asked >= reader.counters.empty_answers
    assert (reader.counters.connections > 3) is (name == "pop3")  # RFC 1939 §3: a maildrop is locked and released
    await reader.aclose()


@pytest.mark.parametrize("name", PUSHED)
async def test_a_push_asks_nothing_while_there_is_nothing(services, name):
    reader = watcher(name, services, BOB)
    await reader.start()
    before = (reader.counters.requests, reader.counters.octets_out)
    assert await reader.next(0.1) is None
    assert (reader.counters.requests, reader.counters.octets_out, reader.counters.empty_answers) == (*before, 0)
    await reader.aclose()


@pytest.mark.parametrize("name", READERS)
async def test_counting_agrees_with_a_proxy_between(services, name):
    key = {"pop3": "pop3", "imap-poll": "imap", "idle": "imap"}.get(name, "http")
    seen = {"out": 0, "in": 0, "connections": 0}
    target = split_address(services[key])
    pumps: set[asyncio.Task[None]] = set()

    async def pump(reader, writer, way):
        try:
            while octets := await reader.read(65_536):
                seen[way] += len(octets)
                writer.write(octets)
        except OSError:
            pass
        finally:
            writer.close()

    async def serve(reader, writer):
        seen["connections"] += 1
        onward_reader, onward_writer = await asyncio.open_connection(*target)
        for coroutine in (pump(reader, onward_writer, "out"), pump(onward_reader, writer, "in")):
            task = asyncio.ensure_future(coroutine)
            pumps.add(task)

    proxy = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = proxy.sockets[0].getsockname()
    reader = watcher(name, services | {key: f"{host}:{port}"}, BOB, interval=0.02)
    await reader.start()
    await send(services, "counted", size=50_000)
    assert await reader.next(10)
    await reader.aclose()
    proxy.close()
    await asyncio.gather(*pumps)
    counters = reader.counters
    assert (counters.octets_out, counters.connections) == (seen["out"], seen["connections"])
    # What the server says to a goodbye may be unread.
    assert seen["in"] - 300 <= counters.octets_in <= seen["in"]
    assert counters.bodies <= counters.octets_in


async def test_smtp_pushes_a_copy_along_a_route():
    reader = SmtpWatcher(Target({}, "bob@push.test"))
    await reader.start()
    host, port = split_address(reader.address)
    spec = SandboxSpec(routes=(Route("push.test", host, port),))
    async with Sandbox(spec) as box:
        await submit(str(box.services["alpha.smtp"]), "alice@alpha.test", ["bob@push.test"], letter("pushed"))
        notice = await reader.next(10)
    await reader.aclose()
    assert notice is not None
    assert notice.subject == "pushed"
    assert (reader.counters.connections, reader.model.opened_by) == (1, "sender")


@pytest.mark.rfc(5321, "4.5.2")
async def test_the_smtp_watcher_takes_dots_off_and_refuses_what_it_cannot_do():
    reader = SmtpWatcher(Target({}, BOB))
    await reader.start()
    link = await Wire.open(reader.address, Counters())
    said = [await link.line()]
    for line in (b"HELO x", b"DATA", b"VRFY bob", b"MAIL FROM:<>", b"RCPT TO:<bob@beta.test>", b"DATA"):
        await link.write(line + b"\r\n")
        said.append(await link.line())
    await link.write(b"Subject: dots\r\n\r\n..\r\n...x\r\n.\r\n")
    said.append(await link.line())
    assert [line[:3] for line in said] == [b"220", b"250", b"503", b"502", b"250", b"250", b"354", b"250"]
    await link.aclose()
    notice = await reader.next(5)
    await reader.aclose()
    assert notice is not None
    assert notice.sha256 == hashlib.sha256(b"Subject: dots\r\n\r\n.\r\n..x\r\n").hexdigest()


async def test_a_model_that_does_not_exist_is_named_with_those_that_do():
    with pytest.raises(ConfigError, match="'telepathy' is no delivery model; there are smtp, pop3"):
        watcher("telepathy", {}, BOB)


@pytest.mark.parametrize("name", ["http-poll", "sse", "websocket"])
async def test_a_service_that_the_daemon_does_not_have_is_named(name):
    with pytest.raises(ConfigError, match="the daemon has no service 'http'"):
        watcher(name, {}, BOB)


@pytest.mark.parametrize("name", READERS)
async def test_a_port_where_nobody_listens_is_an_error_at_the_start(name):
    nowhere = dict.fromkeys(("pop3", "imap", "http"), "127.0.0.1:1")
    reader = watcher(name, nowhere, BOB)
    with pytest.raises(OSError, match=r"Connect|refused"):
        await reader.start()
    await reader.aclose()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("pop3", [b"-ERR not today\r\n"]),
        ("pop3", [b"+OK\r\n", b"+OK\r\n", b"-ERR wrong\r\n"]),
        ("pop3", [b"+OK hello"]),
        ("pop3", [b"x" * 100_000]),
        ("imap-poll", [b"* OK\r\n", b"A1 NO wrong\r\n"]),
        ("imap-poll", [b"* OK\r\n", b"* 1 FETCH {99999999999}\r\n"]),
        ("imap-poll", [b"* OK\r\n", b"* x {10}\r\nshort"]),
        ("http-poll", [b"SMTP? No.\r\n\r\n"]),
        ("http-poll", [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"]),
        ("http-poll", [b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"]),
        ("http-poll", [b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n{}"]),
        ("long-poll", [b""]),
    ],
)
async def test_a_peer_that_breaks_its_protocol_ends_the_watch_with_its_reason(played, name, says):
    async with played(*says, hear=name != "http-poll") as address:
        reader = watcher(name, {"pop3": address, "imap": address, "http": address}, BOB)
        with pytest.raises((PeerViolation, ConnectionResetError)):
            await reader.start()
        await reader.aclose()


@pytest.mark.rfc(9051, "5.2")
async def test_the_imap_poller_heeds_a_message_that_the_answer_to_its_fetch_tells_of(played):
    first, second = (b"Message-ID: <%d@x>\r\n\r\n" % number for number in (1, 2))
    says = [
        b"* OK\r\n",
        b"A1 OK in\r\n",
        b"* OK [UIDNEXT 1] next\r\nA2 OK selected\r\n",
        b"* 1 EXISTS\r\nA3 OK\r\n",
        b"* 1 FETCH (UID 1 BODY[] {%d}\r\n%b)\r\n* 2 EXISTS\r\nA4 OK\r\n" % (len(first), first),
        b"A5 OK nothing new\r\n",
        b"* 2 FETCH (UID 2 BODY[] {%d}\r\n%b)\r\nA6 OK\r\n" % (len(second), second),
        b"A7 OK nothing new\r\n",
    ]
    async with played(*says) as address:
        reader = watcher("imap-poll", {"imap": address}, BOB, interval=0.01)
        await reader.start()
        notices = [await reader.next(5), await reader.next(5)]
        await reader.aclose()
    assert [notice and notice.message_id for notice in notices] == ["<1@x>", "<2@x>"]


@pytest.mark.parametrize("name", READERS)
async def test_the_end_of_the_daemon_ends_the_watch(name):
    async with Sandbox() as box:
        services = {service: str(place) for service, place in box.services.items()}
        reader = watcher(name, services, BOB, interval=0.02)
        await reader.start()
    with pytest.raises((PeerViolation, OSError)):
        await reader.next(10)
    await reader.aclose()


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [("127.0.0.1:25", "127.0.0.1", 25), ("[::1]:143", "::1", 143), ("localhost:1", "localhost", 1)],
)
def test_an_address_is_split_at_its_last_colon(address, host, port):
    assert split_address(address) == (host, port)
