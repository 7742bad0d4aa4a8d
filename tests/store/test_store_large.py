"""Messages that are large enough for a file of their own are read, searched and removed like all others."""

import os

import pytest
from letters import BOB, to_bob

from mailsandbox.clock import ManualClock
from mailsandbox.database.file import FileDatabase
from mailsandbox.errors import DamagedContent
from mailsandbox.store.model import AppendItem
from mailsandbox.store.store import Store

HEADER = b"From: a@alpha.test\r\nSubject: large\r\nMessage-ID: <l@alpha.test>\r\n\r\n"
OCTETS = HEADER + b"needle" + b"0123456789\r\n" * 110_000
SMALL = OCTETS[:1000] + b"\r\n"


async def test_they_are_served_to_the_octet_searched_and_removed(store: Store) -> None:
    await store.deliver([to_bob(b"Trace: 1\r\n")], OCTETS)
    await store.append(BOB, "INBOX", [AppendItem(OCTETS), AppendItem(SMALL)])
    state = await store.open_mailbox(BOB, "INBOX")
    rows = [state.rows[uid] for uid in state.uids]
    assert await store.contents(rows) == [b"Trace: 1\r\n" + OCTETS, OCTETS, SMALL]
    headers = await store.rendered(rows, ["header"])
    assert headers == [(b"Trace: 1\r\n" + HEADER,), (HEADER,), (HEADER,)]
    assert await store.search_text(state, "needle", scope="body") == set(state.uids)
    await store.reindex()
    assert (await store.contents(rows))[1] == OCTETS
    await store.remove(BOB, "INBOX", state.uids)
    assert await store.database.read(lambda tx: tx.execute("SELECT count(*) FROM blobs").fetchone()) == (0,)


@pytest.mark.parametrize("target", ["file"], indirect=True)
async def test_one_whose_file_is_gone_is_told_of_and_keeps_nothing_else_from_being_done(
    store: Store, database: FileDatabase, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    await store.ensure_account(BOB)
    await store.append(BOB, "INBOX", [AppendItem(OCTETS), AppendItem(SMALL)])
    (name,) = os.listdir(database.directory / "large")
    file = database.directory / "large" / name
    os.unlink(file)
    state = await store.open_mailbox(BOB, "INBOX")
    rows = [state.rows[uid] for uid in state.uids]
    with pytest.raises(DamagedContent, match=file.name):
        await store.contents(rows[:1])
    assert await store.contents(rows[1:]) == [SMALL]
    assert await store.reindex() == 2
    assert f"{file.name}" in caplog.text
    assert await store.rendered(rows, ["subject"]) == [("large",), ("large",)]
    await database.write(lambda tx: tx.execute("DELETE FROM texts"))
    again = Store(database, clock=clock)
    await again.start()  # renders the texts that a crash kept from being written
    assert await again.search_text(await again.open_mailbox(BOB, "INBOX"), "needle", scope="body") == {state.uids[1]}
    await again.aclose()
    await store.remove(BOB, "INBOX", state.uids[:1])
    assert (await store.status(BOB, "INBOX")).messages == 1
