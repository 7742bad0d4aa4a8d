"""A short run of `scripts/chaos crash`: daemons are killed while mail flows, and nothing acknowledged is lost."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from absent import absent
from postgres_cluster import binaries

ROOT = Path(__file__).parents[2]


@pytest.mark.rfc(5321, "6.1")
@pytest.mark.rfc(1047, "1")
@pytest.mark.parametrize(("database", "rounds"), [("sqlite", 3), ("postgresql", 2)])
def test_killed_daemons_lose_nothing_change_nothing_and_repeat_nothing_unmarked(database, rounds):
    if database == "postgresql" and binaries() is None:
        absent("PostgreSQL")
    command = [sys.executable, "scripts/chaos.py", "crash", "--database", database, "--rounds", str(rounds), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [table] = json.loads(done.stdout)
    assert table["rounds"] == table["restarts"] == rounds
    assert table["acknowledged"] > 0
    assert table["delivered"] >= table["acknowledged"]
    assert (table["lost"], table["altered"], table["duplicates_unmarked"], table["still_queued"]) == (0, 0, 0, 0)
    assert table["inconsistent"] == 0, done.stderr
