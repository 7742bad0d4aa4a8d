"""The envelope of a message (RFC 5321 §2.3.1): where it comes from and goes to, apart from its header."""

from typing import Final

import msgspec

NULL_PATH: Final = ""  # reverse-path of a delivery status notification, RFC 5321 §4.5.5


class Recipient(msgspec.Struct, frozen=True):
    """One forward-path with its DSN parameters (RFC 3461 §4.1, §4.2).

    `address` is local@domain without angle brackets. `notify` holds NEVER, SUCCESS, FAILURE, DELAY; empty when the
    parameter was absent. `orcpt` is the parameter's value as received ("rfc822;bob@beta.test", xtext), or "".
    """

    address: str
    notify: frozenset[str] = frozenset()
    orcpt: str = ""


class Envelope(msgspec.Struct, frozen=True):
    """One transaction's envelope.

    `body` is the declared BODY parameter: "", "7BIT", "8BITMIME" or "BINARYMIME" (RFC 6152 §2, RFC 3030 §3).
    `ret` is "", "FULL" or "HDRS"; `envid` is xtext as received (RFC 3461 §4.3, §4.4).
    """

    reverse_path: str
    recipients: tuple[Recipient, ...]
    body: str = ""
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""
    require_tls: bool = False
    deliver_by: str = ""

    @property
    def addresses(self) -> list[str]:
        """The recipients' addresses, in order."""
        return [recipient.address for recipient in self.recipients]

    def to(self, recipients: tuple[Recipient, ...]) -> "Envelope":
        """The same for these recipients."""
        return msgspec.structs.replace(self, recipients=recipients)


def domain_of(address: str) -> str:
    """The domain of `local@domain` in lower case; "" where there is none."""
    return address.rpartition("@")[2].lower() if "@" in address else ""
