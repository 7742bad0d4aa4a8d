"""Every message of the corpus of real mail, as it lies there and with CRLF line ends."""

import pytest
from imapclient.response_parser import parse_fetch_response

from mailsandbox.message.rendering import pack_parts, render, unpack_parts


def as_transmitted(octets: bytes) -> bytes:
    return octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


@pytest.mark.rfc(9051, "7.5.2")
def test_every_real_message_renders_as_well_formed_lists(corpus, imap_list):
    for path in corpus:
        for octets in {path.read_bytes(), as_transmitted(path.read_bytes())}:
            rendered = render(octets)
            assert len(imap_list(rendered.envelope)) == 10, path
            imap_list(rendered.body)
            imap_list(rendered.bodystructure)
            assert unpack_parts(pack_parts(rendered.parts)) == rendered.parts


@pytest.mark.client("imapclient")
def test_imapclient_reads_every_real_messages_envelope_and_structure(corpus):
    for path in corpus:
        rendered = render(as_transmitted(path.read_bytes()))
        wire = b"1 (UID 7 ENVELOPE %b BODYSTRUCTURE %b)" % (rendered.envelope, rendered.bodystructure)
        shown = parse_fetch_response(lines_with_literals(wire))[7]
        assert shown[b"ENVELOPE"].subject is not None or b" NIL " in rendered.envelope, path
        assert shown[b"BODYSTRUCTURE"].is_multipart == rendered.bodystructure.startswith(b"((")


def lines_with_literals(wire: bytes) -> list:
    """As imaplib hands them on: text up to a literal paired with the literal, the rest last."""
    pieces: list = []
    at = 0
    while True:
        end = wire.find(b"}\r\n", at)
        opened = wire.rfind(b"{", at, end) if end >= 0 else -1
        if end < 0 or not wire[opened + 1 : end].isdigit():
            return [*pieces, wire[at:]]
        size = int(wire[opened + 1 : end])
        pieces.append((wire[at : end + 1], wire[end + 3 : end + 3 + size]))
        at = end + 3 + size
