"""Two daemons on one PostgreSQL: a session of the one hears what a session of the other does."""

from postgres_cluster import Cluster

from tests.imap.serving import MESSAGE, serving
from tests.imap.wire import Wire


async def test_what_one_daemon_commits_is_pushed_by_the_other(postgres: Cluster) -> None:
    target = postgres.new_database()
    async with serving(target=target) as here, serving(target=target) as there:
        await here.store.ensure_account("bob@beta.test")
        reader, writer = await here.selected(), await there.selected()
        reader.send(b"i IDLE\r\n")
        await reader.until(b"+")
        await writer.append("INBOX", MESSAGE)
        await writer.append("INBOX", MESSAGE)
        assert b"* 2 EXISTS\r\n" in await reader.until(b"* 2 EXISTS")
        await writer.ok("STORE 2 +FLAGS (\\Deleted)")
        assert (await reader.until(b"* 2 FETCH"))[-1].startswith(b"* 2 FETCH (FLAGS (\\Deleted")
        await writer.ok("EXPUNGE")
        await reader.until(b"* 2 EXPUNGE")
        reader.send(b"DONE\r\n")
        await reader.until(b"i OK")
        assert await reader.ok("UID SEARCH ALL") == [b"* SEARCH 1\r\n"]


async def test_both_daemons_number_messages_alike(postgres: Cluster) -> None:
    target = postgres.new_database()
    async with serving(target=target) as here, serving(target=target) as there:
        await here.store.ensure_account("bob@beta.test")
        wires = [await here.selected(), await there.selected()]
        for number in range(6):
            await wires[number % 2].append("INBOX", MESSAGE)
        await wires[0].ok("STORE 1,3 +FLAGS.SILENT (\\Deleted)")
        await wires[0].ok("EXPUNGE")
        await heard(wires[1], b"* 2 EXPUNGE")
        await wires[1].ok("UID COPY 1:* INBOX")
        await heard(wires[0], b"* 8 EXISTS")
        for server in (here, there):
            fresh = await server.selected()
            assert await fresh.ok("UID SEARCH ALL") == [b"* SEARCH 2 4 5 6 7 8 9 10\r\n"]


async def heard(wire: Wire, response: bytes) -> None:
    """Idle until the other daemon's change has come."""
    wire.send(b"h IDLE\r\n")
    await wire.until(response)
    wire.send(b"DONE\r\n")
    await wire.until(b"h OK")
