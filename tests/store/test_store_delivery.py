"""Messages come in: delivered, appended, counted, stored once."""

import asyncio

import pytest
from letters import BOB, TRACE, letter, to_bob

from mailsandbox.database import Database
from mailsandbox.errors import NoSuchMailbox, OverQuota
from mailsandbox.store.model import AppendItem, Change, ChangeType, Delivery, Flags
from mailsandbox.store.store import Store


async def _count(database: Database, table: str) -> int:
    return await database.read(lambda tx: tx.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


async def test_a_delivery_makes_the_account_and_lands_in_its_inbox(store: Store) -> None:
    (landed,) = await store.deliver([to_bob()], letter(), journey_id="Q1")
    assert (landed.account, landed.mailbox, landed.uid) == (BOB, "INBOX", 1)
    assert landed.octets == len(TRACE) + len(letter())
    assert await store.accounts() == [BOB]


async def test_what_was_delivered_is_read_back_octet_for_octet(store: Store) -> None:
    octets = (
        letter(body="\x00caf\u00e9 \udcff".encode("utf-8", "surrogateescape").decode("latin-1")) + b"\xff\x00\r\n.\r\n"
    )
    await store.deliver([to_bob()], octets)
    state = await store.open_mailbox(BOB, "INBOX")
    assert await store.contents([state.rows[1]]) == [TRACE + octets]


async def test_one_message_to_many_accounts_is_one_blob(store: Store, database: Database) -> None:
    deliveries = [Delivery(f"user{number}@beta.test", b"Delivered-To: %d\r\n" % number) for number in range(20)]
    landed = await store.deliver(deliveries, letter())
    assert [each.account for each in landed] == [each.account for each in deliveries]
    assert (await _count(database, "blobs"), await _count(database, "messages")) == (1, 20)
    state = await store.open_mailbox("user7@beta.test", "INBOX")
    assert await store.contents(list(state.rows.values())) == [b"Delivered-To: 7\r\n" + letter()]


async def test_the_blob_goes_with_its_last_message(store: Store, database: Database) -> None:
    await store.deliver([to_bob(), Delivery("eve@beta.test", b"")], letter())
    await store.remove(BOB, "INBOX", [1])
    assert await _count(database, "blobs") == 1
    await store.remove("eve@beta.test", "INBOX", [1])
    for table in ("blobs", "contents", "renderings", "texts", "traces", "messages"):
        assert await _count(database, table) == 0, table


async def test_a_delivery_to_a_missing_mailbox_goes_to_inbox(store: Store) -> None:
    (landed,) = await store.deliver([to_bob(mailbox="Lists/python")], letter())
    assert landed.mailbox == "INBOX"
    await store.create_mailbox(BOB, "Lists/python")
    (landed,) = await store.deliver([to_bob(mailbox="Lists/python")], letter(number=2))
    assert landed.mailbox == "Lists/python"


async def test_accounts_are_found_in_any_case(store: Store) -> None:
    await store.deliver([Delivery("Bob@BETA.test", b"")], letter())
    (status,) = await store.mailboxes("bOB@beta.TEST")
    assert (status.messages, status.unseen) == (1, 1)


@pytest.mark.rfc(9051, "2.3.1.1")
async def test_uids_only_grow_even_when_the_newest_message_is_gone(store: Store) -> None:
    for number in range(3):
        await store.deliver([to_bob()], letter(number=number))
    await store.remove(BOB, "INBOX", [3])
    (landed,) = await store.deliver([to_bob()], letter(number=9))
    assert landed.uid == 4
    assert (await store.status(BOB, "INBOX")).uid_next == 5


async def test_concurrent_deliveries_get_distinct_uids_in_the_order_they_are_told(
    store: Store, heard: list[Change]
) -> None:
    results = await asyncio.gather(*[store.deliver([to_bob()], letter(number=n)) for n in range(40)])
    assert sorted(landed.uid for (landed,) in results) == list(range(1, 41))
    assert [change.uid for change in heard if change.type is ChangeType.MESSAGE_NEW] == list(range(1, 41))
    assert [change.seq for change in heard] == list(range(1, 42))


@pytest.mark.rfc(3502, "6.3.11")
async def test_an_append_of_several_is_all_or_nothing(store: Store, limits: dict[str, int]) -> None:
    await store.ensure_account(BOB)
    limits[BOB] = len(letter()) + 10
    with pytest.raises(OverQuota):
        await store.append(BOB, "INBOX", [AppendItem(letter()), AppendItem(letter(number=2))])
    status = await store.status(BOB, "INBOX")
    assert (status.messages, status.uid_next, status.octets) == (0, 1, 0)


async def test_an_append_keeps_flags_and_dates(store: Store) -> None:
    await store.ensure_account(BOB)
    flags = Flags.of(["\\seen", "Work"])
    (landed,) = await store.append(BOB, "inbox", [AppendItem(letter(), flags, internal_date=1e9)])
    row = (await store.open_mailbox(BOB, "INBOX")).rows[landed.uid]
    assert (row.flags, row.internal_date) == (flags, 1e9)
    assert row.flags.octets == b"Work \\Seen"
    assert (await store.status(BOB, "INBOX")).unseen == 0


@pytest.mark.rfc(9051, "6.3.12")
async def test_an_append_to_a_missing_mailbox_names_it(store: Store) -> None:
    await store.ensure_account(BOB)
    with pytest.raises(NoSuchMailbox, match="Sent"):
        await store.append(BOB, "Sent", [AppendItem(letter())])


async def test_a_delivery_over_quota_stores_nothing_for_anybody(
    store: Store, database: Database, limits: dict[str, int], heard: list[Change]
) -> None:
    limits[BOB] = 10
    with pytest.raises(OverQuota, match=BOB):
        await store.deliver([Delivery("ann@beta.test", b""), to_bob()], letter())
    assert await _count(database, "messages") == 0
    assert await _count(database, "blobs") == 0
    assert heard == []


@pytest.mark.rfc(8474, "5.2")
async def test_a_reply_joins_the_thread_of_what_it_answers(store: Store) -> None:
    await store.deliver([to_bob()], letter(number=1))
    await store.deliver([to_bob()], letter(number=2, extra="In-Reply-To: <1@alpha.test>\r\n"))
    await store.deliver([to_bob()], letter(number=3, extra="References: <1@alpha.test>\r\n <2@alpha.test>\r\n"))
    await store.deliver([to_bob()], letter(number=4))
    rows = (await store.open_mailbox(BOB, "INBOX")).rows
    assert rows[1].thread_id == rows[2].thread_id == rows[3].thread_id != rows[4].thread_id
    assert len({row.email_id for row in rows.values()}) == 4


async def test_a_root_that_arrives_after_its_reply_joins_the_thread(store: Store) -> None:
    await store.deliver([to_bob()], letter(number=2, extra="In-Reply-To: <1@alpha.test>\r\n"))
    await store.deliver([to_bob()], letter(number=1))
    rows = (await store.open_mailbox(BOB, "INBOX")).rows
    assert rows[1].thread_id == rows[2].thread_id


async def test_messages_without_message_id_are_threads_of_their_own(store: Store) -> None:
    await store.deliver([to_bob()], b"Subject: a\r\n\r\none")
    await store.deliver([to_bob()], b"Subject: a\r\n\r\ntwo")
    rows = (await store.open_mailbox(BOB, "INBOX")).rows
    assert rows[1].thread_id != rows[2].thread_id


async def test_what_octets_cannot_be_parsed_is_stored_all_the_same(store: Store) -> None:
    for octets in (b"", b"\r\n", b"\x00" * 100, b"Subject: \xed\xa0\x80 \x00\r\n\r\n\x00", b"no header at all"):
        (landed,) = await store.deliver([to_bob()], octets)
        message = await store.message(landed.message_id)
        assert await store.contents([message.row]) == [TRACE + octets]
