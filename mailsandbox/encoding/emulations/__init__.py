"""What well-known servers do to the same message at the same hop, so that users see what theirs will do.

Invariant: behaviour follows the servers' documentation and is not made better than it is: where such a server sends
what the hop does not allow, or changes signed octets, so does its emulation, and a finding says it.
"""

from typing import assert_never

from mailsandbox.encoding.emulations import exim, postfix, sendmail
from mailsandbox.encoding.verdicts import Emulation, RelayPolicy, Verdict
from mailsandbox.message.envelope import Envelope
from mailsandbox.smtp.extensions import Offers


def emulate(octets: bytes, *, offers: Offers, envelope: Envelope, policy: RelayPolicy) -> Verdict:
    """The relay gate of another server."""
    match policy.emulate:
        case Emulation.POSTFIX:
            return postfix.prepare(octets, offers=offers, envelope=envelope, policy=policy)
        case Emulation.SENDMAIL:
            return sendmail.prepare(octets, offers=offers, envelope=envelope, policy=policy)
        case Emulation.EXIM:
            return exim.prepare(octets, offers=offers, envelope=envelope, policy=policy)
        case Emulation.STRICT:
            raise ValueError("strict is no emulation")
        case _:
            assert_never(policy.emulate)
