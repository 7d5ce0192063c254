"""Times of a delivered file: zones of both hemispheres, ISO times in UTC, and both ends of a stay in the hour that comes twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from one_file import H01_STAY, Landed, land, lines

from estuaire.contract.registry import Hospital, load_registry

AWARE = "%Y-%m-%dT%H:%M:%S%z"


def hospital(timezone: str, *formats: str) -> Hospital:
    """h01 elsewhere, or with another way of writing times."""
    h01 = load_registry().get("h01")
    dialects = {
        n: replace(d, datetime_formats=formats) if formats else d for n, d in h01.dialects.items()
    }  # its own where none is given
    return replace(h01, timezone=timezone, dialects=dialects)


def stay(folder: Path, admitted: str, discharged: str, timezone: str = "Europe/Paris", *formats: str) -> Landed:
    record = f"900;77;{admitted};{discharged};HC;8;8;;"
    return land(folder, "stay", lines(H01_STAY, record), hospital=hospital(timezone, *formats))


@pytest.mark.parametrize(
    ("timezone", "utc"),
    [
        ("Australia/Sydney", datetime(2025, 7, 10, 0, tzinfo=UTC)),  # winter there: ten hours
        ("Pacific/Auckland", datetime(2025, 7, 9, 22, tzinfo=UTC)),
        ("America/Santiago", datetime(2025, 7, 10, 14, tzinfo=UTC)),
        ("Europe/Paris", datetime(2025, 7, 10, 8, tzinfo=UTC)),
    ],
)
def test_a_time_of_july_in_either_hemisphere(tmp_path: Path, timezone: str, utc: datetime) -> None:
    row = stay(tmp_path, "10/07/2025 10:00", "11/07/2025 11:00", timezone).row
    assert (row["admitted_at"], row["admitted_at_local"]) == (utc, datetime(2025, 7, 10, 10))


def test_the_hour_that_spring_skips_in_sydney_does_not_exist(tmp_path: Path) -> None:
    landed = stay(tmp_path, "05/10/2025 02:30", "06/10/2025 11:00", "Australia/Sydney")
    assert landed.broken == [(2, "stay.admitted_at.missing_hour")]


@pytest.mark.parametrize("written", ["2025-07-10T08:00:00Z", "2025-07-10T08:00:00+00:00", "2025-07-10T10:00:00+02:00"])
def test_an_iso_time_is_read_with_its_zone(tmp_path: Path, written: str) -> None:
    row = stay(tmp_path, written, "2025-07-17T09:00:00Z", "Europe/Paris", AWARE).row
    assert row["admitted_at"] == datetime(2025, 7, 10, 8, tzinfo=UTC)
    assert row["admitted_at_local"] == datetime(2025, 7, 10, 10)


def test_a_stay_within_the_hour_that_comes_twice_ends_in_its_second_occurrence(tmp_path: Path) -> None:
    row = stay(tmp_path, "26/10/2025 02:50:00", "26/10/2025 02:10:00").row
    assert row["admitted_at"] == datetime(2025, 10, 26, 0, 50, tzinfo=UTC)
    assert row["discharged_at"] == datetime(2025, 10, 26, 1, 10, tzinfo=UTC)
    assert row["flags"] == "stay.admitted_at.repeated_hour,stay.discharged_at.repeated_hour"


@pytest.mark.parametrize(
    ("admitted", "discharged"),
    [("26/10/2025 03:10:00", "26/10/2025 02:50:00"), ("25/10/2025 02:50:00", "25/10/2025 02:10:00")],
)
def test_a_discharge_before_the_admission_is_set_aside_on_any_other_hour(
    tmp_path: Path, admitted: str, discharged: str
) -> None:
    assert stay(tmp_path, admitted, discharged).broken == [(2, "stay.discharge_after_admission")]
