"""What a client does that works here and will fail elsewhere: findings on its session that a test can assert on. Pure.

Knows the commands as they come by; changes nothing of what is answered.
"""

from typing import Final

from mailsandbox.access.imap.framing import CommandOctets
from mailsandbox.message.findings import Finding

IDLE_LIMIT: Final = 29 * 60  # seconds, RFC 2177 §3 (RFC 9051 §6.3.13)

_RULES: Final = {
    "command-in-idle": ("RFC 2177 §3", "A command was sent inside IDLE; only DONE may be"),
    "idle-over-29-minutes": ("RFC 9051 §6.3.13", "IDLE lasted over 29 minutes; it must be ended and begun again"),
    "literal-plus-not-offered": (
        "RFC 7888 §4",
        "A non-synchronising literal was sent, which the server does not offer",
    ),
    "modseq-without-condstore": ("RFC 7162 §3.1.2", "A CONDSTORE item was used, which the server does not offer"),
    "qresync-without-enable": ("RFC 7162 §3.2.3", "QRESYNC was used without ENABLE QRESYNC"),
    "notify-events-incomplete": ("RFC 5465 §5", "MessageNew, MessageExpunge or FlagChange without the others it needs"),
    "uid-across-uidvalidity": ("RFC 9051 §2.3.1.1", "UIDs of an older UIDVALIDITY were used after it had changed"),
    "bare-lf": ("RFC 9051 §2.2", "A line ended in LF without CR"),
    "eight-bit-name": ("RFC 9051 §5.1", "A mailbox name was sent in UTF-8 without ENABLE"),
    "login-in-clear": ("RFC 9051 §11.1", "The password was sent in clear though TLS was offered"),
    "capability-off": ("RFC 9051 §6.1.1", "A command was sent that the server does not announce"),
    "command-in-wrong-state": ("RFC 9051 §3", "A command was sent in a state that does not allow it"),
    "status-of-selected": ("RFC 9051 §6.3.11", "STATUS was asked of the selected mailbox"),
    "expunge-numbers-pipelined": ("RFC 9051 §5.5", "Sequence numbers were pipelined behind a command that may expunge"),
}


class Lint:
    """One session's findings, each rule once with its first occasion."""

    __slots__ = ("_seen", "_validities")

    def __init__(self) -> None:
        self._seen: dict[str, Finding] = {}
        self._validities: dict[str, int] = {}  # by mailbox: the UIDVALIDITY first shown in this session

    @property
    def findings(self) -> list[Finding]:
        return list(self._seen.values())

    def found(self, rule: str, detail: str = "") -> Finding | None:
        """The finding, if it is the session's first of that rule."""
        if rule in self._seen:
            return None
        source, text = _RULES[rule]
        finding = Finding(rule=rule, source=source, text=f"{text}: {detail}" if detail else text)
        self._seen[rule] = finding
        return finding

    def command(self, octets: CommandOctets, name: str, *, nonsync_offered: bool, condstore_offered: bool) -> list[str]:
        """Rules that a command's own octets break."""
        broken = []
        if octets.bare_lf:
            broken.append("bare-lf")
        if octets.literals and not nonsync_offered and b"+}\r\n" in octets.text:
            broken.append("literal-plus-not-offered")
        if not condstore_offered and name in _MODSEQ_COMMANDS:
            text = octets.text.upper()
            if any(word in text for word in _MODSEQ_WORDS):
                broken.append("modseq-without-condstore")
        return broken

    def selected(self, mailbox: str, uid_validity: int) -> bool:
        """Note a UIDVALIDITY; True if the mailbox had another one earlier in this session."""
        return self._validities.setdefault(mailbox, uid_validity) != uid_validity


_MODSEQ_COMMANDS: Final = frozenset(
    {"FETCH", "UID FETCH", "STORE", "UID STORE", "SEARCH", "UID SEARCH", "STATUS", "SELECT"}
)
_MODSEQ_WORDS: Final = (b"MODSEQ", b"CHANGEDSINCE", b"UNCHANGEDSINCE", b"(CONDSTORE")
