"""The Date field's value as a point in time (RFC 5322 §3.3, obsolete forms of §4.3). Tolerant: no date gives None."""

import functools
import re
from datetime import date
from typing import Final, NamedTuple

_MAX_DATE: Final = 200  # characters looked at
_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1
    )
}
_DAYS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_EPOCH: Final = date(1970, 1, 1).toordinal()
_FIRST: Final = (date.min.toordinal() - _EPOCH) * 86_400  # of the years 1 to 9999 of UTC, which readers can write
_LAST: Final = (date.max.toordinal() - _EPOCH + 1) * 86_400 - 1
# RFC 5322 §4.3: zones by name; the military letters mean -0000, since RFC 822 had them wrong.
_ZONES: Final = {"est": -300, "edt": -240, "cst": -360, "cdt": -300, "mst": -420, "mdt": -360, "pst": -480, "pdt": -420}
_DATE: Final = re.compile(
    r"[^\d]{0,40}?(\d{1,2})[\s-]+([A-Za-z]{3})[a-z]*\.?,?[\s-]+(\d{2,5})"
    r"(?:,?\s+(\d{1,2})\s*[:.]\s*(\d{1,2})(?:\s*[:.]\s*(\d{1,2})(?:\.\d+)?)?(?:\s*(?:([+-])(\d{2}):?(\d{2})|([A-Za-z]+)))?)?"
)
_USUAL: Final = re.compile(  # nearly every date; as `_DATE`, in a fifth of the time
    r"(?:[A-Z][a-z]{2}, )?([0-9]{1,2}) ([A-Z][a-z]{2}) ([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2})"
    r" ([+-])([0-9]{2})([0-9]{2})()"
)
_ASCTIME: Final = re.compile(  # "Sat Nov 21 03:04:22 [zone] 2026", written by many scripts
    r"[^\d]{0,40}?([A-Za-z]{3})\s+(\d{1,2})\s+(\d{1,2}):(\d{1,2}):(\d{1,2})(?:\s+([A-Za-z]+))?\s+(\d{4})"
)


class ZonedDate(NamedTuple):
    """`at`: POSIX seconds; `zone`: seconds east of UTC as written: `at + zone` shows the sender's calendar day."""

    at: float
    zone: int


def parse_date(text: str) -> ZonedDate | None:
    """The date that `text` names, or None."""
    return _parsed(text[:_MAX_DATE])


@functools.lru_cache(8)  # what is written in one second bears one date
def _parsed(text: str) -> ZonedDate | None:
    if match := _USUAL.match(text) or _DATE.match(text):
        day, month, year, hour, minute, second, sign, zone_hours, zone_minutes, name = match.groups()
        zone = (int(zone_hours) * 60 + int(zone_minutes)) * (-1 if sign == "-" else 1) if sign else _zone(name)
    elif match := _ASCTIME.match(text):
        month, day, hour, minute, second, name, year = match.groups()
        zone = _zone(name)
    else:
        return None
    number = _MONTHS.get(month.lower())
    # RFC 5322 §3.3: a zone's minutes stay below 60; 99 hours are still more than any zone, so the day stays near.
    if number is None or not 1 <= int(day) <= _DAYS[number - 1] or abs(zone) >= 100 * 60:
        return None
    full_year, hours, minutes, seconds = _year(year), int(hour or 0), int(minute or 0), int(second or 0)
    if full_year < 1 or hours > 24 or minutes > 59 or seconds > 60:
        return None
    days = date(full_year, number, 1).toordinal() - _EPOCH + int(day) - 1  # 29 February may be 1 March
    at = ((days * 24 + hours) * 60 + minutes - zone) * 60 + seconds
    return ZonedDate(float(min(max(at, _FIRST), _LAST)), zone * 60)


def _zone(name: str | None) -> int:
    return _ZONES.get(name.lower(), 0) if name else 0


def _year(digits: str) -> int:
    """RFC 5322 §4.3: two digits below 50 are of this century, other two and three digits count from 1900."""
    year = int(digits)
    if len(digits) == 2:
        return year + (2000 if year < 50 else 1900)
    return year + 1900 if len(digits) == 3 else min(year, 9999)
