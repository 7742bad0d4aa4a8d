"""Waiting for messages that fit: what is there already counts, what comes is seen at its commit, misses are explained.

Used by GET /v1/wait and, in process, by `Sandbox.wait_for`.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mailsandbox.errors import NoSuchMessage
from mailsandbox.message.addresses import valid_path
from mailsandbox.message.casemap import casemap
from mailsandbox.message.rendering import render
from mailsandbox.notify.hub import Hub
from mailsandbox.store.logrow import Changes
from mailsandbox.store.model import ChangeType, MessageId, message_id_of
from mailsandbox.store.store import Store
from mailsandbox.store.views import MessageQuery, StoredMessage

Wanted = str | re.Pattern[str]  # a part of the text in any case, or a pattern that is searched for

MISSES: Final = 5  # shown at most
CANDIDATES: Final = 200  # the newest messages looked at for misses
TEXTS: Final = 20  # of those, how many are rendered to look at their text
PAGE: Final = 1000
MAX_BACKLOG: Final = 10_000  # new messages not yet looked at; beyond that the mailboxes are listed again

_NEW: Final = (ChangeType.MESSAGE_NEW, ChangeType.MESSAGE_APPEND)


@dataclass(frozen=True, slots=True)
class Criteria:
    """What the message must be; "" wants nothing. `since`: received then or later (POSIX); `beyond`: none of these."""

    to: str = ""
    sender: Wanted = ""
    subject: Wanted = ""
    text: Wanted = ""
    since: float | None = None
    beyond: frozenset[str] = frozenset()

    def differences(self, stored: StoredMessage) -> list[str]:
        """Why the message does not fit, without a look at its text: "subject: wanted 'x', it is 'y'"."""
        found: list[str] = []
        if self.to and not addressed(self.to, (stored.recipient, stored.account, stored.to, stored.cc)):
            found.append(f"to: wanted {self.to!r}, it is {stored.recipient or stored.account!r}")
        if not _fits(self.sender, stored.sender):
            found.append(f"from: wanted {_shown(self.sender)}, it is {stored.sender!r}")
        if not _fits(self.subject, stored.subject):
            found.append(f"subject: wanted {_shown(self.subject)}, it is {stored.subject!r}")
        if self.since is not None and stored.received_at < self.since:
            found.append("after: it came before")
        return found

    def query(self) -> MessageQuery:
        """As much of it as the store can select."""
        return MessageQuery(
            to=self.to,
            sender=_needle(self.sender),
            subject=_needle(self.subject),
            text=_needle(self.text),
            since=self.since,
            limit=PAGE,
        )


def addressed(wanted: str, texts: Sequence[str]) -> bool:
    """Whether one of `texts` has the address; a whole address is not found inside a longer one."""
    needle = casemap(wanted)
    if not valid_path(wanted):
        return any(needle in casemap(text) for text in texts)
    whole = re.compile(r"(?<![\w.+-])" + re.escape(needle) + r"(?![\w-]|\.\w)")
    return any(whole.search(casemap(text)) for text in texts)


def _fits(wanted: Wanted, text: str) -> bool:
    if isinstance(wanted, str):
        return casemap(wanted) in casemap(text)
    return wanted.search(text) is not None


def _needle(wanted: Wanted) -> str:
    return wanted if isinstance(wanted, str) else ""


def _shown(wanted: Wanted) -> str:
    return repr(wanted) if isinstance(wanted, str) else f"/{wanted.pattern}/"


@dataclass(frozen=True, slots=True)
class Arrived:
    """The first messages that fit, oldest first."""

    messages: list[StoredMessage]


@dataclass(frozen=True, slots=True)
class Miss:
    """A message that did not fit, and why."""

    message: StoredMessage
    differs: list[str]


@dataclass(frozen=True, slots=True)
class TimedOut:
    """Too few came in time: what did fit, and the nearest of what did not."""

    criteria: Criteria
    count: int
    timeout: float
    messages: list[StoredMessage]
    near_misses: list[Miss]

    def describe(self) -> str:
        """For people: one line for what was wanted, one for each miss."""
        wanted = {"to": self.criteria.to, "from": self.criteria.sender, "subject": self.criteria.subject}
        words = [f"{name} {_shown(value)}" for name, value in (wanted | {"text": self.criteria.text}).items() if value]
        lines = [
            f"{len(self.messages)} of {self.count} message(s) came within {self.timeout:g} s"
            + (f" with {', '.join(words)}" if words else "")
        ]
        if not self.near_misses:
            lines.append("no other message has arrived")
        for miss in self.near_misses:
            stored = miss.message
            lines.append(f"  {stored.message_id} to {stored.account}, {stored.subject!r}: {'; '.join(miss.differs)}")
        return "\n".join(lines)


async def wait_for(
    store: Store,
    hub: Hub,
    *,
    to: str = "",
    sender: Wanted = "",
    subject: Wanted = "",
    text: Wanted = "",
    since: float | None = None,
    beyond: Sequence[str] = (),
    count: int = 1,
    timeout: float = 10.0,
) -> Arrived | TimedOut:
    """The first `count` messages that fit, present or to come; `timeout` in seconds."""
    criteria = Criteria(to, sender, subject, text, since, frozenset(beyond))
    wait = _Wait(store, criteria)
    store.listeners.append(wait.committed)
    try:
        async with asyncio.timeout(timeout):
            await wait.look_through()
            while len(wait.found) < count and not hub.stopped:
                await wait.look_at_new()
    except TimeoutError:
        pass
    finally:
        store.listeners.remove(wait.committed)
    found = sorted(wait.found.values(), key=lambda stored: (stored.received_at, stored.row.mailbox_key, stored.row.uid))
    if len(found) >= count:
        return Arrived(found[:count])
    return TimedOut(criteria, count, timeout, found, await near_misses(store, criteria, wait.found))


class _Wait:
    """One wait: what fitted so far, and the ids of what came and was not looked at yet."""

    def __init__(self, store: Store, criteria: Criteria) -> None:
        self.found: dict[MessageId, StoredMessage] = {}
        self._store = store
        self._criteria = criteria
        self._new: list[MessageId] = []
        self._overflowed = False
        self._awake = asyncio.Event()

    def committed(self, changes: Changes) -> None:
        """At each commit, on the loop's thread."""
        for row in changes.rows:
            if row.type in _NEW:
                self._new.extend(message_id_of(row.mailbox_key, uid) for uid in row.uids)
        if len(self._new) > MAX_BACKLOG:
            self._new.clear()
            self._overflowed = True
        if self._new or self._overflowed:
            self._awake.set()

    async def look_through(self) -> None:
        """Everything that is there."""
        query = self._criteria.query()
        while True:
            page = await self._store.list_messages(query)
            for stored in page.messages:
                await self._consider(stored)
            if page.next is None:
                return
            query = MessageQuery(**{name: getattr(query, name) for name in query.__slots__} | {"before": page.next})

    async def look_at_new(self) -> None:
        """What came since; waits for it."""
        await self._awake.wait()
        self._awake.clear()
        if self._overflowed:
            self._overflowed = False
            await self.look_through()
        while self._new:
            message_id = self._new.pop(0)
            try:
                await self._consider(await self._store.message(message_id))
            except NoSuchMessage:
                continue  # deleted meanwhile

    async def _consider(self, stored: StoredMessage) -> None:
        if stored.message_id in self.found or stored.message_id in self._criteria.beyond:
            return
        if not self._criteria.differences(stored) and await _has_text(self._store, stored, self._criteria.text):
            self.found[stored.message_id] = stored


async def near_misses(store: Store, criteria: Criteria, found: dict[MessageId, StoredMessage]) -> list[Miss]:
    """The newest messages that fail the fewest criteria."""
    page = await store.list_messages(MessageQuery(limit=CANDIDATES))
    others = [
        Miss(stored, criteria.differences(stored))
        for stored in page.messages
        if stored.message_id not in found and stored.message_id not in criteria.beyond
    ]
    others.sort(key=lambda miss: len(miss.differs))
    for at, miss in enumerate(others[:TEXTS]):
        if not await _has_text(store, miss.message, criteria.text):
            others[at] = Miss(miss.message, [*miss.differs, f"text: {_shown(criteria.text)} is not in it"])
    others.sort(key=lambda miss: len(miss.differs))
    return [miss for miss in others if miss.differs][:MISSES]


async def _has_text(store: Store, stored: StoredMessage, wanted: Wanted) -> bool:
    """Whether the decoded header or body has it. The store's index of texts runs behind, so the octets are asked."""
    if not wanted:
        return True
    (octets,) = await store.contents([stored.row])
    if octets is None:
        return False
    rendered = render(octets[stored.trace_octets :])
    return _fits(wanted, f"{rendered.search_header}\n{rendered.search_text}")
