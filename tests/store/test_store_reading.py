"""Rendered columns, text search and listings."""

import pytest
from letters import BOB, TRACE, letter, to_bob

from mailsandbox.clock import ManualClock
from mailsandbox.message.rendering import render, unpack_parts
from mailsandbox.store.model import AppendItem, Delivery
from mailsandbox.store.store import Store
from mailsandbox.store.views import MessageQuery


async def test_rendered_columns_are_those_of_the_renderer(store: Store) -> None:
    octets = letter("Re: Été", extra="References: <a@b> <c@d>\r\nCc: Zoé <zoe@x.test>\r\n")
    await store.deliver([to_bob()], octets)
    rows = list((await store.open_mailbox(BOB, "INBOX")).rows.values())
    wanted = render(octets)
    plain = ["envelope", "body", "bodystructure", "header_end", "attachments", "date", "date_zone", "subject", "sender",
             "to", "cc", "message_id", "in_reply_to", "references", "base_subject", "preview"]  # fmt: skip
    (values,) = await store.rendered(rows, plain)
    assert values == tuple(getattr(wanted, name) for name in plain)
    (values,) = await store.rendered(rows, ["header", "subject", "trace_octets", "parts", "size"])
    assert values is not None
    assert values[:3] == (TRACE + octets[: wanted.header_end], "Re: Été", len(TRACE))
    assert (unpack_parts(values[3]), values[4]) == (wanted.parts, len(octets))


async def test_rows_come_back_in_the_order_asked_for_with_none_for_the_vanished(store: Store) -> None:
    for number in range(5):
        await store.deliver([to_bob()], letter(f"s{number}", number=number))
    rows = dict((await store.open_mailbox(BOB, "INBOX")).rows)
    await store.remove(BOB, "INBOX", [2])
    order = [rows[uid] for uid in (5, 2, 1, 5)]
    assert await store.rendered(order, ["subject"]) == [("s4",), None, ("s0",), ("s4",)]
    contents = await store.contents(order)
    assert [content is None for content in contents] == [False, True, False, False]
    assert contents[2] == TRACE + letter("s0", number=0)
    assert await store.rendered([], ["subject"]) == []
    assert await store.rendered(order[:1], ["header"]) == [
        (TRACE + letter("s4", number=4)[: -len("How are you?\r\n")],)
    ]


@pytest.mark.parametrize("scattered", [False, True])
async def test_many_rows_are_read_in_order(store: Store, *, scattered: bool) -> None:
    await store.ensure_account(BOB)
    items = [AppendItem(letter(f"s{number}", number=number)) for number in range(1200)]
    await store.append(BOB, "INBOX", items)
    state = await store.open_mailbox(BOB, "INBOX")
    uids = [uid for uid in state.uids if not scattered or uid % 7 == 0]
    rows = [state.rows[uid] for uid in uids]
    assert await store.rendered(rows, ["subject"]) == [(f"s{uid - 1}",) for uid in uids]
    assert await store.contents(rows[-2:]) == [letter(f"s{uid - 1}", number=uid - 1) for uid in uids[-2:]]


SEARCHES = [
    ("subject", "", "ÉTÉ", {1}),
    ("subject", "", "", {1, 2, 3}),
    ("from", "", "ANN@alpha", {1, 2, 3}),
    ("to", "", "bob@", {1, 2, 3}),
    ("cc", "", "zoé", {2}),
    ("body", "", "straße", {3}),
    ("body", "", "STRASSE", {3}),
    ("body", "", "été", set()),
    ("text", "", "été", {1}),
    ("text", "", "delivered-to", {1, 2, 3}),
    ("header", "", "zoé", {2}),
    ("header", "Cc", "zoé", {2}),
    ("header", "Subject", "zoé", set()),
    ("header", "cc", "", {2}),
    ("header", "Delivered-To", "bob@", {1, 2, 3}),
    ("header", "x-none", "", set()),
    ("text", "", "%", set()),
    ("subject", "", "_", set()),
]


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize(("scope", "field", "needle", "uids"), SEARCHES)
@pytest.mark.rfc(9051, "6.4.4")
async def test_texts_are_found_decoded_in_any_case(
    store: Store, scope: str, field: str, needle: str, uids: set[int], *, indexed: bool
) -> None:
    await store.deliver([to_bob()], letter("=?utf-8?q?=C3=89t=C3=A9?= plage", number=1))
    await store.deliver([to_bob()], letter("two", number=2, extra="Cc: =?utf-8?q?Zo=C3=A9?= <z@x.test>\r\n"))
    await store.deliver([to_bob()], letter("three", "Hauptstraße 5", number=3))
    if indexed:
        await store.flush_texts()
    state = await store.open_mailbox(BOB, "INBOX")
    assert await store.search_text(state, needle, scope=scope, field=field) == uids


