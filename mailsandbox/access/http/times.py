"""Times as the interface writes and reads them: RFC 3339 in UTC, and durations like "90s"."""

from datetime import UTC, datetime

from mailsandbox.access.http.problems import invalid
from mailsandbox.clock import period


def rfc3339(timestamp: float) -> str:
    """RFC 3339 §5.6 with microseconds: "2026-11-21T03:00:00.000000Z"."""
    return datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def instant(text: str, *, where: str) -> float:
    """POSIX seconds of an RFC 3339 time or of a number of seconds. Raises Problem 422."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+"))  # a "+" of a zone that came unescaped
    except ValueError:
        raise invalid(f"{text!r} is neither an RFC 3339 time nor a number of seconds", where=where) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def seconds(text: str, *, where: str) -> float:
    """A period as `clock.period` reads it, or a number of seconds. Raises Problem 422."""
    try:
        return period(f"{text}s" if text.strip()[-1:].isdecimal() else text)
    except ValueError as error:
        raise invalid(str(error), where=where) from None
