"""Where a value stands in the file, and the conversion of parsed TOML that names that place in every error."""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from mailsandbox.config.tables import Table
from mailsandbox.errors import ConfigError
from mailsandbox.wording import in_words

T = TypeVar("T", bound=Table)


class Source:
    """The text that a value came from, and the variables that stand in its place, to name file and line in errors."""

    def __init__(self, name: str, text: str = "") -> None:
        self.name = name
        self.lines = text.splitlines()
        self.variables: Mapping[tuple[str, ...], str] = {}  # by key

    def error(self, path: tuple[str, ...], text: str) -> ConfigError:
        variable = next(
            (self.variables[path[:end]] for end in range(len(path), 0, -1) if path[:end] in self.variables), ""
        )
        line = self._line(path)
        where = f"environment: {variable}" if variable else f"{self.name}:{line}" if line else self.name
        if below := [name for key, name in self.variables.items() if key != path and key[: len(path)] == path]:
            text = f"{text} (with {', '.join(below)} of the environment)"
        return ConfigError(f"{where}: {'.'.join(_quoted(key) for key in path)}: {text}")

    def _line(self, path: tuple[str, ...]) -> int:
        """The line of the longest prefix of `path` that stands in the text; 0 where none does."""
        best, best_depth = 0, 0
        table: tuple[str, ...] = ()
        for number, line in enumerate(self.lines, 1):
            if header := re.match(r"\s*\[\[?([^\]]+)\]\]?", line):
                table = tuple(_keys(header[1]))
                full = table
            elif key := re.match(r"""\s*((?:"[^"]*"|'[^']*'|[\w-]+|\s*\.\s*)+)\s*=""", line):
                full = (*table, *_keys(key[1]))
            else:
                continue
            depth = len(full)
            if full == path[:depth] and depth > best_depth:
                best, best_depth = number, depth
        return best


def _keys(dotted: str) -> list[str]:
    return [a or b or c for a, b, c in re.findall(r"""\s*(?:"([^"]*)"|'([^']*)'|([\w-]+))\s*\.?""", dotted)]


def _quoted(key: str) -> str:
    return key if re.fullmatch(r"[\w-]+", key) else f'"{key}"'


def convert(source: Source, path: tuple[str, ...], tables: Mapping[str, Any], wanted: type[T]) -> T:  # Any: TOML
    """The table at `path` of the parsed file as a `wanted`; its defaults where the file has none."""
    value = convert_names(source, path, tables)
    return convert_value(source, path, value, wanted)


def convert_names(source: Source, path: tuple[str, ...], tables: Mapping[str, Any]) -> Mapping[str, Any]:  # Any: TOML
    """The table of named tables at `path`, as parsed; empty where the file has none."""
    value: Any = tables  # Any: parsed TOML
    for key in path:
        value = value.get(key, {})
    if not isinstance(value, Mapping):
        raise source.error(path, f"expected a table, got {value!r}")
    return value


def convert_value(source: Source, path: tuple[str, ...], value: object, wanted: type[T]) -> T:
    """`value` as a `wanted`. Raises ConfigError that names the key below `path`."""
    if isinstance(value, Mapping):
        fields = {field.encode_name for field in msgspec.structs.fields(wanted)}
        for key in value:
            if key not in fields:
                raise source.error((*path, str(key)), unknown_key(str(key), fields))
    try:
        return msgspec.convert(value, wanted)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `$")
        below = tuple(re.findall(r"\.([\w-]+)", place))
        raise source.error((*path, *below), in_words(text, toml=True)) from None


def unknown_key(key: str, known: Iterable[str]) -> str:
    """ "unknown key" with what was probably meant, else with all that could be."""
    near = difflib.get_close_matches(key, list(known), n=1)
    if near:
        return f"unknown key; did you mean {near[0]}?"
    return f"unknown key; known here: {', '.join(sorted(known))}"
