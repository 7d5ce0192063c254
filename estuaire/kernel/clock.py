"""Local clock times to UTC and back, as arrays over every change of a zone's offset (taken from the IANA database that Python reads, not
written here, and not DuckDB's own: one process has one time).

A naive time in an hour that a change repeats is its first occurrence, and flagged; one in an hour that a change skips does not exist:
the record is quarantined. Any zone, in either hemisphere, with any number of changes a year (Cairo had four in 2010).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

Micros = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

FIRST_YEAR, LAST_YEAR = 1970, 2250
_NEVER = 2**62  # microseconds: no time reaches it
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LOOK_EVERY = timedelta(days=6)  # no zone changed twice within this time since 1970 and came back (a test looks)


def micros(moment: datetime) -> int:
    """Microseconds since 1970, UTC."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def moment(since: int) -> datetime:
    """The moment, UTC, so many microseconds after 1970."""
    return _EPOCH + timedelta(microseconds=since)


@dataclass(frozen=True)
class Change:
    """The offset from UTC changes ``at`` (UTC) from ``before`` to ``after``; all in microseconds."""

    at: int
    before: int
    after: int

    @property
    def begins(self) -> int:
        """Local time from which the new offset holds: of what is repeated, the first occurrence has the old one."""
        return self.at + self.before

    @property
    def shown(self) -> int:
        """Local time that clocks show after the change. Later than ``begins``: between the two, times are skipped; earlier: repeated."""
        return self.at + self.after


def _offset(moment: datetime, zone: ZoneInfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


@lru_cache(maxsize=16)
def changes(timezone: str) -> tuple[int, tuple[Change, ...]]:
    """(offset of the zone before the first change, every change of it from 1970 to 2250 in their order), in microseconds."""
    zone = ZoneInfo(timezone)
    transitions = []
    low = datetime(FIRST_YEAR - 1, 12, 30, tzinfo=UTC)
    first = before = _offset(low, zone)
    while low.year <= LAST_YEAR:
        high = low + _LOOK_EVERY
        after = _offset(high, zone)
        if after != before:
            transitions.append(_between(low, high, zone))
        low, before = high, after
    return first // timedelta(microseconds=1), tuple(transitions)


def _between(low: datetime, high: datetime, zone: ZoneInfo) -> Change:
    """The change in (low, high], to the second."""
    before = _offset(low, zone)
    while high - low > timedelta(seconds=1):
        middle = (low + (high - low) // 2).replace(microsecond=0)
        if _offset(middle, zone) == before:
            low = middle
        else:
            high = middle
    micro = timedelta(microseconds=1)
    return Change(micros(high), before // micro, _offset(high, zone) // micro)


@dataclass(frozen=True)
class Told:
    """What local times mean: ``utc`` of each (of one that comes twice, the first), whether no such time was, whether it came twice; ``again``: the
    second one of those that did."""

    utc: Micros
    missing: Mask
    repeated: Mask
    again: Micros


class Clock:
    """The clock of a time zone; times are microseconds since 1970, of the local clock or of UTC."""

    def __init__(self, timezone: str) -> None:
        first, every = changes(timezone)
        self._at = np.array([c.at for c in every], np.int64)
        # one more that never comes: what follows the last
        self._begins = np.array([*(c.begins for c in every), _NEVER], np.int64)
        self._shown = np.array([*(c.shown for c in every), _NEVER], np.int64)
        self._offsets = np.array([first, *(c.after for c in every)], np.int64)

    def told(self, local: Micros) -> Told:
        """What local times mean."""
        begun = np.searchsorted(self._begins, local, side="right")
        offset = self._offsets[begun]
        missing = (local < self._shown[begun - 1]) & (begun > 0)
        repeated = local >= self._shown[begun]
        again = local - self._offsets[np.minimum(begun + 1, len(self._offsets) - 1)]
        return Told(local - offset, missing, repeated, again)

    def local(self, utc: Micros) -> Micros:
        """What the clock showed."""
        shown: Micros = utc + self._offsets[np.searchsorted(self._at, utc, side="right")]
        return shown


@lru_cache(maxsize=32)
def clock_of(timezone: str) -> Clock:
    """The clock of a time zone, made once."""
    return Clock(timezone)
