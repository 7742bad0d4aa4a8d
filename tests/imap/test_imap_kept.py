"""What SORT and THREAD keep of a mailbox is what they would work out anew, whatever came, went or was re-rendered."""

import random

from msgspec.structs import replace

from mailsandbox.message.rendering import Rendered, render
from mailsandbox.store.contents import Contents
from mailsandbox.store.model import AppendItem
from mailsandbox.store.reindexing import reindex
from mailsandbox.store.textindex import TextIndex
from tests.imap.serving import ACCOUNT, Server
from tests.imap.wire import Wire

QUESTIONS = [
    "THREAD REFERENCES UTF-8 ALL",
    "THREAD ORDEREDSUBJECT UTF-8 ALL",
    "UID THREAD REFS UTF-8 ALL",
    "THREAD REFERENCES UTF-8 SUBJECT b",
    "SORT (DATE) UTF-8 ALL",
    "UID SORT (SUBJECT REVERSE DATE) UTF-8 ALL",
    "SORT (FROM) UTF-8 UNSEEN",
    "SORT (REVERSE DISPLAYTO) UTF-8 ALL",
]


def _letter(number: int, chance: random.Random) -> AppendItem:
    related = "".join(f"<{chance.randrange(number + 1)}@x> " for _ in range(chance.randrange(3)))
    return AppendItem(
        f"From: {chance.choice('abc')}@x.test\r\nTo: {chance.choice('def')} <t@x.test>\r\n"
        f"Subject: {chance.choice(['', 'Re: '])}{chance.choice(['Über', 'b', 'Straße', '[l] c', ''])}\r\n"
        f"Date: Mon, 7 Feb 1994 21:52:{chance.randrange(60):02} +0000\r\nMessage-ID: <{number}@x>\r\n"
        f"References: {related}\r\n\r\n{number}\r\n".encode()
    )


async def _answers(wire: Wire) -> list[list[bytes]]:
    return [await wire.ok(question) for question in QUESTIONS]


async def test_kept_answers_are_those_of_a_mailbox_opened_for_the_first_time(server: Server) -> None:
    chance = random.Random(5)
    await server.store.ensure_account(ACCOUNT)
    await server.store.append(ACCOUNT, "INBOX", [_letter(number, chance) for number in range(40)])
    wire = await server.selected()
    await _answers(wire)
    for turn in range(6):
        await server.store.append(ACCOUNT, "INBOX", [_letter(40 + 3 * turn + each, chance) for each in range(3)])
        await server.store.remove(ACCOUNT, "INBOX", chance.sample(range(1, 40), 4))
        await wire.ok("NOOP")
        kept = await _answers(wire)
        state = await server.store.open_mailbox(ACCOUNT, "INBOX")
        state.derived.clear()
        assert kept == await _answers(wire)


async def test_contents_rendered_anew_by_another_daemon_are_sorted_and_threaded_anew(server: Server) -> None:
    chance = random.Random(6)
    await server.store.ensure_account(ACCOUNT)
    await server.store.append(ACCOUNT, "INBOX", [_letter(number, chance) for number in range(12)])
    wire = await server.selected()
    before = await _answers(wire)

    def turned(octets: bytes) -> Rendered:
        made = render(octets)
        return replace(made, base_subject=made.base_subject[::-1], date=-(made.date or 0.0), references=[])

    # Nothing in this process hears of it: as if it were done elsewhere.
    database = server.store.database
    await reindex(database, Contents(turned), TextIndex(database), lambda done, total: None)
    after = await _answers(wire)
    (dates,), (dates_before,) = after[4], before[4]
    assert dates.split()[2:] != dates_before.split()[2:]
    assert after[0] != before[0]
    state = await server.store.open_mailbox(ACCOUNT, "INBOX")
    state.derived.clear()
    assert after == await _answers(wire)


async def test_what_is_kept_of_messages_that_are_gone_does_not_pile_up(server: Server) -> None:
    chance = random.Random(7)
    await server.store.ensure_account(ACCOUNT)
    wire = await server.selected()
    for turn in range(4):
        landed = await server.store.append(
            ACCOUNT, "INBOX", [_letter(1_000 * turn + number, chance) for number in range(400)]
        )
        await wire.ok("NOOP")
        await wire.ok(QUESTIONS[0])
        await server.store.remove(ACCOUNT, "INBOX", [each.uid for each in landed])
    await wire.ok("NOOP")
    await wire.ok(QUESTIONS[0])
    state = await server.store.open_mailbox(ACCOUNT, "INBOX")
    (kept,) = state.derived.values()
    assert kept.largest() <= 1_000  # type: ignore[attr-defined]
