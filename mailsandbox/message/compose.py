"""New messages from their pieces: header, text, HTML, attachments (RFC 5322, 2045 to 2047, 2183, 2231).

Invariants: lines end in CRLF and stay within 998 octets (but in parts that are asked for as binary); nothing that is
passed in can add a header field; the same pieces make the same octets. Knows nothing of sending.
"""

import hashlib
import mimetypes
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final
from urllib.parse import quote

from mailsandbox.message.addresses import Mailbox, mailboxes
from mailsandbox.message.trace import format_date
from mailsandbox.message.transfer import encode_base64, encode_quoted_printable
from mailsandbox.message.words import encode_header_text

MAX_LINE: Final = 78  # characters we fold at, RFC 5322 §2.1.1
MAX_TEXT_LINE: Final = 998  # octets without CRLF, RFC 5322 §2.1.1

_ATOMS: Final = re.compile(r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~ ]+")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]+")
_LINE_END: Final = re.compile(r"\r\n|\r|\n")
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`{|}~]+")
_FIELD_NAME: Final = re.compile(r"[!-9;-~]+")
_PIECE: Final = 60  # octets of one RFC 2231 section


class BodyEncoding(StrEnum):
    """What the transport may carry: decides how text and attachments are encoded."""

    SEVEN_BIT = "7bit"  # quoted-printable and base64 where needed
    EIGHT_BIT = "8bit"  # text as UTF-8, attachments in base64 (RFC 6152)
    BINARY = "binary"  # text as UTF-8, attachments as they are (RFC 3030)


@dataclass(frozen=True, slots=True)
class Attached:
    """One file. `content_type` "": guessed from the name. With a `content_id` it is shown inside the HTML."""

    filename: str
    content_type: str
    octets: bytes
    content_id: str = ""

    @classmethod
    def from_file(cls, path: str | Path) -> "Attached":
        """The file under its own name; raises OSError."""
        path = Path(path)
        return cls(path.name, "", path.read_bytes())


def compose(
    *,
    sender: str,
    to: Sequence[str],
    date: float,
    message_id: str = "",
    cc: Sequence[str] = (),
    reply_to: str = "",
    subject: str = "",
    text: str | None = None,
    html: str | None = None,
    attachments: Sequence[Attached] = (),
    headers: Mapping[str, str] | None = None,
    body_encoding: BodyEncoding = BodyEncoding.EIGHT_BIT,
) -> bytes:
    """The message. Addresses are "local@domain" or "Name <local@domain>"; `date` is in POSIX seconds.

    `message_id` has its angle brackets; without one the field is left to the submission server (RFC 6409 §8.3). An
    attachment with a `content_id` goes beside the HTML (RFC 2387). A field of `headers` stands in place of the one that
    would be made (RFC 5322 §3.6: Date, From, Subject and others at most once). Raises ValueError for what cannot be an
    address, a media type or a field's name.
    """
    fields = [
        _field("From", _addresses([sender])),
        _field("To", _addresses(to)) if to else "",
        _field("Cc", _addresses(cc)) if cc else "",
        _field("Reply-To", _addresses([reply_to])) if reply_to else "",
        _field("Subject", encode_header_text(_one_line(subject))),
        _field("Date", format_date(date)),
        _field("Message-ID", _one_line(message_id)) if message_id else "",
    ]
    given = {name.lower() for name in headers or {}}
    fields = [each for each in fields if each.partition(":")[0].lower() not in given]
    for name, value in (headers or {}).items():
        if not _FIELD_NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot be the name of a header field (RFC 5322 §2.2)")
        fields.append(_field(name, encode_header_text(_one_line(value))))
    fields.append("MIME-Version: 1.0\r\n")
    body = _Body(body_encoding, seed=f"{message_id}\0{date}").build(text or "", html or "", attachments)
    return "".join(fields).encode("utf-8", "replace") + body


class _Body:
    """Builds entities: each is the octets from its Content-Type on."""

    def __init__(self, encoding: BodyEncoding, *, seed: str) -> None:
        self._encoding = encoding
        self._seed = seed

    def build(self, text: str, html: str, attachments: Sequence[Attached]) -> bytes:
        shown = [item for item in attachments if item.content_id and html]
        files = [item for item in attachments if item not in shown]
        entities: list[bytes] = []
        if text or not html:
            entities.append(self._text(text, "plain"))
        if html:
            page = self._text(html, "html")
            entities.append(self._multipart("related", [page, *map(self._file, shown)]) if shown else page)
        # RFC 2046 §5.1.4: the plainest first.
        body = self._multipart("alternative", entities) if len(entities) > 1 else entities[0]
        return self._multipart("mixed", [body, *map(self._file, files)]) if files else body

    def _text(self, text: str, subtype: str) -> bytes:
        octets = _LINE_END.sub("\r\n", text).encode("utf-8", "replace")
        if octets and not octets.endswith(b"\r\n"):
            octets += b"\r\n"
        long = any(len(line) > MAX_TEXT_LINE for line in octets.split(b"\r\n"))
        label = b"7bit"
        if long or b"\0" in octets or (self._encoding is BodyEncoding.SEVEN_BIT and not octets.isascii()):
            label, octets = _encoded(octets)
        elif not octets.isascii():
            label = b"8bit"
        charset = b"us-ascii" if text.isascii() else b"utf-8"
        return b"Content-Type: text/%b; charset=%b\r\nContent-Transfer-Encoding: %b\r\n\r\n%b" % (
            subtype.encode("ascii"),
            charset,
            label,
            octets,
        )

    def _file(self, item: Attached) -> bytes:
        name = _one_line(item.filename)
        kind = item.content_type or mimetypes.guess_type(name)[0] or "application/octet-stream"
        if not re.fullmatch(r"[!-.0-~]+/[!-~]+(?:;.*)?", kind := _one_line(kind)):
            raise ValueError(f"{kind!r} is no media type (RFC 2045 §5.1)")
        disposition = "inline" if item.content_id else "attachment"
        fields = f"Content-Type: {kind}\r\nContent-Disposition: {disposition}{_parameter('filename', name)}\r\n"
        if item.content_id:
            fields += f"Content-ID: <{_one_line(item.content_id).strip('<>')}>\r\n"
        if kind.startswith(("message/", "multipart/")):
            # RFC 2046 §5.2.1: composite types bear no encoding but the identity.
            label, octets = self._composite_label(item.octets), item.octets
        elif self._encoding is BodyEncoding.BINARY:
            label, octets = "binary", item.octets
        else:
            label, octets = "base64", encode_base64(item.octets) + b"\r\n"
        return f"{fields}Content-Transfer-Encoding: {label}\r\n\r\n".encode() + octets

    @staticmethod
    def _composite_label(octets: bytes) -> str:
        return "7bit" if octets.isascii() else "8bit"

    def _multipart(self, subtype: str, entities: Sequence[bytes]) -> bytes:
        boundary = self._boundary(entities)
        # RFC 2045 §6.4: the container's label is at least that of what it holds.
        labels = [label for label in (b"binary", b"8bit") if any(_labelled(entity, label) for entity in entities)]
        cte = b"Content-Transfer-Encoding: %b\r\n" % labels[0] if labels else b""
        parts = b"".join(b"\r\n--%b\r\n%b" % (boundary, entity) for entity in entities)
        return b'Content-Type: multipart/%b; boundary="%b"\r\n%b%b\r\n--%b--\r\n' % (
            subtype.encode("ascii"),
            boundary,
            cte,
            parts,
            boundary,
        )

    def _boundary(self, entities: Sequence[bytes]) -> bytes:
        """RFC 2046 §5.1.1: must not occur in what it delimits. "=_" occurs in no encoded part (RFC 2045 §6.7 (5))."""
        attempt = 0
        while True:
            digest = hashlib.sha256(f"{self._seed}\0{attempt}".encode("utf-8", "replace"))
            for entity in entities:
                digest.update(entity[:4096])
            boundary = b"=_" + digest.hexdigest()[:32].encode("ascii")
            if not any(boundary in entity for entity in entities):
                return boundary
            attempt += 1


def _labelled(entity: bytes, label: bytes) -> bool:
    return b"\r\nContent-Transfer-Encoding: %b\r\n" % label in entity[: entity.find(b"\r\n\r\n") + 2]


def _encoded(octets: bytes) -> tuple[bytes, bytes]:
    """Quoted-printable, which people can read, unless base64 is clearly shorter (the relay decides likewise)."""
    quoted = encode_quoted_printable(octets)
    if len(quoted) <= 1.37 * len(octets) + 80:
        return b"quoted-printable", quoted
    return b"base64", encode_base64(octets) + b"\r\n"


def _one_line(text: str) -> str:
    """No line end or other control passes: what is passed in stays one field's value."""
    return _CONTROL.sub(" ", text).strip()


def _addresses(addresses: Sequence[str]) -> str:
    return ", ".join(_address(mailbox, given) for given in addresses for mailbox in _parsed(given))


def _parsed(given: str) -> list[Mailbox]:
    return mailboxes(_one_line(given).encode("utf-8", "replace"))


def _address(mailbox: Mailbox, given: str) -> str:
    if not mailbox.local:
        raise ValueError(f"{given!r} is no address")
    local = mailbox.local if re.fullmatch(r"[^\s\"(),:;<>@\[\\\]]+", mailbox.local) else _quoted(mailbox.local)
    address = f"{local}@{mailbox.domain}" if mailbox.domain else local
    if not mailbox.name:
        return address
    if not mailbox.name.isascii() or "=?" in mailbox.name:
        return f"{encode_header_text(mailbox.name)} <{address}>"  # RFC 2047 §5 (3)
    name = mailbox.name if _ATOMS.fullmatch(mailbox.name) else _quoted(mailbox.name)
    return f"{name} <{address}>"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _parameter(name: str, value: str) -> str:
    """`; name=value`, on lines of its own; RFC 2231 where the value is not ASCII or is long."""
    if value.isascii() and len(value) <= _PIECE:
        return f"; {name}={value}" if _TOKEN.fullmatch(value) else f";\r\n {name}={_quoted(value)}"
    encoded = "utf-8''" + quote(value.encode("utf-8", "replace"), safe="!#$&+-.^_`{|}~")
    if len(encoded) <= _PIECE:
        return f";\r\n {name}*={encoded}"
    # RFC 2231 §4.1: sections, cut so that no %XX is torn.
    pieces = re.findall(rf"(?:%[0-9A-F]{{2}}|[^%]){{1,{_PIECE // 3}}}", encoded)
    return "".join(f";\r\n {name}*{number}*={piece}" for number, piece in enumerate(pieces))


def _field(name: str, value: str) -> str:
    """One header field, folded at blanks (RFC 5322 §2.2.3)."""
    lines, line = [], f"{name}:"
    for word in value.split(" "):
        if len(line) + 1 + len(word) > MAX_LINE and word and line.strip() and line != f"{name}:":
            lines.append(line)
            line = ""
        line += " " + word
    return "\r\n".join([*lines, line]) + "\r\n"
