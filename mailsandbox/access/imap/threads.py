"""THREAD (RFC 5256 §3, §4): ORDEREDSUBJECT, REFERENCES, and REFS (draft-ietf-morg-inthread). Pure.

Invariants: every message appears once; references that form a loop are cut where they would close it. A message is its
place in the order of sequence numbers, a dummy a number above all of these; links are lists of numbers, as ten thousand
objects cost more than all the rest. No recursion: threads of thousands of replies are deep.
"""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec


class Entry(msgspec.Struct, frozen=True, gc=False):
    """What threading needs of a message. Message-IDs are numbers of the forest's; `own` is -1 where it has none."""

    own: int
    references: tuple[int, ...]
    subject: str  # base subject, folded
    is_reply: bool
    date: float  # POSIX seconds


class Forest:
    """The messages of a mailbox, by UID; grows as they come."""

    __slots__ = ("_ids", "entries")

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self.entries: dict[int, Entry] = {}

    def add(
        self, uid: int, message_id: str, references: Sequence[str], *, subject: str, is_reply: bool, date: float
    ) -> None:
        """Take a message. `subject`: base subject, folded."""
        ids = self._ids
        own = ids.setdefault(message_id, len(ids)) if message_id else -1
        related = tuple([ids.setdefault(each, len(ids)) for each in references]) if references else ()
        self.entries[uid] = Entry(own, related, subject, is_reply, date)

    def thread(self, algorithm: str, uids: Sequence[int], numbers: Sequence[int]) -> bytes:
        """Thread-data of these messages, each shown by its number; all must have been added."""
        entries = [self.entries[uid] for uid in uids]
        return _write(*ALGORITHMS[algorithm](entries, len(self._ids)), numbers)


class _Trees:
    """Messages and dummies in the making of an answer. `first`: a message itself, or a dummy's first child."""

    __slots__ = ("children", "dates", "entries", "first", "roots")

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries
        self.roots: list[int] = []
        self.children: dict[int, list[int]] = {}
        self.dates = [entry.date for entry in entries]
        self.first = list(range(len(entries)))

    def is_dummy(self, node: int) -> bool:
        return node >= len(self.entries)

    def dummy(self, children: list[int]) -> int:
        """A new dummy above these."""
        node = len(self.first)
        self.first.append(0)
        self.dates.append(0.0)
        self.children[node] = children
        self.sort_children(node)
        return node

    def sort(self, nodes: list[int]) -> None:
        """RFC 5256 §3 steps 4 and 6: siblings by date; ties in the order of sequence numbers."""
        nodes.sort(key=self.first.__getitem__)
        nodes.sort(key=self.dates.__getitem__)

    def sort_children(self, node: int) -> None:
        children = self.children[node]
        self.sort(children)
        if self.is_dummy(node):  # step 4: a dummy sorts as its first child
            self.first[node] = self.first[children[0]]
            self.dates[node] = self.dates[children[0]]

    def subject(self, node: int) -> str:
        return self.entries[self.first[node]].subject

    def is_reply(self, node: int) -> bool:
        return self.entries[self.first[node]].is_reply


_Made = tuple[Sequence[int], dict[int, list[int]]]  # roots, and the children of each node that has some


def ordered_subject(entries: Sequence[Entry], ids: int) -> _Made:
    """RFC 5256 §3: same base subject, the first by date is the parent of all others."""
    order = sorted(range(len(entries)), key=lambda at: entries[at].date)
    roots: dict[str, int] = {}
    children: dict[int, list[int]] = {}
    for at in order:
        root = roots.setdefault(entries[at].subject, at)
        if root != at:
            children.setdefault(root, []).append(at)
    return list(roots.values()), children


def references(entries: Sequence[Entry], ids: int) -> _Made:
    """RFC 5256 §3 REFERENCES, all six steps."""
    trees = _linked(entries, ids)
    trees.sort(trees.roots)
    _gather_subjects(trees)
    trees.sort(trees.roots)
    return trees.roots, trees.children


def refs(entries: Sequence[Entry], ids: int) -> _Made:
    """As REFERENCES without step 5 (subjects), threads ordered by their latest message."""
    trees = _linked(entries, ids)
    latest: dict[int, float] = {}
    for root in trees.roots:
        dates, stack = [], [root]
        while stack:
            node = stack.pop()
            dates.append(trees.dates[node])
            stack += trees.children.get(node, ())
        latest[root] = max(dates)
    return sorted(trees.roots, key=lambda root: (latest[root], trees.first[root])), trees.children


ALGORITHMS: Final[dict[str, Callable[[Sequence[Entry], int], _Made]]] = {
    "ORDEREDSUBJECT": ordered_subject,
    "REFERENCES": references,
    "REFS": refs,
}


