"""The rim: TLS, compression, time-outs, back-pressure, logins, faults, records, lint."""

import asyncio
import base64
import hashlib
import hmac
import ssl
import zlib
from types import SimpleNamespace

import pytest

from mailsandbox.access.imap import capabilities, personalities, progress, table
from mailsandbox.access.imap.capabilities import Capability
from mailsandbox.access.imap.personalities import PERSONALITIES, ImapOptions
from mailsandbox.access.imap.server import ImapFactory
from mailsandbox.clock import ManualClock
from mailsandbox.errors import ConfigError, StartError
from mailsandbox.faults import Drop, Fault, Respond
from mailsandbox.runtime.certificates import TlsIdentity, local_identity
from mailsandbox.store.credentials import AccountSpec
from mailsandbox.store.model import AppendItem
from tests.imap.serving import ACCOUNT, MESSAGE, Server, StartServer, settled
from tests.imap.wire import Wire


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> TlsIdentity:
    return local_identity(tmp_path_factory.mktemp("tls"), ["localhost", "127.0.0.1"])


@pytest.fixture
def trusting(identity: TlsIdentity) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(identity.authority))


async def greeted(server: Server) -> Wire:
    wire = await server.wire()
    await wire.response()
    return wire


def rules(server: Server) -> set[str]:
    return {finding.rule for record in server.context.sessions for finding in record.findings}


# -- TLS and compression


@pytest.mark.rfc(9051, "6.2.1")
async def test_starttls_upgrades_and_nothing_pipelined_behind_it_counts(
    start: StartServer, identity: TlsIdentity, trusting: ssl.SSLContext
) -> None:
    async with start(tls=identity.context) as server:
        wire = await server.wire()
        assert b"STARTTLS" in await wire.response()
        wire.send(b"a STARTTLS\r\nb LOGIN eve x\r\n")
        assert (await wire.until(b"a "))[-1].startswith(b"a BAD")
        assert (await wire.until(b"b "))[-1].startswith(b"b OK")
        wire = await greeted(server)
        assert await wire.status("STARTTLS") == "OK Begin TLS negotiation now"
        await wire.writer.start_tls(trusting, server_hostname="localhost")
        assert b"STARTTLS" not in b"".join(await wire.ok("CAPABILITY"))
        await wire.ok(f"LOGIN {ACCOUNT} x")
        assert "login-in-clear" in rules(server)


async def test_implicit_tls_greets_after_the_handshake(
    start: StartServer, identity: TlsIdentity, trusting: ssl.SSLContext
) -> None:
    async with start(tls=identity.context, implicit=True) as server:
        wire = await server.wire(tls=trusting)
        assert (await wire.response()).startswith(b"* OK [CAPABILITY IMAP4rev1")
        await wire.ok(f"LOGIN {ACCOUNT} x")
        (record,) = server.context.sessions
        assert record.tls.startswith("TLSv1.3")


@pytest.mark.rfc(9051, "6.2.3")
async def test_logins_in_clear_can_be_forbidden(
    start: StartServer, identity: TlsIdentity, trusting: ssl.SSLContext
) -> None:
    async with start(tls=identity.context, options=ImapOptions(require_tls=True)) as server:
        wire = await server.wire()
        greeting = await wire.response()
        assert b"LOGINDISABLED" in greeting
        assert b"AUTH=" not in greeting
        assert (await wire.status("LOGIN a b")).startswith("NO [PRIVACYREQUIRED]")
        assert (await wire.status("AUTHENTICATE PLAIN")).startswith("NO [PRIVACYREQUIRED]")
        await wire.ok("STARTTLS")
        await wire.writer.start_tls(trusting, server_hostname="localhost")
        await wire.ok(f"LOGIN {ACCOUNT} b")


