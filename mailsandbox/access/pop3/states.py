"""The life of a POP3 session: every legal move, and what a broken connection leaves (RFC 1939 §3 to §6). Pure.

The commit point is COMMITTED: until the store has answered, nothing is deleted; a connection that is lost in
AUTHORIZATION or TRANSACTION deletes nothing (§6), one that is lost in UPDATE has asked for it, and the store goes on.
"""

from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType
from typing import Final

from mailsandbox.access.pop3.commands import State


class Event(Enum):
    """What moves a session."""

    LOGGED_IN = auto()  # proof given, maildrop locked, snapshot taken
    QUIT = auto()
    COMMITTED = auto()  # the store has removed what was marked, or said that it cannot
    LOST = auto()  # connection gone, timed out, or thrown out


MOVES: Final[Mapping[tuple[State, Event], State]] = MappingProxyType(
    {
        (State.AUTHORIZATION, Event.LOGGED_IN): State.TRANSACTION,
        (State.AUTHORIZATION, Event.QUIT): State.CLOSED,  # §4: no UPDATE from here
        (State.AUTHORIZATION, Event.LOST): State.CLOSED,
        (State.TRANSACTION, Event.QUIT): State.UPDATE,
        (State.TRANSACTION, Event.LOST): State.CLOSED,  # §6: MUST NOT remove any message
        (State.UPDATE, Event.COMMITTED): State.CLOSED,
        (State.UPDATE, Event.LOST): State.UPDATE,  # the commit goes on without its client
        (State.CLOSED, Event.LOST): State.CLOSED,
        (State.CLOSED, Event.COMMITTED): State.CLOSED,
    }
)


def move(state: State, event: Event) -> State:
    """The state after `event`. A pair that is not in the table is a bug of ours: KeyError."""
    return MOVES[state, event]
