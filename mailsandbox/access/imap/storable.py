"""A message with binary parts, made such that any client can fetch it (RFC 3516 §4.4). Pure.

Invariant: only parts that hold NUL change, to base64, and decode to the octets they had; BINARY[] gives those back. All
other octets are kept.
"""

from mailsandbox.message.spans import Part, scan
from mailsandbox.message.transfer import IDENTITY, encode_base64

_BASE64_FIELD = b"Content-Transfer-Encoding: base64\r\n"
_EIGHT_BIT_FIELD = b"Content-Transfer-Encoding: 8bit\r\n"


def without_binary(octets: bytes) -> bytes:
    """The message with its NUL-bearing leaves in base64; the same object where there are none."""
    if b"\0" not in octets:
        return octets
    edits: list[tuple[int, int, bytes]] = []
    for part in scan(octets).walk():
        if part.children or part.is_multipart:
            if part.encoding == "binary":
                edits.append(_encoding_field(part, _EIGHT_BIT_FIELD))
        elif part.encoding in IDENTITY and b"\0" in octets[part.body.start : part.body.end]:
            edits.append(_encoding_field(part, _BASE64_FIELD))
            edits.append((part.body.start, part.body.end, encode_base64(octets[part.body.start : part.body.end])))
    pieces = []
    at = 0
    for start, end, after in sorted(edits):
        pieces += [octets[at:start], after]
        at = end
    return b"".join([*pieces, octets[at:]])


def _encoding_field(part: Part, after: bytes) -> tuple[int, int, bytes]:
    field = part.field("content-transfer-encoding")
    if field is not None:
        return field.start, field.end, after
    return part.fields_end, part.fields_end, after
