"""`mailsandbox config`: what a configuration file and the environment come to, or what is wrong with them."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from mailsandbox.cli.options import json_option
from mailsandbox.cli.printing import say, say_json

_SECRET = "***"


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@json_option
def command(file: Path | None, as_json: bool) -> None:
    """Check FILE and MAILSANDBOX_* variables, and print the configuration in force.

    Without FILE: the defaults. What is wrong is named with file and key, and the exit code is 2. Passwords are not
    shown.
    """
    from mailsandbox.config import load

    path = file or (Path(name) if (name := os.environ.get("MAILSANDBOX_CONFIG")) else None)
    values = plain(load(path, environ=os.environ))
    if as_json:
        say_json(values)
        return
    say("\n".join(_lines(values)))


def plain(value: object) -> Any:  # Any: JSON
    """Typed values as JSON has them, passwords hidden."""
    import dataclasses

    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _SECRET
            if field.name == "password" and getattr(value, field.name)
            else plain(getattr(value, field.name))
            for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (frozenset, set)):
        return sorted(plain(item) for item in value)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return str(value)


def _lines(values: Mapping[str, Any], path: str = "") -> Iterator[str]:  # Any: JSON
    """TOML-like: values first, tables after them; lists of tables by name or number."""
    tables = []
    for key, value in values.items():
        shown = key if key.replace("_", "").replace("-", "").isalnum() else f'"{key}"'
        inner = f"{path}.{shown}" if path else shown
        if isinstance(value, dict):
            tables.append((inner, value))
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            tables.extend((f"{inner}.{item.get('name', at)}", item) for at, item in enumerate(value))
        else:
            yield f"{shown} = {_value(value)}"
    for inner, table in tables:
        yield ""
        yield f"[{inner}]"
        yield from _lines(table, inner)


def _value(value: object) -> str:
    import json

    return "off" if value is None else json.dumps(value, ensure_ascii=False)
