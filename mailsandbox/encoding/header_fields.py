"""One header field through a 7-bit hop: which kind of field it is decides how (RFC 2047 §5, RFC 2231, RFC 5891).

Invariant: a field without offence stays octet for octet; a converted one holds ASCII in lines of at most 998 octets,
or a problem says why it can not. Knows no policy but `repair`.
"""

import re
from dataclasses import dataclass
from typing import Final

from mailsandbox.encoding.header_addresses import convert_addresses
from mailsandbox.encoding.header_parameters import convert_parameters
from mailsandbox.encoding.header_text import (
    OFFENDING,
    encode_comment,
    encode_text,
    fold,
    offends,
    repair_words,
    too_long,
)
from mailsandbox.message.addresses import tokens
from mailsandbox.message.spans import Field

ADDRESS_FIELDS: Final = frozenset(
    {
        "from", "to", "cc", "bcc", "reply-to", "sender", "return-path", "resent-from", "resent-to", "resent-cc",
        "resent-bcc", "resent-sender", "resent-reply-to", "disposition-notification-to", "errors-to", "delivered-to",
        "x-original-to", "envelope-to", "apparently-to", "mail-followup-to", "mail-reply-to", "return-receipt-to",
        "x-envelope-from", "x-envelope-to", "x-sender", "x-receiver",
    }
)  # fmt: skip
PHRASE_FIELDS: Final = frozenset({"keywords", "list-id"})  # RFC 5322 §3.6.5, RFC 2919 §3: phrases
PARAMETER_FIELDS: Final = frozenset({"content-type", "content-disposition"})
# No text to encode outside comments: an encoded-word there would change what the field says (RFC 2047 §5).
STRUCTURED_FIELDS: Final = frozenset(
    {
        "received", "message-id", "date", "references", "in-reply-to", "dkim-signature", "domainkey-signature",
        "authentication-results", "received-spf", "resent-date", "resent-message-id", "mime-version", "content-id",
        "content-transfer-encoding", "content-language", "content-location", "content-md5", "auto-submitted",
        "arc-seal", "arc-message-signature", "arc-authentication-results", "list-archive", "list-help", "list-owner",
        "list-post", "list-subscribe", "list-unsubscribe", "list-unsubscribe-post", "original-message-id", "autocrypt",
    }
)  # fmt: skip
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a field has no 7-bit form."""

    rule: str
    source: str
    text: str
    enhanced: str


@dataclass(frozen=True, slots=True)
class ConvertedField:
    """The whole field as it goes out, with its line end, and what was met on the way.

    `text`: something was encoded; `domain`: an A-label replaced a U-label; `loss`: "?" stands for octets (repair).
    """

    octets: bytes
    rule: str
    source: str
    text: bool = False
    domain: bool = False
    loss: bool = False
    problem: Problem | None = None


def convert_field(octets: bytes, field: Field, *, repair: bool) -> ConvertedField | None:
    """The field in its 7-bit form; None where it may stay as it is."""
    whole = octets[field.start : field.end]
    if not offends(whole) and not _BARE_LF.search(whole) and not too_long(whole):
        return None
    whole = _BARE_LF.sub(b"\r\n", whole)
    ending = b"\r\n" if whole.endswith(b"\r\n") else b""
    head, value = (
        whole[: field.value_start - field.start],
        whole[field.value_start - field.start :].removesuffix(ending),
    )
    rule, source = ("long-header-line", "RFC 5322 §2.1.1") if too_long(whole) else ("bare-lf", "RFC 5322 §2.3")
    text = domain = loss = changed = False
    problem = None
    if offends(value):
        rule, source, changed = "8bit-header", "RFC 2047 §5", True
        value = repair_words(value, base64=field.key not in PARAMETER_FIELDS)
    if offends(value):
        if field.key in ADDRESS_FIELDS or field.key in PHRASE_FIELDS:
            converted = convert_addresses(value)
            value, text, domain = converted.value, converted.text, converted.domain
            if converted.local_part is not None:
                problem = _no_address_form(converted.local_part)
            elif not text:
                rule, source = "u-label", "RFC 5891 §4"
        elif field.key in PARAMETER_FIELDS:
            rule, source, text = "8bit-parameter", "RFC 2231 §4", True
            value = convert_parameters(value)
        elif field.key in STRUCTURED_FIELDS:
            text, value = True, _comments_only(value) if field.key != "received" else value
        else:
            text, value = True, _unstructured(head, value)
    elif field.key in PARAMETER_FIELDS and too_long(head + value):
        value, changed = convert_parameters(value), True
    if problem is None and offends(value):
        if repair:
            loss, value = True, OFFENDING.sub(b"?", value)
        else:
            text_of = f"8-bit data in {field.name.decode('ascii')[:60]}, where nothing can encode it"
            problem = Problem("8bit-in-structured", "RFC 2047 §5", text_of, "5.6.0")
    line = fold(head + value, changed=changed)
    if problem is None and too_long(line):
        name = field.name.decode("ascii")[:60]
        problem = Problem("unfoldable-line", "RFC 5322 §2.1.1", f"line of {name} longer than 998 octets", "5.6.0")
    return ConvertedField(line + ending, rule, source, text, domain, loss, problem)


def _no_address_form(local_part: bytes) -> Problem:
    shown = local_part[:60].decode("utf-8", "replace")
    return Problem("non-ascii-local-part", "RFC 6531 §3.3", f"no ASCII form of address {shown!r}", "5.6.7")


def _unstructured(head: bytes, value: bytes) -> bytes:
    if value and value[:1] not in b" \t\r":
        value = b" " + value
    return encode_text(value, first_room=76 - len(head) - 1)


def _comments_only(value: bytes) -> bytes:
    """RFC 2047 §5 (2): in a structured field only comments can hold encoded-words."""
    return b"".join(
        encode_comment(token.octets) if token.kind == "comment" and offends(token.octets) else token.octets
        for token in tokens(value)
    )