def _linked(entries: Sequence[Entry], ids: int) -> _Trees:
    """Steps 1 to 4. Message-IDs are linked along the references; of them only the messages stay, and their dummies."""
    parents, messages, places = _link(entries, ids)
    trees = _Trees(entries)
    children = trees.children
    below_dummies: dict[int, list[int]] = {}
    for at, place in enumerate(places):
        above = parents[place]
        if above < 0:
            trees.roots.append(at)
            continue
        # Step 3: a dummy is replaced by its children, unless it is the root of several.
        while (message := messages[above]) < 0 and parents[above] >= 0:
            above = parents[above]
        if message >= 0:
            children.setdefault(message, []).append(at)
        else:
            below_dummies.setdefault(above, []).append(at)
    for siblings in children.values():
        if len(siblings) > 1:
            siblings.sort(key=trees.dates.__getitem__)
    for siblings in below_dummies.values():
        trees.roots.append(siblings[0] if len(siblings) == 1 else trees.dummy(siblings))
    return trees


def _link(entries: Sequence[Entry], ids: int) -> tuple[list[int], list[int], list[int]]:
    """Steps 1 and 2: by Message-ID its parent and its message (-1: none), and of each message its place among them."""
    parents, messages = [-1] * ids, [-1] * ids
    has_children = bytearray(ids)
    places: list[int] = []
    for at, entry in enumerate(entries):
        place = entry.own
        if place < 0 or messages[place] >= 0:
            # RFC 5256 §3: without a Message-ID, or with one that is taken, it gets one of its own.
            place = len(parents)
            parents.append(-1)
            messages.append(at)
            has_children.append(0)
        else:
            messages[place] = at
        previous = -1
        for referred in entry.references:
            # What has no children is above nothing else, so mostly there is no loop to look for.
            if (
                previous >= 0
                and parents[referred] < 0
                and referred != previous
                and not (has_children[referred] and _is_below(parents, previous, referred))
            ):
                parents[referred] = previous
                has_children[previous] = 1
            previous = referred
        parents[place] = -1
        if previous not in (-1, place) and not (has_children[place] and _is_below(parents, previous, place)):
            parents[place] = previous
            has_children[previous] = 1
        places.append(place)
    return parents, messages, places


def _is_below(parents: Sequence[int], place: int, other: int) -> bool:
    """Whether `other` is this place or above it."""
    while place >= 0:
        if place == other:
            return True
        place = parents[place]
    return False


def _gather_subjects(trees: _Trees) -> None:
    """Step 5: threads of one base subject become one."""
    table = _subject_table(trees)
    touched: set[int] = set()
    kept: dict[int, int] = {}  # roots that stay, and what stands for them
    children, is_dummy = trees.children, trees.is_dummy
    for root in trees.roots:
        subject = trees.subject(root)
        known = table[subject] if subject else root
        if root in kept:
            continue  # below a dummy already
        if known == root:
            kept[root] = root
        elif is_dummy(known) and is_dummy(root):
            children[known] += children.pop(root)
            touched.add(known)
        elif is_dummy(known) or (trees.is_reply(root) and not trees.is_reply(known)):
            children.setdefault(known, []).append(root)
            touched.add(known)
        else:
            # Both are messages of equal standing: siblings below a dummy.
            table[subject] = kept[known] = trees.dummy([known, root])
    for node in touched:
        trees.sort_children(node)
    trees.roots = list(kept.values())


def _subject_table(trees: _Trees) -> dict[str, int]:
    """Of each base subject the root that others join: a dummy before a message, an original before a reply."""
    table: dict[str, int] = {}
    is_dummy = trees.is_dummy
    for root in trees.roots:
        subject = trees.subject(root)
        if subject:
            known = table.setdefault(subject, root)
            if known != root and (
                (is_dummy(root) and not is_dummy(known)) or (trees.is_reply(known) and not trees.is_reply(root))
            ):
                table[subject] = root
    return table


def _write(roots: Sequence[int], children: dict[int, list[int]], numbers: Sequence[int]) -> bytes:
    """RFC 5256 §4 thread-data: (2)(3 6 (4 23)(44 7 96))."""
    texts = list(map(str, numbers))
    pieces: list[str] = []
    for root in roots:
        if root not in children:
            pieces.append(f"({texts[root]})")
            continue
        pieces.append("(")
        stack: list[int | str] = [")", root]
        while stack:
            item = stack.pop()
            if isinstance(item, str):
                pieces.append(item)
                continue
            is_message = item < len(texts)
            if is_message:
                if pieces[-1] != "(":
                    pieces.append(" ")
                pieces.append(texts[item])
            below = children.get(item, ())
            if len(below) == 1:
                stack.append(below[0])
                continue
            if below and is_message:
                pieces.append(" ")
            for child in reversed(below):
                stack += (")", child, "(")
    return "".join(pieces).encode()
