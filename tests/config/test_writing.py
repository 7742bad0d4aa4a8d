"""What `mailsandbox config` prints is what is in force, and loads again."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from mailsandbox.cli.config import command
from mailsandbox.config import load, parse

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.toml"))


@pytest.mark.parametrize("path", [None, *CONFIGS], ids=lambda path: path.stem if path else "no file")
def test_what_is_printed_loads_again_as_the_same(path):
    printed = CliRunner().invoke(command, [str(path)] if path else []).output
    written, read = parse(printed), load(path)
    assert written.sites == read.sites
    for part in ("host", "relay", "routes", "zone", "access", "retention", "manual_clock", "aliases"):
        assert getattr(written, part) == getattr(read, part), part
    assert written.credentials.specs.keys() == read.credentials.specs.keys()


def test_passwords_are_not_printed(tmp_path):
    file = tmp_path / "box.toml"
    file.write_text('[accounts]\n"bob@beta.test" = { password = "battery staple" }\n')
    printed = CliRunner().invoke(command, [str(file)]).output
    assert "battery" not in printed
    assert '[accounts."bob@beta.test"]\npassword = "***"' in printed
