"""Accounts and mailboxes: made, named, renamed, removed."""

import pytest
from letters import BOB, letter, to_bob

from mailsandbox.errors import BadMailboxName, MailboxExists, NoSuchAccount, NoSuchMailbox
from mailsandbox.store.model import Change, ChangeType
from mailsandbox.store.names import mailbox_name
from mailsandbox.store.store import Store


async def _names(store: Store) -> list[str]:
    return [status.name for status in await store.mailboxes(BOB)]


async def test_a_new_account_has_a_subscribed_inbox(store: Store) -> None:
    await store.ensure_account(BOB)
    await store.ensure_account(BOB.upper())
    (inbox,) = await store.mailboxes(BOB)
    assert (inbox.name, inbox.subscribed, inbox.messages, inbox.uid_next) == ("INBOX", True, 0, 1)
    assert await store.subscriptions(BOB) == ["INBOX"]


@pytest.mark.parametrize(
    ("given", "canonical"),
    [("inbox", "INBOX"), ("InBox/a", "INBOX/a"), ("a/b/", "a/b"), ("inboxes", "inboxes"), ("Été", "Été")],
)
@pytest.mark.rfc(9051, "5.1")
def test_a_mailbox_name_has_one_spelling(given: str, canonical: str) -> None:
    assert mailbox_name(given) == canonical


@pytest.mark.parametrize("name", ["", "/", "/a", "a//b", "a\x00b", "a\r\nb", "\x7f", "x" * 1001, "\udc80"])
def test_what_cannot_be_a_mailbox_name_is_refused(name: str) -> None:
    with pytest.raises(BadMailboxName):
        mailbox_name(name)


async def test_unknown_accounts_and_mailboxes_are_named_in_the_error(store: Store) -> None:
    with pytest.raises(NoSuchAccount, match="nobody@beta"):
        await store.mailboxes("nobody@beta.test")
    await store.ensure_account(BOB)
    with pytest.raises(NoSuchMailbox, match="Sent"):
        await store.status(BOB, "Sent")
    with pytest.raises(NoSuchMailbox, match="Sent"):
        await store.open_mailbox(BOB, "Sent")


async def test_a_mailbox_is_made_once(store: Store, heard: list[Change]) -> None:
    await store.ensure_account(BOB)
    await store.create_mailbox(BOB, "Sent", "\\Sent")
    with pytest.raises(MailboxExists):
        await store.create_mailbox(BOB, "Sent")
    with pytest.raises(MailboxExists):
        await store.create_mailbox(BOB, "inbox")
    assert [(change.type, change.mailbox) for change in heard] == [
        (ChangeType.MAILBOX_CREATE, "INBOX"),
        (ChangeType.MAILBOX_CREATE, "Sent"),
    ]
    assert (await store.status(BOB, "Sent")).special_use == "\\Sent"


@pytest.mark.rfc(9051, "2.3.1.1")
async def test_a_mailbox_made_again_has_another_uidvalidity_and_id(store: Store) -> None:
    await store.ensure_account(BOB)
    await store.create_mailbox(BOB, "Old")
    before = await store.status(BOB, "Old")
    await store.delete_mailbox(BOB, "Old")
    await store.create_mailbox(BOB, "Old")
    after = await store.status(BOB, "Old")
    assert after.uid_validity > before.uid_validity
    assert after.mailbox_id != before.mailbox_id


async def test_deleting_a_mailbox_removes_its_messages_and_leaves_those_below(store: Store) -> None:
    await store.ensure_account(BOB)
    await store.create_mailbox(BOB, "a")
    await store.create_mailbox(BOB, "a/b")
    await store.deliver([to_bob(mailbox="a")], letter())
    state = await store.open_mailbox(BOB, "a")
    await store.delete_mailbox(BOB, "a")
    assert await _names(store) == ["INBOX", "a/b"]
    assert state.removed
    assert await store.octets_used(BOB) == (0, 0)
    with pytest.raises(NoSuchMailbox):
        await store.delete_mailbox(BOB, "a")


@pytest.mark.rfc(9051, "6.3.5")
async def test_inbox_cannot_be_deleted(store: Store) -> None:
    await store.ensure_account(BOB)
    with pytest.raises(BadMailboxName):
        await store.delete_mailbox(BOB, "inBox")


