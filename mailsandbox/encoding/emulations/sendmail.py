"""sendmail: recursive conversion of MIME mail, base64 above one eighth high bits, multipart/signed left alone.

From the Sendmail Installation and Operation Guide (EightBitMode=pass8, classes e, n, s) and the comments of its
mime.c: a message with MIME-Version and 8-bit octets is converted for a hop without 8BITMIME; one without MIME-Version
passes raw. Content-Transfer-Encoding moves to the end of the header, containers lose it; preamble and epilogue lose
the eighth bit; other types of message/* and encodings outside class e pass raw. Header text is never converted.
"""

import re
from typing import Final

from mailsandbox.encoding.classify import first_eight_bit, offences
from mailsandbox.encoding.edits import EditList
from mailsandbox.encoding.emulations.outcome import outcome, refused_for_utf8
from mailsandbox.encoding.verdicts import RelayPolicy, Verdict
from mailsandbox.message.envelope import Envelope
from mailsandbox.message.spans import Part, scan
from mailsandbox.message.transfer import IDENTITY
from mailsandbox.smtp.extensions import Offers

SAMPLE: Final = 4_096  # octets after which a quarter of high bits decides for base64
LINE: Final = 72  # columns of both encodings
_SOURCE: Final = "Sendmail EightBitMode"
_SEVEN: Final = bytes(octet & 0x7F for octet in range(256))
_HIGH: Final = bytes(range(128, 256))
_TO_ENCODE: Final = re.compile(rb"[^\t\x20-\x3c\x3e-\x7e]")


def prepare(octets: bytes, *, offers: Offers, envelope: Envelope, policy: RelayPolicy) -> Verdict:
    """What sendmail's smtp mailer would send."""
    root = scan(octets)
    utf8_header = first_eight_bit(octets, 0, root.header.end) >= 0
    refused = refused_for_utf8(envelope, offers, utf8_header=utf8_header)
    if refused is not None:
        return refused
    smtputf8 = envelope.smtputf8 and "SMTPUTF8" in offers
    eight_bit = not octets.isascii()
    if "8BITMIME" in offers:
        body = "8BITMIME" if eight_bit or envelope.body == "8BITMIME" else ""
        return outcome(octets, root, (), offers, body=body, smtputf8=smtputf8)
    edits = EditList(octets)
    if eight_bit and root.field("mime-version") is not None:
        _Walk(octets, edits, policy).entity(root)
    return outcome(octets, root, edits.sorted(), offers, body="", smtputf8=smtputf8)


class _Walk:
    """mime8to7: one call for each entity."""

    def __init__(self, octets: bytes, edits: EditList, policy: RelayPolicy) -> None:
        self.octets = octets
        self.edits = edits
        self.host = policy.host
        self.queue_id = policy.queue_id

    def entity(self, part: Part) -> None:
        kind = part.content_type
        # Class n holds multipart/signed; an encoding outside class e (7bit, 8bit, binary) is not touched either.
        untouchable = kind.name == "multipart/signed" or (
            part.field("content-transfer-encoding") is not None and part.encoding not in IDENTITY
        )
        if part.is_multipart and not untouchable and part.delimiters:
            self._move_encoding(part, b"")
            for span in (part.preamble, part.epilogue):
                if span:
                    self._strip(part, span.start, span.end)
            for child in part.children:
                self.entity(child)
        elif kind.name == "message/rfc822" and part.children:
            self._move_encoding(part, b"")
            inner = part.children[0]
            if inner.field("mime-version") is None:
                self._insert(inner, b"MIME-Version: 1.0\r\n")
            self.entity(inner)
        else:
            self._leaf(part, untouchable=untouchable or kind.maintype in ("message", "multipart"))

    def _leaf(self, part: Part, *, untouchable: bool) -> None:
        body = self.octets[part.body.start : part.body.end]
        size, high = _sample(body)
        if untouchable or not high:
            label = part.encoding.encode("ascii", "replace") if part.field("content-transfer-encoding") else b""
            self._move_encoding(part, b"Content-Transfer-Encoding: %b\r\n" % label if label else b"")
            return
        # A section labelled binary always becomes base64: line ends may not be mapped in it.
        base64 = part.encoding == "binary" or size // 8 < high
        encoding = "base64" if base64 else "quoted-printable"
        by = f" by {self.host} id {self.queue_id or 'unknown'}"
        trace = f"Content-Transfer-Encoding: {encoding}\r\nX-MIME-Autoconverted: from 8bit to {encoding}{by}\r\n"
        self._move_encoding(part, trace.encode("ascii", "replace"))
        encoded = _base64(body) if base64 else quoted_printable(body)
        if base64 and part.end == len(self.octets):
            encoded += b"\r\n"
        self.edits.replace(
            part.body.start, part.body.end, encoded, rule=f"8bit-to-{encoding}", source=_SOURCE, part=part.number
        )

    def _move_encoding(self, part: Part, new: bytes) -> None:
        fields = part.fields_of("content-transfer-encoding")
        if (
            len(fields) == 1
            and new
            == self.octets[fields[0].start : fields[0].end]
            == self.octets[part.fields_end - len(new) : part.fields_end]
        ):
            return
        for field in fields:
            self.edits.replace(field.start, field.end, b"", rule="relabelled", source=_SOURCE, part=part.number)
        if new:
            self._insert(part, new)

    def _insert(self, part: Part, fields: bytes) -> None:
        self.edits.insert(part.fields_end, fields, rule="relabelled", source=_SOURCE, part=part.number)

    def _strip(self, part: Part, start: int, end: int) -> None:
        """PXLF_STRIP8BIT: text outside the parts loses the eighth bit."""
        if offences(self.octets, start, end).eight_bit >= 0:
            stripped = self.octets[start:end].translate(_SEVEN)
            self.edits.replace(start, end, stripped, rule="stripped-8bit", source=_SOURCE, part=part.number)


def _sample(body: bytes) -> tuple[int, int]:
    """Octets looked at and how many have the high bit: all of them, unless a quarter of 4 KB decides early.

    sendmail's queue files hold LF line ends, so each CRLF counts as one octet.
    """
    size, high = _count(body[: SAMPLE + 1])
    return (size, high) if size >= SAMPLE and high > size // 4 else _count(body)


def _count(octets: bytes) -> tuple[int, int]:
    return len(octets) - octets.count(b"\r\n"), len(octets) - len(octets.translate(None, _HIGH))


def _base64(octets: bytes) -> bytes:
    from binascii import b2a_base64

    encoded = b2a_base64(octets, newline=False)
    return b"\r\n".join([encoded[at : at + LINE] for at in range(0, len(encoded), LINE)])


def quoted_printable(octets: bytes) -> bytes:
    """sendmail's encoder: soft breaks after 72 columns, a lone dot and blanks at the end of a line encoded."""
    return b"\r\n".join([_line(line) for line in octets.split(b"\r\n")])


def _line(line: bytes) -> bytes:
    encoded = _TO_ENCODE.sub(lambda octet: b"=%02X" % octet[0][0], line)
    if encoded[-1:] in (b" ", b"\t"):
        encoded = encoded[:-1] + b"=%02X" % encoded[-1]
    pieces, position = [], 0
    while len(encoded) - position > LINE + 3:
        cut = position + LINE
        equals = encoded.find(b"=", cut - 2, cut)
        cut = equals if equals >= 0 else cut
        pieces.append(encoded[position:cut])
        position = cut
    pieces.append(encoded[position:])
    return b"=\r\n".join(b"=2E" if piece == b"." else piece for piece in pieces)
