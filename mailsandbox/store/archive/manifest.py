"""What stands where in an archive, as values that cannot be wrong. Knows no store: the command line reads it too.

Everything that a reader will show to a client is checked here: a flag with a line end in it would be a line of IMAP.
"""

import json
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

FORMAT: Final = "mailsandbox archive"
VERSION: Final = 2
MANIFEST: Final = "manifest.json"
MESSAGES: Final = "messages/"
INDEX: Final = "index/"
JOURNEYS: Final = "journeys/"
SHOWN: Final = "shown"  # kind of a first sighting among the events of a journey; the store keeps them apart
PER_INDEX: Final = 1000  # messages in one file of the index
MAX_MESSAGE: Final = 256 << 20  # octets of one message; a zip can claim anything
MAX_JSON: Final = 64 << 20  # octets of one of the other files

Number = Annotated[int, Meta(ge=1, le=0xFFFFFFFF)]  # RFC 9051 §9: nz-number
Flag = Annotated[str, Meta(pattern=r"\A\\?[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]+\Z", max_length=1000)]  # RFC 9051 §9
Attribute = Annotated[str, Meta(pattern=r"\A(\\[A-Za-z]+)?\Z")]  # RFC 6154 §6: use-attr
Moment = Annotated[float, Meta(ge=-62_135_596_800, le=253_402_300_799)]  # POSIX seconds, of the years 1 to 9999
Entries = dict[Annotated[str, Meta(pattern=r"\A/[!-$&-)+-~]+\Z")], bytes]  # RFC 5464 §4.1: neither * nor %
Text = Annotated[str, Meta(pattern=r"\A[^\x00-\x1f\x7f]*\Z", max_length=4000)]
Address = Annotated[str, Meta(pattern=r"\A[^\x00-\x1f\x7f]+\Z", max_length=1000)]


class MailboxEntry(Struct, frozen=True):
    """One mailbox."""

    name: Text
    uid_validity: Number
    uid_next: Number
    highest_mod_seq: Annotated[int, Meta(ge=1, le=2**63 - 1)] = 1
    special_use: Attribute = ""
    metadata: Entries = {}


class AccountEntry(Struct, frozen=True):
    """One account; `metadata` is the server's for it."""

    address: Address
    mailboxes: list[MailboxEntry] = []
    subscriptions: list[Text] = []
    metadata: Entries = {}


class Manifest(Struct, frozen=True):
    """What an archive holds."""

    messages: int
    accounts: list[AccountEntry] = []
    format: str = FORMAT
    version: int = VERSION


class MessageEntry(Struct, frozen=True):
    """One message. `id` is the one it had; journeys refer to it."""

    file: str
    account: Address
    mailbox: Text
    uid: Number
    flags: list[Flag] = []
    received_at: Moment = 0.0
    saved_at: Moment = 0.0
    trace_octets: Annotated[int, Meta(ge=0)] = 0
    recipient: Text = ""
    journey: Text = ""
    id: Text = ""


class JourneyEntry(Struct, frozen=True):
    """One journey: its events by kind, in the order they were recorded."""

    id: Text
    events: list[tuple[str, msgspec.Raw]] = []


def numbered(folder: str, number: int, suffix: str) -> str:
    """ "messages/000001.eml"."""
    return f"{folder}{number:06d}.{suffix}"


def encode(value: object) -> bytes:
    """JSON as it stands in the archive: indented where people look at it."""
    octets = msgspec.json.encode(value)
    return msgspec.json.format(octets, indent=1) if isinstance(value, Manifest) else octets


def decode_manifest(octets: bytes) -> Manifest:
    """Raises msgspec.DecodeError, or ValueError for another format or version."""
    head = msgspec.json.decode(octets, type=dict[str, object])
    if head.get("format") != FORMAT:
        raise ValueError(f"{MANIFEST} does not say that it is a {FORMAT}")
    if head.get("version") != VERSION:
        raise ValueError(f"it is written in format {json.dumps(head.get('version'))}; this version reads {VERSION}")
    return msgspec.json.decode(octets, type=Manifest)
