"""Values with units and choices: sizes, periods, ports, addresses. Each error says what may be written."""

import ipaddress
import re
from typing import Final

from mailsandbox import clock
from mailsandbox.config.source import Source
from mailsandbox.database.opening import is_url

_SIZES: Final = {"": 1, "B": 1, "KB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000}
_SIZES_BINARY: Final = {"KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}


def one_of(source: Source, path: tuple[str, ...], value: str | None, choices: tuple[str, ...]) -> str:
    if value is not None and value not in choices:
        wanted = ", ".join(choice or '""' for choice in choices)
        raise source.error(path, f"{value!r} is not one of {wanted}")
    return value or ""


def port(source: Source, path: tuple[str, ...], value: int | None) -> None:
    if value is not None and not 0 <= value <= 65535:
        raise source.error(path, f"{value} is not a port: 0 (any free one) to 65535")


def address(source: Source, path: tuple[str, ...], value: str) -> str:
    try:
        ipaddress.ip_address("127.0.0.1" if value == "localhost" else value)
    except ValueError:
        raise source.error(path, f"{value!r} is not an IP address") from None
    return value


def database_url(source: Source, path: tuple[str, ...], value: str | None) -> str | None:
    if value is not None and not is_url(value):
        raise source.error(path, "not a database's URL: write postgresql://USER:PASSWORD@HOST:PORT/NAME")
    return value


def size(source: Source, path: tuple[str, ...], value: str | int | None) -> int | None:
    if value is None or (isinstance(value, int) and value >= 0):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?I?B)?", str(value).strip().upper())
    if not match:
        raise source.error(path, f'{value!r} is not a size: write "50 MB", "512 KiB" or a number of octets')
    return int(float(match[1]) * (_SIZES | _SIZES_BINARY)[match[2] or ""])


def period(source: Source, path: tuple[str, ...], value: str) -> float:
    try:
        return clock.period(value)
    except ValueError as error:
        raise source.error(path, str(error)) from None