@pytest.mark.rfc(4978, "3")
async def test_compress_deflates_both_ways(server: Server) -> None:
    wire = await server.selected()
    await wire.append("INBOX", MESSAGE)
    assert await wire.status("COMPRESS DEFLATE") == "OK DEFLATE active"
    deflate, inflate = zlib.compressobj(9, zlib.DEFLATED, -15), zlib.decompressobj(-15)
    wire.send(deflate.compress(b"a FETCH 1 BODY.PEEK[]\r\nb COMPRESS DEFLATE\r\n") + deflate.flush(zlib.Z_SYNC_FLUSH))
    answer = b""
    while b"b NO" not in answer:
        answer += inflate.decompress(await wire.reader.read(65_536))
    assert MESSAGE in answer
    assert b"b NO [COMPRESSIONACTIVE]" in answer


# -- logging in


@pytest.mark.rfc(9051, "6.2.2")
async def test_a_wrong_password_is_refused_and_after_five_the_connection_ends(start: StartServer) -> None:
    clock = ManualClock()
    async with start(clock=clock, specs={ACCOUNT: AccountSpec(password="right")}) as server:
        wire = await greeted(server)
        for _ in range(4):
            waiting = asyncio.create_task(wire.status(f"LOGIN {ACCOUNT} wrong"))
            await _advance_until(clock, waiting)
            assert (await waiting).startswith("NO [AUTHENTICATIONFAILED]")
        wire.send(f"last LOGIN {ACCOUNT} wrong\r\n".encode())
        waiting_last = asyncio.create_task(wire.until(b"* BYE"))
        await _advance_until(clock, waiting_last)
        assert (await waiting_last)[-1].startswith(b"* BYE Too many")
        assert await wire.response() == b""
        (record,) = server.context.sessions
        assert record.outcome == "too many failed logins"
        assert record.transcript[-1].text == "* BYE Too many failed logins"


async def _advance_until(clock: ManualClock, task: "asyncio.Task[object]") -> None:
    async with asyncio.timeout(10):
        while not task.done():
            await clock.advance(0.1)
            await asyncio.sleep(0.001)


@pytest.mark.rfc(5802, "3")
async def test_scram_is_offered_where_the_server_knows_a_password(start: StartServer) -> None:
    async with start(specs={ACCOUNT: AccountSpec(password="right")}) as server:
        wire = await server.wire()
        assert b"AUTH=SCRAM-SHA-256" in await wire.response()
        bare = f"n={ACCOUNT},r=nonce"
        wire.send(b"a AUTHENTICATE SCRAM-SHA-256 " + base64.b64encode(f"n,,{bare}".encode()) + b"\r\n")
        challenge = base64.b64decode((await wire.response())[2:]).decode()
        nonce, salt, rounds = (part[2:] for part in challenge.split(","))
        salted = hashlib.pbkdf2_hmac("sha256", b"right", base64.b64decode(salt), int(rounds))
        key = hmac.digest(salted, b"Client Key", "sha256")
        without_proof = f"c=biws,r={nonce}"
        signature = hmac.digest(hashlib.sha256(key).digest(), f"{bare},{challenge},{without_proof}".encode(), "sha256")
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature, strict=True))).decode()
        wire.send(base64.b64encode(f"{without_proof},p={proof}".encode()) + b"\r\n")
        answer = await wire.response()
        if answer.startswith(b"+"):  # the server's own proof, which the client acknowledges
            wire.send(b"\r\n")
            answer = await wire.response()
        assert answer.startswith(b"a OK [CAPABILITY")


# -- time


@pytest.mark.rfc(9051, "5.4")
async def test_a_connection_without_login_is_closed_in_time(start: StartServer) -> None:
    clock = ManualClock()
    async with start(clock=clock) as server:
        wire = await greeted(server)
        await wire.ok("NOOP")
        await clock.advance(179.0)
        await wire.ok("NOOP")
        await clock.advance(2.0)
        assert (await wire.response()).startswith(b"* BYE Autologout")
        assert await wire.response() == b""


@pytest.mark.rfc(9051, "5.4")
async def test_an_idle_client_is_closed_after_thirty_minutes_and_not_before(start: StartServer) -> None:
    clock = ManualClock()
    async with start(clock=clock) as server:
        wire = await server.selected()
        wire.send(b"a IDLE\r\n")
        assert await wire.response() == b"+ idling\r\n"
        await clock.advance(29.5 * 60)
        wire.send(b"DONE\r\n")
        assert (await wire.response()).startswith(b"a OK")
        assert "idle-over-29-minutes" in rules(server)
        await clock.advance(29 * 60)
        await wire.ok("NOOP")
        await clock.advance(31 * 60)
        assert (await wire.response()).startswith(b"* BYE Autologout")


