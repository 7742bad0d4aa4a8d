"""Chance finds what nobody thought of: daemons that do everything at once to the same few mailboxes."""

from pathlib import Path

import pytest
from postgres_cluster import Cluster
from storm import storm

from mailsandbox.store import bulkflags, following


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of the log end everywhere, and few messages are recorded as many are."""
    monkeypatch.setattr(following, "_PAGE", 3)
    monkeypatch.setattr(bulkflags, "MIN_MESSAGES", 4)
    monkeypatch.setattr(bulkflags, "MIN_RUN", 1)


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_daemons_do_at_once_everything_agrees_afterwards(postgres: Cluster, seed: int) -> None:
    assert await storm(postgres.new_database(), seed) == []


async def test_whatever_the_clients_of_one_daemon_do_at_once_everything_agrees_afterwards(tmp_path: Path) -> None:
    assert await storm(str(tmp_path / "data"), seed=1, daemons=1, clients=8) == []
