"""IMAP's dates: `date-time` of INTERNALDATE, `date` of SEARCH. Pure; no clock.

Invariant: internal dates go out in UTC with "+0000", so that the same instant reads the same on every machine.
"""

import re
from datetime import UTC, date, datetime, timedelta, timezone
from functools import lru_cache
from typing import Final

from mailsandbox.access.imap.responses import GrammarError

MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_NUMBER_OF: Final = {name.lower(): number for number, name in enumerate(MONTHS, 1)}
_DATE: Final = re.compile(r"([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4})")  # RFC 9051 §9 date-text
_DATE_TIME: Final = re.compile(
    r"( [0-9]|[0-9]{1,2})-([A-Za-z]{3})-([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+-])([0-9]{2})([0-9]{2})"
)
_DAY: Final = 86_400


def parse_date(text: str) -> date:
    """ "1-Feb-1994". Raises GrammarError."""
    found = _DATE.fullmatch(text)
    try:
        if found is None:
            raise ValueError(text)
        return date(int(found[3]), _NUMBER_OF[found[2].lower()], int(found[1]))
    except (ValueError, KeyError):
        raise GrammarError("Invalid date") from None


def parse_date_time(text: str) -> float:
    """ "17-Jul-1996 02:44:25 -0700" as POSIX seconds. Raises GrammarError."""
    found = _DATE_TIME.fullmatch(text)
    try:
        if found is None:
            raise ValueError(text)
        day, month, year, hour, minute, second, sign, zone_hours, zone_minutes = found.groups()
        offset = timedelta(hours=int(zone_hours), minutes=int(zone_minutes))
        zone = timezone(-offset if sign == "-" else offset)
        # RFC 5322 §3.3 allows second 60; POSIX time does not have it.
        moment = datetime(
            int(year), _NUMBER_OF[month.lower()], int(day), int(hour), int(minute), min(int(second), 59), tzinfo=zone
        )
        return moment.timestamp()
    except (ValueError, KeyError, OverflowError):
        raise GrammarError("Invalid date-time") from None


@lru_cache(maxsize=4_096)
def _day(number: int) -> bytes:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=number)
    return b"%2d-%b-%04d" % (moment.day, MONTHS[moment.month - 1].encode(), moment.year)


def write_date_time(posix: float) -> bytes:
    """With quotes, as RFC 9051 §9 date-time."""
    seconds = int(posix // 1)
    day, rest = divmod(seconds, _DAY)
    return b'"%b %02d:%02d:%02d +0000"' % (_day(day), rest // 3600, rest // 60 % 60, rest % 60)


def day_start(day: date) -> float:
    """POSIX seconds of its first moment, "disregarding time and timezone" (RFC 9051 §6.4.4) being UTC here."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
