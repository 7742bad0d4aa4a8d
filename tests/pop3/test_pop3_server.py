"""The server's rim: slow readers, lost connections, the lock, TLS, transcripts, what other protocols see."""

import asyncio
import contextlib
import gc
import socket
import ssl
import struct
import tracemalloc

import pytest

from mailsandbox.access.pop3.maildrop import FETCHED_KEYWORD
from mailsandbox.store.credentials import AccountSpec

BOB = "bob@beta.test"


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def rows(box):
    state = await box.store.open_mailbox(BOB, "INBOX")
    try:
        return list(state.rows.values())
    finally:
        state.release()


@pytest.mark.rfc(1939, "5")
async def test_retr_gives_the_octets_of_the_store_whatever_they_are(pop3):
    box = await pop3()
    letters = [
        b"",
        b".",
        b"\r\n",
        b"no end",
        b"a\rb\nc\r\n",
        b"\r\n.\r\n..\r\n",
        b"x" * 70_000 + b"\r\n",  # a line over 64 KiB
        b"a: b\r\n\r\n" + b"\r\r\n" * 3,  # CR CR LF stays as it is
        bytes(range(256)) * 3,
        b".\r\n" * 100_000,  # 300 KB, dots at every chunk's edge
    ]
    await box.put(*letters)
    client = await box.login()
    for number, octets in enumerate(letters, 1):
        client.send(f"RETR {number}")
        expected = octets if octets.endswith(b"\r\n") or not octets else octets + b"\r\n"
        assert await client.multi() == expected
    stored = await box.store.contents(await rows(box))
    assert stored == letters
    await client.hang_up()


@pytest.mark.rfc(2449, "6.6")
async def test_a_thousand_pipelined_commands_are_answered_in_order(pop3):
    box = await pop3()
    await box.put(*[b"Subject: %d\r\n\r\n%d\r\n" % (number, number) for number in range(1, 501)])
    client = await box.login()
    client.send("".join(f"RETR {number}\r\nTOP {number} 0\r\n" for number in range(1, 501)).encode())
    for number in range(1, 501):
        assert await client.multi() == b"Subject: %d\r\n\r\n%d\r\n" % (number, number)
        assert await client.multi() == b"Subject: %d\r\n\r\n" % number
    await client.hang_up()


async def test_a_client_that_does_not_read_costs_bounded_memory(pop3):
    box = await pop3()
    await box.put(*[b"Subject: big\r\n\r\n" + b"x" * 1_000_000 + b"\r\n"] * 40)
    client = await box.login()
    gc.collect()
    tracemalloc.start()
    client.send("".join(f"RETR {number}\r\n" for number in range(1, 41)).encode() * 20)
    for _ in range(200):
        await asyncio.sleep(0.001)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12_000_000
    await client.hang_up()
    await until(lambda: box.listener.connections == 0)


@pytest.mark.rfc(1939, "6")
async def test_a_connection_lost_in_retr_deletes_nothing_and_unlocks(pop3):
    box = await pop3()
    await box.put(b"Subject: big\r\n\r\n" + b"x" * 3_000_000 + b"\r\n")
    client = await box.login()
    client.send(b"DELE 1\r\nRSET\r\nRETR 1\r\n")
    await client.reader.readexactly(50_000)
    client.writer.transport.abort()
    await until(lambda: box.listener.connections == 0)
    assert await box.left() == 1
    again = await box.login()
    assert await again.ask("STAT") == b"+OK 1 3000018\r\n"
    await again.hang_up()
    assert box.last_session.outcome in ("open", "aborted")


@pytest.mark.rfc(1939, "6")
async def test_a_client_that_hangs_up_right_after_quit_has_its_deletions(pop3):
    box = await pop3()
    await box.put(b"a: b\r\n\r\n1\r\n", b"a: b\r\n\r\n2\r\n")
    client = await box.login()
    client.send(b"DELE 1\r\nQUIT\r\n")
    client.writer.close()
    await until(lambda: "MessageExpunge" in box.changes)
    assert await box.left() == 1
    await until(lambda: box.listener.connections == 0)
    again = await box.login()
    assert await again.ask("STAT") == b"+OK 1 11\r\n"
    await again.hang_up()
    with contextlib.suppress(OSError):
        await client.writer.wait_closed()


