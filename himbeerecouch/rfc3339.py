"""Times as documents carry them: RFC 3339, in UTC."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(\.\d+)?(?:[Zz]|([+-])(\d\d):(\d\d))",
    re.ASCII,
)


def parse(text: str) -> float:
    """Give the Unix time in seconds that ``text`` stands for.

    Takes any offset, any number of digits in the fraction, and a leap second, as RFC 3339 (section 5.6) has it.
    Raises ValueError for everything else, a time without an offset included: nobody could say when that is.
    """
    found = _TIME.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f"not an RFC 3339 time: {text!r:.60}")
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    fraction, sign, offset_hours, offset_minutes = found.groups()[6:]
    leap = second == 60  # datetime knows no leap seconds, and Unix time gives them the number of the next second
    moment = datetime(year, month, day, hour, minute, 59 if leap else second, tzinfo=timezone.utc)
    if sign is not None:
        if int(offset_hours) > 23 or int(offset_minutes) > 59:
            raise ValueError(f"not an RFC 3339 offset: {text!r:.60}")
        offset_s = (int(offset_hours) * 60 + int(offset_minutes)) * 60
    else:
        offset_s = 0
    whole = (moment - _EPOCH).total_seconds() + leap - (-offset_s if sign == "-" else offset_s)
    return whole + (float(fraction) if fraction else 0.0)


def render(unix: float) -> str:
    """Give ``unix`` (seconds) as RFC 3339 text in UTC, with milliseconds and a Z.

    Raises ValueError for what is no time between the years 1 and 9999.
    """
    try:
        moment = _EPOCH + timedelta(milliseconds=round(unix * 1000))
    except (OverflowError, ValueError) as e:
        raise ValueError(f"not a time: {unix!r}") from e
    return moment.strftime(f"{moment.year:04}-%m-%dT%H:%M:%S.{moment.microsecond // 1000:03}Z")
