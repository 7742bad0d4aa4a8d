"""Regular expressions mean the same on every Python that is supported."""

import importlib
import pkgutil
import re
from re import _constants as ops  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]

import pytest

import mailsandbox

SIMPLE = (ops.LITERAL, ops.NOT_LITERAL, ops.IN, ops.ANY)
REPEATS = (ops.MAX_REPEAT, ops.POSSESSIVE_REPEAT)


def patterns():
    """Every compiled pattern that stands in a module, once."""
    found = {}
    for module in pkgutil.walk_packages(mailsandbox.__path__, "mailsandbox."):
        if not module.name.endswith("__main__"):
            for name, value in vars(importlib.import_module(module.name)).items():
                if isinstance(value, re.Pattern):
                    found.setdefault((value.pattern, value.flags), f"{module.name}.{name}")
    return found


def nodes(tree):
    """All nodes of a parsed pattern."""
    for operation, value in tree:
        yield operation, value
        for below in value if isinstance(value, tuple | list) else ():
            if isinstance(below, parser.SubPattern):
                yield from nodes(below)
            elif isinstance(below, list):
                for each in below:
                    if isinstance(each, parser.SubPattern):
                        yield from nodes(each)


def fails_midway(body) -> bool:
    """Whether a round of a group can fail once a repetition in it has begun, or in an alternative of several parts."""
    repeated = False
    for operation, value in body:
        if repeated and not (operation in REPEATS and value[0] == 0):
            return True
        if operation in REPEATS:
            low, _, inner = value
            if low > 0 and (len(body) > 1 or fails_midway(inner)):
                return True
            repeated = True
        elif operation not in SIMPLE and operation is not ops.BRANCH:
            return True
    return False


def test_no_possessive_group_can_fail_midway():
    """CPython before 3.11.5 goes on after what the round that failed had taken (gh-106052); Debian 12 has 3.11.2."""
    wrong = {
        place: pattern
        for (pattern, flags), place in patterns().items()
        for operation, value in nodes(
            parser.parse(pattern, flags & ~re.UNICODE if isinstance(pattern, bytes) else flags)
        )
        if operation is ops.POSSESSIVE_REPEAT and len(value[2]) > 1 and fails_midway(value[2])
    }
    assert wrong == {}


@pytest.mark.parametrize("pattern", [r"(?:[ .][a-z]++)*+", r"(?:[a-z]++:[^\n]*+\n?+)*+", r"(?:[ \t][^\n]*+\n)*+"])
def test_such_a_group_is_found(pattern):
    [body] = [value[2] for operation, value in nodes(parser.parse(pattern)) if operation is ops.POSSESSIVE_REPEAT][:1]
    assert fails_midway(body)


def test_patterns_are_looked_through():
    assert len(patterns()) > 100
