"""Scripted faults: what shall go wrong, where and how often. Pure matching; the stations act on what they are told.

A station asks `match` before it acts, at stages it names itself; the first fault that fits is counted and returned.

    protocol  stages asked
    smtp      connect, ehlo, starttls, auth, mail, rcpt, data, message (after the end of data), bdat, quit
    relay     connect, mail, rcpt, data, message       (the relay's own side: before it sends)
    pop3      connect, and each command's name in lower case
    imap      connect, and each command's name in lower case
    http      the path's first segment below /v1 ("messages", "changes", ...)
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

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
        """Raises ConfigError where a selector is not a regular expression."""
        self._account = _pattern("account", self.account)
        self._text = _pattern("text", self.text)

    def fits(self, protocol: str, site: str, stage: str, account: str, text: str) -> bool:
        """Whether this fault is meant for the moment described."""
        return (
            self.protocol in ("", protocol)
            and self.site in ("", site)
            and self.stage.lower() in ("", stage)
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
