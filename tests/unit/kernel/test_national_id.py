"""A national number in a plain column: the record is set aside, and neither it nor its key leaves."""

from __future__ import annotations

from pathlib import Path

import pytest
from one_file import H01_ADMINISTRATION, H01_PATIENT, land, lines

from estuaire.kernel.national_id import holds_one

NIR = "255081416802538"


@pytest.mark.parametrize(
    "text",
    [
        NIR,
        "2 55 08 14 168 025 38",
        "2\u00a055\u00a008\u202f14 168 025 38",
        "2.55.08.14.168.025.38",
        "2-55-08-14-168-025-38",
        "2550814168025 38",
        f"NIR{NIR}",
        f"patient {NIR}, vu le 3",
        f"{NIR}.0",
        "1 85 05 2A 004 018 64",
        "185052b00401891",
        f"1850578006084 00 {NIR}",
    ],
)
def test_it_is_found_however_it_is_written(text: str) -> None:
    assert holds_one(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "J01DD04", NIR[:-1] + "9", NIR[:13], f"9{NIR}", f"{NIR}1", "20250316080000123", "16/03/2025 08:00:00",
        "255181416802538", "3400930000001", "123456789012345", "000000000000097",
    ],
)  # fmt: skip
def test_another_number_is_none(text: str) -> None:
    assert not holds_one(text)


def dose(id: str, label: str = "x", amount: str = "1", code: str = "J01DD04") -> str:
    return f"{id};77;900;{code};{label};{amount};g;IV;16/03/2025 08:00:00;F"


def test_a_record_with_one_in_a_plain_column_is_set_aside(tmp_path: Path) -> None:
    records = [dose("1"), dose(NIR), dose("3", f"dossier {NIR}"), dose("4", code=NIR), dose("5"), dose(NIR, amount="x")]
    landed = land(tmp_path, "administration", lines(H01_ADMINISTRATION, *records))
    assert [r["administration_id"] for r in landed.rows] == ["1", "5"]
    assert landed.broken == [
        (3, "administration.administration_id.national_id"),
        (4, "administration.drug_label.national_id"),
        (5, "administration.drug_code.national_id"),
        (7, "administration.dose.type,administration.administration_id.national_id"),
    ]
    assert [r["business_key"] for r in landed.rejects] == [None, None, None, None]
    assert landed.outcome.checks["administration.administration_id.national_id"] == [6, 2, 0]
    assert landed.outcome.rows_quarantined == 4
    written = b"".join(f.read_bytes() for f in tmp_path.glob("*.parquet"))
    assert NIR.encode() not in written
    assert NIR not in str(landed.outcome)


def test_where_it_is_replaced_by_a_pseudonym_it_may_stand(tmp_path: Path) -> None:
    landed = land(tmp_path, "patient", lines(H01_PATIENT, f"{NIR};01/02/1955;f;;;75005;{NIR};;;1"))
    assert len(landed.rows) == 1


def test_in_a_column_of_numbers_too(tmp_path: Path) -> None:
    landed = land(tmp_path, "patient", lines(H01_PATIENT, f"77;01/02/1955;f;;;75005;;;;{NIR}"))
    assert [rules for _, rules in landed.broken] == ["patient.twin_rank.national_id"]
