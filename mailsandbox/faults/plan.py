"""Scripted faults: what shall go wrong, where and how often. Pure matching; the stations act on what they are told.

A station asks `match` before it acts, at stages it names itself; the first fault that fits is counted and returned.

    protocol  stages asked
    smtp      connect, each command's name in lower case ("rcpt" ...; a fault for "ehlo" is for HELO and LHLO as well),
              message (after the end of data)
    relay     connect, mail, rcpt, data, message       (the relay's own side: before it sends)
    pop3      connect, and each command's name in lower case
    imap      connect, and each command's name in lower case
    http      the path's first segment below /v1 ("messages", "changes", ...)
"""

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from mailsandbox.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Respond:
    """Answer with this instead of doing it: an SMTP code with text, or the text of -ERR / NO / a problem document."""

    code: int
    text: str
    enhanced: str = ""


@dataclass(frozen=True, slots=True)
class Drop:
    """Break the connection off (`reset`: by RST) without an answer."""

    reset: bool = False


@dataclass(frozen=True, slots=True)
class Delay:
    """Wait so many seconds (by the sandbox's clock), then do it."""

    seconds: float


Action = Respond | Drop | Delay

PROTOCOLS: Final = ("smtp", "relay", "pop3", "imap", "http")
_STAGES: Final[Mapping[str, frozenset[str]]] = {  # where they are few enough to know; else any name may be asked
    "smtp": frozenset(
        {"connect", "ehlo", "helo", "lhlo", "starttls", "auth", "mail", "rcpt", "data", "message", "bdat", "rset"}
        | {"noop", "vrfy", "expn", "help", "etrn", "xclient", "quit"}
    ),
    "relay": frozenset(("connect", "mail", "rcpt", "data", "message")),
}

_GENERAL: Final[Mapping[str, str]] = {"helo": "ehlo", "lhlo": "ehlo"}  # RFC 5321 §4.1.1.1, RFC 2033 §4.1: greetings


def action_of(*, reply: str = "", drop: bool = False, reset: bool = False, delay: float | None = None) -> Action:
    """The action that exactly one of these asks for; `reply` as on the wire: "CODE [ENHANCED] TEXT".

    Raises ConfigError that says what may be given.
    """
    if (bool(reply), drop, reset, delay is not None).count(True) != 1:
        raise ConfigError("give exactly one of reply, drop, reset and delay")
    if delay is not None:
        return Delay(delay)
    if not reply:
        return Drop(reset=reset)
    # RFC 5321 §4.2, RFC 2034 §4: code, enhanced code, text.
    match = re.fullmatch(r"([2-5]\d{2})(?: ([245]\.\d{1,3}\.\d{1,3}))?(?: (.*))?", reply)
    if match is None:
        raise ConfigError(f'{reply!r} is no reply: write it as it goes over the wire, "451 4.7.1 come back later"')
    code, enhanced, text = match[1], match[2] or "", match[3] or ""
    if enhanced and enhanced[0] != code[0]:
        # RFC 2034 §4: a success code goes with 2yz, a failure with 4yz or 5yz of its class; 3yz has none.
        raise ConfigError(f"{reply!r}: the first digits of {code} and {enhanced} have to agree (RFC 2034 §4)")
    return Respond(int(code), text, enhanced)


@dataclass(slots=True)
class Fault:
    """One scripted fault. Empty selectors fit everything; `account` and `text` are regular expressions without case.

    `account` meets the address at hand (recipient, login); `times` None means always; `skip` lets the first n pass.
    """

    action: Action
    protocol: str = ""
    site: str = ""
    stage: str = ""
    account: str = ""
    text: str = ""
    times: int | None = None
    skip: int = 0
    id: str = ""
    hits: int = 0
    seen: int = 0
    _account: re.Pattern[str] | None = field(default=None, repr=False)
    _text: re.Pattern[str] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Raises ConfigError for a selector that nothing will ever fit, or that is not a regular expression."""
        if self.protocol not in ("", *PROTOCOLS):
            raise ConfigError(f"fault: protocol {self.protocol!r} is not one of {', '.join(PROTOCOLS)}")
        known = _STAGES.get(self.protocol)
        if self.stage and known is not None and self.stage.lower() not in known:
            stages = ", ".join(sorted(known))
            raise ConfigError(f"fault: stage {self.stage!r} of {self.protocol} is not one of {stages}")
        self._account = _pattern("account", self.account)
        self._text = _pattern("text", self.text)

    def fits(self, protocol: str, site: str, stage: str, account: str, text: str) -> bool:
        """Whether this fault is meant for the moment described."""
        return (
            self.protocol in ("", protocol)
            and self.site in ("", site)
            and self.stage.lower() in ("", stage, _GENERAL.get(stage, stage))
            and (self._account is None or bool(self._account.search(account)))
            and (self._text is None or bool(self._text.search(text)))
        )


def _pattern(selector: str, expression: str) -> re.Pattern[str] | None:
    if not expression:
        return None
    try:
        return re.compile(expression, re.IGNORECASE)
    except re.error as error:
        raise ConfigError(f"fault: {selector} = {expression!r} is not a regular expression: {error}") from None


class Faults:
    """The faults in force, in the order they were added."""

    def __init__(self) -> None:
        self._faults: dict[str, Fault] = {}
        self._numbers = itertools.count(1)

    def add(self, fault: Fault) -> Fault:
        """Put a fault in force; gives it its id."""
        fault.id = fault.id or f"fault-{next(self._numbers)}"
        self._faults[fault.id] = fault
        return fault

    def remove(self, fault_id: str) -> bool:
        """Take one back; False where there is none of that id."""
        return self._faults.pop(fault_id, None) is not None

    def clear(self) -> None:
        """Take all back."""
        self._faults.clear()

    def __iter__(self) -> Iterator[Fault]:
        return iter(list(self._faults.values()))

    def __len__(self) -> int:
        return len(self._faults)

    def match(
        self, protocol: str, *, site: str = "", stage: str = "", account: str = "", text: str = ""
    ) -> Action | None:
        """The action of the first fault that fits and is not used up; counts the hit."""
        if not self._faults:  # the usual case, and on the path of every command
            return None
        for fault in tuple(self._faults.values()):  # a test may add one from another thread
            if fault.times is not None and fault.hits >= fault.times:
                continue
            if not fault.fits(protocol, site, stage, account, text):
                continue
            fault.seen += 1
            if fault.seen <= fault.skip:
                continue
            fault.hits += 1
            return fault.action
        return None
