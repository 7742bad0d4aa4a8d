"""Flags, copies, expunges, the log of changes, and the state that sessions share."""

import pytest
from letters import BOB, letter, to_bob

from mailsandbox.errors import MaildropInUse, NoSuchAccount, NoSuchMessage
from mailsandbox.store.changelog import cut_changes
from mailsandbox.store.model import AppendItem, Change, ChangeType, Flags, Seq
from mailsandbox.store.state import MailboxState
from mailsandbox.store.states import read_rows
from mailsandbox.store.store import Store


async def _fill(store: Store, count: int) -> MailboxState:
    await store.ensure_account(BOB)
    await store.append(BOB, "INBOX", [AppendItem(letter(number=number)) for number in range(count)])
    return await store.open_mailbox(BOB, "INBOX")


async def _agrees(store: Store, state: MailboxState) -> None:
    """What a state has grown into equals what is stored."""
    stored = await store.database.read(lambda tx: read_rows(tx, state.key, 0, 1 << 62))
    assert [state.rows[uid] for uid in state.uids] == stored
    assert sorted(state.rows) == state.uids
    status = await store.status(BOB, state.name)
    rows = state.rows.values()
    assert status.messages == len(state.uids)
    assert status.unseen == sum("\\Seen" not in row.flags for row in rows)
    assert status.deleted == sum("\\Deleted" in row.flags for row in rows)
    assert status.octets == sum(row.octets for row in rows)
    assert (status.highest_mod_seq, status.uid_next) == (state.highest_mod_seq, state.uid_next)


@pytest.mark.parametrize(
    ("change", "after"),
    [
        ({"add": ["\\seen", "new"]}, "\\Flagged \\Seen kept new"),
        ({"remove": ["\\FLAGGED", "none"]}, "kept"),
        ({"replace": ["\\Draft"]}, "\\Draft"),
        ({"replace": []}, ""),
    ],
)
async def test_flags_are_added_removed_and_replaced(store: Store, change: dict[str, list[str]], after: str) -> None:
    state = await _fill(store, 1)
    await store.store_flags(BOB, "INBOX", [1], add=["\\Flagged", "kept"])
    result = await store.store_flags(BOB, "INBOX", [1], **change)
    assert [change.flags.text for change in result.changed] == [after]
    assert state.rows[1].flags == Flags.of(after.split())
    await _agrees(store, state)


async def test_what_keeps_its_flags_keeps_its_mod_sequence(store: Store, heard: list[Change]) -> None:
    state = await _fill(store, 3)
    await store.store_flags(BOB, "INBOX", [2], add=["\\Seen"])
    before = {uid: row.mod_seq for uid, row in state.rows.items()}
    heard.clear()
    result = await store.store_flags(BOB, "INBOX", [1, 2, 3, 9], add=["\\Seen"])
    assert [(change.uids, change.flags.text) for change in result.changed] == [([1, 3], "\\Seen")]
    assert state.rows[2].mod_seq == before[2] < state.rows[1].mod_seq == state.rows[3].mod_seq
    assert [(change.type, change.uid) for change in heard] == [(ChangeType.FLAGS_SET, 1), (ChangeType.FLAGS_SET, 3)]
    await _agrees(store, state)


@pytest.mark.rfc(7162, "3.1.3")
async def test_unchanged_since_leaves_newer_messages_alone(store: Store) -> None:
    state = await _fill(store, 3)
    known = state.highest_mod_seq
    await store.store_flags(BOB, "INBOX", [2], add=["\\Flagged"])
    result = await store.store_flags(BOB, "INBOX", [1, 2, 3], add=["\\Seen"], unchanged_since=known)
    assert (result.failed, [change.uids for change in result.changed]) == ([2], [[1, 3]])
    assert "\\Seen" not in state.rows[2].flags
    await _agrees(store, state)


