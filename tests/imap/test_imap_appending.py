"""Messages that come in odd forms, and a store that fails: what the client is told, and what is kept."""

import base64

import pytest

from mailsandbox.access.imap.storable import without_binary
from mailsandbox.errors import StoreFull, StoreUnavailable
from tests.imap.serving import MESSAGE, Server

BINARY = (
    b"From: a@b.c\r\nMIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\n"
    b"Content-Transfer-Encoding: binary\r\n\r\n\0\1\2\r\n\0"
)
MULTIPART = (
    b'Content-Type: multipart/mixed; boundary="b"\r\nContent-Transfer-Encoding: binary\r\n\r\n'
    b"--b\r\n\r\nplain text\r\n--b\r\nContent-Type: image/png\r\n\r\n\0png\r\n--b--\r\n"
)


@pytest.mark.rfc(3516, "4.4")
async def test_binary_content_is_served_encoded_and_given_back_by_binary(server: Server) -> None:
    wire = await server.selected()
    wire.send(b"a APPEND INBOX ~{%d+}\r\n%b\r\n" % (len(BINARY), BINARY))
    assert (await wire.until(b"a "))[-1].startswith(b"a OK")
    encoded = base64.encodebytes(b"\0\1\2\r\n\0").strip()
    (body,) = await wire.ok("FETCH 1 BODY.PEEK[1]")
    assert encoded in body
    assert b"\0" not in body
    (whole,) = await wire.ok("FETCH 1 (BINARY.SIZE[1] BINARY.PEEK[1])")
    assert b"BINARY.SIZE[1] 6 BINARY[1] ~{6}\r\n\0\1\2\r\n\0)" in whole


def test_only_what_holds_nul_is_encoded() -> None:
    assert without_binary(MESSAGE) is MESSAGE
    made = without_binary(MULTIPART)
    assert b"plain text\r\n--b" in made
    assert b"Content-Transfer-Encoding: 8bit\r\n\r\n--b" in made
    assert b"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nAHBuZw==" in made


async def test_nul_in_an_ordinary_literal_is_refused(server: Server) -> None:
    wire = await server.login()
    wire.send(b"a APPEND INBOX {3+}\r\na\0b\r\n")
    assert (await wire.until(b"a "))[-1].startswith(b"a BAD")
    await wire.ok("NOOP")


@pytest.mark.rfc(3516, "4.3")
async def test_a_part_in_an_unknown_encoding_cannot_be_decoded(server: Server) -> None:
    wire = await server.selected()
    await wire.append("INBOX", b"Content-Type: text/plain\r\nContent-Transfer-Encoding: x-nosuch\r\n\r\nx\r\n")
    assert (await wire.status("FETCH 1 BINARY[1]")).startswith("NO [UNKNOWN-CTE]")
    await wire.ok("FETCH 1 BODY[1]")


@pytest.mark.rfc(5530, "3")
@pytest.mark.parametrize(
    ("error", "code"),
    [(StoreUnavailable("down"), "UNAVAILABLE"), (StoreFull("full"), "UNAVAILABLE"), (ValueError("bug"), "SERVERBUG")],
)
async def test_a_store_that_fails_costs_one_command(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception, code: str
) -> None:
    wire = await server.selected()

    async def fail(*arguments: object, **options: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(server.store, "append", fail)
        wire.send(b"a APPEND INBOX {%d+}\r\n%b\r\n" % (len(MESSAGE), MESSAGE))
        assert (await wire.until(b"a "))[-1].startswith(b"a NO [%b]" % code.encode())
    await wire.append("INBOX", MESSAGE)
    assert bool(caplog.records) == (code == "SERVERBUG")
