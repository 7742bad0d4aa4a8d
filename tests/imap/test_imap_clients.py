"""Clients that nobody here wrote: imaplib, aioimaplib."""

import asyncio
import imaplib

import aioimaplib

from tests.imap.serving import ACCOUNT, MESSAGE, Server


async def test_imaplib_logs_in_appends_searches_fetches_and_expunges(server: Server) -> None:
    def drive() -> None:
        client = imaplib.IMAP4(server.listener.host, server.listener.port)
        client.login(ACCOUNT, "secret")
        assert client.append("INBOX", "\\Flagged", None, MESSAGE)[0] == "OK"
        assert client.select("INBOX") == ("OK", [b"1"])
        assert client.search(None, "SUBJECT", "Hello") == ("OK", [b"1"])
        status, data = client.fetch("1", "(FLAGS BODY[])")
        assert status == "OK"
        assert data[0][1] == MESSAGE
        assert client.store("1", "+FLAGS", "\\Deleted")[0] == "OK"
        assert client.expunge() == ("OK", [b"1"])
        client.close()
        client.logout()

    await asyncio.to_thread(drive)


async def test_aioimaplib_is_pushed_exists_flags_and_expunge_in_idle(server: Server) -> None:
    client = aioimaplib.IMAP4(host=server.listener.host, port=server.listener.port, timeout=10)
    await client.wait_hello_from_server()
    await client.login(ACCOUNT, "secret")
    await client.select("INBOX")
    idle = await client.idle_start(timeout=60)
    other = await server.selected()
    await other.append("INBOX", MESSAGE)
    assert b"1 EXISTS" in await client.wait_server_push()
    await other.ok("STORE 1 +FLAGS (\\Deleted)")
    pushed = await client.wait_server_push()
    assert any(b"FETCH (FLAGS (\\Deleted" in line for line in pushed), pushed
    await other.ok("EXPUNGE")
    assert b"1 EXPUNGE" in await client.wait_server_push()
    client.idle_done()
    await asyncio.wait_for(idle, 10)
    await client.logout()
