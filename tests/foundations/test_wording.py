"""What a validator says, in words for people."""

import socket
import ssl
from typing import Annotated

import msgspec
import pytest

from mailsandbox.wording import cause_of, in_words


class Form(msgspec.Struct, forbid_unknown_fields=True):
    number: Annotated[int, msgspec.Meta(ge=1, le=9)] = 1
    share: float | None = None
    text: Annotated[str, msgspec.Meta(min_length=1)] = "x"
    either: str | int = 0
    sure: bool = True
    rows: list[str] = []


class Needed(msgspec.Struct):
    name: str


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"number": "x"}, "expected a whole number, got text"),
        ({"number": 0}, "expected a whole number at least 1"),
        ({"number": 10}, "expected a whole number at most 9"),
        ({"share": "x"}, "expected a number, got text"),
        ({"text": ""}, "expected text of length at least 1"),
        ({"either": []}, "expected a whole number or text, got a list"),
        ({"sure": None}, "expected true or false, got nothing"),
        ({"rows": {}}, "expected a list, got an object"),
        ({"rows": [1]}, "expected text, got a whole number"),
        ({"nothing": 1}, "there is no nothing here"),
        ([], "expected an object, got a list"),
    ],
)
def test_a_value_that_does_not_fit_is_told_in_words(value, said):
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.convert(value, Form)
    assert in_words(str(refused.value).partition(" - at `$")[0]) == said


def test_what_stood_there_is_told_instead_of_its_kind():
    assert in_words("Expected `int`, got `str`", given="zz") == "expected a whole number, got 'zz'"
    assert in_words("Expected `int` >= 1", given="0") == "expected a whole number at least 1, got '0'"


def test_an_object_of_json_is_a_table_of_toml():
    assert in_words("Expected `object`, got `array`", toml=True) == "expected a table, got a list"


def test_what_is_missing_is_named():
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.convert({}, Needed)
    assert in_words(str(refused.value)) == "name is missing"


def test_what_has_no_other_words_stays():
    assert in_words("Invalid enum value 'x'") == "invalid enum value 'x'"


def test_the_system_says_why_a_call_failed():
    assert cause_of(OSError(111, "Connect call failed ('127.0.0.1', 9)")) == "Connection refused"
    assert cause_of(socket.gaierror(-2, "Name or service not known")) == "Name or service not known"
    assert cause_of(TimeoutError()) == "TimeoutError"
    assert cause_of(OSError("no route\nat all")) == "no route at all"
    several = (
        "Multiple exceptions: [Errno 111] Connect call failed ('::1', 9, 0, 0), [Errno 111] Connect call failed (9)"
    )
    assert cause_of(OSError(several)) == "Connection refused"
    assert cause_of(OSError(several.replace("111", "101", 1))) == "Network is unreachable; Connection refused"


def test_the_numbers_of_openssl_are_not_those_of_the_system():
    """Its 1 is no EPERM, its 8 no ENOEXEC."""
    context, inward = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.MemoryBIO()
    context.check_hostname = False
    inward.write(b"220 no TLS here\r\n")
    with pytest.raises(ssl.SSLError) as failed:
        context.wrap_bio(inward, ssl.MemoryBIO()).do_handshake()
    assert failed.value.errno == 1
    assert cause_of(failed.value) == "wrong version number"
    assert cause_of(ssl.SSLEOFError(8, "EOF occurred in violation of protocol (_ssl.c:1006)")) == (
        "EOF occurred in violation of protocol"
    )
