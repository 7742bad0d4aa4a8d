"""A locked maildrop: its snapshot, the messages read ahead of the client, and what UPDATE does to the store.

Invariant: from `open_maildrop` to `unlock` no other POP3 session has the account (RFC 1939 §4); at most READ_AHEAD
octets of messages, or one message, are kept in memory.
"""

import contextlib
from typing import Final

from mailsandbox.access.pop3.effects import Commit, Fetch
from mailsandbox.access.pop3.maildrop import DELETED_KEYWORD, FETCHED_KEYWORD, Maildrop
from mailsandbox.access.pop3.personality import Manner
from mailsandbox.access.pop3.session import Session
from mailsandbox.store.model import MessageRow, Uid
from mailsandbox.store.store import Store

READ_AHEAD: Final = 1_048_576  # octets read with one query when a client goes through its mail in order
READ_AHEAD_MESSAGES: Final = 128
INBOX: Final = "INBOX"  # RFC 1939 knows one mailbox


class OpenMaildrop:
    """What one logged-in session holds."""

    def __init__(
        self, store: Store, account: str, maildrop: Maildrop, *, mailbox_key: int, lock: contextlib.AsyncExitStack
    ) -> None:
        self.maildrop = maildrop
        self.mailbox_key = mailbox_key
        self._store = store
        self._account = account
        self._lock = lock
        self._ahead: dict[Uid, bytes] = {}
        self._headers: dict[Uid, bytes] = {}

    def taken(self, fetch: Fetch) -> bytes | None:
        """The octets of a message that was read ahead; they are given once."""
        if fetch.lines == 0 and (header := self._headers.pop(fetch.row.uid, None)) is not None:
            return header
        return self._ahead.pop(fetch.row.uid, None)

    async def read(self, fetch: Fetch, session: Session) -> None:
        """Read what `fetch` needs, and what will be wanted next. What vanished is not `taken` afterwards."""
        if fetch.lines == 0 and await self._read_headers(fetch):
            return
        rows = session.ahead(fetch, messages=READ_AHEAD_MESSAGES, octets=READ_AHEAD)
        contents = await self._store.contents(rows)
        self._ahead = _present(rows, contents)

    async def _read_headers(self, fetch: Fetch) -> bool:
        """TOP n 0, which many clients send for each message: headers only. False where a header has no clear end."""
        rows = self.maildrop.following(fetch.number, messages=READ_AHEAD_MESSAGES, octets=1 << 62)
        found = await self._store.rendered(rows, ("header",))
        headers = [row[0] if row else None for row in found]
        self._headers = {uid: header for uid, header in _present(rows, headers).items() if header.endswith(b"\r\n\r\n")}
        return fetch.row.uid in self._headers

    async def commit(self, commit: Commit, manner: Manner) -> None:
        """UPDATE (RFC 1939 §6): all marked messages or none. Raises StoreError."""
        store, account, options = self._store, self._account, manner.options
        if commit.doomed:
            if options.delete:
                await store.remove(account, INBOX, commit.doomed)
            else:
                await store.store_flags(account, INBOX, commit.doomed, add=("\\Seen", DELETED_KEYWORD))
        marks = ["\\Seen"] if options.mark_seen else []
        if manner.personality.hide_fetched:
            marks.append(FETCHED_KEYWORD)
        if commit.read and marks:
            await store.store_flags(account, INBOX, commit.read, add=marks)

    async def unlock(self) -> None:
        """Give the maildrop back. May be called again."""
        self._ahead.clear()
        self._headers.clear()
        await self._lock.aclose()


async def open_maildrop(store: Store, account: str, manner: Manner, *, recent: bool) -> OpenMaildrop:
    """Lock and snapshot. `recent`: those that the personality hides too. Raises MaildropInUse and other StoreErrors."""
    async with contextlib.AsyncExitStack() as lock:
        await lock.enter_async_context(store.maildrop(account))
        state = await store.open_mailbox(account, INBOX)
        try:
            hidden = [DELETED_KEYWORD]
            if manner.personality.hide_fetched and not recent:
                hidden.append(FETCHED_KEYWORD)
            maildrop = Maildrop(state.rows.values(), uid_validity=state.uid_validity, hidden=hidden)
        finally:
            state.release()
        return OpenMaildrop(store, account, maildrop, mailbox_key=state.key, lock=lock.pop_all())
    raise AssertionError("an exit stack swallows nothing here")


def _present(rows: list[MessageRow], found: list[bytes | None]) -> dict[Uid, bytes]:
    return {row.uid: octets for row, octets in zip(rows, found, strict=True) if octets is not None}