@pytest.mark.rfc(1939, "6")
async def test_a_commit_that_takes_long_goes_on_without_its_client_and_unlocks_at_its_end(pop3):
    box = await pop3()
    await box.put(b"a: b\r\n\r\n1\r\n", b"a: b\r\n\r\n2\r\n")
    started, may_go_on = asyncio.Event(), asyncio.Event()
    remove = box.store.remove

    async def slowly(*arguments):
        started.set()
        await may_go_on.wait()
        return await remove(*arguments)

    box.store.remove = slowly
    client = await box.login()
    client.send(b"DELE 1\r\nQUIT\r\n")
    await started.wait()
    client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.writer.transport.abort()  # by a reset: an end of input alone would be waited with until the answer
    await until(lambda: box.listener.connections == 0)
    early = await box.connect()
    await early.line()
    await early.ask(f"USER {BOB}")
    assert (await early.ask("PASS x")).startswith(b"-ERR [IN-USE]")
    may_go_on.set()
    await until(lambda: "MessageExpunge" in box.changes)
    await early.ask(f"USER {BOB}")
    assert await early.ask("PASS x") == b"+OK 1 messages (11 octets)\r\n"
    await early.hang_up()


async def test_commands_of_a_client_that_does_not_read_are_left_in_its_socket(pop3):
    box = await pop3()
    await box.put(b"Subject: big\r\n\r\n" + (b"x" * 78 + b"\r\n") * 100_000)
    client = await box.login()
    client.send("RETR 1")
    await asyncio.sleep(0.02)  # until the server waits for the reader
    (connection,) = box.listener._open
    for _ in range(200):
        client.send(b"NOOP\r\n" * 10_000)
        await asyncio.sleep(0)
    assert connection.congested
    assert connection.protocol._reader.waiting < 600_000
    while not (await client.line()).startswith(b".\r\n"):
        pass
    for _ in range(1_000):
        assert await client.line() == b"+OK Still here\r\n"
    client.writer.transport.abort()  # there is more to send than the server will ever read
    await client.hang_up()


@pytest.mark.rfc(1939, "6")
async def test_update_is_one_transaction_and_is_seen_by_other_readers_at_once(pop3):
    box = await pop3()
    await box.put(*[b"a: b\r\n\r\n%d\r\n" % number for number in range(10)])
    batches = []
    box.store.listeners.append(lambda changes: batches.append([change.uid for change in changes]))
    client = await box.login()
    for number in (2, 4, 6):
        await client.ask(f"DELE {number}")
    assert batches == []
    await client.ask("QUIT")
    assert batches == [[2, 4, 6]]
    await client.hang_up()


async def test_what_was_retrieved_is_seen_for_imap_after_quit_and_only_then(pop3):
    box = await pop3()
    await box.put(b"a: b\r\n\r\n1\r\n", b"a: b\r\n\r\n2\r\n")
    client = await box.login()
    client.send("RETR 1")
    await client.multi()
    assert [row.flags.names for row in await rows(box)] == [frozenset(), frozenset()]
    await client.ask("QUIT")
    assert [row.flags.names for row in await rows(box)] == [{"\\Seen"}, frozenset()]
    await client.hang_up()


async def test_gmail_hides_by_a_keyword_that_other_protocols_can_see(pop3):
    box = await pop3(personality="gmail", mark_seen=False)
    await box.put(b"a: b\r\n\r\n1\r\n")
    client = await box.login()
    client.send("RETR 1")
    await client.multi()
    await client.ask("QUIT")
    assert [row.flags.names for row in await rows(box)] == [{FETCHED_KEYWORD}]
    await client.hang_up()


@pytest.mark.rfc(1939, "3")
async def test_an_idle_client_is_closed_without_a_word_and_without_update(pop3):
    box = await pop3(idle_timeout=0.05)
    await box.put(b"a: b\r\n\r\n1\r\n")
    client = await box.login()
    await client.ask("DELE 1")
    assert await client.reader.read() == b""
    assert box.last_session.outcome == "timeout"
    assert await box.left() == 1
    await client.hang_up()


async def test_at_shutdown_each_client_is_told(pop3):
    box = await pop3()
    await box.put(b"a: b\r\n\r\n1\r\n")
    client = await box.login()
    await client.ask("DELE 1")
    await box.listener.aclose(1.0)
    assert await client.reader.read() == b"-ERR [SYS/TEMP] The server is shutting down\r\n"
    assert await box.left() == 1
    await client.hang_up()


