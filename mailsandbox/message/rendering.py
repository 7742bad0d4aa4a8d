"""What readers ask of a message again and again, made once when it is delivered.

ENVELOPE, BODY and BODYSTRUCTURE as IMAP sends them, where each part lies, and decoded texts for lists, searches and
sorting. Invariant: `render` returns for any octets. Offsets count from the first octet of what was rendered. Knows
nothing of mailboxes or protocols beyond the wire forms.
"""

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from mailsandbox.message.base_subject import base_subject
from mailsandbox.message.casemap import casemap
from mailsandbox.message.charset import decode_text, decode_unlabelled
from mailsandbox.message.dates import parse_date
from mailsandbox.message.imap_envelope import envelope
from mailsandbox.message.imap_structure import holds_message, structure
from mailsandbox.message.mime_values import parse_disposition
from mailsandbox.message.parameters import join_parameters, raw_parameters
from mailsandbox.message.plain_text import html_text, preview
from mailsandbox.message.spans import Part, scan, unfold
from mailsandbox.message.transfer import decode_transfer
from mailsandbox.message.words import decode_header_text

MAX_SEARCH_TEXT: Final = (
    1_000_000  # characters of all bodies of one message that can be searched; the rest is not found
)
MAX_SEARCH_HEADER: Final = 102_400  # characters, as the largest header that is taken apart
MAX_HEADER: Final = (
    1_048_576  # octets of one header that are taken apart; more generous than the gates, which may refuse
)
MAX_LISTED_REFERENCES: Final = 1_000  # ids of one References field

_MESSAGE_ID: Final = re.compile(r'<\s*((?:[^<>"\s]++|"[^"\n]*")+)\s*>')
_UNQUOTED_ID: Final = re.compile(r'"([^"\\\n]*)"')


class PartEntry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where one part lies. `number` is the IMAP section ("1.2"), "" for the message itself.

    A message that is no multipart has an entry "" and an entry "1" over the same body. `text_start` is, for the message
    itself and for parts that hold a message (`is_message`), where the TEXT of that message begins: its HEADER is
    [body_start, text_start) of such a part, and [header_start, header_end) of the message itself.
    """

    number: str
    content_type: str
    charset: str
    encoding: str
    filename: str
    disposition: str
    content_id: str
    header_start: int
    header_end: int
    body_start: int
    body_end: int
    is_message: bool = False
    text_start: int = 0


class Rendered(msgspec.Struct, frozen=True):
    """Everything kept of one message besides its octets."""

    envelope: bytes
    body: bytes
    bodystructure: bytes
    parts: list[PartEntry]
    header_end: int
    subject: str
    sender: str  # the From field, decoded
    to: str
    cc: str
    date: float | None  # of the Date field, POSIX seconds
    message_id: str  # with its angle brackets; "" where there is none
    in_reply_to: str
    references: list[str]
    base_subject: str
    preview: str
    search_text: str
    search_header: str
    attachments: int
    date_zone: int = 0  # seconds east of UTC in the Date field: SENTON compares the sender's calendar day


def render(octets: bytes) -> Rendered:
    """Render a whole message."""
    root = scan(octets, max_header=MAX_HEADER)
    values, searched = _header_texts(octets, root)
    shown = structure(octets, root)
    parts = list(_index(octets, root))
    texts = _Texts(octets, root)
    date = parse_date(values.get("date", ""))
    subject = values.get("subject", "")
    return Rendered(
        envelope=envelope(octets, root.fields),
        body=shown.body,
        bodystructure=shown.bodystructure,
        parts=parts,
        header_end=root.header.end,
        subject=subject,
        sender=values.get("from", ""),
        to=values.get("to", ""),
        cc=values.get("cc", ""),
        date=date.at if date else None,
        message_id=_first_id(values.get("message-id", "")),
        in_reply_to=_first_id(values.get("in-reply-to", "")),
        references=message_ids(values.get("references", ""))[-MAX_LISTED_REFERENCES:],
        base_subject=base_subject(subject),
        preview=texts.preview(),
        search_text=casemap(texts.search_text()),
        search_header=casemap(searched),
        attachments=sum([_is_attachment(entry) for entry in parts]),
        date_zone=date.zone if date else 0,
    )


def _header_texts(octets: bytes, root: Part) -> tuple[dict[str, str], str]:
    """The decoded texts of the listed fields by key, and "key: text" lines of all for searching."""
    values: dict[str, str] = {}
    searched: list[str] = []
    room = MAX_SEARCH_HEADER
    header = octets[: root.fields_end]
    # Nearly every header is nothing but text, and decoded in one go.
    plain = header.decode("ascii") if header.isascii() and header.find(b"=?") < 0 else None
    for field in root.fields:
        key, start, end = field.key, field.value_start, field.end
        text = _decoded(octets[start:end]) if plain is None else _one_line(plain[start:end])
        if key in _LISTED:
            values[key] = f"{values[key]}, {text}" if key in values and key in _JOINED else text
        if room > 0:
            searched.append(f"{key}: {text}\n")
            room -= len(text)
    return values, "".join(searched)


def _decoded(value: bytes) -> str:
    if b"=?" not in value:
        return _one_line(decode_unlabelled(value))
    return decode_header_text(_FOLD.sub(b" ", value).strip(b" \t\r\n"))


def _one_line(text: str) -> str:
    """Unfolded for people, who see one space where a line was folded, and search for what they see."""
    text = text.strip(" \t\r\n")
    return _FOLD_IN_TEXT.sub(" ", text) if "\n" in text else text


_FOLD: Final = re.compile(rb"[ \t]*\r?\n[ \t]+")
_FOLD_IN_TEXT: Final = re.compile(r"[ \t]*\r?\n[ \t]+")
_JOINED: Final = frozenset({"from", "to", "cc"})
_LISTED: Final = _JOINED | {"subject", "date", "message-id", "in-reply-to", "references"}


def message_ids(text: str) -> list[str]:
    """The message ids of a field's text, each with its angle brackets, normalised as RFC 5256 §2.2 asks."""
    found = _MESSAGE_ID.findall(text) if text else ()
    # RFC 5256 §2.2: <"01K"@host> and <01K@host> are one id.
    return [f"<{_UNQUOTED_ID.sub(_bare_if_atom, name)}>" if '"' in name else f"<{name}>" for name in found]


