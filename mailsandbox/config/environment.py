"""MAILSANDBOX_* variables: a variable's name is the key's path in capitals, joined by underscores.

MAILSANDBOX_ACCESS_IMAP=2143            access.imap
MAILSANDBOX_SITES_ALPHA_RECEIVE=strict  sites.alpha.receive
"""

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from mailsandbox.config.source import unknown_key
from mailsandbox.config.tables import TABLES, RetryTable, SiteTable, Table
from mailsandbox.errors import ConfigError

PREFIX: Final = "MAILSANDBOX_"
# Variables of the command line and of the tests, which are not configuration.
RESERVED: Final = frozenset({"READY_FILE", "URL", "CONFIG", "PASSWORD", "HYPOTHESIS"})
DEFAULT_SITES: Final = ("alpha", "beta")


def override(tables: dict[str, Any], environ: Mapping[str, str]) -> dict[tuple[str, ...], str]:  # Any: parsed TOML
    """Put the variables' values into the parsed file; by key, which variable has set it.

    Raises ConfigError for a variable that names no key.
    """
    given = {name[len(PREFIX) :]: value for name, value in environ.items() if name.startswith(PREFIX)}
    given = {name: value for name, value in given.items() if name not in RESERVED}
    if not given:
        return {}
    known = {"_".join(path).upper(): path for path in _paths(tables)}
    by_key: dict[tuple[str, ...], str] = {}
    for name, value in given.items():
        path = known.get(name)
        if path is None:
            raise ConfigError(f"environment: {PREFIX}{name}: {unknown_key(name, known)}")
        _set(tables, path, _value(value))
        by_key[path] = f"{PREFIX}{name}"
    return by_key


def _paths(tables: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:  # Any: parsed TOML
    for name, table in TABLES.items():
        for key in _fields(table):
            yield name, key
    for key in _fields(RetryTable):
        yield "relay", "retry", key
    for site in {*DEFAULT_SITES, *tables.get("sites", {})}:
        for key in _fields(SiteTable):
            yield "sites", site, key
    yield "accounts", "any"


def _fields(table: type[Table]) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(table)]


def _set(tables: dict[str, Any], path: tuple[str, ...], value: object) -> None:  # Any: parsed TOML
    if path[0] == "sites" and not tables.get("sites"):
        tables["sites"] = {site: {} for site in DEFAULT_SITES}
    for key in path[:-1]:
        tables = tables.setdefault(key, {})
    tables[path[-1]] = value


def _value(text: str) -> object:
    """A TOML value where it reads as one (2143, true, ["A", "B"]), else the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