async def test_a_search_sees_only_its_mailbox(store: Store) -> None:
    await store.deliver([to_bob(), Delivery("eve@beta.test", b"")], letter(body="needle"))
    await store.create_mailbox(BOB, "empty")
    state = await store.open_mailbox(BOB, "empty")
    assert await store.search_text(state, "needle", scope="text") == set()


async def test_what_a_crash_kept_from_the_index_is_found_after_the_next_start(store: Store, clock: ManualClock) -> None:
    await store.deliver([to_bob()], letter(body="needle"))
    await store.flush_texts()
    await store.deliver([to_bob()], letter(body="another needle", number=2))
    await store.database.write(lambda tx: tx.execute("DELETE FROM texts"))
    again = Store(store.database, clock=clock)
    await again.start()
    state = await again.open_mailbox(BOB, "INBOX")
    assert await again.search_text(state, "needle", scope="body") == {1, 2}
    await again.aclose()


async def _subjects(store: Store, **query: object) -> list[str]:
    page = await store.list_messages(MessageQuery(**query))  # type: ignore[arg-type]
    return [message.subject for message in page.messages]


async def test_listings_are_newest_first_across_mailboxes_and_accounts(store: Store, clock: ManualClock) -> None:
    await store.ensure_account(BOB)
    await store.create_mailbox(BOB, "Lists")
    for number, delivery in enumerate(
        [to_bob(), to_bob(mailbox="Lists"), Delivery("eve@beta.test", b"", recipient="eve+tag@beta.test"), to_bob()]
    ):
        await clock.advance(1)
        await store.deliver([delivery], letter(f"s{number}", f"body {number}", number=number))
    assert await _subjects(store) == ["s3", "s2", "s1", "s0"]
    assert await _subjects(store, account="BOB@beta.test") == ["s3", "s1", "s0"]
    assert await _subjects(store, account=BOB, mailbox="inbox") == ["s3", "s0"]
    assert await _subjects(store, to="EVE+tag") == ["s2"]
    assert await _subjects(store, sender="ann@", subject="S1") == ["s1"]
    assert await _subjects(store, since=clock.now() - 1) == ["s3", "s2"]
    assert await _subjects(store, message_id="<1@alpha.test>") == ["s1"]
    assert await _subjects(store, account="nobody@beta.test") == []
    assert await _subjects(store, text="BODY 2") == ["s2"]
    await store.flush_texts()
    assert await _subjects(store, text="BODY 2") == ["s2"]


async def test_pages_follow_each_other_without_gap_or_repetition(store: Store) -> None:
    for number in range(11):  # all at the same moment
        await store.deliver([to_bob()], letter(f"s{number}", number=number))
    found, cursor = [], ""
    while True:
        page = await store.list_messages(MessageQuery(limit=4, before=cursor))
        found += [message.subject for message in page.messages]
        if page.next is None:
            break
        cursor = page.next
    assert found == [f"s{number}" for number in reversed(range(11))]


@pytest.mark.parametrize("cursor", ["x", "1.0_", "_1-1", "1.0_1-x"])
async def test_a_made_up_cursor_is_refused(store: Store, cursor: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        await store.list_messages(MessageQuery(before=cursor))
