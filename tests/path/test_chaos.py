"""`scripts/chaos crash` itself keeps working; its long runs are for people."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "chaos.py"


def test_daemons_killed_at_random_lose_nothing_that_was_acknowledged():
    command = [sys.executable, str(SCRIPT), "crash", "--rounds", "3", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (table,) = json.loads(done.stdout)
    assert table["restarts"] == 3
    assert table["acknowledged"] > 0
    assert table["lost"] == table["altered"] == table["duplicates_unmarked"] == 0
