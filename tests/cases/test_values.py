"""Cases of values: dates, numbers, text, records (C01-C04, C06, C09, C14, C17, C19, C25, C26, C29-C32)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from one_file import Landed


def test_c44_a_short_stay_in_the_hour_that_comes_twice_is_kept_and_flagged(
    case_input: Callable[..., bytes], land_case: Callable[..., Landed]
) -> None:
    data = case_input(
        "C44-short-stay-in-the-autumn-hour",
        "stay.csv",
        "NDA;IPP;previous_stay_id;DATE_ENTREE;DATE_SORTIE;stay_type;entry_mode;exit_mode;legal_finess;geographic_finess\n"
        "900;77;;26/10/2025 02:50:00;26/10/2025 02:10:00;HC;8;8;;\n",
    )
    row = land_case("stay", data).row
    assert row["discharged_at"] == datetime(2025, 10, 26, 1, 10, tzinfo=UTC)
    assert "stay.admitted_at.repeated_hour" in row["flags"]
