"""IMAP URLs that name octets of a message (RFC 5092), as CATENATE takes them. Pure."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from mailsandbox.access.imap.framing import CommandOctets
from mailsandbox.access.imap.grammar.fetch import Body, attribute
from mailsandbox.access.imap.grammar.scanner import Scanner
from mailsandbox.access.imap.names import canonical
from mailsandbox.access.imap.responses import GrammarError

# RFC 5092 §11: imailbox-ref, iuid, isection, ipartial, absolute or relative.
_URL: Final = re.compile(
    r"(?:imap://(?:(?P<user>[^@/;]*)(?:;AUTH=[^@/]*)?@)?(?P<host>[^/]*))?"
    r"(?:/?(?P<mailbox>[^;/][^;]*?)(?:;UIDVALIDITY=(?P<validity>[1-9][0-9]{0,9}))?/?)?"
    r"/?;UID=(?P<uid>[1-9][0-9]{0,9})"
    r"(?:/;SECTION=(?P<section>[^;]+?))?"
    r"(?:/;PARTIAL=(?P<first>[0-9]{1,10})(?:\.(?P<count>[1-9][0-9]{0,9}))?)?",
    re.IGNORECASE,
)
_PORT: Final = re.compile(r":[0-9]*\Z")


@dataclass(frozen=True, slots=True)
class ImapUrl:
    """`mailbox` "": the selected one. `section` as FETCH knows it; `partial` as <origin.count>."""

    mailbox: str
    uid_validity: int | None
    uid: int
    section: Body
    partial: tuple[int, int] | None


def parse_url(text: str, *, account: str, hosts: frozenset[str]) -> ImapUrl:
    """Raises GrammarError, also for a URL that names another user, or a server by a name not in `hosts`."""
    found = _URL.fullmatch(text)
    if found is None:
        raise GrammarError("Not an IMAP URL of a message")
    user = found["user"]
    if user and _unquoted(user).lower() != account.lower():
        raise GrammarError("The URL names another user")
    host = found["host"]
    if host and _PORT.sub("", host).lower() not in hosts:
        raise GrammarError("The URL names another server")
    section = Body(b"BODY[]", peek=True)
    if found["section"]:
        scanner = Scanner(CommandOctets(b"BODY.PEEK[%b]" % _unquoted(found["section"]).encode()))
        parsed = attribute(scanner)
        scanner.end()
        if not isinstance(parsed, Body):
            raise GrammarError("Not a section")
        section = parsed
    partial = None
    if found["first"] is not None:
        partial = (int(found["first"]), int(found["count"]) if found["count"] else 2**62)
    mailbox = canonical(_unquoted(found["mailbox"] or ""))
    return ImapUrl(mailbox, int(found["validity"]) if found["validity"] else None, int(found["uid"]), section, partial)


def _unquoted(text: str) -> str:
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise GrammarError("URL is not UTF-8") from None
