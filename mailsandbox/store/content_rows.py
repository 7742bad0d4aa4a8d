"""The rows of a content, as its rendering makes them: all but its key. Knows no database."""

from collections.abc import Sequence
from typing import Final

import msgspec

from mailsandbox.message.addresses import mailboxes
from mailsandbox.message.casemap import casemap
from mailsandbox.message.rendering import Rendered, pack_parts

COLUMNS: Final = (
    "header_end, attachments, sent_date, sent_zone, subject, sender, to_list, cc_list, subject_key, sender_key, "
    "to_key, cc_key, message_id, in_reply_to, reference_ids, base_subject, preview"
)


class ContentRows(msgspec.Struct, frozen=True, gc=False):
    """What `contents`, `renderings` and `texts` keep of one content, and what threading needs of it."""

    message_id: str  # with angle brackets; "" where there is none
    related: tuple[str, ...]  # References, then In-Reply-To
    summary: tuple[object, ...]  # of COLUMNS
    rendering: tuple[bytes, bytes, bytes, bytes]  # envelope, body, bodystructure, parts
    texts: tuple[str, str]  # header, body


def content_rows(rendered: Rendered) -> ContentRows:
    """The rows of what was rendered."""
    return ContentRows(
        rendered.message_id,
        related(rendered.references, rendered.in_reply_to),
        _summary(rendered),
        (rendered.envelope, rendered.body, rendered.bodystructure, pack_parts(rendered.parts)),
        (storable(rendered.search_header), storable(rendered.search_text)),
    )


def related(references: Sequence[str], in_reply_to: str) -> tuple[str, ...]:
    """The messages that a message names, each once."""
    if not references and not in_reply_to:
        return ()
    return tuple(dict.fromkeys([*references, *([in_reply_to] if in_reply_to else [])]))


def _summary(rendered: Rendered) -> tuple[object, ...]:
    subject, sender, to_list, cc_list, *others = _all_storable(
        rendered.subject,
        rendered.sender,
        rendered.to,
        rendered.cc,
        rendered.message_id,
        rendered.in_reply_to,
        " ".join(rendered.references),
        rendered.base_subject,
    )
    return (
        rendered.header_end,
        rendered.attachments,
        rendered.date,
        rendered.date_zone,
        subject,
        sender,
        to_list,
        cc_list,
        _folded(subject),
        _folded_addresses(sender),
        _folded_addresses(to_list),
        _folded_addresses(cc_list),
        *others,
        storable(rendered.preview),  # its last character is beyond ASCII where it was cut
    )


def storable(text: str) -> str:
    """`text` as both databases take it: without NUL, which PostgreSQL refuses, and without lone surrogates."""
    if "\0" in text:
        text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _all_storable(*texts: str) -> tuple[str, ...]:
    """Each of `texts`, made `storable`; looked at in one go, as nearly all are plain."""
    together = "".join(texts)
    return texts if together.isascii() and "\0" not in together else tuple(map(storable, texts))


def _folded(text: str) -> str | None:
    """Case-folded for comparing; None where that is the text itself."""
    folded = casemap(text)
    return None if folded == text else folded


def _folded_addresses(text: str) -> str | None:
    """As `_folded`, with each address also as it reads without comments and folding.

    RFC 9051 §6.4.4: FROM, TO and CC look at the envelope's structure, where `<a (x)@ (y) b>` is a@b.
    """
    if "(" not in text and "\\" not in text and " @" not in text and "@ " not in text:
        return _folded(text)
    bare = [mailbox.address for mailbox in mailboxes(text.encode("utf-8", "replace")) if mailbox.address not in text]
    return casemap(" ".join([text, *bare])) if bare else _folded(text)
