"""Evaluates a search key over messages: rows in memory first, the store's indexes for what rows do not hold.

Invariant: a key is evaluated as a filter on the candidates that cheaper keys have left; the store is asked once for
each text, however often it occurs. The answer keeps the candidates' order.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Literal, assert_never

from mailsandbox.access.imap.dates import day_start
from mailsandbox.access.imap.grammar.search import (
    Age,
    All,
    And,
    Dated,
    HasFlag,
    InSet,
    Key,
    Not,
    ObjectId,
    Or,
    Recent,
    SaveDateSupported,
    SinceModSeq,
    Size,
    Text,
)
from mailsandbox.access.imap.sets import Range
from mailsandbox.store.model import MessageRow, Uid, distinct

if TYPE_CHECKING:
    from mailsandbox.access.imap.session import Selected, Session

_DAY: Final = 86_400.0
_Scope = Literal["header", "body", "text", "subject", "from", "to", "cc"]
_SCOPES: Final[dict[str, _Scope]] = {
    "body": "body", "text": "text", "subject": "subject", "from": "from", "to": "to", "cc": "cc",
}  # fmt: skip


def uses(key: Key, kind: type[Key]) -> bool:
    """Whether the key, or one within it, is of that kind."""
    match key:
        case And(keys):
            return any(uses(each, kind) for each in keys)
        case Or(left, right):
            return uses(left, kind) or uses(right, kind)
        case Not(within):
            return uses(within, kind)
        case _:
            return isinstance(key, kind)


def uses_numbers(key: Key) -> bool:
    """Whether the key has a set of sequence numbers (RFC 9586 §3 forbids them with UIDONLY)."""
    match key:
        case And(keys):
            return any(uses_numbers(each) for each in keys)
        case Or(left, right):
            return uses_numbers(left) or uses_numbers(right)
        case Not(within):
            return uses_numbers(within)
        case InSet(numbers, uid):
            return not uid and not numbers.saved
        case _:
            return False


class Evaluation:
    """One command's search. `rows` of `matching` must ascend in UID."""

    def __init__(self, session: "Session", selected: "Selected") -> None:
        self.session = session
        self.selected = selected
        self.now = session.context.clock.now()
        self._texts: dict[Text, set[Uid]] = {}

    async def matching(self, key: Key, rows: list[MessageRow]) -> list[MessageRow]:
        """Those of `rows` that fit the key."""
        if not rows:
            return rows
        match key:
            case And(keys):
                for each in sorted(keys, key=_cost):
                    rows = await self.matching(each, rows)
                return rows
            case Or(left, right):
                found = {row.uid for row in await self.matching(left, rows)}
                rest = [row for row in rows if row.uid not in found]
                found.update(row.uid for row in await self.matching(right, rest))
                return [row for row in rows if row.uid in found]
            case Not(within):
                found = {row.uid for row in await self.matching(within, rows)}
                return [row for row in rows if row.uid not in found]
            case Text():
                uids = await self._text(key)
                return [row for row in rows if row.uid in uids]
            case Dated(kind="sent"):
                return await self._sent(key, rows)
            case _:
                return self._by_row(key, rows)

    def _by_row(self, key: Key, rows: list[MessageRow]) -> list[MessageRow]:
        match key:
            case All() | SaveDateSupported():
                return rows
            case HasFlag(flag):
                return _having(flag, rows)
            case Recent():
                marks = self.selected.recent
                return [row for row in rows if row.uid in marks] if not self.session.rev2 else []
            case InSet():
                return within(rows, self._intervals(key))
            case Size(larger, octets):
                return [row for row in rows if (row.octets > octets if larger else row.octets < octets)]
            case Age(younger, seconds):
                edge = self.now - seconds
                return [row for row in rows if (row.internal_date >= edge if younger else row.internal_date <= edge)]
            case Dated(kind, relation, day):
                fits = _day_test(relation, day_start(day))
                if kind == "saved":
                    return [row for row in rows if fits(row.save_date)]
                return [row for row in rows if fits(row.internal_date)]
            case SinceModSeq(mod_seq):
                return [row for row in rows if row.mod_seq >= mod_seq]
            case ObjectId(thread, wanted):
                return [row for row in rows if (row.thread_id if thread else row.email_id) == wanted]
            case And() | Or() | Not() | Text():
                raise AssertionError("evaluated by `matching`")
            case _:
                assert_never(key)

    def _intervals(self, key: InSet) -> list[Range]:
        """As UIDs. A sequence number out of use finds nothing here, as in Dovecot."""
        view = self.selected.view
        if key.set.saved:
            return [(uid, uid) for uid in self.selected.saved]
        if key.uid:
            return key.set.resolve(view.last_uid or 1)
        numbers = view.numbers
        intervals: list[Range] = []
        for first, last in key.set.resolve(view.exists):
            first, last = max(first, 1), min(last, view.exists)
            if first <= last:
                intervals.append((numbers[first - 1], numbers[last - 1]))
        return intervals

    async def _text(self, key: Text) -> set[Uid]:
        found = self._texts.get(key)
        if found is None:
            found = self._texts[key] = await self._search_text(key)
        return found

    async def _search_text(self, key: Text) -> set[Uid]:
        store, state = self.session.context.store, self.selected.state
        # RFC 9051 §6.4.4: an empty string finds every message that has the field; the same of SUBJECT, FROM, ...
        if key.scope in _SCOPES and (key.needle or key.scope in ("body", "text")):
            return await store.search_text(state, key.needle, scope=_SCOPES[key.scope])
        field = key.field if key.scope == "header" else key.scope
        if not field:
            return set()  # no field has an empty name
        return await store.search_text(state, key.needle, scope="header", field=field)

    async def _sent(self, key: Dated, rows: list[MessageRow]) -> list[MessageRow]:
        """By the Date field's own day, whatever its zone (RFC 9051 §6.4.4: "disregarding time and timezone")."""
        fits = _day_test(key.relation, day_start(key.day))
        kept: list[MessageRow] = []
        for start in range(0, len(rows), 2_000):
            batch = rows[start : start + 2_000]
            columns = await self.session.context.store.rendered(batch, ("date", "date_zone"))
            for row, values in zip(batch, columns, strict=True):
                if values is not None and values[0] is not None and fits(values[0] + (values[1] or 0)):
                    kept.append(row)
        return kept


