"""ENVELOPE (RFC 9051 §7.5.2): ten values of a message's header in IMAP wire form.

Strings are as stored: folding undone, encoded-words left alone. A field that occurs more than once, which RFC 5322 §3.6
forbids: addresses are joined as if one field held them all, of the others the last counts (both as Dovecot).
"""

from collections.abc import Iterable
from typing import Final

from mailsandbox.message.imap_addresses import address_list, parse_addresses
from mailsandbox.message.imap_strings import NIL, one_spaced, string, unfolded
from mailsandbox.message.remembered import remembered
from mailsandbox.message.spans import Field

_ADDRESS_FIELDS: Final = frozenset({"from", "sender", "reply-to", "to", "cc", "bcc"})
_TEXT_FIELDS: Final = frozenset({"date", "subject", "in-reply-to", "message-id"})


def envelope(octets: bytes, fields: Iterable[Field]) -> bytes:
    """The ENVELOPE list, with its parentheses, of a header whose `fields` are ranges of `octets`."""
    text: dict[str, bytes] = {}
    addresses: dict[str, list[bytes]] = {}
    for field in fields:
        key = field.key
        if key in _TEXT_FIELDS:
            text[key] = octets[field.value_start : field.end].strip(b" \t\r\n")
        elif key in _ADDRESS_FIELDS:
            value = octets[field.value_start : field.end]
            if key in addresses:
                addresses[key].append(value)
            else:
                addresses[key] = [value]
    lists = {key: _one_list(found[0]) if len(found) == 1 else _joined(found) for key, found in addresses.items()}
    sender = lists.get("from", NIL)
    # RFC 9051 §7.5.2: absent or empty Sender and Reply-To are those of From; never NIL when From is there.
    items = (
        string(unfolded(text["date"])) if "date" in text else NIL,
        string(one_spaced(text["subject"])) if "subject" in text else NIL,
        sender,
        _or(lists.get("sender", NIL), sender),
        _or(lists.get("reply-to", NIL), sender),
        lists.get("to", NIL),
        lists.get("cc", NIL),
        lists.get("bcc", NIL),
        string(unfolded(text["in-reply-to"])) if "in-reply-to" in text else NIL,
        string(unfolded(text["message-id"])) if "message-id" in text else NIL,
    )
    return b"(" + b" ".join(items) + b")"


@remembered
def _one_list(value: bytes) -> bytes:
    return address_list(parse_addresses(value))


def _joined(values: list[bytes]) -> bytes:
    return address_list([address for value in values for address in parse_addresses(value)])


def _or(value: bytes, otherwise: bytes) -> bytes:
    return otherwise if value == NIL else value
