"""Two daemons on one PostgreSQL: a client may be with either, and sees what happened at the other."""

import asyncio
import re
from collections.abc import AsyncIterator

import psycopg
import pytest
from postgres_cluster import Cluster

from mailsandbox.store.model import Uid
from mailsandbox.store.unit import Unit
from tests.imap.serving import ACCOUNT, MESSAGE, Server, serving
from tests.imap.wire import Wire

Pair = tuple[Server, Server]


@pytest.fixture
def place(postgres: Cluster) -> str:
    return postgres.new_database()


@pytest.fixture
async def pair(place: str) -> AsyncIterator[Pair]:
    async with serving(target=place) as here, serving(target=place) as there:
        yield here, there


async def told(wire: Wire, wanted: bytes) -> list[bytes]:
    """Everything up to a response that has `wanted` in it: what another daemon did arrives when it arrives."""
    found: list[bytes] = []
    async with asyncio.timeout(20):
        while not any(wanted in response for response in found):
            found += await wire.ok("NOOP")
    return found


def number(pattern: bytes, responses: list[bytes]) -> int:
    found = re.search(pattern, b"".join(responses))
    assert found is not None, responses
    return int(found[1])


async def appended(wire: Wire, text: str = "APPEND INBOX {}") -> int:
    """The UID that APPENDUID gives (RFC 4315 §3)."""
    return number(rb"APPENDUID \d+ (\d+)", await wire.command(text, MESSAGE))


@pytest.mark.rfc(9051, "7.4.1")
async def test_what_one_daemon_appends_flags_and_expunges_the_other_tells_with_the_same_mod_sequences(
    pair: Pair,
) -> None:
    here, there = pair
    actor, watcher = await here.selected(), await there.login()
    await watcher.ok("ENABLE CONDSTORE")
    await watcher.ok("SELECT INBOX")
    assert [await appended(actor) for _ in range(3)] == [1, 2, 3]
    await told(watcher, b"* 3 EXISTS")
    stored = await actor.ok("STORE 2 (UNCHANGEDSINCE 9999) +FLAGS (\\Flagged $Label)")
    mod_seq = number(rb"MODSEQ \((\d+)\)", stored)
    seen = await told(watcher, b"* 2 FETCH")
    assert number(rb"MODSEQ \((\d+)\)", seen[-1:]) == mod_seq
    assert b"\\Flagged" in seen[-1]
    assert b"$Label" in seen[-1]
    await actor.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
    await actor.ok("EXPUNGE")
    await told(watcher, b"* 1 EXPUNGE")
    both = [await wire.ok("FETCH 1:* (UID FLAGS MODSEQ)") for wire in (actor, watcher)]
    assert both[0] == both[1]
    assert [number(rb"UID (\d+)", [line]) for line in both[0]] == [2, 3]


async def test_what_was_answered_at_one_daemon_is_there_when_the_mailbox_is_opened_at_the_other(pair: Pair) -> None:
    here, there = pair
    actor, reader = await here.selected(), await there.login()
    await reader.ok("SELECT INBOX")  # so that it is in memory there, and stays
    for turn in range(1, 26):
        uid = await appended(actor)
        opened = await reader.ok("EXAMINE INBOX")
        assert b"* %d EXISTS\r\n" % turn in opened
        assert number(rb"UIDNEXT (\d+)", opened) == uid + 1
        highest = number(rb"HIGHESTMODSEQ (\d+)", opened)
        assert highest == number(rb"HIGHESTMODSEQ (\d+)", await actor.ok("STATUS INBOX (HIGHESTMODSEQ)"))


@pytest.mark.rfc(9051, "2.3.1.1")
async def test_uid_validity_is_one_for_all_daemons_and_another_once_the_mailbox_was_made_anew(pair: Pair) -> None:
    here, there = pair
    actor, watcher = await here.login(), await there.login()
    await actor.ok("CREATE Box")
    first = [number(rb"UIDVALIDITY (\d+)", await wire.ok("SELECT Box")) for wire in (actor, watcher)]
    assert first[0] == first[1]
    await actor.ok("UNSELECT")
    await actor.ok("DELETE Box")
    await actor.ok("CREATE Box")
    late = await there.login()
    second = [number(rb"UIDVALIDITY (\d+)", await wire.ok("SELECT Box")) for wire in (actor, late)]
    assert second[0] == second[1] > first[0]


