"""BODY and BODYSTRUCTURE (RFC 9051 §7.5.2): the MIME tree in IMAP wire form, both made in one walk.

Invariant: any tree gives two well-formed lists. Type and parameter spellings are the message's own. Depth is bounded by
the scanner that made the tree.
"""

from typing import Final

import msgspec

from mailsandbox.message.imap_envelope import envelope
from mailsandbox.message.imap_strings import NIL, string, unfolded
from mailsandbox.message.mime_values import (
    Parameters,
    TypedValue,
    parse_disposition,
    parse_languages,
    parse_token,
    parse_type,
)
from mailsandbox.message.remembered import remembered
from mailsandbox.message.spans import TEXT_PLAIN, Part

_DEFAULT_CHARSET: Final = b'"charset" "us-ascii"'  # RFC 2045 §5.2
_PLAIN_TYPE: Final = TypedValue(b"text", b"plain", [])
_PLAIN_IN_WIRE_FORM: Final = b'"text" "plain" (%b)' % _DEFAULT_CHARSET
_SEVEN_BIT: Final = b'"7bit"'  # RFC 2045 §6.1
_SHOWN: Final = frozenset(
    (
        "content-type", "content-id", "content-description", "content-transfer-encoding", "content-md5",
        "content-disposition", "content-language", "content-location",
    )
)  # fmt: skip
_MESSAGE_TYPES: Final = (b"rfc822", b"global")
# RFC 9051 §9: body-type-msg needs an envelope and a body. A message not split, since its transfer encoding hides
# it (RFC 2046 §5.2.1 forbids that) or because it lies too deep, shows empty ones (as Dovecot).
_HIDDEN_MESSAGE: Final = (
    b'(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL) ("text" "plain" (%b) NIL NIL "7bit" 0 0' % _DEFAULT_CHARSET
)


class Structure(msgspec.Struct, frozen=True, gc=False):
    """The two wire forms of one part, parentheses included."""

    body: bytes
    bodystructure: bytes


def structure(octets: bytes, part: Part) -> Structure:
    """BODY and BODYSTRUCTURE of `part`, whose spans are ranges of `octets`."""
    values: dict[str, bytes] = {}
    for field in part.fields:
        if field.key in _SHOWN and field.key not in values:  # the first of several counts
            values[field.key] = octets[field.value_start : field.end].strip(b" \t\r\n")
    if not values and part.content_type is TEXT_PLAIN:
        return _undescribed(octets, part)
    stored = _stored_type(values["content-type"]) if "content-type" in values else None
    if part.is_multipart and part.children:
        return _multipart(octets, part, stored or TypedValue(b"multipart", b"mixed", []), values)
    return _single(octets, part, stored, values)


def _undescribed(octets: bytes, part: Part) -> Structure:
    """Of a text that no field says anything about, as `_single` would show it."""
    size, lines = part.body.end - part.body.start, octets.count(b"\n", part.body.start, part.body.end)
    common = b"%b NIL NIL %b %d %d" % (_PLAIN_IN_WIRE_FORM, _SEVEN_BIT, size, lines)
    return Structure(b"(" + common + b")", b"(" + common + b" NIL NIL NIL NIL)")


def holds_message(part: Part) -> bool:
    """RFC 9051 §9 body-type-msg: only these two message types show an envelope and a structure of their own."""
    return part.is_message and part.content_type.subtype in ("rfc822", "global")


def _multipart(octets: bytes, part: Part, stored: TypedValue, values: dict[str, bytes]) -> Structure:
    inner = [structure(octets, child) for child in part.children]
    bodies = b"".join([child.body for child in inner])
    extended = b"".join([child.bodystructure for child in inner])
    subtype = string(stored.subtype)
    return Structure(
        b"(%b %b)" % (bodies, subtype),
        b"(%b %b %b%b)" % (extended, subtype, _parameters(stored.parameters), _extension(values)),
    )


