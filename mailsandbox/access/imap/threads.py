"""THREAD (RFC 5256 §3, §4): ORDEREDSUBJECT, REFERENCES, and REFS (draft-ietf-morg-inthread). Pure.

Invariant: every message appears once; references that form a loop are cut where they would close it. No recursion:
threads of thousands of replies are deep.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Threadable:
    """What threading needs of a message. `number` is a sequence number or UID; `date` POSIX seconds."""

    number: int
    message_id: str
    references: Sequence[str]
    subject: str  # base subject, folded
    is_reply: bool
    date: float


@dataclass(slots=True, eq=False)
class Node:
    """A container: a message, or a message that is only referred to (`message` None)."""

    message: Threadable | None = None
    parent: "Node | None" = None
    children: list["Node"] = field(default_factory=list)

    @property
    def date(self) -> float:
        """RFC 5256 §3 step 4: a dummy sorts as its first child."""
        node = self
        while node.message is None and node.children:
            node = node.children[0]
        return node.message.date if node.message is not None else 0.0

    @property
    def number(self) -> int:
        """Tie-breaker: the sequence number."""
        node = self
        while node.message is None and node.children:
            node = node.children[0]
        return node.message.number if node.message is not None else 0

    def adopt(self, child: "Node") -> None:
        """Make `child` a child of this one, wherever it was."""
        if child.parent is not None:
            child.parent.children.remove(child)
        child.parent = self
        self.children.append(child)

    def is_below(self, other: "Node") -> bool:
        """Whether `other` is this node or above it."""
        node: Node | None = self
        while node is not None:
            if node is other:
                return True
            node = node.parent
        return False


def ordered_subject(messages: Sequence[Threadable]) -> list[Node]:
    """RFC 5256 §3: same base subject, the first by date is the parent of all others."""
    by_subject: dict[str, Node] = {}
    for message in sorted(messages, key=lambda each: (each.date, each.number)):
        root = by_subject.get(message.subject)
        if root is None:
            by_subject[message.subject] = Node(message)
        else:
            root.adopt(Node(message))
    return sorted(by_subject.values(), key=lambda node: (node.date, node.number))


def references(messages: Sequence[Threadable]) -> list[Node]:
    """RFC 5256 §3 REFERENCES, all six steps."""
    roots = _prune(_link(messages))
    roots = _by_date(roots)
    return _by_date(_gather_subjects(roots))


def refs(messages: Sequence[Threadable]) -> list[Node]:
    """As REFERENCES without step 5 (subjects), threads ordered by their latest message."""
    roots = _prune(_link(messages))
    _by_date(roots)
    latest = {id(root): max(node.message.date for node in _walk(root) if node.message is not None) for root in roots}
    return sorted(roots, key=lambda root: (latest[id(root)], root.number))


def _link(messages: Sequence[Threadable]) -> list[Node]:
    """Steps 1 and 2: containers by message id, linked along the references; returns those without a parent."""
    nodes: dict[str, Node] = {}
    every: list[Node] = []

    def node_of(message_id: str) -> Node:
        node = nodes.get(message_id)
        if node is None:
            node = nodes[message_id] = Node()
            every.append(node)
        return node

    for message in messages:
        node = node_of(message.message_id) if message.message_id else None
        if node is None or node.message is not None:
            # RFC 5256 §3: without a Message-ID, or with one that is taken, it gets one of its own.
            node = Node()
            every.append(node)
        node.message = message
        previous: Node | None = None
        for message_id in message.references:
            referred = node_of(message_id)
            if previous is not None and referred.parent is None and not previous.is_below(referred):
                previous.adopt(referred)
            previous = referred
        if node.parent is not None:
            node.parent.children.remove(node)
            node.parent = None
        if previous is not None and not previous.is_below(node):
            previous.adopt(node)
    return [node for node in every if node.parent is None]


def _prune(roots: list[Node]) -> list[Node]:
    """Step 3: dummies without children go, dummies with children are replaced by them (at the root: an only one)."""
    top = Node()
    for root in roots:
        root.parent = top
    top.children = roots
    order = list(_walk(top))
    for node in reversed(order):  # children before their parents
        if node.message is not None or node is top:
            continue
        parent = node.parent
        assert parent is not None
        if parent is top and len(node.children) > 1:
            continue
        index = parent.children.index(node)
        parent.children[index : index + 1] = node.children
        for child in node.children:
            child.parent = parent
    for node in top.children:
        node.parent = None
    return top.children


def _by_date(roots: list[Node]) -> list[Node]:
    """Steps 4 and 6: siblings by date, from the leaves up, as a dummy's date is its first child's."""
    for root in roots:
        for node in reversed(list(_walk(root))):
            if len(node.children) > 1:
                node.children.sort(key=lambda each: (each.date, each.number))
    return sorted(roots, key=lambda each: (each.date, each.number))


def _gather_subjects(roots: list[Node]) -> list[Node]:
    """Step 5: threads of one base subject become one."""
    table: dict[str, Node] = {}
    for root in roots:
        subject, reply = _subject_of(root)
        if not subject:
            continue
        known = table.get(subject)
        better = known is None or (root.message is None and known.message is not None)
        if better or (known is not None and _subject_of(known)[1] and not reply):
            table[subject] = root
    kept: list[Node] = []
    replaced: dict[int, Node] = {}
    for root in roots:
        subject, reply = _subject_of(root)
        known = table.get(subject) if subject else None
        if known is None or known is root:
            kept.append(root)
            continue
        if known.message is None and root.message is None:
            for child in list(root.children):
                known.adopt(child)
        elif known.message is None or (reply and not _subject_of(known)[1]):
            known.adopt(root)
        else:
            # Both are messages of equal standing: siblings below a dummy.
            dummy = Node()
            replaced[id(known)] = dummy
            table[subject] = dummy
            dummy.adopt(known)
            dummy.adopt(root)
            if known not in kept:
                kept.append(known)
    return [replaced.get(id(node), node) for node in kept]


def _subject_of(node: Node) -> tuple[str, bool]:
    while node.message is None and node.children:
        node = node.children[0]
    return (node.message.subject, node.message.is_reply) if node.message is not None else ("", False)


def _walk(root: Node) -> Iterable[Node]:
    """The node and all below it, parents first."""
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(node.children))


def write(roots: Sequence[Node]) -> bytes:
    """RFC 5256 §4 thread-data: (2)(3 6 (4 23)(44 7 96))."""
    pieces: list[bytes] = []
    for root in roots:
        pieces.append(b"(")
        stack: list[Node | bytes] = [b")", root]
        while stack:
            item = stack.pop()
            if isinstance(item, bytes):
                pieces.append(item)
                continue
            if item.message is not None:
                if pieces[-1] != b"(":
                    pieces.append(b" ")
                pieces.append(b"%d" % item.message.number)
            if len(item.children) == 1:
                stack.append(item.children[0])
                continue
            if item.children and item.message is not None:
                pieces.append(b" ")
            for child in reversed(item.children):
                stack += [b")", child, b"("]
    return b"".join(pieces)