@pytest.mark.rfc(9051, "2.3.1.1")
async def test_uids_of_messages_appended_from_both_sides_at_once_are_unique_and_ascend_for_everybody(
    pair: Pair,
) -> None:
    watchers = [await server.selected() for server in pair]
    writers = [await server.login() for server in (*pair, *pair)]

    async def write(wire: Wire) -> list[int]:
        return [await appended(wire) for _ in range(15)]

    async def watch(wire: Wire) -> None:
        """What is new always has higher UIDs than all before, at the end."""
        known: list[int] = []
        async with asyncio.timeout(60):
            while len(known) < 60:
                fetched = await wire.ok("UID FETCH 1:* (UID)")
                uids = [number(rb"UID (\d+)", [line]) for line in fetched if b" FETCH " in line]
                assert uids[: len(known)] == known
                assert uids == sorted(set(uids))
                known = uids

    results = await asyncio.gather(*map(write, writers), *map(watch, watchers))
    given = [uid for uids in results if uids is not None for uid in uids]
    assert sorted(given) == list(range(1, 61))
    for uids in results[:4]:
        assert uids == sorted(uids or ())


@pytest.mark.rfc(7162, "3.1.3")
async def test_of_two_conditional_stores_at_two_daemons_at_once_one_is_done_and_the_other_told_modified(
    pair: Pair,
) -> None:
    here, there = pair
    wires = [await here.selected(), await there.selected()]
    await appended(wires[0])
    await told(wires[1], b"* 1 EXISTS")
    for turn in range(12):
        mod_seq = number(rb"HIGHESTMODSEQ (\d+)", await wires[0].ok("STATUS INBOX (HIGHESTMODSEQ)"))
        answers = await asyncio.gather(
            *(
                wire.command(f"UID STORE 1 (UNCHANGEDSINCE {mod_seq}) +FLAGS (k{turn}{side})")
                for side, wire in zip("ab", wires, strict=True)
            )
        )
        refused = [b"[MODIFIED 1]" in answer[-1] for answer in answers]
        assert sorted(refused) == [False, True], answers
        flags = b"".join(await wires[0].ok("UID FETCH 1 (FLAGS)"))
        winner = "ab"[refused.index(False)]
        loser = "ab"[refused.index(True)]
        for wire in wires:
            flags = b"".join(await until_flag(wire, f"k{turn}{winner}".encode()))
            assert f"k{turn}{loser}".encode() not in flags


async def until_flag(wire: Wire, flag: bytes) -> list[bytes]:
    async with asyncio.timeout(20):
        while True:
            fetched = await wire.ok("UID FETCH 1 (FLAGS)")
            if flag in b"".join(fetched):
                return fetched


@pytest.mark.rfc(7162, "3.1.3")
async def test_a_conditional_store_is_judged_by_what_is_stored_and_not_by_what_this_daemon_has_heard(
    pair: Pair,
) -> None:
    here, there = pair
    first, second = await here.selected(), await there.selected()
    await appended(first)
    await told(second, b"* 1 EXISTS")
    mod_seq = number(rb"HIGHESTMODSEQ (\d+)", await first.ok("STATUS INBOX (HIGHESTMODSEQ)"))
    await first.ok("STORE 1 +FLAGS (\\Flagged)")
    answer = await second.command(f"STORE 1 (UNCHANGEDSINCE {mod_seq}) +FLAGS (\\Seen)")
    assert b"[MODIFIED 1]" in answer[-1]


@pytest.mark.rfc(9051, "6.4.3")
async def test_expunges_at_both_daemons_at_once_remove_each_message_once_and_everybody_counts_right(
    pair: Pair,
) -> None:
    wires = [await server.selected() for server in pair]
    for _ in range(20):
        await appended(wires[0])
    await told(wires[1], b"* 20 EXISTS")
    await wires[0].ok("UID STORE 1:10 +FLAGS.SILENT (\\Deleted)")
    await wires[1].ok("UID STORE 6:15 +FLAGS.SILENT (\\Deleted)")
    await asyncio.gather(*(wire.ok("EXPUNGE") for wire in wires))
    for wire in wires:
        async with asyncio.timeout(20):
            while number(rb"\* ESEARCH .*COUNT (\d+)", await wire.ok("SEARCH RETURN (COUNT) ALL")) != 5:
                await wire.ok("NOOP")
        uids = [number(rb"UID (\d+)", [line]) for line in await wire.ok("FETCH 1:* (UID)")]
        assert uids == [16, 17, 18, 19, 20]