def _single(octets: bytes, part: Part, stored: TypedValue | None, values: dict[str, bytes]) -> Structure:
    shown = _shown_type(part, stored)
    text = shown.kind.lower() == b"text"
    common = b"%b %b %b %b %d" % (
        # What was stored is shown nearly always.
        _type_in_wire_form(values["content-type"]) if shown is stored else _wire_form(shown),
        _one_line(values.get("content-id")),
        _one_line(values.get("content-description")),
        _encoding(values["content-transfer-encoding"]) if "content-transfer-encoding" in values else _SEVEN_BIT,
        part.body.end - part.body.start,
    )
    extension = b" " + _one_line(values.get("content-md5")) + _extension(values)
    is_message = shown.kind == b"message" and shown.subtype in _MESSAGE_TYPES
    lines = octets.count(b"\n", part.body.start, part.body.end) if text or is_message else 0
    if is_message and part.is_message:
        message = part.children[0]
        inner = structure(octets, message)
        held = envelope(octets, message.fields)
        return Structure(
            b"(%b %b %b %d)" % (common, held, inner.body, lines),
            b"(%b %b %b %d%b)" % (common, held, inner.bodystructure, lines, extension),
        )
    if is_message:
        return Structure(
            b"(%b %b) %d)" % (common, _HIDDEN_MESSAGE, lines),
            b"(%b %b NIL NIL NIL NIL) %d%b)" % (common, _HIDDEN_MESSAGE, lines, extension),
        )
    if text:
        common += b" %d" % lines
    return Structure(b"(%b)" % common, b"(%b%b)" % (common, extension))


@remembered
def _stored_type(value: bytes) -> TypedValue | None:
    return parse_type(value)


@remembered
def _type_in_wire_form(value: bytes) -> bytes:
    return _wire_form(_stored_type(value) or _PLAIN_TYPE)


@remembered
def _encoding(value: bytes) -> bytes:
    return string(parse_token(value) or b"7bit")


def _wire_form(shown: TypedValue) -> bytes:
    """Type, subtype and parameters of a part that is no multipart."""
    parameters = _parameters(shown.parameters, default_charset=shown.kind.lower() == b"text")
    return b"%b %b %b" % (string(shown.kind), string(shown.subtype), parameters)


def _shown_type(part: Part, stored: TypedValue | None) -> TypedValue:
    """What to call a part that is no multipart, or that is one without any part in it.

    The latter is opaque (RFC 2046 §5.1.1): as application/octet-stream its octets can still be read. Dovecot shows an
    empty text in their place.
    """
    kind = part.content_type
    parameters = stored.parameters if stored else []
    if kind.maintype == "multipart":
        return TypedValue(b"application", b"octet-stream", parameters)
    if kind.maintype == "message" and kind.subtype in ("rfc822", "global"):
        # In lower case whatever the field says: clients tell these from others by comparing octets. Without a field
        # it is the default inside a digest (RFC 2046 §5.1.5).
        return TypedValue(b"message", kind.subtype.encode("ascii"), parameters)
    return stored if stored and kind.valid else _PLAIN_TYPE


def _parameters(parameters: Parameters, *, default_charset: bool = False) -> bytes:
    items = [b"%b %b" % (string(name), string(value)) for name, value in parameters]
    if default_charset and not any(name.lower().rstrip(b"*") == b"charset" for name, _ in parameters):
        items.append(_DEFAULT_CHARSET)
    return b"(%b)" % b" ".join(items) if items else NIL


def _extension(values: dict[str, bytes]) -> bytes:
    """Disposition, language, location: what both kinds of part end with."""
    shown = NIL
    if "content-disposition" in values and (parsed := parse_disposition(values["content-disposition"])):
        shown = b"(%b %b)" % (string(parsed.kind), _parameters(parsed.parameters))
    languages = parse_languages(values["content-language"]) if "content-language" in values else []
    listed = b"(%b)" % b" ".join(map(string, languages)) if languages else NIL
    return b" %b %b %b" % (shown, listed, _one_line(values.get("content-location")))


def _one_line(value: bytes | None) -> bytes:
    return NIL if value is None else string(unfolded(value))