async def test_large_and_scattered_sets_end_in_the_same_state(store: Store) -> None:
    state = await _fill(store, 60)
    await store.store_flags(BOB, "INBOX", list(range(1, 61)), add=["\\Seen"])
    await store.store_flags(BOB, "INBOX", list(range(1, 61, 3)), add=["third"])
    await store.store_flags(BOB, "INBOX", list(range(1, 61)), remove=["\\Seen"], add=["all"])
    await store.store_flags(BOB, "INBOX", [1, 60, 30], add=["\\Deleted"])
    assert await store.expunge(BOB, "INBOX", None) == [1, 30, 60]
    await _agrees(store, state)
    await store.remove(BOB, "INBOX", list(range(10, 50)))
    await _agrees(store, state)
    assert state.uids == [*range(2, 10), *range(50, 60)]


async def test_expunge_takes_only_what_is_marked(store: Store, heard: list[Change]) -> None:
    state = await _fill(store, 4)
    await store.store_flags(BOB, "INBOX", [1, 3], add=["\\Deleted"])
    heard.clear()
    assert await store.expunge(BOB, "INBOX", [1, 2]) == [1]
    assert state.uids == [2, 3, 4]
    assert [(change.type, change.uid) for change in heard] == [(ChangeType.MESSAGE_EXPUNGE, 1)]
    assert await store.expunge(BOB, "INBOX", [2, 4]) == []
    await _agrees(store, state)


@pytest.mark.rfc(7162, "3.2.5.1")
async def test_vanished_tells_the_uids_since_a_mod_sequence(store: Store) -> None:
    state = await _fill(store, 5)
    await store.remove(BOB, "INBOX", [4, 2])
    known = state.highest_mod_seq
    await store.remove(BOB, "INBOX", [1])
    assert await store.vanished(state, known) == [1]
    assert await store.vanished(state, 0) == [1, 2, 4]


async def test_a_copy_keeps_flags_dates_and_content(store: Store) -> None:
    await store.deliver([to_bob()], letter())
    await store.store_flags(BOB, "INBOX", [1], add=["\\Seen", "k"])
    await store.create_mailbox(BOB, "Archive")
    source = (await store.open_mailbox(BOB, "INBOX")).rows[1]
    result = await store.copy(BOB, "INBOX", [1, 7], "Archive")
    state = await store.open_mailbox(BOB, "Archive")
    copied = state.rows[result.targets[0]]
    assert (result.sources, result.targets, result.uid_validity) == ([1], [1], state.uid_validity)
    assert (copied.flags, copied.internal_date, copied.email_id) == (
        source.flags,
        source.internal_date,
        source.email_id,
    )
    assert await store.contents([copied]) == await store.contents([source])
    await store.remove(BOB, "INBOX", [1])
    assert (await store.contents([copied, source]))[1:] == [None] or source.content_id == copied.content_id
    assert (await store.contents([copied]))[0] is not None
    await _agrees(store, state)


@pytest.mark.rfc(6851, "3.3")
async def test_a_move_is_a_copy_and_an_expunge_in_one(
    store: Store, heard: list[Change], limits: dict[str, int]
) -> None:
    state = await _fill(store, 3)
    await store.create_mailbox(BOB, "Archive")
    limits[BOB] = 1  # a move adds nothing, so no quota refuses it
    heard.clear()
    result = await store.move(BOB, "INBOX", [1, 3], "Archive")
    assert (result.sources, result.targets) == ([1, 3], [1, 2])
    assert state.uids == [2]
    assert [(change.type, change.mailbox, change.uid) for change in heard] == [
        (ChangeType.MESSAGE_APPEND, "Archive", 1),
        (ChangeType.MESSAGE_APPEND, "Archive", 2),
        (ChangeType.MESSAGE_EXPUNGE, "INBOX", 1),
        (ChangeType.MESSAGE_EXPUNGE, "INBOX", 3),
    ]
    await _agrees(store, state)
    await _agrees(store, await store.open_mailbox(BOB, "Archive"))


async def test_the_log_is_what_listeners_were_told(store: Store, heard: list[Change]) -> None:
    await _fill(store, 20)
    await store.store_flags(BOB, "INBOX", list(range(1, 21)), add=["\\Seen"])
    await store.store_flags(BOB, "INBOX", [3], remove=["\\Seen"])
    await store.create_mailbox(BOB, "x")
    await store.rename_mailbox(BOB, "x", "y")
    await store.remove(BOB, "INBOX", [1, 2])
    page = await store.changes(BOB, Seq(0))
    assert page.changes == heard
    assert page.cursor == await store.last_seq(BOB) == heard[-1].seq
    assert [change.seq for change in heard] == list(range(1, len(heard) + 1))


