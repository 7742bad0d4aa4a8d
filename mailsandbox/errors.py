"""The one tree of errors.

    MailsandboxError
    ├── ConfigError            the user's configuration: names file, key and what would be right
    ├── StartError             a port in use, a directory that cannot be written
    ├── PeerViolation          the other side broke its protocol
    ├── StoreError             refusals and failures of the store; they know no protocol
    │   ├── NoSuchAccount      ├── NoSuchMailbox      ├── NoSuchMessage
    │   ├── MailboxExists      ├── BadMailboxName     ├── OverQuota
    │   ├── MaildropInUse      ├── TooLarge           ├── Conflict
    │   ├── BadArchive         what shall be imported is no archive, or a damaged one
    │   ├── StoreUnavailable   the database does not answer, or cannot be written: try again later
    │   │   └── DamagedContent the file of a large message is missing or damaged; all others can be had
    │   └── StoreFull          no room left: try again later
    └── QueueError
        └── NoSuchQueueItem

A bug of ours is never one of these: it stays an AssertionError, TypeError and so on, and is logged with its
traceback. A normal refusal inside protocol logic is a value, not an error.
"""


class MailsandboxError(Exception):
    """Root of everything mailsandbox raises on purpose."""


class ConfigError(MailsandboxError):
    """The configuration is wrong; the text names file, key and what would be right."""


class StartError(MailsandboxError):
    """The sandbox cannot start; the text names the cause."""


class PeerViolation(MailsandboxError):
    """The peer broke its protocol so that the conversation cannot go on."""


class StoreError(MailsandboxError):
    """A refusal or failure of the store. Each access package has one table from these to its own words."""


class NoSuchAccount(StoreError):
    """The account does not exist."""


class NoSuchMailbox(StoreError):
    """The mailbox does not exist."""


class NoSuchMessage(StoreError):
    """The message does not exist, or no longer."""


class MailboxExists(StoreError):
    """A mailbox of that name exists already."""


class BadMailboxName(StoreError):
    """The name can not be a mailbox's name."""


class OverQuota(StoreError):
    """The account would exceed its quota."""


class MaildropInUse(StoreError):
    """Another POP3 session holds the maildrop (RFC 1939 §4)."""


class TooLarge(StoreError):
    """The message is larger than the limit."""


class Conflict(StoreError):
    """The state changed under the request."""


class BadArchive(StoreError):
    """The file is no archive of ours, or a damaged one."""


class StoreUnavailable(StoreError):
    """The database does not answer or cannot be written at the moment."""


class DamagedContent(StoreUnavailable):
    """The file that holds a large message is missing or damaged; others are not."""


class StoreFull(StoreError):
    """There is no room left to store a message."""


class QueueError(MailsandboxError):
    """A refusal of the relay queue."""


class NoSuchQueueItem(QueueError):
    """The queue holds no item of that id."""
