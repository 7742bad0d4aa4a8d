"""Tells a client that a long command is still being worked on (RFC 9585).

Invariant: what is sent is one whole untagged response, so it can stand between any two others.
"""

import asyncio
from typing import TYPE_CHECKING, Final

from mailsandbox.access.imap.responses import quote

if TYPE_CHECKING:
    from mailsandbox.access.imap.session import Session

INTERVAL: Final = 10.0  # seconds; RFC 9585 §3: not too often, and before clients give up (many after 30)


class Progress:
    """One command's reports."""

    __slots__ = ("_session", "_timer")

    def __init__(self, session: "Session") -> None:
        self._session = session
        self._timer = asyncio.get_running_loop().call_later(INTERVAL, self.tell)

    def tell(self) -> None:
        """Send one, and come back. How far it is is not known: RFC 9585 §4 allows NIL."""
        session = self._session
        session.say(b"OK [INPROGRESS (%b NIL NIL)] Still working" % quote(session.tag))
        session.rim.flush()
        self._timer = asyncio.get_running_loop().call_later(INTERVAL, self.tell)

    def cancel(self) -> None:
        """The command is done."""
        self._timer.cancel()


def report(session: "Session") -> Progress:
    """Begin; the first report comes after INTERVAL."""
    return Progress(session)
