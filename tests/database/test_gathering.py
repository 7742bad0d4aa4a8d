"""When a batch begins: once nothing more comes for it, and soon whatever comes."""

import pytest

from mailsandbox.database import gathering
from mailsandbox.database.gathering import QUIET, TURNS, Gathering


class Turning:
    """A loop that is turned by hand, and what was submitted meanwhile."""

    def __init__(self) -> None:
        self.called: list = []
        self.submitted = 0
        self.begun: list[int] = []  # with how many
        self.gathering = Gathering(self, lambda: self.submitted, self._begin)

    def _begin(self) -> None:
        self.begun.append(self.submitted)
        self.submitted = 0

    def call_soon(self, callback) -> None:
        self.called.append(callback)

    def submit(self) -> None:
        self.submitted += 1
        self.gathering.begin()

    def turn(self) -> None:
        called, self.called = self.called, []
        assert len(called) <= 1
        for callback in called:
            callback()


@pytest.fixture
def loop() -> Turning:
    return Turning()


def test_a_lone_work_waits_for_a_few_turns(loop: Turning) -> None:
    loop.submit()
    for _ in range(QUIET):
        loop.turn()
    assert loop.begun == []
    loop.turn()
    assert loop.begun == [1]
    assert loop.called == []


def test_each_that_comes_meanwhile_has_the_others_wait_anew(loop: Turning) -> None:
    for _ in range(5):
        loop.submit()
        for _ in range(QUIET):
            loop.turn()
        assert loop.begun == []
    loop.turn()
    assert loop.begun == [5]


def test_where_more_comes_with_each_turn_it_begins_all_the_same_and_then_anew(loop: Turning) -> None:
    for _ in range(3 * TURNS):
        loop.submit()
        loop.turn()
    assert loop.begun == [TURNS] * 3


def test_long_turns_are_fewer(loop: Turning, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(gathering, "perf_counter", lambda: now)
    loop.submit()
    loop.turn()
    now += gathering.SECONDS
    loop.submit()
    loop.turn()
    assert loop.begun == [2]
