"""Local clock times to UTC and back, as DuckDB SQL over every change of a zone's offset (taken from the IANA database that Python reads,
not written here, and not DuckDB's own: one process has one time).

A naive time in an hour that a change repeats is its first occurrence, and flagged; one in an hour that a change skips does not exist:
the record is quarantined. Any zone, in either hemisphere, with any number of changes a year (Cairo had four in 2010).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb

from estuaire.base.sql import Sql, Statements, literal

STATEMENTS = Statements(Path(__file__).parent / "sql" / "clock")

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


@lru_cache(maxsize=32)
def _spans(timezone: str, local: bool) -> tuple[int, Sql]:
    """(most changes of one span, SQL that sets the variable of the spans): ``clock_spans`` of local time, ``clock_utc_spans`` of UTC."""
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
    spans = []
    for offset, held in zip(begun, touching, strict=True):
        told = [((c.begins if local else c.at), c.shown, c.after) for c in held]
        spans.append((offset, [*told, *[(NEVER, NEVER, NEVER)] * (most - len(told))]))
    keys = [{k: literal(f"{k}_{i}") for k in ("at", "shown", "offset")} for i in range(most)]
    variable = "clock_spans" if local else "clock_utc_spans"
    return most, STATEMENTS("spans", variable=variable, spans=spans, keys=keys, most=most)


def install(connection: duckdb.DuckDBPyConnection, timezone: str) -> None:
    """Define the macros of a time zone: ``clock_span(t)`` looks up the span of time of a TIMESTAMP; with it ``clock_missing(t, span)``,
    ``clock_repeated(t, span)`` and ``clock_utc(t, span)`` (TIMESTAMP -> TIMESTAMPTZ); ``clock_utc_again(t, span)`` is the second occurrence of a
    repeated time, null for others; ``clock_local(z)`` is TIMESTAMPTZ -> TIMESTAMP.

    A query takes ``clock_span`` once per column, in a step of its own: each mention copies every span into the plan (milliseconds).
    """
    connection.execute("set timezone = 'UTC'")
    # written out: a bound parameter makes DuckDB import pandas (3 s)
    local_changes, spans = _spans(timezone, True)
    utc_changes, utc_spans = _spans(timezone, False)
    connection.execute(spans)
    connection.execute(utc_spans)
    connection.execute(
        STATEMENTS(
            "macros", local_changes=local_changes, utc_changes=utc_changes, bits=_SPAN_BITS, last_span=_SPANS - 1
        )
    )
