"""What a gate saw in a message and what it did to it: findings and edits, as plain values for reports.

Octet offsets count from the first octet of the message as received. `part` is the MIME part number as IMAP counts
("1.2", RFC 9051 §6.4.5.1), "" for the message itself.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that a message breaks, or one thing a reader of the report should know.

    `rule` is a stable name in kebab case ("undeclared-8bit"), `source` the requirement ("RFC 6152 §3"), `enhanced` the
    status code that a refusal would carry, `fatal` whether it made the gate refuse.
    """

    rule: str
    source: str
    text: str
    offset: int = 0
    part: str = ""
    enhanced: str = ""
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class Edit:
    """Octets [start, end) of the received message replaced by `after`; `rule` and `source` say why.

    `before` and `after` in a stored report are excerpts; in the gate they are whole.
    """

    start: int
    end: int
    after: bytes
    rule: str
    source: str
    part: str = ""
