"""What all tests share: real programs, hypothesis profiles."""

import os
import shutil
from collections.abc import Callable

import hypothesis
import pytest

CI = os.environ.get("CI", "").lower() not in ("", "0", "false")

hypothesis.settings.register_profile("ci", max_examples=300, deadline=None, derandomize=True)
hypothesis.settings.register_profile("default", max_examples=100, deadline=None)
hypothesis.settings.register_profile("nightly", max_examples=100_000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("MAILSANDBOX_HYPOTHESIS", "ci" if CI else "default"))


@pytest.fixture
def program() -> Callable[[str], str]:
    """The path of a real program. Missing, it fails the test when CI=true and skips it by name otherwise."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None and CI:
            pytest.fail(f"{name} is not installed; scripts/clients should have installed it")
        if path is None:
            pytest.skip(f"{name} is not installed")
        return path

    return find
