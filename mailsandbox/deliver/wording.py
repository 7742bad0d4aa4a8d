"""What a delivery status notification says to people: its subject and its explanation. Pure."""

import textwrap
from collections.abc import Sequence
from typing import Final

from mailsandbox.mailqueue.model import Action, RecipientReport
from mailsandbox.message.trace import format_date

_WIDTH: Final = 74  # columns; mail programs show up to 78 without breaking

MAX_TOLD: Final = 100  # recipients named to people; the second part names everybody

_SUBJECTS: Final = {
    Action.FAILED: "Your message could not be delivered",
    Action.DELAYED: "Your message is delayed",
    Action.DELIVERED: "Your message has been delivered",
    Action.RELAYED: "Your message has been relayed",
    Action.EXPANDED: "Your message has been sent on to several addresses",
}
_OPENINGS: Final = {
    Action.FAILED: "could not be delivered to the addresses below. It will not be tried again.",
    Action.DELAYED: (
        "has not been delivered yet to the addresses below. "
        "You need not send it again: it is still being tried, until the time given."
    ),
    Action.DELIVERED: "has been delivered to the addresses below.",
    Action.RELAYED: (
        "has been handed on for the addresses below, to a server that cannot confirm deliveries. "
        "You will hear of it again only if it fails there."
    ),
    Action.EXPANDED: "has been delivered to the addresses below, which sent it on to others.",
}


def subject_of(reports: Sequence[RecipientReport]) -> str:
    """The subject for these reports; the gravest action decides."""
    return _SUBJECTS[_gravest(reports)]


def explanation(reports: Sequence[RecipientReport], *, hostname: str, queue_id: str, arrived: str) -> str:
    """The text, with CRLF line ends."""
    paragraphs = [f"This is the mail system at {hostname} (notification {queue_id})."]
    for action in Action:
        told = [report for report in reports if report.action is action]
        if told:
            paragraphs.append(_fill(f"Your message of {arrived} {_OPENINGS[action]}"))
            paragraphs.extend(_about(report) for report in told[:MAX_TOLD])
            if len(told) > MAX_TOLD:
                paragraphs.append(f"and {len(told) - MAX_TOLD} more, whom the report below has all.")
    return "\r\n\r\n".join(paragraphs).replace("\n", "\r\n").replace("\r\r\n", "\r\n") + "\r\n"


def _about(report: RecipientReport) -> str:
    said = f"{report.remote} said: {report.reply}" if report.remote else str(report.reply)
    lines = [f"<{_printable(report.recipient.address)}>", _fill(_printable(said), indent="    ")]
    if report.action is Action.FAILED and report.status == "5.4.7":
        lines.append(_fill("The time for delivering it is over; this was the last answer.", indent="    "))
    if report.action is Action.DELAYED and report.reply.positive:
        lines.append(_fill("It has been handed on by now, but not in the time that you gave.", indent="    "))
    if report.retry_until is not None:
        lines.append(f"    tried until {format_date(report.retry_until)}")
    return "\n".join(lines)


def _fill(text: str, *, indent: str = "") -> str:
    filled = textwrap.fill(
        text, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )
    return "\n".join(line[:900] for line in filled.split("\n"))  # one word without blanks can be as long as a reply


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


def _gravest(reports: Sequence[RecipientReport]) -> Action:
    actions = {report.action for report in reports}
    return next(action for action in Action if action in actions)
