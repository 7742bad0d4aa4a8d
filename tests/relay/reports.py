"""Reads a delivery status notification with the standard library's parser, and checks that it is valid 7-bit MIME."""

import email
import email.policy
import re
from dataclasses import dataclass


@dataclass
class Report:
    header: object
    text: str
    message: dict[str, str]
    recipients: list[dict[str, str]]
    returned_type: str
    returned: bytes  # decoded


def assert_seven_bit(octets: bytes) -> None:
    """RFC 2045 §2.7: ASCII, lines by CRLF, at most 998 octets, no NUL."""
    assert octets.isascii()
    assert b"\x00" not in octets
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", octets)
    assert max(len(line) for line in octets.split(b"\r\n")) <= 998


def read_report(octets: bytes) -> Report:
    """A notification taken apart. Fails where it is not multipart/report of three parts (RFC 6522 §3)."""
    assert_seven_bit(octets)
    whole = email.message_from_bytes(octets, policy=email.policy.compat32)
    assert whole.get_content_type() == "multipart/report"
    assert whole.get_param("report-type") == "delivery-status"
    assert not whole.defects
    boundary = f"--{whole.get_boundary()}".encode()
    pieces = octets.split(b"\r\n" + boundary)
    assert len(pieces) == 5
    assert pieces[4].startswith(b"--")
    text, status, returned = (piece.removeprefix(b"\r\n") for piece in pieces[1:4])
    groups = [group for group in _body(status).decode("ascii").split("\r\n\r\n") if group.strip()]
    returned_part = email.message_from_bytes(returned.split(b"\r\n\r\n")[0] + b"\r\n\r\n")
    encoding = returned_part.get("Content-Transfer-Encoding", "7bit")
    raw = _body(returned)
    if encoding != "7bit":
        carrier = email.message_from_bytes(
            b"Content-Type: text/plain\r\nContent-Transfer-Encoding: " + encoding.encode() + b"\r\n\r\n" + raw
        )
        raw = carrier.get_payload(decode=True)
    text_part = email.message_from_bytes(text)
    return Report(
        header=whole,
        text=text_part.get_payload(decode=True).decode(text_part.get_content_charset()),
        message=_fields(groups[0]),
        recipients=[_fields(group) for group in groups[1:]],
        returned_type=returned_part.get_content_type(),
        returned=raw,
    )


def _body(part: bytes) -> bytes:
    return part.partition(b"\r\n\r\n")[2]


def _fields(group: str) -> dict[str, str]:
    unfolded = re.sub(r"\r\n[ \t]+", " ", group.strip())
    return dict(line.split(": ", 1) for line in unfolded.split("\r\n"))
