"""Values of the store: changes, rows of a mailbox, what readers are told. Pure; no SQL, no clock.

Invariants: UIDs of a mailbox only grow (RFC 9051 §2.3.1.1); a mod-sequence grows with every change of a mailbox
(RFC 7162 §3.1); `seq` numbers the changes of one account without gaps in commit order.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

import msgspec

Uid = NewType("Uid", int)
ModSeq = NewType("ModSeq", int)
Seq = NewType("Seq", int)  # number of a change in an account's log; a cursor is the last seq seen
MessageId = NewType("MessageId", str)  # opaque id of one message in one mailbox: the {id} of /v1/messages/{id}


def message_id_of(mailbox_key: int, uid: int) -> MessageId:
    """The id of the message `uid` of a mailbox: keys of mailboxes are never given twice."""
    return MessageId(f"{mailbox_key}-{uid}")


def parse_message_id(message_id: str) -> tuple[int, int] | None:
    """Mailbox key and UID of a message id; None when it can not be one."""
    key, _, uid = message_id.partition("-")
    if key.isascii() and key.isdecimal() and uid.isascii() and uid.isdecimal() and len(message_id) < 40:
        return int(key), int(uid)
    return None


class ChangeType(StrEnum):
    """Names of RFC 5423 §4, as the log and HTTP show them."""

    MESSAGE_NEW = "MessageNew"
    MESSAGE_APPEND = "MessageAppend"
    MESSAGE_EXPUNGE = "MessageExpunge"
    FLAGS_SET = "FlagsSet"
    FLAGS_CLEAR = "FlagsClear"
    MAILBOX_CREATE = "MailboxCreate"
    MAILBOX_DELETE = "MailboxDelete"
    MAILBOX_RENAME = "MailboxRename"
    MAILBOX_SUBSCRIBE = "MailboxSubscribe"
    MAILBOX_UNSUBSCRIBE = "MailboxUnSubscribe"
    METADATA_CHANGE = "MetadataChange"  # RFC 5464 with RFC 5465 §5.7


class Change(msgspec.Struct, frozen=True, gc=False):
    """One entry of an account's log, written in the transaction of the change itself.

    A struct, as one command may make ten thousand of them: a frozen dataclass takes ten times as long to make.
    """

    seq: Seq
    type: ChangeType
    account: str
    mailbox: str
    uid: Uid | None
    mod_seq: ModSeq
    message_id: MessageId | None
    at: float  # POSIX seconds
    committed_ns: int  # CLOCK_MONOTONIC
    flags: tuple[str, ...] = ()  # after the change, for flag changes and new messages
    other_name: str = ""  # MailboxRename: the old name


@dataclass(frozen=True, slots=True)
class ChangePage:
    """Changes after a cursor. `reset`: the log no longer reaches back to it, start from a listing."""

    changes: list[Change]
    cursor: Seq
    reset: bool = False


class Flags:
    """A set of flags and keywords: interned, so that equal sets are one object with its wire form made once.

    System flags compare without case (RFC 9051 §2.3.2) and are spelled canonically; keywords keep their case.
    """

    __slots__ = ("names", "octets", "sorted_names", "text")
    _interned: dict[frozenset[str], "Flags"] = {}  # noqa: RUF012  # bounded by clear() below; values are immutable
    _by_text: dict[str, "Flags"] = {}  # noqa: RUF012  # bounded likewise
    _SYSTEM = {name.lower(): name for name in ("\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft")}  # noqa: RUF012

    names: frozenset[str]
    octets: bytes  # "\\Answered \\Seen keyword", sorted, without parentheses
    text: str  # the same, decoded: as stored
    sorted_names: tuple[str, ...]  # as the log of changes shows them

    @classmethod
    def of(cls, names: Iterable[str] = ()) -> "Flags":
        """The set of `names`; \\Recent is never part of it."""
        key = frozenset(cls._SYSTEM.get(name.lower(), name) for name in names if name.lower() != "\\recent")
        flags = cls._interned.get(key)
        if flags is None:
            if len(cls._interned) > 10_000:
                cls._interned.clear()
            flags = cls._interned[key] = cls.__new__(cls)
            flags.names = key
            flags.sorted_names = tuple(sorted(key))
            flags.text = " ".join(flags.sorted_names)
            flags.octets = flags.text.encode("utf-8")
        return flags

    @classmethod
    def parse(cls, text: str) -> "Flags":
        """The set whose `text` this is."""
        flags = cls._by_text.get(text)
        if flags is None:
            if len(cls._by_text) > 10_000:
                cls._by_text.clear()
            flags = cls._by_text[text] = cls.of(text.split())
        return flags

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Flags) and self.names == other.names

    def __hash__(self) -> int:
        return hash(self.names)

    def __repr__(self) -> str:
        return f"Flags({self.octets.decode()!r})"


NO_FLAGS = Flags.of()


def distinct(flags: Iterable[Flags]) -> dict[int, Flags]:
    """The sets of flags among these, by id(). Neighbours mostly share theirs, so few are looked up."""
    found: dict[int, Flags] = {}
    last: Flags | None = None
    for each in flags:
        if each is not last:
            last = found[id(each)] = each
    return found


class MessageRow(msgspec.Struct, gc=False):
    """What every reader needs of one message; in memory while its mailbox is open.

    `flags` and `mod_seq` become others in place when a change of them is committed, all else stays: ten thousand rows
    take ten times as long to make anew. Only `MailboxState.apply` and who has just read a row may do it.
    """

    uid: Uid
    mailbox_key: int  # of the mailbox that holds it; (mailbox_key, uid) identifies a message
    mod_seq: ModSeq
    flags: Flags
    internal_date: float  # POSIX seconds
    octets: int  # RFC822.SIZE: the message as served, trace fields included
    content_id: int  # which stored content; equal for copies
    save_date: float
    email_id: str  # RFC 8474
    thread_id: str

    @property
    def message_id(self) -> MessageId:
        """The id under which HTTP and the command line know this message."""
        return message_id_of(self.mailbox_key, self.uid)


class MailboxStatus(msgspec.Struct, frozen=True):
    """Counters of one mailbox (STATUS, GET mailboxes)."""

    name: str
    uid_validity: int
    uid_next: int
    highest_mod_seq: int
    messages: int
    unseen: int
    deleted: int
    octets: int
    recent_from_uid: int
    mailbox_id: str  # RFC 8474
    special_use: str = ""  # "\\Sent" ... or ""
    subscribed: bool = False
    append_limit: int | None = None


@dataclass(frozen=True, slots=True)
class AppendItem:
    """One message to append (IMAP APPEND, import, POST)."""

    octets: bytes
    flags: Flags = NO_FLAGS
    internal_date: float | None = None  # None: now
    save_date: float | None = None


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """One copy to deliver: `trace` (Return-Path, Delivered-To, Received) is stored before the shared `octets`."""

    account: str
    trace: bytes
    mailbox: str = "INBOX"
    recipient: str = ""  # forward-path as received


class Landed(msgspec.Struct, frozen=True, gc=False):
    """Where a message came to lie."""

    account: str
    mailbox: str
    uid_validity: int
    uid: Uid
    message_id: MessageId
    seq: Seq
    octets: int
    at: float
    committed_ns: int
    recipient: str = ""


def row_of_expunged(
    mailbox_key: int,
    uid: int,
    mod_seq: ModSeq = ModSeq(0),
    flags: Flags = NO_FLAGS,
) -> MessageRow:
    """Stands for a message that is gone, until who holds the mailbox in memory comes to its expunge in the log.

    Nothing can be read of it any more.
    """
    email_id = f"M{mailbox_key}-{uid}"
    return MessageRow(Uid(uid), mailbox_key, mod_seq, flags, 0.0, 0, 0, 0.0, email_id, "")


@dataclass(frozen=True, slots=True)
class CopyResult:
    """COPYUID (RFC 4315 §3): `sources[i]` became `targets[i]`."""

    uid_validity: int
    sources: list[Uid]
    targets: list[Uid]


@dataclass(frozen=True, slots=True)
class FlagChange:
    """Messages whose flags became `flags` in one commit. `uids` ascend."""

    uids: Sequence[Uid]
    flags: Flags
    mod_seq: ModSeq


@dataclass(frozen=True, slots=True)
class FlagsResult:
    """What STORE did, the UIDs refused by UNCHANGEDSINCE (RFC 7162 §3.1.3), and how many of the messages were there."""

    changed: list[FlagChange]
    failed: list[Uid]
    found: int
