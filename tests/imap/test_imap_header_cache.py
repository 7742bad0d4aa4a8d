"""Remembered header fields: the same as read ones, bounded, and of this mailbox."""

from types import SimpleNamespace

from mailsandbox.access.imap.fetching.header_cache import HeaderCache
from mailsandbox.store.model import AppendItem
from tests.imap import messages
from tests.imap.serving import ACCOUNT, Server

FIELDS = "FETCH 1:* (UID BODY.PEEK[HEADER.FIELDS (SUBJECT X-NONE)])"


async def test_fields_asked_for_twice_are_the_same_and_new_messages_join_them(server: Server) -> None:
    await server.store.ensure_account(ACCOUNT)
    await server.store.append(ACCOUNT, "INBOX", [AppendItem(octets) for octets in messages.ALL])
    wire = await server.selected()
    first = await wire.ok(FIELDS)
    assert first[0] == (b"* 1 FETCH (UID 1 BODY[HEADER.FIELDS (SUBJECT X-NONE)] {18}\r\nSubject: Hello\r\n\r\n)\r\n")
    assert await wire.ok(FIELDS) == first
    await wire.append("INBOX", messages.PLAIN)
    await wire.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
    await wire.ok("EXPUNGE")
    again = await wire.ok(FIELDS)
    assert again[:2] == [line.replace(b"* 2 ", b"* 1 ").replace(b"* 3 ", b"* 2 ") for line in first[1:]]
    assert b"UID 4" in again[2]


def test_what_is_kept_is_bounded_and_belongs_to_one_state() -> None:
    cache = HeaderCache(limit=5_000)
    rows = [SimpleNamespace(uid=uid) for uid in range(1, 11)]
    for key in range(10):
        cache.keep(SimpleNamespace(key=key), b"L", rows, [b"x" * 100] * 10)  # type: ignore[arg-type]  # stand-ins
        assert cache.octets <= 5_000
    state = SimpleNamespace(key=9)
    assert cache.find(state, b"L", rows) == [None] * 10  # type: ignore[arg-type]  # another state of that mailbox
    cache.keep(state, b"L", rows[:1], [b"y"])  # type: ignore[arg-type]
    assert cache.find(state, b"L", rows[:2]) == [b"y", None]  # type: ignore[arg-type]
    assert cache.find(state, b"M", rows[:1]) == [None]  # type: ignore[arg-type]
