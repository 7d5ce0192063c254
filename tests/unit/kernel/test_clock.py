"""Local clock times to UTC, against Python's zoneinfo for every hour of nine years."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import TZPATH, ZoneInfo, available_timezones

import numpy as np
import pytest
import tzdata

from estuaire.kernel import clock

ZONES = ("Europe/Paris", "America/New_York")
_EPOCH = datetime(1970, 1, 1)


def micros(moments: list[datetime]) -> clock.Micros:
    return np.array([(m - _EPOCH) // timedelta(microseconds=1) for m in moments], np.int64)


def _exists(local: datetime, zone: ZoneInfo) -> bool:
    return local.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None) == local


@pytest.mark.parametrize("timezone", ZONES)
def test_every_hour_of_nine_years_is_the_utc_hour_of_the_iana_database(timezone: str) -> None:
    zone, one = ZoneInfo(timezone), clock.clock_of(timezone)
    start, end = datetime(2019, 1, 1), datetime(2028, 1, 1)
    hours = [start + timedelta(hours=h) for h in range((end - start) // timedelta(hours=1))]
    given = micros(hours)
    told = one.told(given)
    skipped = repeated = 0
    for local, missing, twice, utc, back, naive in zip(
        hours, told.missing, told.repeated, told.utc.tolist(), one.local(told.utc).tolist(), given.tolist(), strict=True
    ):
        if not _exists(local, zone):
            assert missing
            skipped += 1
            continue
        first = local.replace(tzinfo=zone, fold=0)
        assert not missing
        assert twice == (first.utcoffset() != local.replace(tzinfo=zone, fold=1).utcoffset())
        repeated += int(twice)
        # of a repeated hour the first occurrence (fold 0) is taken
        assert utc == int(first.timestamp()) * 1_000_000
        assert back == naive
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
    told = clock.clock_of("Europe/Paris").told(micros([datetime.fromisoformat(local)]))
    assert (told.missing.tolist(), told.repeated.tolist()) == ([missing], [repeated])


def test_paris_before_in_and_after_the_hour_that_comes_twice() -> None:
    hours = ("2025-10-26 01:30", "2025-10-26 02:30", "2025-10-26 03:30", "2025-01-15 12:00")
    told = clock.clock_of("Europe/Paris").told(micros([datetime.fromisoformat(h) for h in hours]))
    assert [str(_EPOCH + timedelta(microseconds=m)) for m in told.utc.tolist()] == [
        "2025-10-25 23:30:00", "2025-10-26 00:30:00", "2025-10-26 02:30:00", "2025-01-15 11:00:00"
    ]  # fmt: skip
    assert _EPOCH + timedelta(microseconds=int(told.again[1])) == datetime(2025, 10, 26, 1, 30)


@pytest.mark.parametrize("timezone", ["UTC", "Indian/Reunion"])
def test_a_zone_without_summer_time_skips_and_repeats_nothing(timezone: str) -> None:
    hours = [datetime(2025, 1, 1) + timedelta(hours=h) for h in range(8760)]
    told = clock.clock_of(timezone).told(micros(hours))
    assert not told.missing.any()
    assert not told.repeated.any()
    last = datetime(2025, 12, 31, 23, tzinfo=ZoneInfo(timezone)).astimezone(UTC).replace(tzinfo=None)
    assert told.utc.max() == micros([last])[0]


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
    clock.changes.cache_clear()
    zones = _zones()
    assert len(zones) > 300
    changed = 0
    for name in zones.values():
        zone = ZoneInfo(name)
        moments = _moments(zone)
        given, one = micros(moments), clock.Clock(name)
        told = one.told(given)
        rows = zip(
            moments, given.tolist(), told.missing, told.repeated, told.utc.tolist(), told.again.tolist(),
            one.local(told.utc).tolist(), strict=True,
        )  # fmt: skip
        changed += len(moments) > 3_000
        for local, naive, missing, repeated, utc, again, back in rows:
            first, second = zone.utcoffset(local), zone.utcoffset(local.replace(fold=1))
            assert first is not None
            assert second is not None
            # of a time that does not exist, the first offset is the earlier one; of one that comes twice, the later one
            assert (missing, repeated) == (first < second, first > second), (name, local)
            if missing:
                continue
            assert utc == naive - first // timedelta(microseconds=1), (name, local)
            assert back == naive, (name, local)
            assert not repeated or again == naive - second // timedelta(microseconds=1), (name, local)
    assert changed > 100
    clock.changes.cache_clear()
