"""Golden pairs: one for each kind of part, as received and as sent to a hop that offers nothing."""

from pathlib import Path

import pytest
from encoding_gates import accepted, converted

GOLDEN = Path(__file__).parent / "golden"
KINDS = sorted(path.name.removesuffix(".in.eml") for path in GOLDEN.glob("*.in.eml"))


def test_the_pairs_are_there():
    assert len(KINDS) == 18
    assert all(b"\r\n" in path.read_bytes() for path in GOLDEN.glob("*.eml")), "line ends were changed by a tool"


@pytest.mark.rfc(6152, "3")
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_part_is_converted_exactly_so(kind):
    before = (GOLDEN / f"{kind}.in.eml").read_bytes()
    after = (GOLDEN / f"{kind}.out.eml").read_bytes()
    assert converted(before).octets == after
    assert accepted(after)