@pytest.mark.rfc(9051, "6.3.6")
async def test_renaming_takes_all_below_along(store: Store) -> None:
    await store.ensure_account(BOB)
    for name in ("a", "a/b", "a/b/c", "ab", "a%/x"):
        await store.create_mailbox(BOB, name)
    await store.deliver([to_bob(mailbox="a/b")], letter())
    before = await store.status(BOB, "a/b")
    state = await store.open_mailbox(BOB, "a/b")
    await store.rename_mailbox(BOB, "a", "z/y")
    assert await _names(store) == ["INBOX", "a%/x", "ab", "z/y", "z/y/b", "z/y/b/c"]
    after = await store.status(BOB, "z/y/b")
    assert (after.uid_validity, after.messages, after.mailbox_id) == (before.uid_validity, 1, before.mailbox_id)
    assert state.name == "z/y/b"


@pytest.mark.rfc(9051, "6.3.6")
async def test_renaming_inbox_hands_its_messages_over_and_leaves_it_empty(store: Store) -> None:
    await store.deliver([to_bob()], letter())
    await store.rename_mailbox(BOB, "INBOX", "Archive/2026")
    inbox, archive = await store.mailboxes(BOB)
    assert (inbox.name, inbox.messages) == ("INBOX", 0)
    assert (archive.name, archive.messages) == ("Archive/2026", 1)
    assert inbox.uid_validity != archive.uid_validity


async def test_a_mailbox_cannot_be_renamed_into_itself_or_onto_another(store: Store) -> None:
    await store.ensure_account(BOB)
    await store.create_mailbox(BOB, "a")
    await store.create_mailbox(BOB, "b")
    with pytest.raises(BadMailboxName):
        await store.rename_mailbox(BOB, "a", "a/b")
    with pytest.raises(MailboxExists):
        await store.rename_mailbox(BOB, "a", "b")
    with pytest.raises(NoSuchMailbox):
        await store.rename_mailbox(BOB, "none", "c")
    assert await _names(store) == ["INBOX", "a", "b"]


@pytest.mark.rfc(9051, "6.3.7")
async def test_a_subscription_outlives_its_mailbox(store: Store, heard: list[Change]) -> None:
    await store.ensure_account(BOB)
    await store.create_mailbox(BOB, "Lists")
    await store.set_subscribed(BOB, "Lists", True)
    await store.set_subscribed(BOB, "Lists", True)
    await store.delete_mailbox(BOB, "Lists")
    assert await store.subscriptions(BOB) == ["INBOX", "Lists"]
    await store.set_subscribed(BOB, "Lists", False)
    assert await store.subscriptions(BOB) == ["INBOX"]
    kinds = [change.type for change in heard]
    assert kinds.count(ChangeType.MAILBOX_SUBSCRIBE) == kinds.count(ChangeType.MAILBOX_UNSUBSCRIBE) == 1


@pytest.mark.rfc(5464, "4.3")
async def test_annotations_are_set_read_and_removed(store: Store) -> None:
    await store.ensure_account(BOB)
    await store.set_metadata(BOB, "INBOX", {"/Private/Comment": b"mine", "/shared/comment": b"\x00\xff"})
    await store.set_metadata(BOB, "", {"/private/vendor": b"server"})
    assert await store.metadata(BOB, "inbox") == {"/private/comment": b"mine", "/shared/comment": b"\x00\xff"}
    assert await store.metadata(BOB, "", ["/private/vendor", "/private/none"]) == {"/private/vendor": b"server"}
    await store.set_metadata(BOB, "INBOX", {"/private/comment": None})
    assert await store.metadata(BOB, "INBOX") == {"/shared/comment": b"\x00\xff"}


async def test_a_deleted_account_leaves_nothing(store: Store) -> None:
    await store.deliver([to_bob()], letter())
    await store.delete_account(BOB)
    assert await store.accounts() == []
    for table in ("messages", "blobs", "contents", "renderings", "traces", "mailboxes", "changes", "threads"):
        count = await store.database.read(lambda tx, name=table: tx.execute(f"SELECT count(*) FROM {name}").fetchone())
        assert count[0] == 0, table


async def test_a_reset_account_is_empty_and_usable(store: Store) -> None:
    await store.deliver([to_bob()], letter())
    old = await store.status(BOB, "INBOX")
    await store.reset(BOB)
    new = await store.status(BOB, "INBOX")
    assert (new.messages, await store.octets_used(BOB)) == (0, (0, 0))
    assert new.uid_validity > old.uid_validity
    await store.reset()
    assert await store.accounts() == []
