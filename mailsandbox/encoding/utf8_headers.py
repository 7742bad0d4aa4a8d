"""What in a message's headers is not ASCII: readable text, domains, or local parts. It decides about SMTPUTF8."""

from collections.abc import Iterable
from dataclasses import dataclass

from mailsandbox.encoding.classify import first_eight_bit
from mailsandbox.encoding.header_addresses import convert_addresses
from mailsandbox.encoding.header_fields import ADDRESS_FIELDS
from mailsandbox.message.spans import Part


@dataclass(frozen=True, slots=True)
class Survey:
    """Offset of the first field with each kind of non-ASCII content, -1 where there is none; embedded messages too."""

    text: int = -1
    domain: int = -1
    local_part: int = -1
    utf8: bool = True  # RFC 6532 §3.1: a header in UTF-8 holds nothing else

    @property
    def address(self) -> bool:
        return self.domain >= 0 or self.local_part >= 0


def survey(octets: bytes, parts: Iterable[Part]) -> Survey:
    """Look at every header field of these parts."""
    text = domain = local_part = -1
    utf8 = True
    for part in parts:
        if first_eight_bit(octets, part.header.start, part.header.end) < 0:
            continue
        utf8 = utf8 and _is_utf8(octets[part.header.start : part.header.end])
        for field in part.fields:
            if octets[field.start : field.end].isascii():
                continue
            if field.key not in ADDRESS_FIELDS:
                text = text if text >= 0 else field.start
                continue
            found = convert_addresses(octets[field.value_start : field.end])
            text = field.start if found.text and text < 0 else text
            domain = field.start if found.domain and domain < 0 else domain
            local_part = field.start if found.local_part is not None and local_part < 0 else local_part
    return Survey(text, domain, local_part, utf8)


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
