"""Local clock times to UTC, against Python's zoneinfo for every hour of nine years."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import TZPATH, ZoneInfo, available_timezones

import duckdb
import pyarrow as pa
import pytest
import tzdata

from estuaire.kernel import clock

ZONES = ("Europe/Paris", "America/New_York")


@pytest.fixture(params=ZONES)
def zoned(request: pytest.FixtureRequest) -> Iterator[tuple[ZoneInfo, duckdb.DuckDBPyConnection]]:
    with duckdb.connect(config={"threads": 1}) as connection:
        clock.install(connection, request.param)
        yield ZoneInfo(request.param), connection


def _hours() -> list[datetime]:
    start, end = datetime(2019, 1, 1), datetime(2028, 1, 1)
    return [start + timedelta(hours=h) for h in range((end - start) // timedelta(hours=1))]


def _exists(local: datetime, zone: ZoneInfo) -> bool:
    return local.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None) == local


def test_every_hour_of_nine_years_is_the_utc_hour_of_the_iana_database(
    zoned: tuple[ZoneInfo, duckdb.DuckDBPyConnection],
) -> None:
    zone, connection = zoned
    rows = connection.execute(
        "select t, clock_missing(t, clock_span(t)), clock_repeated(t, clock_span(t)), epoch_us(clock_utc(t, clock_span(t))), clock_local(clock_utc(t, clock_span(t))) from "
        "(select unnest(range(timestamp '2019-01-01', timestamp '2028-01-01', interval 1 hour)) as t)"
    ).fetchall()
    assert [r[0] for r in rows] == _hours()
    skipped = repeated = 0
    for local, missing, twice, micros, back in rows:
        if not _exists(local, zone):
            assert missing
            skipped += 1
            continue
        first = local.replace(tzinfo=zone, fold=0)
        assert not missing
        assert twice == (first.utcoffset() != local.replace(tzinfo=zone, fold=1).utcoffset())
        repeated += twice
        # of a repeated hour the first occurrence (fold 0) is taken
        assert micros == int(first.timestamp()) * 1_000_000
        assert back == local
    assert (skipped, repeated) == (9, 9)  # one of each a year: the test looked at something


@pytest.mark.parametrize(
    ("local", "missing", "repeated"),
    [
        ("2025-03-30 01:59:59.999999", False, False),
        ("2025-03-30 02:00:00", True, False),
        ("2025-03-30 02:59:59.999999", True, False),
        ("2025-03-30 03:00:00", False, False),
        ("2025-10-26 01:59:59.999999", False, False),
        ("2025-10-26 02:00:00", False, True),
        ("2025-10-26 02:59:59.999999", False, True),
        ("2025-10-26 03:00:00", False, False),
        ("1975-07-01 12:00:00", False, False),  # France had no summer time yet
        ("1850-01-01 00:00:00", False, False),
        ("2249-07-01 12:00:00", False, False),
        ("9999-12-31 23:59:59", False, False),
    ],
)
def test_paris_changes_at_two_and_at_three(local: str, missing: bool, repeated: bool) -> None:
    with duckdb.connect(config={"threads": 1}) as connection:
        clock.install(connection, "Europe/Paris")
        row = connection.execute(
            "select clock_missing(t, clock_span(t)), clock_repeated(t, clock_span(t)), clock_utc(t, clock_span(t)) is not null from (select ?::timestamp as t)",
            [local],
        ).fetchone()
    assert row == (missing, repeated, True)


def test_paris_before_and_after_the_hour_that_comes_twice() -> None:
    with duckdb.connect(config={"threads": 1}) as connection:
        clock.install(connection, "Europe/Paris")
        moments = [
            connection.execute(
                "select clock_utc(t, clock_span(t))::varchar from (select ?::timestamp as t)", [t]
            ).fetchone()
            for t in ("2025-10-26 01:30:00", "2025-10-26 02:30:00", "2025-10-26 03:30:00", "2025-01-15 12:00:00")
        ]
    assert moments == [
        ("2025-10-25 23:30:00+00",),
        ("2025-10-26 00:30:00+00",),
        ("2025-10-26 02:30:00+00",),
        ("2025-01-15 11:00:00+00",),
    ]


def test_nothing_stays_nothing() -> None:
    with duckdb.connect(config={"threads": 1}) as connection:
        clock.install(connection, "Europe/Paris")
        row = connection.execute(
            "select clock_missing(t, clock_span(t)), clock_repeated(t, clock_span(t)), clock_utc(t, clock_span(t)), clock_local(null::timestamptz) "
            "from (select null::timestamp as t)"
        ).fetchone()
    assert row == (None, None, None, None)


@pytest.mark.parametrize("timezone", ["UTC", "Indian/Reunion"])
def test_a_zone_without_summer_time_skips_and_repeats_nothing(timezone: str) -> None:
    with duckdb.connect(config={"threads": 1}) as connection:
        clock.install(connection, timezone)
        row = connection.execute(
            "select count(*) filter (where clock_missing(t, clock_span(t)) or clock_repeated(t, clock_span(t))), count(*), max(clock_utc(t, clock_span(t)))::varchar "
            "from (select unnest(range(timestamp '2025-01-01', timestamp '2026-01-01', interval 1 hour)) as t)"
        ).fetchone()
    last = datetime(2025, 12, 31, 23, tzinfo=ZoneInfo(timezone)).astimezone(UTC)
    assert row == (0, 8760, f"{last:%Y-%m-%d %H:%M:%S}+00")


# ------------------------------------------------------------------------------------------------ every zone there is


def _zones() -> dict[bytes, str]:
    """Zones of the database that differ: many names are links to one zone."""
    found: dict[bytes, str] = {}
    for name in sorted(available_timezones()):
        for folder in (*TZPATH, Path(tzdata.__file__).parent / "zoneinfo"):
            if (file := Path(folder) / name).is_file():
                found.setdefault(file.read_bytes(), name)
                break
    return found


def _moments(zone: ZoneInfo) -> list[datetime]:
    """Noon of every tenth day from 2000 to 2030 and every half hour of the 28 hours around each change (looked for at noons)."""
    noons = [datetime(2000, 1, 1, 12) + timedelta(days=d) for d in range(0, 11_320, 5)]
    moments = noons[::2]
    offsets = [zone.utcoffset(noon) for noon in noons]
    for five, before, after in zip(noons, offsets, offsets[1:], strict=False):
        if before == after:
            continue
        for day in (five + timedelta(days=d) for d in range(5)):
            if zone.utcoffset(day) != zone.utcoffset(day + timedelta(days=1)):
                moments += [day + timedelta(minutes=30 * i) for i in range(-4, 53)]
    return moments


@pytest.mark.thorough
def test_every_zone_of_the_database_is_python_s_from_2000_to_2030(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "LAST_YEAR", 2031)  # a quarter of the changes: of 340 zones that is a minute
    monkeypatch.setattr(clock, "_SPANS", clock.span_of(clock.micros(datetime(2032, 1, 1, tzinfo=UTC))) + 1)
    clock.changes.cache_clear()
    clock._spans.cache_clear()
    zones = _zones()
    assert len(zones) > 300
    changed = 0
    connection = duckdb.connect(config={"threads": 1})
    for name in zones.values():
        zone = ZoneInfo(name)
        moments = _moments(zone)
        clock.install(connection, name)
        connection.register("given", pa.table({"t": pa.array(moments, pa.timestamp("us"))}))
        rows = connection.execute(
            "select missing, repeated, epoch_us(utc), epoch_us(again), epoch_us(clock_local(utc)) from (select clock_missing(t, s) "
            "as missing, clock_repeated(t, s) as repeated, clock_utc(t, s) as utc, clock_utc_again(t, s) as again from "
            "(select t, clock_span(t) as s from given))"
        ).fetchall()
        changed += len(moments) > 3_000
        for local, (missing, repeated, utc, again, back) in zip(moments, rows, strict=True):
            first, second = zone.utcoffset(local), zone.utcoffset(local.replace(fold=1))
            assert first is not None
            assert second is not None
            # of a time that does not exist, the first offset is the earlier one; of one that comes twice, the later one
            assert (missing, repeated) == (first < second, first > second), (name, local)
            if missing:
                continue
            naive = (local - datetime(1970, 1, 1)) // timedelta(microseconds=1)
            assert utc == naive - first // timedelta(microseconds=1), (name, local)
            assert back == naive, (name, local)
            assert again == (naive - second // timedelta(microseconds=1) if repeated else None), (name, local)
    connection.close()
    assert changed > 100
    clock.changes.cache_clear()
    clock._spans.cache_clear()