async def test_shutting_down_says_bye(start: StartServer) -> None:
    async with start() as server:
        wire = await server.selected()
        closing = asyncio.create_task(server.listener.aclose())
        assert await wire.response() == b"* BYE [UNAVAILABLE] Server is shutting down\r\n"
        wire.close()
        await closing


# -- flow


async def test_a_client_that_does_not_read_costs_bounded_memory(server: Server) -> None:
    big = b"Subject: big\r\n\r\n" + b"x" * 1_000_000 + b"\r\n"
    await server.store.ensure_account(ACCOUNT)
    await server.store.append(ACCOUNT, "INBOX", [AppendItem(big)] * 40)
    wire = await server.selected()
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport for reading
    wire.send(b"a FETCH 1:* BODY.PEEK[]\r\nb FETCH 1:* BODY.PEEK[]\r\n")
    (connection,) = server.listener._open  # what the server holds is nobody's to know, but a test's
    held = 0
    for _ in range(200):
        await asyncio.sleep(0.001)
        held = max(held, connection._wire.get_write_buffer_size())
    assert 0 < held < 4_000_000
    wire.writer.transport.resume_reading()  # type: ignore[attr-defined]
    assert len(await wire.until(b"b OK")) == 82


async def test_a_flood_of_pipelined_commands_is_answered_in_order(server: Server) -> None:
    wire = await server.selected()
    wire.send(b"".join(b"n%d NOOP\r\n" % number for number in range(30_000)))
    for number in range(30_000):
        assert (await wire.response()).startswith(b"n%d OK" % number)


async def test_a_connection_that_breaks_in_an_append_leaves_nothing(server: Server) -> None:
    wire = await server.login()
    wire.send(b"a APPEND INBOX {1000}\r\n")
    assert (await wire.response()).startswith(b"+")
    wire.send(b"half")
    await wire.writer.drain()
    wire.writer.transport.abort()
    other = await server.login()
    assert await other.ok("STATUS INBOX (MESSAGES)") == [b"* STATUS INBOX (MESSAGES 0)\r\n"]


async def test_what_was_asked_before_the_client_ends_its_side_is_answered(server: Server) -> None:
    wire = await server.selected()
    wire.send(b"a NOOP\r\nb STATUS INBOX (MESSAGES)\r\n")
    wire.writer.write_eof()
    assert [line[:2] for line in await wire.until(b"b ")] == [b"a ", b"* ", b"b "]
    assert await wire.response() == b""


# -- faults, records, lint


async def test_faults_answer_and_drop(server: Server) -> None:
    server.context.faults.add(Fault(Respond(0, "[UNAVAILABLE] not today"), protocol="imap", stage="select", times=1))
    wire = await server.login()
    assert await wire.status("SELECT INBOX") == "NO [UNAVAILABLE] not today"
    await wire.ok("SELECT INBOX")
    server.context.faults.add(Fault(Drop(), protocol="imap", stage="noop"))
    wire.send(b"a NOOP\r\n")
    assert await wire.response() == b""


async def test_a_session_is_recorded_without_its_password(server: Server) -> None:
    wire = await greeted(server)
    await wire.ok(f"LOGIN {ACCOUNT} s3cret")
    await wire.append("INBOX", MESSAGE)
    await wire.ok("LOGOUT")
    (record,) = server.context.sessions
    said = "\n".join(f"{line.side}: {line.text}" for line in record.transcript)
    assert "s3cret" not in said
    assert "C: t1 LOGIN ***" in said
    assert f"[literal of {len(MESSAGE)} octets]" in said
    assert "S: * BYE Logging out" in said
    assert record.account == ACCOUNT
    await settled()


