"""Mailbox names: what can be one, and which spellings are the same. The hierarchy separator is "/"."""

from functools import lru_cache
from typing import Final

from mailsandbox.errors import BadMailboxName

INBOX: Final = "INBOX"
SEPARATOR: Final = "/"
MAX_NAME: Final = 1000  # octets of UTF-8; Dovecot: 4096 for the path, Gmail: 225 characters


@lru_cache(maxsize=1_024)
def mailbox_name(name: str) -> str:
    """The canonical spelling: INBOX in capitals, without a trailing separator. Raises BadMailboxName."""
    if name == INBOX:
        return name
    if name.endswith(SEPARATOR):  # RFC 9051 §6.3.4: a trailing separator only announces names below
        name = name.removesuffix(SEPARATOR)
    first, separator, rest = name.partition(SEPARATOR)
    if first.upper() == INBOX:  # RFC 9051 §5.1: INBOX in any case
        name = INBOX + separator + rest
    if not name or name.startswith(SEPARATOR) or SEPARATOR * 2 in name:
        raise BadMailboxName("a mailbox name needs something between its separators")
    if any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in name):
        raise BadMailboxName("control characters cannot be part of a mailbox name")  # RFC 9051 §5.1
    if len(name.encode("utf-8", "replace")) > MAX_NAME:
        raise BadMailboxName(f"a mailbox name is at most {MAX_NAME} octets long")
    if any(0xD800 <= ord(character) <= 0xDFFF for character in name):
        raise BadMailboxName("a mailbox name is Unicode text")
    return name


def is_below(name: str, parent: str) -> bool:
    """Whether `name` is an inferior of `parent`."""
    return name.startswith(parent + SEPARATOR)
