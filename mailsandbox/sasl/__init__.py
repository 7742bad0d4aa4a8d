"""Authentication mechanisms, the server's side (RFC 4422). Pure: octets in, steps out; base64 is the protocols' matter.

    exchange("PLAIN", credentials).start(initial response or None) -> Challenge | Success | Failure
                                  .respond(octets)                 -> Challenge | Success | Failure

Invariant: an exchange that ended is asked no more, and none raises on what a client says.
"""

from mailsandbox.sasl.model import Challenge, Exchange, Failure, FailureCode, SecretSource, Step, Success
from mailsandbox.sasl.registry import MECHANISMS, exchange, mechanisms, random_nonce

__all__ = [
    "MECHANISMS",
    "Challenge",
    "Exchange",
    "Failure",
    "FailureCode",
    "SecretSource",
    "Step",
    "Success",
    "exchange",
    "mechanisms",
    "random_nonce",
]
