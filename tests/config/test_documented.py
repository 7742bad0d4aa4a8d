"""configs/default.toml has every key that may be written, says what it is for, and its default."""

import re
import tomllib
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from mailsandbox.cli.config import command
from mailsandbox.config import parse
from mailsandbox.config import tables as written_tables
from mailsandbox.errors import ConfigError
from mailsandbox.relay.zone import Zone

TEXT = (Path(__file__).parents[2] / "configs" / "default.toml").read_text("utf-8")
KEY = r'(?:"[^"]+"|[\w-]+) = '
WHOLE = re.sub(rf"^# (?=\[|{KEY})", "", TEXT, flags=re.MULTILINE)  # what is off by default as if it were on


def keys_of(table: str) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(getattr(written_tables, table))}


def test_the_values_are_those_in_force_and_none_is_missing():
    printed = tomllib.loads(CliRunner().invoke(command, []).output)
    given = {name: table for name, table in tomllib.loads(TEXT).items() if table}
    for site, table in printed["sites"].items():
        as_said = given["sites"]["alpha"] | given["sites"][site]  # "what is not said here is as above, but for ports"
        assert {key: as_said.get(key) for key in table} == table, site
    assert {name: table for name, table in given.items() if name != "sites"} == {
        name: table for name, table in printed.items() if name != "sites"
    }


def test_it_loads_with_all_that_is_off_by_default():
    spec = parse(WHOLE)
    assert [one.name for one in spec.sites[0].listeners] == ["extra", "local"]
    assert [route.domain for route in spec.routes] == ["gamma.test"]


ACCEPTED = [
    ("ServerTable", lambda whole: whole["server"]),
    ("ClockTable", lambda whole: whole["clock"]),
    ("AccountTable", lambda whole: whole["accounts"]["bob@beta.test"]),
    ("ListTable", lambda whole: whole["aliases"]["news@beta.test"]),
    ("SiteTable", lambda whole: whole["sites"]["alpha"]),
    ("ListenerTable", lambda whole: {**whole["sites"]["alpha"], **merged(whole["sites"]["alpha"]["listeners"])}),
    ("RelayTable", lambda whole: whole["relay"]),
    ("RetryTable", lambda whole: whole["relay"]["retry"]),
    ("RouteTable", lambda whole: whole["routes"][0]),
    ("LoginTable", lambda whole: whole["routes"][0]["login"]),
    ("AccessTable", lambda whole: whole["access"]),
    ("StoreTable", lambda whole: whole["store"]),
    ("TlsTable", lambda whole: whole["tls"]),
]


def merged(tables):
    return {key: value for table in tables.values() for key, value in table.items()}


@pytest.mark.parametrize(("table", "place"), ACCEPTED, ids=[table for table, _ in ACCEPTED])
def test_every_key_that_is_accepted_is_there(table, place):
    assert keys_of(table) <= place(tomllib.loads(WHOLE)).keys()


def test_every_table_is_looked_at():
    known = {
        name
        for name, value in vars(written_tables).items()
        if isinstance(value, type) and issubclass(value, written_tables.Table) and keys_of(name)
    }
    assert known - {"ListenerSettings"} == {table for table, _ in ACCEPTED}  # those are a site's and a listener's


def test_every_key_of_a_zone_is_there():
    with pytest.raises(ConfigError) as caught:
        Zone.parse({"x.test": {"no such key": 1}})
    accepted = str(caught.value).partition("one of ")[2].split(", ")
    assert len(accepted) > 5
    assert set(accepted) == merged(tomllib.loads(WHOLE)["zone"]).keys()


def test_every_key_is_described_beside_it():
    undescribed, section = [], ""
    lines = WHOLE.splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("["):
            section = line.partition("]")[0].strip("[")
            continue
        described = re.search(r"  # \S", line) or re.match(r" +# \S", following)
        if re.match(KEY, line) and section != "sites.beta" and not described:  # beta's keys are described for alpha
            undescribed.append(f"{section}: {line}")
    assert undescribed == []