@pytest.mark.parametrize(
    ("commands", "rule"),
    [
        ([b"a NOTIFY SET (PERSONAL (MessageNew))\r\n"], "notify-events-incomplete"),
        ([b"a NOOP\n"], "bare-lf"),
        ([b"a FETCH 1 FLAGS\r\n"], "command-in-wrong-state"),
        ([b"a SELECT INBOX\r\n", b"b STATUS INBOX (MESSAGES)\r\n"], "status-of-selected"),
        ([b'a STATUS "\xc3\xa9" (MESSAGES)\r\n'], "eight-bit-name"),
        ([b"a SELECT INBOX (QRESYNC (1 1))\r\n"], "qresync-without-enable"),
    ],
)
async def test_lint_finds_what_clients_do_wrong(server: Server, commands: list[bytes], rule: str) -> None:
    wire = await server.login()
    for command in commands:
        wire.send(command)
        await wire.until(command[:2])
    assert rule in rules(server)


async def test_lint_finds_commands_inside_idle(server: Server) -> None:
    wire = await server.login()
    wire.send(b"a IDLE\r\nb NOOP\r\nDONE\r\n")
    await wire.until(b"a OK")
    assert rules(server) == {"command-in-idle"}


async def test_lint_finds_uids_used_across_a_change_of_uidvalidity(server: Server) -> None:
    wire = await server.login()
    for _ in range(2):
        await wire.ok("CREATE box")
        await wire.append("box", MESSAGE)
        await wire.ok("SELECT box")
        await wire.ok("UID FETCH 1:* FLAGS")
        assert "uid-across-uidvalidity" not in rules(server)
        if _ == 0:
            await wire.ok("DELETE box")
    await wire.ok("UID FETCH 1 FLAGS")
    assert "uid-across-uidvalidity" in rules(server)


async def test_an_account_that_is_emptied_ends_its_sessions(server: Server) -> None:
    wire = await server.selected()
    wire.send(b"a IDLE\r\n")
    await wire.until(b"+ ")
    await server.store.reset(ACCOUNT)
    assert (await wire.until(b"* BYE"))[-1].startswith(b"* BYE [UNAVAILABLE]")


@pytest.mark.rfc(9585, "3")
async def test_a_long_command_tells_that_it_is_in_progress() -> None:
    said = []
    session = SimpleNamespace(tag=b"a1", say=said.append, rim=SimpleNamespace(flush=lambda: None))
    running = progress.report(session)  # type: ignore[arg-type]  # all that it needs of a session
    running.tell()
    running.cancel()
    assert said == [b'OK [INPROGRESS ("a1" NIL NIL)] Still working']


async def test_lint_finds_what_is_used_without_being_offered(start: StartServer) -> None:
    options = ImapOptions(capabilities_off=frozenset({"LITERAL+", "LITERAL-", "CONDSTORE", "MOVE"}))
    async with start(options=options) as server:
        wire = await server.login()
        wire.send(b"a STATUS {5+}\r\nINBOX (MESSAGES)\r\n")
        assert (await wire.until(b"a "))[-1] == b'a BAD A literal must wait for "+": LITERAL+ is not offered\r\n'
        await wire.status("STATUS INBOX (HIGHESTMODSEQ)")
        await wire.status("MOVE 1 INBOX")
        assert {"modseq-without-condstore", "capability-off", "literal-plus-not-offered"} <= rules(server)


async def test_lint_finds_a_large_literal_that_does_not_wait_where_only_literal_minus_is_offered(
    start: StartServer,
) -> None:
    async with start(options=ImapOptions(capabilities_off=frozenset({"LITERAL+"}))) as server:
        wire = await server.login()
        wire.send(b"a APPEND INBOX {4097+}\r\n%b\r\nb NOOP\r\n" % (b"x" * 4_097))
        assert (await wire.until(b"a "))[-1] == b'a BAD A literal must wait for "+": LITERAL- allows 4096 octets\r\n'
        await wire.until(b"b OK")
        assert "literal-plus-not-offered" in rules(server)


@pytest.mark.rfc(9051, "5.5")
async def test_lint_finds_numbers_pipelined_behind_what_may_expunge(server: Server) -> None:
    wire = await server.selected()
    await wire.append("INBOX", MESSAGE)
    await wire.ok("NOOP")
    await wire.ok("FETCH 1 FLAGS")
    wire.send(b"a FETCH 1 FLAGS\r\nb FETCH 1 FLAGS\r\nc NOOP\r\nd UID FETCH 1 FLAGS\r\n")
    await wire.until(b"d OK")
    assert "expunge-numbers-pipelined" not in rules(server)
    wire.send(b"e NOOP\r\nf FETCH 1 FLAGS\r\n")
    await wire.until(b"f OK")
    assert "expunge-numbers-pipelined" in rules(server)


