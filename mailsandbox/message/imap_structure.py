"""BODY and BODYSTRUCTURE (RFC 9051 §7.5.2): the MIME tree in IMAP wire form, both made in one walk.

Invariant: any tree gives two well-formed lists. Type and parameter spellings are the message's own. Depth is bounded by
the scanner that made the tree.
"""

from typing import Final, NamedTuple

from mailsandbox.message.imap_envelope import envelope
from mailsandbox.message.imap_strings import NIL, nstring, string, unfolded
from mailsandbox.message.mime_values import (
    Parameters,
    TypedValue,
    parse_disposition,
    parse_languages,
    parse_token,
    parse_type,
)
from mailsandbox.message.spans import Part

_DEFAULT_CHARSET: Final = b'"charset" "us-ascii"'  # RFC 2045 §5.2
_PLAIN_TYPE: Final = TypedValue(b"text", b"plain", [])
_OPAQUE_TYPE: Final = TypedValue(b"application", b"octet-stream", [])
# RFC 9051 §9: body-type-mpart needs one body at least; an empty text stands for what is missing (as Dovecot).
_NO_PART: Final = b'("text" "plain" (%b) NIL NIL "7bit" 0 0' % _DEFAULT_CHARSET
_NO_PART_EXTENDED: Final = _NO_PART + b" NIL NIL NIL NIL)"


class Structure(NamedTuple):
    """The two wire forms of one part, parentheses included."""

    body: bytes
    bodystructure: bytes


def structure(octets: bytes, part: Part) -> Structure:
    """BODY and BODYSTRUCTURE of `part`, whose spans are ranges of `octets`."""
    values: dict[str, bytes] = {}
    for field in part.fields:
        if field.key.startswith("content-") and field.key not in values:  # the first of several counts
            values[field.key] = octets[field.value_start : field.end].strip(b" \t\r\n")
    stored = parse_type(values["content-type"]) if "content-type" in values else None
    if part.content_type.maintype == "multipart" and (part.children or part.boundary):
        return _multipart(octets, part, stored or TypedValue(b"multipart", b"mixed", []), values)
    return _single(octets, part, stored, values)


def holds_message(part: Part) -> bool:
    """RFC 9051 §9 body-type-msg: only these two message types show an envelope and a structure of their own."""
    return part.is_message and part.content_type.subtype in ("rfc822", "global")


def _multipart(octets: bytes, part: Part, stored: TypedValue, values: dict[str, bytes]) -> Structure:
    inner = [structure(octets, child) for child in part.children]
    bodies = b"".join([child.body for child in inner]) or _NO_PART + b")"
    extended = b"".join([child.bodystructure for child in inner]) or _NO_PART_EXTENDED
    subtype = string(stored.subtype)
    return Structure(
        b"(%b %b)" % (bodies, subtype),
        b"(%b %b %b%b)" % (extended, subtype, _parameters(stored.parameters), _extension(values)),
    )


def _single(octets: bytes, part: Part, stored: TypedValue | None, values: dict[str, bytes]) -> Structure:
    message = part.children[0] if holds_message(part) else None
    stored = _shown_type(part, stored, is_message=message is not None)
    text = stored.kind.lower() == b"text"
    encoding = parse_token(values["content-transfer-encoding"]) if "content-transfer-encoding" in values else None
    common = b"%b %b %b %b %b %b %d" % (
        string(stored.kind),
        string(stored.subtype),
        _parameters(stored.parameters, default_charset=text),
        _one_line(values.get("content-id")),
        _one_line(values.get("content-description")),
        string(encoding or b"7bit"),
        part.body.end - part.body.start,
    )
    md5 = b" " + _one_line(values.get("content-md5"))
    extension = md5 + _extension(values)
    if message is not None:
        inner = structure(octets, message)
        lines = octets.count(b"\n", part.body.start, part.body.end)
        shown = envelope(octets, message.fields)
        return Structure(
            b"(%b %b %b %d)" % (common, shown, inner.body, lines),
            b"(%b %b %b %d%b)" % (common, shown, inner.bodystructure, lines, extension),
        )
    if text:
        common += b" %d" % octets.count(b"\n", part.body.start, part.body.end)
    return Structure(b"(%b)" % common, b"(%b%b)" % (common, extension))


def _shown_type(part: Part, stored: TypedValue | None, *, is_message: bool) -> TypedValue:
    """What to call a part that is not split: a composite type would promise a structure that is not there."""
    if is_message:
        # RFC 2046 §5.1.5: inside a digest the default is message/rfc822.
        return stored or TypedValue(b"message", part.content_type.subtype.encode("ascii", "replace"), [])
    if stored is None or not part.content_type.valid:
        return _PLAIN_TYPE
    kind = stored.kind.lower()
    if kind == b"multipart" or (kind == b"message" and stored.subtype.lower() in (b"rfc822", b"global")):
        return TypedValue(_OPAQUE_TYPE.kind, _OPAQUE_TYPE.subtype, stored.parameters)
    return stored


def _parameters(parameters: Parameters, *, default_charset: bool = False) -> bytes:
    items = [b"%b %b" % (string(name), string(value)) for name, value in parameters]
    if default_charset and not any(name.lower() == b"charset" for name, _ in parameters):
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
    return NIL if value is None else nstring(unfolded(value))