@pytest.mark.rfc(5256, "3")
async def test_threads_of_a_reindex_at_one_daemon_are_those_of_the_other(pair: Pair, place: str) -> None:
    here, there = pair
    wire = await here.selected()
    for name, references in (("one", b""), ("two", b"References: <one@x>\r\n"), ("three", b"References: <one@x>\r\n")):
        octets = b"Message-ID: <%b@x>\r\nSubject: s-%b\r\n%b\r\ntext\r\n" % (name.encode(), name.encode(), references)
        await wire.append("INBOX", octets)
    with psycopg.connect(place, autocommit=True) as connection:  # as an older renderer left them
        columns = connection.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_name = 'contents' "
            "AND table_schema = current_schema()"
        ).fetchall()
        (name,) = [column for (column,) in columns if "ref" in column and column != "refs"]
        connection.execute(f"UPDATE contents SET {name} = (SELECT {name} FROM contents WHERE id = 1)")
    assert await wire.ok("THREAD REFERENCES UTF-8 ALL") == [b"* THREAD (1)(2)(3)\r\n"]
    await there.store.reindex()
    async with asyncio.timeout(20):
        while await wire.ok("THREAD REFERENCES UTF-8 ALL") != [b"* THREAD (1 (2)(3))\r\n"]:
            await asyncio.sleep(0)


@pytest.mark.rfc(2177, "3")
async def test_a_client_that_idles_while_the_database_is_away_hears_again_when_it_is_back(
    pair: Pair, postgres: Cluster
) -> None:
    here, there = pair
    actor, idler = await here.selected(), await there.selected()
    await appended(actor)
    await told(idler, b"* 1 EXISTS")
    idler.send(b"i IDLE\r\n")
    await idler.until(b"+ ")
    postgres.stop()
    try:
        assert "[UNAVAILABLE]" in await actor.status("APPEND INBOX {}", MESSAGE)
        assert "[UNAVAILABLE]" in await actor.status("STORE 1 +FLAGS (\\Flagged)")
        assert "[UNAVAILABLE]" in await actor.status("FETCH 1 BODY.PEEK[]")
    finally:
        postgres.start()
    await appended(actor)
    await idler.until(b"* 2 EXISTS")
    idler.send(b"DONE\r\n")
    await idler.until(b"i OK")


@pytest.mark.rfc(2180, "3")
async def test_a_mailbox_deleted_at_one_daemon_is_told_to_who_has_it_open_at_the_other(pair: Pair) -> None:
    here, there = pair
    actor, watcher = await here.login(), await there.login()
    await actor.ok("CREATE Box")
    await watcher.ok("SELECT Box")
    await actor.ok("DELETE Box")
    ended = b""
    async with asyncio.timeout(20):
        while b"BYE" not in ended and b"NO" not in ended:
            try:
                ended = b"".join(await watcher.command("NOOP"))
            except EOFError as error:
                ended = str(error).encode()
    assert b"BYE" in ended or b"NONEXISTENT" in ended
    assert not any(b"Box" in line for line in await actor.ok('LIST "" *'))
    late = await there.login()
    assert "[NONEXISTENT]" in await late.status("SELECT Box")


@pytest.mark.rfc(9051, "6.3.6")
async def test_a_mailbox_renamed_at_one_daemon_goes_on_for_who_has_it_open_at_the_other(pair: Pair) -> None:
    here, there = pair
    actor, watcher = await here.login(), await there.login()
    await actor.ok("CREATE Old")
    await watcher.ok("SELECT Old")
    await actor.ok("RENAME Old New")
    await appended(actor, "APPEND New {}")
    await told(watcher, b"* 1 EXISTS")
    await watcher.ok("STORE 1 +FLAGS (\\Seen)")
    opened = await actor.ok("SELECT New")
    assert b"* 1 EXISTS\r\n" in opened
    assert b"\\Seen" in b"".join(await actor.ok("FETCH 1 (FLAGS)"))


@pytest.mark.rfc(9051, "7.5.1")
async def test_what_was_expunged_before_a_rename_in_the_same_commit_is_told_to_who_has_the_mailbox_open(
    pair: Pair,
) -> None:
    here, there = pair
    actor, watcher = await here.login(), await there.login()
    await actor.ok("CREATE Old")
    for _ in range(3):
        await appended(actor, "APPEND Old {}")
    await watcher.ok("SELECT Old")

    def work(unit: Unit) -> None:
        mailbox = unit.mailbox(unit.account(ACCOUNT), "Old")
        here.store.messages.expunge(unit, mailbox, here.store.messages.select(unit, mailbox, [Uid(2)]))
        here.store.mailboxes_of.rename(unit, mailbox.account, "Old", "New")

    await here.store.write(work)
    await told(watcher, b"* 2 EXPUNGE")
    assert b"UID 3 " in b"".join(await watcher.ok("FETCH 2 (UID FLAGS)"))
