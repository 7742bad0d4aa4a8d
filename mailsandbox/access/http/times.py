"""Times as the interface writes and reads them: RFC 3339 in UTC, and durations like "90s"."""

import re
from datetime import UTC, datetime
from typing import Final

from mailsandbox.access.http.problems import invalid

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")
_SECONDS: Final = {"ms": 0.001, None: 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


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
    """A duration: a number with a unit (ms, s, m, h, d) or without (seconds). Raises Problem 422."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise invalid(f"{text!r} is no duration: write 90s, 5m, 4h, 2d", where=where)
    return float(match[1]) * _SECONDS[match[2]]