def _cost(key: Key) -> int:
    match key:
        case Text(scope="text" | "body"):
            return 4
        case Text():
            return 3
        case Dated(kind="sent"):
            return 2
        case And() | Or() | Not():
            return max((_cost(each) for each in _within(key)), default=0)
        case InSet():
            return -1
        case _:
            return 0


def _within(key: And | Or | Not) -> Sequence[Key]:
    match key:
        case And(keys):
            return keys
        case Or(left, right):
            return (left, right)
        case Not(inner):
            return (inner,)


def _having(flag: str, rows: list[MessageRow]) -> list[MessageRow]:
    """Flag sets are shared objects: each is looked at once (RFC 9051 §2.3.2: flags compare without case)."""
    wanted = flag.lower()
    used = distinct(row.flags for row in rows)
    hits = {key for key, flags in used.items() if any(name.lower() == wanted for name in flags.names)}
    if len(hits) == len(used):
        return rows
    return [row for row in rows if id(row.flags) in hits] if hits else []


def within(rows: list[MessageRow], intervals: Sequence[Range]) -> list[MessageRow]:
    """Those whose UIDs lie in ascending intervals."""
    if len(intervals) == 1 and rows and intervals[0][0] <= rows[0].uid and rows[-1].uid <= intervals[0][1]:
        return rows
    uids = [row.uid for row in rows]
    kept: list[MessageRow] = []
    for first, last in intervals:
        kept += rows[bisect_left(uids, first) : bisect_right(uids, last)]
    return kept


def _day_test(relation: str, start: float) -> Callable[[float], bool]:
    match relation:
        case "before":
            return lambda at: at < start
        case "since":
            return lambda at: at >= start
        case _:
            return lambda at: start <= at < start + _DAY
