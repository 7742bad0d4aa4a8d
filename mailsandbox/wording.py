"""What a library says that something is wrong, in words for people: msgspec of a value, the system of a call."""

import os
import re
from collections.abc import Mapping
from typing import Final

_KINDS: Final[Mapping[str, str]] = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "nothing",
    "bytes": "base64",
}
_EXPECTED: Final = re.compile(r"Expected `([^`]+)`(.*)", re.DOTALL)
_GOT: Final = re.compile(r", got `([^`]+)`")
_BOUND: Final = re.compile(r"( of length)? (>=|<=|>|<) (\S+)")
_BOUNDS: Final = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}
_ERRNO: Final = re.compile(r"\[Errno (\d+)\]")
_SOURCE_LINE: Final = re.compile(r" \(_ssl\.c:\d+\)$")
_FIELD: Final = re.compile(r"Object (missing required|contains unknown) field `([^`]+)`")


def in_words(said: str, *, given: str | None = None, toml: bool = False) -> str:
    """ "expected a whole number, got text"; with `given`: what stood there instead of its kind; `toml`: what
    JSON calls an object is a table.

    `said`: the text of a msgspec.ValidationError without the place at its end.
    """
    if (field := _FIELD.fullmatch(said)) is not None:
        return f"{field[2]} is missing" if field[1].startswith("missing") else f"there is no {field[2]} here"
    expected = _EXPECTED.fullmatch(said)
    if expected is None:
        return said[:1].lower() + said[1:]
    kinds = [kind for kind in expected[1].split(" | ") if kind != "null"]  # null: it may be left out
    rest = _GOT.sub(lambda got: f", got {_kind(got[1])}", expected[2])
    rest = _BOUND.sub(lambda bound: f" {'of length ' if bound[1] else ''}{_BOUNDS[bound[2]]} {bound[3]}", rest)
    if given is not None:
        rest = f"{rest.partition(', got ')[0]}, got {given!r}"
    text = f"expected {' or '.join(map(_kind, kinds))}{rest}"
    return text.replace("an object", "a table") if toml else text


def _kind(name: str) -> str:
    return _KINDS.get(name, name)


def cause_of(error: BaseException) -> str:
    """Why a call failed, in one line: "Connection refused", where asyncio says "Connect call failed ('::1', 9)"."""
    import ssl  # here: the command line's --help has no use for it

    if isinstance(error, ssl.SSLError):  # its numbers are OpenSSL's: 1 is not EPERM
        reason = getattr(error, "verify_message", "") or getattr(error, "reason", None) or _said_by(error)
        return _SOURCE_LINE.sub("", reason.lower().replace("_", " ") if reason.isupper() else reason)
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:  # negative: a resolver's
        return os.strerror(error.errno)
    several = list(dict.fromkeys(map(int, _ERRNO.findall(str(error)))))
    if isinstance(error, OSError) and several:  # asyncio's "Multiple exceptions: [Errno 111] Connect call failed ..."
        return "; ".join(map(os.strerror, several))
    return _said_by(error)


def _said_by(error: BaseException) -> str:
    text = (error.strerror if isinstance(error, OSError) else "") or str(error)
    return " ".join((text or type(error).__name__).split())
