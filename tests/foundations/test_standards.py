"""The table of standards tells the truth: each row is cited in the code that it names."""

import re
from pathlib import Path

import pytest

import mailsandbox
from mailsandbox.access.imap.table import sources
from mailsandbox.standards import STANDARDS

ROOT = Path(mailsandbox.__file__).parent


@pytest.mark.parametrize("standard", STANDARDS, ids=lambda standard: standard.id)
def test_each_standard_is_cited_in_every_package_named(standard):
    for package in standard.packages:
        files = (ROOT / package.replace(".", "/")).rglob("*.py")
        assert any(re.search(rf"{re.escape(standard.id)}\b", file.read_text("utf-8")) for file in files), package


def test_no_standard_stands_twice():
    ids = [standard.id for standard in STANDARDS]
    assert len(ids) == len(set(ids))


def test_every_command_and_capability_of_imap_has_its_standard_here():
    cited = {number for _, source in sources() for number in re.findall(r"RFC \d+", source)}
    assert cited <= {standard.id for standard in STANDARDS}


def test_the_map_names_every_package_and_top_level_module():
    described = mailsandbox.__doc__ or ""
    for path in ROOT.iterdir():
        name = path.name if path.is_dir() else path.stem
        if not name.startswith("__") and path.suffix in ("", ".py") and name != "py.typed":
            wanted = f"    {name}/" if path.is_dir() else f"    {name} "
            assert wanted in described, name