def _bare_if_atom(match: re.Match[str]) -> str:
    return match[1] if not set(match[1]) & set(' "\\<>@,;:()[]') else match[0]


def _first_id(text: str) -> str:
    found = message_ids(text)
    return found[0] if found else ""


_PACK: Final = msgspec.msgpack.Encoder()
_UNPACK: Final = msgspec.msgpack.Decoder(list[PartEntry])


def pack_parts(parts: list[PartEntry]) -> bytes:
    """The index as it is stored."""
    return _PACK.encode(parts)


def unpack_parts(octets: bytes) -> list[PartEntry]:
    """The index as it was; raises msgspec.DecodeError for what `pack_parts` did not make."""
    return _UNPACK.decode(octets)


def _index(octets: bytes, root: Part) -> Iterator[PartEntry]:
    """The message, then every part in the order of the octets, numbered as RFC 9051 §6.4.5.1 says."""
    about = _about(octets, root)
    yield _entry(root, "", about, whole=True)
    stack = _below(root, "")
    while stack:
        number, part = stack.pop()
        yield _entry(part, number, about if part is root else _about(octets, part))
        if holds_message(part):
            stack.extend(_below(part.children[0], f"{number}."))
        elif part.is_multipart:
            stack.extend(_numbered(part, f"{number}."))


def _below(message: Part, prefix: str) -> list[tuple[str, Part]]:
    """The parts of a message, last first: its multipart's, or the message itself as its only part."""
    if message.is_multipart and message.children:
        return _numbered(message, prefix)
    return [(f"{prefix}1", message)]


def _numbered(part: Part, prefix: str) -> list[tuple[str, Part]]:
    numbered = [(f"{prefix}{place}", child) for place, child in enumerate(part.children, start=1)]
    numbered.reverse()
    return numbered


