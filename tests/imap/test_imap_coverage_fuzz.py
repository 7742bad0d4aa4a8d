"""The fuzzing of fuzz_grammar.py for a few seconds, from the transcripts on; by hand it runs for hours."""

import asyncio
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from absent import absent

PROGRAM = Path(__file__).with_name("fuzz_grammar.py")
BOUNDS = ["-runs=20000", "-max_total_time=15", "-timeout=60", "-rss_limit_mb=1024", "-seed=1", "-print_final_stats=1"]


@pytest.fixture(autouse=True)
def atheris() -> None:
    if importlib.util.find_spec("atheris") is None:
        absent("atheris", comes_with="the extra [dev], on a platform that it has a wheel for,")


def fuzz(*arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(PROGRAM), *map(str, arguments)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize("target", ["grammar", "session"])
async def test_nothing_that_a_client_sends_raises_hangs_or_fills_the_memory(target: str, tmp_path: Path) -> None:
    seeds, found = tmp_path / "seeds", tmp_path / "found"
    seeds.mkdir()
    found.mkdir()
    assert (await asyncio.to_thread(fuzz, "seeds", seeds, folder=tmp_path)).returncode == 0
    done = await asyncio.to_thread(fuzz, target, found, seeds, *BOUNDS, folder=tmp_path)
    assert done.returncode == 0, done.stdout[-5_000:]
    assert "stat::number_of_executed_units" in done.stdout
    assert any(found.iterdir()), "nothing new was reached: is the code instrumented?"
