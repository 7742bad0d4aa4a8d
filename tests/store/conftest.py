"""One contract, every backend: the tests of this folder run against each database."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from postgres_cluster import postgres  # noqa: F401

from mailsandbox.clock import ManualClock
from mailsandbox.database import Database, open_database
from mailsandbox.store.journeys import JourneyLedger
from mailsandbox.store.model import Change
from mailsandbox.store.store import Store

BACKENDS = ["memory", "file", "postgresql"]


@pytest.fixture(params=BACKENDS)
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """What a user would hand to --data, --memory or --database."""
    match request.param:
        case "memory":
            return ":memory:"
        case "file":
            return str(tmp_path / "data")
        case _:
            return request.getfixturevalue("postgres").new_database()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def database(target: str) -> AsyncIterator[Database]:
    opened = open_database(target)
    await opened.start()
    yield opened
    await opened.aclose()


@pytest.fixture
def limits() -> dict[str, int]:
    """Quotas by address; a test fills it in."""
    return {}


@pytest.fixture
async def store(database: Database, clock: ManualClock, limits: dict[str, int]) -> AsyncIterator[Store]:
    made = Store(database, clock=clock, quota=limits.get)
    await made.start()
    yield made
    await made.aclose()


@pytest.fixture
async def ledger(store: Store, clock: ManualClock) -> AsyncIterator[JourneyLedger]:
    made = JourneyLedger(store.database, clock)
    await made.start()
    yield made
    await made.aclose()


@pytest.fixture
def heard(store: Store) -> list[Change]:
    """Every change that listeners were told, in order."""
    told: list[Change] = []
    store.listeners.append(told.extend)
    return told
