"""May these octets be accepted here? May they travel the next hop? Accept, Convert or Refuse.

Two gates and nothing else judges octets: `judge_received` (asked by submit) and `prepare` (asked by relay). Pure:
octets and declarations in, a verdict out. Conversion writes an edit list over the span tree; what no edit names is
identical on both sides. Knows nothing of connections, queues or storage.
"""

from mailsandbox.encoding.classify import MAX_LINE, Needs, is_clean, needs
from mailsandbox.encoding.receive import judge_received
from mailsandbox.encoding.relay import prepare
from mailsandbox.encoding.verdicts import (
    Accept,
    Convert,
    DkimKey,
    Emulation,
    OnNeed,
    ReceiveMode,
    Refuse,
    RelayPolicy,
    Verdict,
)

__all__ = [
    "MAX_LINE",
    "Accept",
    "Convert",
    "DkimKey",
    "Emulation",
    "Needs",
    "OnNeed",
    "ReceiveMode",
    "Refuse",
    "RelayPolicy",
    "Verdict",
    "is_clean",
    "judge_received",
    "needs",
    "prepare",
]
