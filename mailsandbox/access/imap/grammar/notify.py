"""NOTIFY (RFC 5465). Pure."""

from typing import Final

from msgspec import Struct

from mailsandbox.access.imap.grammar.fetch import Attribute, attributes
from mailsandbox.access.imap.grammar.scanner import Scanner
from mailsandbox.access.imap.responses import GrammarError

EVENTS: Final = {
    name.upper(): name
    for name in (
        "MessageNew",
        "MessageExpunge",
        "FlagChange",
        "AnnotationChange",
        "MailboxName",
        "SubscriptionChange",
        "MailboxMetadataChange",
        "ServerMetadataChange",
    )
}
MESSAGE_EVENTS: Final = frozenset({"MessageNew", "MessageExpunge", "FlagChange", "AnnotationChange"})
_BOTH: Final = frozenset({"MessageNew", "MessageExpunge"})
MAILBOX_EVENTS: Final = frozenset(EVENTS.values()) - MESSAGE_EVENTS
SCOPES: Final = frozenset({"SELECTED", "SELECTED-DELAYED", "INBOXES", "PERSONAL", "SUBSCRIBED", "SUBTREE", "MAILBOXES"})


class EventGroup(Struct, frozen=True):
    """Which mailboxes, and which events of theirs. `attributes`: what to FETCH of new messages."""

    scope: str
    mailboxes: tuple[str, ...]
    events: frozenset[str]
    attributes: tuple[Attribute, ...] = ()


class Notify(Struct, frozen=True):
    """RFC 5465 §3: no groups is NOTIFY NONE. `status`: STATUS responses for all mailboxes come first."""

    groups: tuple[EventGroup, ...]
    status: bool = False


def notify(scanner: Scanner) -> Notify:
    scanner.space()
    mode = scanner.word("SET or NONE")
    if mode == "NONE":
        return Notify(())
    if mode != "SET":
        raise GrammarError("Expected SET or NONE")
    scanner.space()
    status = False
    if not scanner.at(b"("):
        if scanner.word("STATUS") != "STATUS":
            raise GrammarError("Expected STATUS or an event group")
        status = True
        scanner.space()
    groups = [_group(scanner)]
    while scanner.skip(b" "):
        groups.append(_group(scanner))
    if sum(group.scope.startswith("SELECTED") for group in groups) > 1:
        raise GrammarError("Only one SELECTED or SELECTED-DELAYED")  # RFC 5465 §6.1, §6.2
    return Notify(tuple(groups), status)


def _group(scanner: Scanner) -> EventGroup:
    scanner.expect(b"(")
    scope = scanner.word("a mailbox filter")
    if scope not in SCOPES:
        raise GrammarError(f"Unknown mailbox filter {scope}")
    mailboxes: tuple[str, ...] = ()
    scanner.space()
    if scope in ("SUBTREE", "MAILBOXES"):
        mailboxes = scanner.group(scanner.mailbox) if scanner.at(b"(") else (scanner.mailbox(),)
        scanner.space()
    events: frozenset[str] = frozenset()
    fetched: tuple[Attribute, ...] = ()
    if scanner.at(b"("):
        events, fetched = _events(scanner)
    elif scanner.word("NONE") != "NONE":
        raise GrammarError("Expected a list of events or NONE")
    scanner.expect(b")")
    _check(scope, events, fetched)
    return EventGroup(scope, mailboxes, events, fetched)


def _events(scanner: Scanner) -> tuple[frozenset[str], tuple[Attribute, ...]]:
    fetched: tuple[Attribute, ...] = ()

    def event() -> str:
        nonlocal fetched
        name = scanner.word("an event")
        if name not in EVENTS:
            raise GrammarError(f"Unknown event {name}")
        if name == "MESSAGENEW" and scanner.text.startswith(b" (", scanner.pos):
            scanner.space()
            fetched = attributes(scanner, macros=False)
        return EVENTS[name]

    return frozenset(scanner.group(event)), fetched


def is_incomplete(events: frozenset[str]) -> bool:
    """RFC 5465 §5: MessageNew and MessageExpunge go together, and what changes about messages needs both."""
    asked = events & MESSAGE_EVENTS
    return bool(asked) and not asked >= _BOTH


def _check(scope: str, events: frozenset[str], fetched: tuple[Attribute, ...]) -> None:
    # RFC 5465 §5: BAD. Dovecot is strict about the selected mailbox alone, and its tester sends these of others.
    if scope.startswith("SELECTED") and is_incomplete(events):
        raise GrammarError("MessageNew and MessageExpunge must be asked for together, and with FlagChange")
    if fetched and not scope.startswith("SELECTED"):
        raise GrammarError("FETCH attributes only with SELECTED")  # RFC 5465 §8
    if scope.startswith("SELECTED") and events & MAILBOX_EVENTS:
        raise GrammarError("Mailbox events make no sense with SELECTED")  # RFC 5465 §6.1
