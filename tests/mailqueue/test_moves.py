"""The table of moves."""

import itertools

import pytest

from mailsandbox.mailqueue.model import RecipientStatus
from mailsandbox.mailqueue.moves import FINAL, MOVES, IllegalMove, diagram, move

S = RecipientStatus


@pytest.mark.parametrize(("status", "event"), list(itertools.product(S, MOVES)))
def test_every_pair_of_state_and_event_is_legal_as_the_table_says_or_refused(status, event):
    sources, target = MOVES[event]
    if status in sources:
        assert move(status, event) is target
    else:
        with pytest.raises(IllegalMove):
            move(status, event)


def test_final_states_are_never_left():
    assert not [event for event, (sources, _) in MOVES.items() if sources & FINAL]


def test_every_state_can_be_reached_and_every_other_state_can_end():
    reached, frontier = set(), {MOVES["accept"][1]}
    while frontier:
        reached |= frontier
        frontier = {target for sources, target in MOVES.values() if sources & reached} - reached
    assert reached == set(S)


def test_diagram_has_every_move():
    assert "active --> delivered: deliver" in diagram()
    assert diagram().count("-->") == 1 + sum(len(sources) for sources, _ in MOVES.values()) + len(FINAL)


def test_documented_diagram_is_the_tables():
    from pathlib import Path

    document = Path(__file__).parents[2] / "docs" / "relay.md"
    assert diagram() in document.read_text()
