"""PostgreSQL that is not there, does not let us in, or goes away under load and comes back."""

import json
import signal
import smtplib
import threading

import psycopg
import pytest
from postgres_cluster import postgres  # noqa: F401

from tests.path.failing_disk import (
    append_says,
    arrived,
    http_get,
    http_says,
    letter,
    pop3_update_says,
    run_queues,
    smtp_says,
    subjects,
)
from tests.path.test_store_faults import started


def at(cluster, user: str, database: str = "postgres") -> str:
    return f"postgresql://{user}@127.0.0.1:{cluster.port}/{database}"


def test_a_server_that_is_not_there_is_named_in_one_line():
    code, line = started("--database", "postgresql://ann:secret@127.0.0.1:1/mail")
    assert code == 1
    assert "postgresql://127.0.0.1:1/mail cannot be opened" in line
    assert "Connection refused" in line
    assert "Is the server running" in line
    assert "secret" not in line


def test_a_wrong_password_is_named_in_one_line(postgres):  # noqa: F811
    rules = postgres.directory / "data" / "pg_hba.conf"
    before = rules.read_text()
    with psycopg.connect(at(postgres, postgres.user), autocommit=True) as connection:
        connection.execute("CREATE ROLE locked LOGIN PASSWORD 'right'")
        rules.write_text("host all locked 127.0.0.1/32 scram-sha-256\n" + before)
        connection.execute("SELECT pg_reload_conf()")
        try:
            code, line = started("--database", at(postgres, "locked:wrong"))
        finally:
            rules.write_text(before)
            connection.execute("SELECT pg_reload_conf()")
    assert code == 1
    assert 'password authentication failed for user "locked"' in line
    assert "wrong" not in line.replace("wrong password", "")


def test_a_database_that_does_not_exist_is_named_in_one_line(postgres):  # noqa: F811
    code, line = started("--database", at(postgres, postgres.user, "nowhere"))
    assert code == 1
    assert 'database "nowhere" does not exist' in line


def test_a_user_who_may_not_make_tables_is_told_so_in_one_line(postgres):  # noqa: F811
    schema = postgres.new_database().rpartition("%3D")[2]
    with psycopg.connect(at(postgres, postgres.user), autocommit=True) as connection:
        connection.execute("CREATE ROLE guest LOGIN")
        connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO guest")
    code, line = started("--database", at(postgres, "guest") + f"?options=-csearch_path%3D{schema}")
    assert code == 1
    assert f"permission denied for schema {schema}" in line


def test_a_server_that_only_lets_read_is_told_so_in_one_line(postgres):  # noqa: F811
    code, line = started("--database", postgres.new_database() + "%20-cdefault_transaction_read_only%3Don")
    assert code == 1
    assert "read-only transaction" in line


@pytest.mark.rfc(5321, "4.2.5")
@pytest.mark.rfc(5530, "3")
@pytest.mark.rfc(3206, "4")
def test_while_the_server_is_away_each_protocol_says_so_and_nothing_needs_a_restart(serve, postgres):  # noqa: F811
    daemon = serve("--database", postgres.new_database())
    assert append_says(daemon, letter("before")).startswith("OK")
    postgres.stop()
    try:
        code, text = smtp_says(daemon, letter("refused"))
        assert (code, text[:5]) == (452, "4.3.1")
        assert append_says_or_refuses_login(daemon).startswith("NO [UNAVAILABLE]")
        assert "[SYS/TEMP]" in pop3_update_says(daemon)
        assert http_says(daemon, letter("refused")).status_code == 503
        assert http_get(daemon, "/v1/messages").status_code == 503
        assert http_get(daemon, "/readyz").status_code == 503
        assert http_get(daemon, "/livez").status_code == 200
    finally:
        postgres.start()
    assert smtp_says(daemon, letter("after"))[0] == 250
    arrived(daemon, "after")
    assert append_says(daemon, letter("appended")).startswith("OK")
    assert pop3_update_says(daemon).startswith("+OK")
    assert subjects(daemon) == ["after", "appended"]
    assert http_get(daemon, "/readyz").status_code == 200


def append_says_or_refuses_login(daemon) -> str:
    try:
        return append_says(daemon, letter("refused"))
    except Exception as refused:  # imaplib raises the text of a refused LOGIN
        return f"NO {refused.args[0].decode() if isinstance(refused.args[0], bytes) else refused}"


@pytest.mark.rfc(5321, "6.1")
@pytest.mark.rfc(1047, "1")
def test_a_server_that_restarts_under_load_loses_nothing_acknowledged_and_repeats_nothing_unmarked(
    serve,
    postgres,  # noqa: F811
):
    daemon = serve("--database", postgres.new_database())
    acknowledged: list[str] = []
    refused = threading.Event()
    enough = threading.Event()

    def client(name: str) -> None:
        number = 0
        while not enough.is_set():
            number += 1
            subject = f"{name}-{number:04}"
            try:
                code, _ = smtp_says(daemon, letter(subject, 3_000))
            except (OSError, smtplib.SMTPException):
                continue
            if code == 250:
                acknowledged.append(subject)
            else:
                refused.set()

    clients = [threading.Thread(target=client, args=(name,)) for name in "abc"]
    for one in clients:
        one.start()
    for how in (signal.SIGINT, signal.SIGQUIT):  # sessions are ended in order; or not at all, as in a crash
        while_counted(acknowledged, 15)
        refused.clear()
        postgres.stop(how)
        try:
            assert refused.wait(60)
        finally:
            postgres.start()
    while_counted(acknowledged, 15)
    enough.set()
    for one in clients:
        one.join(60)
        assert not one.is_alive()
    run_queues(daemon)
    found = every_subject(daemon)
    assert set(acknowledged) <= set(found)
    for subject, ids in found.items():
        if len(ids) > 1:
            journey = json.loads(http_get(daemon, f"/v1/messages/{ids[0]}/journey").text)
            marks = sum(attempt["possible_duplicate"] for hop in journey["hops"] for attempt in hop["attempts"])
            assert marks >= len(ids) - 1, subject


def while_counted(acknowledged: list[str], more: int) -> None:
    wanted = len(acknowledged) + more
    counted = threading.Event()
    for _ in range(6_000):
        if len(acknowledged) >= wanted:
            return
        counted.wait(0.01)
    pytest.fail("nothing is acknowledged any more")


def every_subject(daemon) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    cursor = ""
    while True:
        page = http_get(daemon, "/v1/messages", limit=100, **({"after": cursor} if cursor else {})).json()
        for one in page["messages"]:
            found.setdefault(one["subject"], []).append(one["id"])
        cursor = page["next"]
        if not cursor:
            return found
