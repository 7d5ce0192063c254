"""Local clock times to UTC and back, as DuckDB SQL over every change of a zone's offset (taken from the IANA database that Python reads,
not written here, and not DuckDB's own: one process has one time).

A naive time in an hour that a change repeats is its first occurrence, and flagged; one in an hour that a change skips does not exist:
the record is quarantined. Any zone, in either hemisphere, with any number of changes a year (Cairo had four in 2010).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import duckdb

FIRST_YEAR, LAST_YEAR = 1970, 2250
NEVER = 2**62  # microseconds: no time reaches it
_SPAN_BITS = 43  # a span of time is 2^43 microseconds, 102 days: in most zones it holds one change at the most
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LOOK_EVERY = timedelta(days=6)  # no zone changed twice within this time since 1970 and came back (a test looks)


def micros(moment: datetime) -> int:
    """Microseconds since 1970, UTC."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def span_of(moment: int) -> int:
    """Number of the span of time that holds ``moment`` (microseconds since 1970)."""
    return moment >> _SPAN_BITS


_SPANS = span_of(micros(datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC))) + 1


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
    found = []
    low = datetime(FIRST_YEAR - 1, 12, 30, tzinfo=UTC)
    first = before = _offset(low, zone)
    while low.year <= LAST_YEAR:
        high = low + _LOOK_EVERY
        after = _offset(high, zone)
        if after != before:
            found.append(_between(low, high, zone))
        low, before = high, after
    return first // timedelta(microseconds=1), tuple(found)


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


def _spans(timezone: str, local: bool) -> tuple[int, str]:
    """(most changes of one span, SQL list of a struct per span of time): ``base``, the offset in force as it begins, and per change
    ``at`` (from when), ``shown`` (see ``Change``) and ``offset`` (the new one); spans of local time, or of UTC."""
    base, every = changes(timezone)
    touching: list[list[Change]] = [[] for _ in range(_SPANS)]
    begun = [base] * _SPANS
    for c in every:
        moments = (c.begins, c.shown) if local else (c.at, c.at)
        first, last = (max(0, min(span_of(m), _SPANS - 1)) for m in (min(moments), max(moments)))
        for span in range(first, last + 1):
            touching[span].append(c)
        begun[first + 1 :] = [c.after] * (_SPANS - first - 1)
        # a span that begins within what the change skips or repeats holds the change too, and begins before it
        begun[first + 1 : last + 1] = [c.before] * (last - first)
    most = max(len(t) for t in touching)
    structs = []
    for offset, held in zip(begun, touching, strict=True):
        fields = [f"'base': {offset}"]
        for i in range(most):
            at, shown, after = NEVER, NEVER, NEVER
            if i < len(held):
                at, shown, after = (held[i].begins if local else held[i].at), held[i].shown, held[i].after
            fields.append(f"'at_{i}': {at}, 'shown_{i}': {shown}, 'offset_{i}': {after}")
        structs.append("{" + ", ".join(fields) + "}")
    kind = "".join(f", at_{i} bigint, shown_{i} bigint, offset_{i} bigint" for i in range(most))
    return most, f"[{', '.join(structs)}]::struct(base bigint{kind})[]"


def install(connection: duckdb.DuckDBPyConnection, timezone: str) -> None:
    """Define the macros of a time zone: ``clock_span(t)`` looks up the span of time of a TIMESTAMP; with it ``clock_missing(t, span)``,
    ``clock_repeated(t, span)`` and ``clock_utc(t, span)`` (TIMESTAMP -> TIMESTAMPTZ); ``clock_utc_again(t, span)`` is the second occurrence of a
    repeated time, null for others; ``clock_local(z)`` is TIMESTAMPTZ -> TIMESTAMP.

    A query takes ``clock_span`` once per column, in a step of its own: each mention copies every span into the plan (milliseconds).
    """
    connection.execute("set timezone = 'UTC'")
    count = {}
    for name, local in (("clock_spans", True), ("clock_utc_spans", False)):
        # written out: a list as a bound parameter makes DuckDB import pandas (3 s)
        count[name], spans = _spans(timezone, local)
        connection.execute(f"set variable {name} = {spans}")

    def looked_up(moment: str, name: str) -> str:
        number = f"least(greatest(epoch_us({moment}) >> {_SPAN_BITS}, 0), {_SPANS - 1})"
        return f"list_extract(getvariable('{name}'), {number} + 1)"

    def offset(moment: str, name: str) -> str:
        latest_first = [
            f"when epoch_us({moment}) >= span.at_{i} then span.offset_{i} " for i in reversed(range(count[name]))
        ]
        return f"case {''.join(latest_first)}else span.base end" if latest_first else "span.base"

    def any_of(condition: str) -> str:
        each = " or ".join(condition.format(i=i) for i in range(count["clock_spans"]))
        return f"({each})" if each else "(t is null and null)"

    repeats = (
        f"when epoch_us(t) >= span.shown_{i} and epoch_us(t) < span.at_{i} then span.offset_{i} "
        for i in range(count["clock_spans"])
    )
    again = f"case {''.join(repeats)}end" if count["clock_spans"] else "null"
    for name, sql in (
        ("span(t)", looked_up("t", "clock_spans")),
        ("missing(t, span)", any_of("epoch_us(t) >= span.at_{i} and epoch_us(t) < span.shown_{i}")),
        ("repeated(t, span)", any_of("epoch_us(t) >= span.shown_{i} and epoch_us(t) < span.at_{i}")),
        ("utc(t, span)", f"make_timestamptz(epoch_us(t) - ({offset('t', 'clock_spans')}))"),
        ("utc_again(t, span)", f"make_timestamptz(epoch_us(t) - ({again}))"),
        ("local_in(z, span)", f"make_timestamp(epoch_us(z) + ({offset('z', 'clock_utc_spans')}))"),
        ("local(z)", f"clock_local_in(z, {looked_up('z', 'clock_utc_spans')})"),
    ):
        connection.execute(f"create or replace macro clock_{name} as {sql}")