class _About(msgspec.Struct, frozen=True, gc=False):
    """What the fields of a part say about it, besides its type and encoding."""

    filename: str
    disposition: str
    content_id: str


def _about(octets: bytes, part: Part) -> _About:
    disposition, filename, content_id = "", part.content_type.parameters.get("name", ""), ""
    for field in part.fields:
        if field.key == "content-disposition" and not disposition:
            value = octets[field.value_start : field.end]
            parsed = parse_disposition(value)
            disposition = parsed.kind.decode("latin-1").lower() if parsed else ""
            filename = join_parameters(raw_parameters(value)).get("filename", "") or filename
        elif field.key == "content-id" and not content_id:
            content_id = decode_header_text(unfold(octets, field)).strip().strip("<>")
    if "=?" in filename:  # RFC 2047 §5 forbids encoded-words here; many senders write them all the same
        filename = decode_header_text(filename.encode("utf-8", "replace"))
    return _About(filename, disposition, content_id)


def _entry(part: Part, number: str, about: _About, *, whole: bool = False) -> PartEntry:
    kind = part.content_type
    message = part.children[0] if not whole and holds_message(part) else None
    return PartEntry(
        number=number,
        content_type=kind.name,
        charset=kind.parameters.get("charset", ""),
        encoding=part.encoding,
        filename=about.filename,
        disposition=about.disposition,
        content_id=about.content_id,
        header_start=part.header.start,
        header_end=part.header.end,
        body_start=part.body.start,
        body_end=part.body.end,
        is_message=whole or message is not None,
        text_start=part.body.start if whole else message.body.start if message else 0,
    )


def _is_attachment(entry: PartEntry) -> bool:
    """Whether a person would call the part an attachment: named or marked so, or nothing that is read in place."""
    if not entry.number or entry.content_type.startswith("multipart/"):
        return False
    if entry.disposition == "attachment":
        return True
    if entry.content_id and not entry.content_type.startswith(("text/", "message/")):
        return False  # RFC 2392: shown where the HTML refers to it
    return bool(entry.filename) or not entry.content_type.startswith("text/")


class _Texts:
    """Decoded texts of the parts that people read, up to MAX_SEARCH_TEXT characters."""

    def __init__(self, octets: bytes, root: Part) -> None:
        self._octets = octets
        self._searched: list[str] = []
        self._plain = ""
        self._html = ""
        self._room = MAX_SEARCH_TEXT
        for part in root.walk():
            if part is not root and part.fields:
                self._header(part)
            if part.content_type.maintype == "text" and self._room > 0:
                self._text(part)

    def _header(self, part: Part) -> None:
        """RFC 9051 §6.4.4: headers below the message's own belong to its body."""
        for field in part.fields:
            if self._room <= 0:
                return
            value = unfold(self._octets, field)
            if field.key in ("content-type", "content-disposition") and b"*" in value:
                # RFC 2231 names are searched for as people see them.
                value += b" " + " ".join(join_parameters(raw_parameters(value)).values()).encode("utf-8", "replace")
            self._add(f"{field.name.decode('ascii')}: {decode_header_text(value)}")

    def _text(self, part: Part) -> None:
        # Four octets at most make one character in base64 or UTF-8 text; the rest is over the limit anyway.
        end = min(part.body.end, part.body.start + 4 * self._room)
        octets = decode_transfer(self._octets[part.body.start : end], part.encoding)
        text = decode_text(octets, part.content_type.parameters.get("charset", ""))
        self._add(text)
        if part.content_type.subtype == "html":
            visible = html_text(text)
            self._add(visible)  # so that words are found which tags or entities split
            self._html = self._html or visible
        elif not self._plain and part.content_type.subtype != "rtf":
            self._plain = text

    def _add(self, text: str) -> None:
        self._searched.append(text[: self._room])
        self._room -= len(text)

    def search_text(self) -> str:
        return "\n".join(self._searched)

    def preview(self) -> str:
        """RFC 8970 §3.1: of the plain text, or else of the HTML."""
        return (preview(self._plain) if self._plain else "") or (preview(self._html) if self._html else "")
