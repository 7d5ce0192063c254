"""Local time as whole seconds: naive Europe/Paris wall-clock seconds since 1970, and the two hours that trouble it."""

from __future__ import annotations

import calendar
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt

Seconds = npt.NDArray[np.int64]
DAY = 86_400
HOUR = 3_600
_EPOCH = date(1970, 1, 1).toordinal()


def seconds(day: date) -> int:
    """Midnight of ``day``."""
    return (day.toordinal() - _EPOCH) * DAY


def as_datetime(values: npt.NDArray[Any]) -> npt.NDArray[np.datetime64]:
    """Seconds as numpy datetimes (naive)."""
    return values.astype("datetime64[s]")


def _last_sunday(year: int, month: int) -> date:
    last = date(year, month, calendar.monthrange(year, month)[1])
    return date.fromordinal(last.toordinal() - (last.weekday() + 1) % 7)


def spring_days(first: date, last: date) -> Seconds:
    """Midnights of the days in [first, last) on which 02:00-03:00 does not exist (EU rule)."""
    return _change_days(first, last, 3)


def autumn_days(first: date, last: date) -> Seconds:
    """Midnights of the days in [first, last) on which 02:00-03:00 comes twice (EU rule)."""
    return _change_days(first, last, 10)


def _change_days(first: date, last: date, month: int) -> Seconds:
    days = [_last_sunday(year, month) for year in range(first.year, last.year + 1)]
    return np.array([seconds(d) for d in days if first <= d < last], dtype=np.int64)


def avoid_clock_change(values: npt.NDArray[Any], first: date, last: date) -> Seconds:
    """Times moved one hour later where they fall in a missing or repeated hour: such times are only planted on purpose."""
    values = values.astype(np.int64)
    days = np.concatenate([spring_days(first, last), autumn_days(first, last)])
    inside = (values % DAY) // HOUR == 2
    inside &= np.isin(values - values % DAY, days)
    return np.where(inside, values + HOUR, values)


def is_summer_time(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Whether each local time is at +02:00; the repeated autumn hour counts as its first occurrence."""
    if len(values) == 0:
        return np.zeros(0, dtype=np.bool_)
    years = values.astype("datetime64[s]").astype("datetime64[Y]").astype(np.int64) + 1970
    summer = np.zeros(len(values), dtype=np.bool_)
    for year in np.unique(years):
        low_s = seconds(_last_sunday(int(year), 3)) + 2 * HOUR
        high_s = seconds(_last_sunday(int(year), 10)) + 3 * HOUR
        summer |= (values >= low_s) & (values < high_s)
    return summer
