"""PostgreSQL went away in COMMIT: what is in the database was done, what is not was not."""

from collections.abc import AsyncIterator

import psycopg
import pytest
from postgres_cluster import Cluster, postgres  # noqa: F401

from mailsandbox.database import open_database
from mailsandbox.database import postgres as backend
from mailsandbox.database.postgres import PostgresDatabase
from mailsandbox.errors import StoreUnavailable


@pytest.fixture
async def database(postgres: Cluster) -> AsyncIterator[PostgresDatabase]:  # noqa: F811
    opened = open_database(postgres.new_database())
    assert isinstance(opened, PostgresDatabase)
    await opened.start()
    await opened.write(lambda tx: tx.execute("CREATE TABLE t (n INTEGER PRIMARY KEY)"))
    yield opened
    await opened.aclose()


def lose_the_answer(database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch, *, committed: bool) -> None:
    """The next COMMIT reaches the server, or does not; its answer is lost."""
    connection = database._writer
    assert connection is not None
    commit = connection.commit

    def lost() -> None:
        if committed:
            commit()
        connection.close()
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(connection, "commit", lost)


async def numbers(database: PostgresDatabase) -> list[int]:
    return await database.read(lambda tx: [row[0] for row in tx.execute("SELECT n FROM t ORDER BY n")])


async def test_a_commit_whose_answer_was_lost_is_done_if_it_is_in_the_database(
    database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def work(tx: object) -> int:
        tx.execute("INSERT INTO t VALUES (1)")  # type: ignore[attr-defined]
        tx.after_commit(lambda: told.append("done"))  # type: ignore[attr-defined]
        return 7

    lose_the_answer(database, monkeypatch, committed=True)
    assert await database.write(work) == 7
    assert told == ["done"]
    assert await numbers(database) == [1]


async def test_a_commit_that_never_came_there_is_unavailable_and_nothing_is_stored(
    database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_the_answer(database, monkeypatch, committed=False)
    with pytest.raises(StoreUnavailable):
        await database.write(lambda tx: tx.execute("INSERT INTO t VALUES (1)"))
    assert await numbers(database) == []
    await database.write(lambda tx: tx.execute("INSERT INTO t VALUES (2)"))
    assert await numbers(database) == [2]


async def test_a_server_that_does_not_come_back_is_unavailable(
    database: PostgresDatabase,
    postgres: Cluster,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backend, "_ASKED", 0.2)
    connection = database._writer
    assert connection is not None

    def lost() -> None:
        postgres.stop()
        connection.close()
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(connection, "commit", lost)
    try:
        with pytest.raises(StoreUnavailable):
            await database.write(lambda tx: tx.execute("INSERT INTO t VALUES (1)"))
    finally:
        postgres.start()
    assert await numbers(database) == []


async def test_an_engine_without_numbers_of_transactions_is_used_without_them(postgres: Cluster) -> None:  # noqa: F811
    url = postgres.new_database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION pg_current_xact_id() RETURNS xid8 LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'unknown function' USING ERRCODE = '42883'; END $$"
        )
    schema = url.rpartition("%3D")[2]
    database = open_database(url.replace(f"%3D{schema}", f"%3D{schema},pg_catalog"))
    assert isinstance(database, PostgresDatabase)
    await database.start()
    await database.write(lambda tx: tx.execute("CREATE TABLE t (n INTEGER PRIMARY KEY)"))
    await database.write(lambda tx: tx.execute("INSERT INTO t VALUES (1)"))
    assert await numbers(database) == [1]
    await database.aclose()
