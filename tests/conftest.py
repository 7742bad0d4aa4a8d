"""What all tests share: real programs, hypothesis profiles."""

import os
import shutil
from collections.abc import Callable

import hypothesis
import pytest
from absent import CI, absent

hypothesis.settings.register_profile("ci", max_examples=300, deadline=None, derandomize=True)
hypothesis.settings.register_profile("default", max_examples=100, deadline=None)
hypothesis.settings.register_profile("nightly", max_examples=100_000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("MAILSANDBOX_HYPOTHESIS", "ci" if CI else "default"))


@pytest.fixture
def program() -> Callable[[str], str]:
    """The path of a real program. Missing, it fails the test when CI=true and skips it by name otherwise."""

    def find(name: str) -> str:
        path = shutil.which(name)
        return path or absent(name)

    return find