@pytest.mark.parametrize("limit", [1, 2, 7, 1000])
async def test_pages_of_any_size_join_into_the_log(store: Store, heard: list[Change], limit: int) -> None:
    await _fill(store, 10)
    await store.store_flags(BOB, "INBOX", list(range(1, 11)), add=["\\Seen"])
    cursor, read = Seq(0), []
    while (page := await store.changes(BOB, cursor, limit)).changes:
        assert len(page.changes) <= limit
        read += page.changes
        cursor = page.cursor
    assert read == heard


async def test_a_cursor_older_than_the_log_is_told_so(store: Store) -> None:
    await _fill(store, 10)
    newest = await store.last_seq(BOB)
    await store.store_flags(BOB, "INBOX", [1], add=["\\Seen"])
    await store.database.write(lambda tx: cut_changes(tx, 1, keep=1, older_than=0))
    assert (await store.changes(BOB, Seq(3))).reset
    assert [change.seq for change in (await store.changes(BOB, newest)).changes] == [newest + 1]
    assert (await store.changes(BOB, Seq(newest + 100))).reset


async def test_the_log_of_an_unknown_account_is_an_error(store: Store) -> None:
    with pytest.raises(NoSuchAccount):
        await store.changes("nobody@beta.test", Seq(0))


async def test_a_state_is_current_before_listeners_hear(store: Store) -> None:
    state = await _fill(store, 1)
    seen: list[tuple[int, int]] = []
    store.listeners.append(lambda changes: seen.append((len(state.uids), state.uid_next)))
    await store.deliver([to_bob()], letter(number=50))
    await store.remove(BOB, "INBOX", [1])
    assert seen == [(2, 3), (1, 3)]


async def test_sessions_share_one_state_which_outlives_them(store: Store) -> None:
    first, second = await _fill(store, 2), await store.open_mailbox(BOB.upper(), "inbox")
    assert first is second
    first.release()
    second.release()
    await store.deliver([to_bob()], letter(number=50))
    third = await store.open_mailbox(BOB, "INBOX")
    assert third is first
    assert third.uids == [1, 2, 3]


async def test_recent_is_claimed_once(store: Store) -> None:
    state = await _fill(store, 2)
    assert store.claim_recent(state) == 1
    assert store.claim_recent(state) == 3
    await store.deliver([to_bob()], letter(number=50))
    assert (await store.status(BOB, "INBOX")).recent_from_uid == 3
    assert store.claim_recent(state) == 3
    assert store.claim_recent(state) == 4


async def test_a_listener_that_fails_does_not_keep_the_news_from_the_next(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(changes: object) -> None:
        raise ZeroDivisionError

    told: list[object] = []
    store.listeners += [fail, told.append]
    await store.deliver([to_bob()], letter())
    assert len(told) == 1
    assert "listener" in caplog.text


@pytest.mark.rfc(1939, "4")
async def test_a_maildrop_has_one_holder(store: Store) -> None:
    async with store.maildrop(BOB):
        with pytest.raises(MaildropInUse):
            async with store.maildrop(BOB.upper()):
                pass
    async with store.maildrop(BOB):
        pass


async def test_a_message_is_found_by_its_id_until_it_is_gone(store: Store) -> None:
    (landed,) = await store.deliver([to_bob()], letter("Grüße"), journey_id="Q7")
    message = await store.message(landed.message_id)
    assert (message.account, message.mailbox, message.journey_id, message.recipient) == (BOB, "INBOX", "Q7", BOB)
    assert (message.subject, message.sender, message.to) == ("Grüße", "Ann <ann@alpha.test>", "Bob <bob@beta.test>")
    await store.remove(BOB, "INBOX", [landed.uid])
    for gone in (landed.message_id, "", "1", "x-1", "1-1-1", "-1--1", "9" * 50):
        with pytest.raises(NoSuchMessage):
            await store.message(gone)
