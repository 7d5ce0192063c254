"""Local clock times to UTC, as DuckDB SQL over a zone's yearly changes (taken from the IANA database, not written here).

A naive time in the hour that the autumn change repeats is its first occurrence, and flagged; one in the hour that the spring change
skips does not exist: the record is quarantined.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import duckdb

FIRST_YEAR, LAST_YEAR = 1970, 2250
_EPOCH = datetime(1970, 1, 1)


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _change(zone: ZoneInfo, low: datetime, high: datetime) -> datetime:
    """The UTC minute in (low, high] at which the zone's offset changes; the offset differs between the two."""
    before = low.replace(tzinfo=UTC).astimezone(zone).utcoffset()
    while high - low > timedelta(minutes=1):
        middle = low + (high - low) // 2
        middle = middle.replace(second=0, microsecond=0)
        if middle.replace(tzinfo=UTC).astimezone(zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high


@lru_cache(maxsize=16)
def yearly_changes(timezone: str) -> tuple[list[int], list[int], list[int], list[int]]:
    """Per year: start of the skipped hour (local, microseconds), end of the repeated hour (local), winter and summer offsets.

    A year without both changes gets a skipped hour that no time reaches.
    """
    zone = ZoneInfo(timezone)
    never = 2**62
    skip, repeat, winter, summer = [], [], [], []
    for year in range(FIRST_YEAR, LAST_YEAR + 1):
        changes: list[tuple[datetime, timedelta, timedelta]] = []
        months = [datetime(year, month, 1) for month in range(1, 13)] + [datetime(year + 1, 1, 1)]
        offsets = [m.replace(tzinfo=UTC).astimezone(zone).utcoffset() or timedelta() for m in months]
        first = offsets[0]
        for i in range(12):
            if offsets[i] != offsets[i + 1]:
                changes.append((_change(zone, months[i], months[i + 1]), offsets[i], offsets[i + 1]))
        forward = [c for c in changes if c[2] > c[1]]
        back = [c for c in changes if c[2] < c[1]]
        if len(forward) == 1 and len(back) == 1 and forward[0][0] < back[0][0]:
            skip.append(_micros(forward[0][0] + forward[0][1]))
            repeat.append(_micros(back[0][0] + back[0][1]))
            winter.append(forward[0][1] // timedelta(microseconds=1))
            summer.append(forward[0][2] // timedelta(microseconds=1))
        else:
            skip.append(never)
            repeat.append(never)
            winter.append(first // timedelta(microseconds=1))
            summer.append(first // timedelta(microseconds=1))
    return skip, repeat, winter, summer


def install(connection: duckdb.DuckDBPyConnection, timezone: str) -> None:
    """Define the macros of a time zone: ``clock_year(t)`` looks a TIMESTAMP's year up; with it ``clock_missing(t, year)``,
    ``clock_repeated(t, year)`` and ``clock_utc(t, year)`` (TIMESTAMP -> TIMESTAMPTZ); ``clock_local(z)`` is TIMESTAMPTZ -> TIMESTAMP.

    A query takes ``clock_year`` once per column, in a step of its own: each mention copies every year into the plan (milliseconds).
    """
    years = ", ".join(
        f"{{'skip': {skip}, 'skip_end': {skip + summer - winter}, 'repeat': {repeat - (summer - winter)}, 'repeat_end': {repeat}, "
        f"'winter': {winter}, 'summer': {summer}}}"
        for skip, repeat, winter, summer in zip(*yearly_changes(timezone), strict=True)
    )
    kind = "struct(skip bigint, skip_end bigint, repeat bigint, repeat_end bigint, winter bigint, summer bigint)[]"
    # written out: a list as a bound parameter makes DuckDB import pandas (3 s)
    connection.execute(f"set variable clock_years = [{years}]::{kind}")
    connection.execute("set timezone = 'UTC'")
    for name, sql in (
        (
            "year(t)",
            f"list_extract(getvariable('clock_years'), (least(greatest(year(t), {FIRST_YEAR}), {LAST_YEAR}) - {FIRST_YEAR - 1})::int)",
        ),
        ("missing(t, year)", "epoch_us(t) >= year.skip and epoch_us(t) < year.skip_end"),
        ("repeated(t, year)", "epoch_us(t) < year.repeat_end and epoch_us(t) >= year.repeat"),
        (
            "utc(t, year)",
            "make_timestamptz(epoch_us(t) - case when epoch_us(t) >= year.skip and epoch_us(t) < year.repeat_end "
            "then year.summer else year.winter end)",
        ),
        ("local(z)", f"timezone('{timezone}', z)"),
    ):
        connection.execute(f"create or replace macro clock_{name} as {sql}")