@pytest.mark.parametrize("command", ["LOGIN bob@beta.test x", "AUTHENTICATE PLAIN AGJvYkBiZXRhLnRlc3QAeA=="])
async def test_lint_finds_passwords_in_clear(start: StartServer, identity: TlsIdentity, command: str) -> None:
    async with start(tls=identity.context) as server:
        wire = await greeted(server)
        await wire.ok(command)
        assert "login-in-clear" in rules(server)


# -- tables and options


def test_the_server_refuses_to_start_when_a_capability_has_no_implementation(monkeypatch: pytest.MonkeyPatch) -> None:
    made_up = {**capabilities.CAPABILITIES, "X-MADE-UP": Capability("X-MADE-UP", "RFC 0")}
    monkeypatch.setattr(table, "CAPABILITIES", made_up)
    with pytest.raises(StartError, match="X-MADE-UP"):
        table.verify()


async def test_an_unknown_personality_is_a_configuration_error(server: Server) -> None:
    with pytest.raises(ConfigError, match="nosuch"):
        ImapFactory(server.context, "imap", ImapOptions(personality="nosuch"))


async def test_what_only_pop3_knows_says_nothing_to_imap(start: StartServer) -> None:
    options = ImapOptions(capabilities_off=frozenset({"TOP", "qresync"}))
    async with start(options=options, specs={ACCOUNT: AccountSpec(personality="no-uidl")}) as server:
        listed = b"".join(await (await server.login()).ok("CAPABILITY"))
        assert b"QRESYNC" not in listed
        assert b"CONDSTORE" in listed
    assert capabilities.knows("qresync")
    assert capabilities.knows("AUTH=LOGIN")
    assert not capabilities.knows("TOP")


def test_what_needs_a_capability_that_is_off_is_off_too() -> None:
    assert not {"QRESYNC", "CONDSTORE"} & capabilities.available({"CONDSTORE"})
    assert "IMAP4rev2" not in capabilities.available({"MOVE"})
    assert capabilities.available(()) == frozenset(capabilities.CAPABILITIES)


@pytest.mark.parametrize("name", sorted(PERSONALITIES))
async def test_every_personality_serves_a_simple_session(start: StartServer, name: str) -> None:
    specs = {ACCOUNT: AccountSpec(personality=name)}
    async with start(specs=specs) as server:
        wire = await server.login()
        listed = b"".join(await wire.ok("CAPABILITY")).split()
        for off in personalities.personality(name).off - {"LITERAL-"}:
            assert off.encode() not in listed
        await wire.append("INBOX", MESSAGE)
        await wire.ok("SELECT INBOX")
        assert MESSAGE in b"".join(await wire.ok("FETCH 1 BODY[]"))
        await wire.ok("SEARCH ALL")


async def test_a_personality_can_lack_keywords(start: StartServer) -> None:
    async with start(options=ImapOptions(personality="exchange")) as server:
        wire = await server.login()
        await wire.append("INBOX", MESSAGE)
        selected = b"".join(await wire.ok("SELECT INBOX"))
        assert b"\\*" not in selected
        await wire.ok("STORE 1 +FLAGS (work \\Seen)")
        assert b"work" not in b"".join(await wire.ok("FETCH 1 FLAGS"))
        wire.send(b"a IDLE\r\n")
        assert await wire.response() == b"+ \r\n"


async def test_capabilities_can_be_off_for_one_account(start: StartServer) -> None:
    options = ImapOptions(accounts_off={ACCOUNT: frozenset({"MOVE"})})
    async with start(options=options) as server:
        assert b" MOVE" not in b"".join(await (await server.login()).ok("CAPABILITY"))
        assert b" MOVE" in b"".join(await (await server.login("eve@beta.test")).ok("CAPABILITY"))
