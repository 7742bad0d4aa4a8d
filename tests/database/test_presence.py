"""Who lives among the daemons of a database: told by locks that go with their sessions."""

from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
from postgres_cluster import Cluster, postgres  # noqa: F401

from mailsandbox.database import open_database
from mailsandbox.database.postgres import PostgresDatabase
from mailsandbox.database.presence import GRACE, LOOK, Presence, bury


class Daemon:
    """A presence and its session."""

    def __init__(self, name: str, url: str) -> None:
        self.url = url
        self.presence = Presence(name)
        self.enter()

    def enter(self) -> None:
        self.session = psycopg.connect(self.url, autocommit=True)
        with psycopg.connect(self.url, autocommit=True) as witness:
            self.presence.enter(self.session, witness)

    def end(self) -> None:
        """Its process dies; returns when the server has noticed."""
        pid = self.session.info.backend_pid
        self.session.close()
        with psycopg.connect(self.url, autocommit=True) as witness:
            while witness.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchone():
                pass

    def look(self, now: float) -> list[str]:
        return self.presence.dead(self.session, now)


@pytest.fixture
async def database(postgres: Cluster) -> AsyncIterator[PostgresDatabase]:  # noqa: F811
    opened = open_database(postgres.new_database())
    assert isinstance(opened, PostgresDatabase)
    await opened.start()
    yield opened
    await opened.aclose()


@pytest.fixture
def pair(database: PostgresDatabase) -> Iterator[tuple[Daemon, Daemon]]:
    daemons = Daemon("one", database.url), Daemon("two", database.url)
    for daemon in daemons:
        assert daemon.look(0.0) == []
    yield daemons
    for daemon in daemons:
        daemon.session.close()


async def test_the_living_are_never_held_for_dead(pair: tuple[Daemon, Daemon]) -> None:
    one, two = pair
    for second in range(1, 100):
        assert one.look(float(second)) == two.look(float(second)) == []


async def test_a_daemon_whose_session_ended_is_dead_after_the_grace_and_not_before(pair: tuple[Daemon, Daemon]) -> None:
    one, two = pair
    two.end()
    assert one.look(10.0) == []
    assert one.look(10.0 + GRACE - 0.1) == []
    assert one.look(10.0 + GRACE + LOOK) == ["two"]


async def test_a_daemon_that_connects_again_within_the_grace_lives(pair: tuple[Daemon, Daemon]) -> None:
    one, two = pair
    two.end()
    assert one.look(10.0) == []
    two.enter()
    assert one.look(12.0) == []
    two.end()
    assert one.look(13.0) == []
    assert one.look(13.0 + GRACE) == ["two"]


async def test_who_was_away_itself_counts_the_grace_anew(pair: tuple[Daemon, Daemon]) -> None:
    one, two = pair
    two.end()
    assert one.look(10.0) == []
    one.end()
    one.enter()
    assert one.look(10.0 + GRACE) == []
    assert one.look(10.0 + 2 * GRACE) == ["two"]


async def test_a_session_that_the_server_still_holds_keeps_nobody_from_coming_back(pair: tuple[Daemon, Daemon]) -> None:
    one, two = pair
    lost = two.session  # the server has not noticed that it is gone
    two.enter()
    assert two.look(1.0) == []
    two.session, back = lost, two.session
    two.end()
    two.session = back
    assert two.look(2.0) == []  # takes the lock now
    assert one.look(3.0) == one.look(4.0 + GRACE) == []


async def test_the_dead_are_buried_once_and_the_living_never(
    pair: tuple[Daemon, Daemon], database: PostgresDatabase
) -> None:
    _, two = pair
    buried: list[str] = []

    async def try_to_bury() -> None:
        await database.write(lambda tx: bury(tx, "two", [lambda tx, name: buried.append(name)]))

    await try_to_bury()
    assert buried == []
    two.end()
    await try_to_bury()
    await try_to_bury()
    assert buried == ["two"]
    two.enter()  # it was only away
    assert two.look(50.0) == []
    await try_to_bury()
    assert buried == ["two"]
    two.end()
    await try_to_bury()
    assert buried == ["two", "two"]
