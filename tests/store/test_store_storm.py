"""Chance finds what nobody thought of: daemons that do everything at once to the same few mailboxes."""

import pytest
from postgres_cluster import Cluster
from storm import storm

from mailsandbox.store import bulkflags, following


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_daemons_do_at_once_everything_agrees_afterwards(
    postgres: Cluster, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(following, "_PAGE", 3)  # small, so that pages of the log end everywhere
    monkeypatch.setattr(bulkflags, "MIN_MESSAGES", 4)  # and so that few messages are recorded as many are
    monkeypatch.setattr(bulkflags, "MIN_RUN", 1)
    assert await storm(postgres.new_database(), seed) == []
