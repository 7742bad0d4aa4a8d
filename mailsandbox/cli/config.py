"""`mailsandbox config`: what a configuration file and the environment come to, or what is wrong with them."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from mailsandbox.cli.options import json_option
from mailsandbox.cli.printing import say, say_json


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@json_option
def command(file: Path | None, as_json: bool) -> None:
    """Check FILE and MAILSANDBOX_* variables, and print the configuration in force.

    Without FILE: the defaults. What is wrong is named with file and key, and the exit code is 2. What is printed can
    be loaded again, but for passwords, which are not shown.
    """
    from mailsandbox.config import load
    from mailsandbox.config.writing import tables

    path = file or (Path(name) if (name := os.environ.get("MAILSANDBOX_CONFIG")) else None)
    values = tables(load(path, environ=os.environ))
    if as_json:
        say_json(values)
        return
    say("\n".join(_lines({key: value for key, value in values.items() if value})).strip())


def _lines(values: Mapping[str, Any], path: str = "") -> Iterator[str]:  # Any: JSON
    """TOML: values first, then the tables, those that are empty left out."""
    tables = [(key, value) for key, value in values.items() if isinstance(value, dict)]
    for key, value in values.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            for item in value:
                yield from ("", f"[[{_key(key, path)}]]", *_lines(item))
        elif not isinstance(value, dict):
            yield f"{_key(key)} = {_value(value)}"
    for key, table in tables:
        if any(not isinstance(value, dict) for value in table.values()):
            yield from ("", f"[{_key(key, path)}]")
        yield from _lines(table, _key(key, path))


def _key(key: str, path: str = "") -> str:
    shown = key if key.replace("_", "").replace("-", "").isalnum() else f'"{key}"'
    return f"{path}.{shown}" if path else shown


def _value(value: object) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)