@pytest.mark.rfc(8314, "3")
async def test_implicit_tls_serves_and_its_session_is_recorded(pop3, identity):
    box = await pop3(tls=True)
    await box.put(b"a: b\r\n\r\n1\r\n")
    trust = ssl.create_default_context(cafile=str(identity.authority))
    reader, writer = await asyncio.open_connection(box.host, box.port, ssl=trust, server_hostname="localhost")
    assert (await reader.readline()).startswith(b"+OK")
    writer.write(b"CAPA\r\nQUIT\r\n")
    said = await reader.read()
    assert b"STLS" not in said
    assert box.last_session.tls.startswith("TLSv1.")
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def test_a_client_that_does_not_trust_the_certificate_leaves_a_note_that_says_so(pop3):
    box = await pop3(tls=True)

    def suspicious():
        with (
            socket.create_connection((box.host, box.port)) as plain,
            pytest.raises(ssl.SSLCertVerificationError),
        ):
            ssl.create_default_context().wrap_socket(plain, server_hostname="localhost")

    await asyncio.to_thread(suspicious)
    await until(lambda: box.last_session.outcome != "open")
    assert any("does not trust the server's certificate" in line.text for line in box.last_session.transcript)


async def test_a_client_that_leaves_in_the_handshake_leaves_a_note_too(pop3):
    box = await pop3(tls=True)
    await (await box.connect()).hang_up()

    def noted():
        return [
            line for record in box.context.sessions for line in record.transcript if "in the TLS handshake" in line.text
        ]

    await until(noted)
    assert box.last_session.outcome == "aborted"


async def test_tls_on_the_plain_port_leaves_a_note_and_is_closed(pop3):
    box = await pop3()
    client = await box.connect()
    await client.line()
    client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    assert await client.reader.read() == b""
    assert box.last_session.outcome == "TLS on a plain port"
    assert "use STLS or the pop3s port" in box.last_session.transcript[-1].text
    await client.hang_up()


async def test_a_line_without_end_is_cut_off(pop3):
    box = await pop3()
    client = await box.connect()
    await client.line()
    with contextlib.suppress(ConnectionError):
        for _ in range(60):
            client.send(b"x" * 50_000)
            await client.writer.drain()
    assert await client.reader.readline() == b"-ERR Line too long\r\n"
    assert await client.reader.read() == b""
    await client.hang_up()


async def test_the_transcript_names_messages_by_size_and_hides_secrets(pop3):
    box = await pop3(accounts={BOB: AccountSpec("secret")})
    await box.put(b"a: b\r\n\r\nbody\r\n")
    client = await box.login()
    client.send("RETR 1")
    await client.multi()
    await client.ask("QUIT")
    await client.hang_up()
    shown = [f"{line.side}: {line.text}" for line in box.last_session.transcript]
    assert shown[1:] == [
        "C: USER bob@beta.test",
        "S: +OK Send the password",
        "C: PASS ***",
        "S: +OK 1 messages (14 octets)",
        "C: RETR 1",
        "S: +OK 14 octets [14 octets of message data]",
        "C: QUIT",
        "S: +OK Goodbye",
    ]
    assert (box.last_session.account, box.last_session.outcome) == (BOB, "closed")


async def test_the_journey_learns_that_pop3_showed_the_message(pop3):
    box = await pop3()
    shown = []
    box.context.ledger.shown = lambda key, uids, protocol: shown.append((tuple(uids), protocol))
    await box.put(b"a: b\r\n\r\n1\r\n", b"a: b\r\n\r\n2\r\n")
    client = await box.login()
    for command in ("LIST", "UIDL", "RETR 2", "TOP 1 0"):
        client.send(command)
        await client.multi()
    assert shown == [((2,), "pop3"), ((1,), "pop3")]
    await client.hang_up()


async def test_two_accounts_are_served_at_the_same_time(pop3):
    box = await pop3()
    await box.put(b"a: b\r\n\r\nann\r\n", account="ann@alpha.test")
    await box.put(b"a: b\r\n\r\nbob\r\n")
    ann, bob = await box.login("ann@alpha.test"), await box.login()
    ann.send("RETR 1")
    bob.send("RETR 1")
    assert (await bob.multi(), await ann.multi()) == (b"a: b\r\n\r\nbob\r\n", b"a: b\r\n\r\nann\r\n")
    await ann.hang_up()
    await bob.hang_up()


async def test_a_bug_in_one_session_ends_that_session_only(pop3, caplog):
    box = await pop3()
    await box.put(b"a: b\r\n\r\n1\r\n")
    first = await box.login()

    async def bug(*_):
        raise ZeroDivisionError("ours")

    contents, box.store.contents = box.store.contents, bug
    assert await first.ask("RETR 1") == b"-ERR [SYS/PERM] Internal error\r\n"
    assert await first.line() == b""
    await first.hang_up()
    box.store.contents = contents
    await until(lambda: box.listener.connections == 0)
    second = await box.login()
    assert await second.ask("STAT") == b"+OK 1 11\r\n"
    assert "ZeroDivisionError" in caplog.text
    await second.hang_up()
