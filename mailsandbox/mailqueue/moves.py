"""The life of one recipient in the queue: every legal move, and what a crash leaves. Knows nothing of time or storage.

    waiting     commit point: the transaction that accepted or deferred it.
                A crash leaves the row: it is tried again when it is due.
    active      commit point: the lease in its row; for a fresh message the transaction of the 250 takes it at once.
                A crash leaves the row with a dead owner's lease: taken over and tried again. An attempt that was cut
                short may have got through, so a message may arrive twice but never not at all (RFC 5321 §4.5.4.1,
                RFC 1047); the transaction that takes over puts this into the journey (`interruptions`).
    delivered   commit point: the transaction that removes the row; the notification that is owed enters the queue in
    failed      the same one. A crash leaves nothing to do.
    expired
    removed     the same, with no notification.

So a recipient is never lost and never notified about twice. The final states are not stored: the journey tells them.
"""

from types import MappingProxyType
from typing import Final

from mailsandbox.mailqueue.model import RecipientStatus

_S = RecipientStatus

# Event -> the states it may happen in, and the state it leads to.
MOVES: Final = MappingProxyType(
    {
        "accept": (frozenset[RecipientStatus](), _S.ACTIVE),  # new: leased by the process that accepted it
        "claim": (frozenset({_S.WAITING}), _S.ACTIVE),  # due, not held, and nobody has it
        "take over": (frozenset({_S.ACTIVE}), _S.WAITING),  # its lease ran out, or its owner is known to be gone
        "interrupt": (frozenset({_S.ACTIVE}), _S.WAITING),  # closing cut its attempt short
        "shed": (frozenset({_S.ACTIVE}), _S.WAITING),  # no room in memory, held, or closing: given back untried
        "deliver": (frozenset({_S.ACTIVE}), _S.DELIVERED),
        "defer": (frozenset({_S.ACTIVE}), _S.WAITING),
        "fail": (frozenset({_S.ACTIVE}), _S.FAILED),
        "expire": (frozenset({_S.ACTIVE}), _S.EXPIRED),
        "bounce": (frozenset({_S.WAITING, _S.ACTIVE}), _S.FAILED),  # asked for by the operator
        "remove": (frozenset({_S.WAITING, _S.ACTIVE}), _S.REMOVED),  # asked for by the operator
    }
)

FINAL: Final = frozenset({_S.DELIVERED, _S.FAILED, _S.EXPIRED, _S.REMOVED})


class IllegalMove(AssertionError):
    """A bug of ours: a recipient was to be moved as no recipient moves."""


def move(status: RecipientStatus, event: str) -> RecipientStatus:
    """The state after `event`. Raises IllegalMove where the table knows no such move."""
    sources, target = MOVES[event]
    if status not in sources:
        raise IllegalMove(f"a recipient that is {status} cannot {event}")
    return target


def diagram() -> str:
    """The table as a mermaid state diagram, for the documentation."""
    rows = ["stateDiagram-v2", f"    [*] --> {MOVES['accept'][1]}: accept"]
    for event, (sources, target) in MOVES.items():
        rows.extend(f"    {source} --> {target}: {event}" for source in sorted(sources))
    rows.extend(f"    {final} --> [*]" for final in sorted(FINAL))
    return "\n".join(rows) + "\n"
