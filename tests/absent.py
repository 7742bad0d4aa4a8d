"""What a test needs and does not find: a failure where everything is installed (CI), a skip by name elsewhere."""

import os
from typing import NoReturn

import pytest

CI = os.environ.get("CI", "").lower() not in ("", "0", "false")


def absent(what: str, *, comes_with: str = "scripts/clients") -> NoReturn:
    """`what` is not installed, though `comes_with` should have installed it."""
    if CI:
        pytest.fail(f"{what} is not installed; {comes_with} should have installed it")
    pytest.skip(f"{what} is not installed")
