"""Requests to typed values, typed values to answers: msgspec at the edge, problem documents for what does not fit."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from typing import Annotated, Final, TypeVar, get_args, get_origin

import msgspec
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from mailsandbox.access.http.problems import Problem, invalid
from mailsandbox.wording import in_words

T = TypeVar("T", bound=msgspec.Struct)

PATIENCE: Final = 60.0  # seconds that a sender of a body may pause, as nginx

_NAMED: Final = re.compile(r"(?:unknown|missing required) field `([^`]+)`")
_ENCODER: Final = msgspec.json.Encoder()


class Json(Response):
    """A JSON answer from any msgspec struct, dataclass or plain value."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        return _ENCODER.encode(content)


def encode(value: object) -> bytes:
    """JSON octets."""
    return _ENCODER.encode(value)


def query(request: HTTPConnection, kind: type[T]) -> T:
    """The query as a struct; fields that are lists take repeated parameters.

    Raises Problem 422 that names the parameter: unknown, given twice, or not of its type.
    """
    lists = {each.encode_name for each in msgspec.structs.fields(kind) if _is_list(each.type)}
    given: dict[str, str | list[str]] = {}
    counted = Counter(name for name, _ in request.query_params.multi_items())
    for name, value in request.query_params.multi_items():
        if name in lists:
            row = given.setdefault(name, [])
            assert isinstance(row, list)
            row.append(value)
        elif counted[name] > 1:
            raise invalid(f"the parameter {name} is given {counted[name]} times", where=f"?{name}")
        else:
            given[name] = value
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise _wrong_parameter(error, given, kind) from None


def _is_list(kind: object) -> bool:
    return get_origin(get_args(kind)[0] if get_origin(kind) is Annotated else kind) is list


async def body(request: Request, kind: type[T], *, limit: int) -> T:
    """The JSON body as a struct. 415: another media type; 413: over the limit; 400: no JSON; 422: other JSON."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in ("application/json", ""):
        raise Problem(415, f"a JSON body is expected here, not {media_type}", "wrong-media-type")
    octets = await read_body(request, limit=limit)
    try:
        return msgspec.json.decode(octets or b"{}", type=kind)
    except msgspec.ValidationError as error:
        raise _wrong_member(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, f"the body is not JSON: {error}", "not-json") from None


async def read_body(request: Request, *, limit: int) -> bytes:
    """The whole body. Raises Problem 413 as soon as it is known to be longer than `limit` octets."""
    return b"".join([chunk async for chunk in body_pieces(request, limit=limit)])


async def body_pieces(request: Request, *, limit: int) -> AsyncGenerator[bytes, None]:
    """The body as it comes; raises as `read_body`."""
    if (declared := request.headers.get("content-length", "")).isdigit() and int(declared) > limit:
        raise _too_large(limit)
    size = 0
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(PATIENCE):
                chunk = await anext(stream, None)
        except TimeoutError:
            # RFC 9110 §15.5.9
            raise Problem(
                408, f"no more of the body came for {PATIENCE:g} s", headers={"Connection": "close"}
            ) from None
        if chunk is None:
            return
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        yield chunk


def _too_large(limit: int) -> Problem:
    # The rest is not read, so the connection cannot be used again (RFC 9110 §15.5.14).
    return Problem(413, f"the body is longer than {limit} octets", "too-large", headers={"Connection": "close"})


def _wrong_parameter(
    error: msgspec.ValidationError, given: Mapping[str, str | list[str]], kind: type[msgspec.Struct]
) -> Problem:
    text, names = _split(error)
    if not names:
        return invalid(in_words(text))
    known = [each.encode_name for each in msgspec.structs.fields(kind)]
    if names[0] not in known:
        there = f"; there {'are' if len(known) > 1 else 'is'} {', '.join(known)}" if known else ""
        return invalid(f"there is no parameter {names[0]}{there}", where=f"?{names[0]}")
    value = given.get(names[0])
    said = in_words(text, given=value if isinstance(value, str) else None)
    return invalid(said if _NAMED.search(text) else f"{names[0]}: {said}", where=f"?{names[0]}")


def _wrong_member(error: msgspec.ValidationError) -> Problem:
    text, names = _split(error)
    where = "/" + "/".join(names) if names else ""
    said = in_words(text)
    return invalid(f"{said} (at {where})" if where and not _NAMED.search(text) else said, where=where)


def _split(error: msgspec.ValidationError) -> tuple[str, list[str]]:
    """msgspec says "Expected `int`, got `str` - at `$.limit`": the text, and the names on the way to the value."""
    text, _, path = str(error).partition(" - at `$")
    names = [part for part in path.rstrip("`").replace("[", ".").replace("]", "").split(".") if part]
    if (named := _NAMED.search(text)) is not None:
        names.append(named[1])
    return text, names
