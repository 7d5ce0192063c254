"""Parquet deliveries: the same rules, whatever types the export chose; a record's place is its row."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from one_file import Landed, land, pseudonym

from estuaire.contract.layer_columns import landed_columns
from estuaire.contract.registry import Hospital, load_registry
from estuaire.contract.tables import load_contract
from estuaire.deliveries.hand_in import Asked, hand_in, prepare
from estuaire.kernel.layer_file import LandedFiles
from estuaire.kernel.limits import Limits
from estuaire.storage.object_store import DirectoryStore

EIGHT = datetime(2025, 3, 16, 8)
NIR = "255081416802538"


def parquet(table: pa.Table, **options: Any) -> bytes:
    target = io.BytesIO()
    pq.write_table(table, target, **options)
    return target.getvalue()


def doses(**columns: Any) -> pa.Table:
    """Two administrations of h01; a column given as None is left out."""
    base = {
        "administration_id": [1, 2], "IPP": ["77", "78"], "NDA": ["900", None], "drug_code": ["J01DD04", "J01DD04"],
        "drug_label": ["Céfazoline", "x"], "dose": pa.array([1.5, 2.0]), "dose_unit": ["g", "g"], "route": ["IV", "IV"],
        "given_at": pa.array([EIGHT, EIGHT], pa.timestamp("us")), "status": ["F", "F"],
    } | columns  # fmt: skip
    return pa.table({name: values for name, values in base.items() if values is not None})


def landed(folder: Path, table: pa.Table, **more: Any) -> Landed:
    options = {k: more.pop(k) for k in ("use_deprecated_int96_timestamps", "row_group_size") if k in more}
    return land(folder, "administration", parquet(table, **options), rows=table.num_rows, **more)


def test_a_parquet_file_lands_as_a_delimited_one(tmp_path: Path) -> None:
    first, second = landed(tmp_path, doses()).rows
    assert first["patient_id"] == pseudonym("administration", "patient_id", "77")
    assert (first["administration_id"], first["drug_label"], first["dose"]) == ("1", "Céfazoline", Decimal("1.5"))
    assert (first["given_at_local"], first["given_at"]) == (EIGHT, datetime(2025, 3, 16, 7, tzinfo=UTC))
    assert second["stay_id"] is None
    assert [(r["record_number"], r["line_number"]) for r in (first, second)] == [(1, 1), (2, 2)]


@pytest.mark.parametrize(
    ("times", "utc"),
    [
        (pa.array([EIGHT] * 2, pa.timestamp("s")), 7),
        (pa.array([EIGHT] * 2, pa.timestamp("ms")), 7),
        (pa.array([EIGHT] * 2, pa.timestamp("ns")), 7),
        (pa.array([EIGHT] * 2, pa.timestamp("us", "UTC")), 8),
        (pa.array([EIGHT] * 2, pa.timestamp("ns", "Europe/Paris")), 8),
        (pa.array(["16/03/2025 08:00:00"] * 2), 7),
        (pa.array(["16/03/2025 08:00:00"] * 2, pa.large_string()).dictionary_encode(), 7),
    ],
)
@pytest.mark.parametrize("int96", [False, True])
def test_a_time_with_a_zone_is_a_moment_one_without_is_the_hospitals_clock(
    tmp_path: Path, times: pa.Array, utc: int, int96: bool
) -> None:
    rows = landed(tmp_path, doses(given_at=times), use_deprecated_int96_timestamps=int96).rows
    assert [r["given_at"] for r in rows] == [datetime(2025, 3, 16, utc, tzinfo=UTC)] * 2


def test_spark_writes_int96_as_utc(tmp_path: Path) -> None:
    table = doses().replace_schema_metadata({b"org.apache.spark.version": b"3.5.1"})
    rows = landed(tmp_path, table, use_deprecated_int96_timestamps=True).rows
    assert rows[0]["given_at"] == datetime(2025, 3, 16, 8, tzinfo=UTC)
    assert landed(tmp_path, table).rows[0]["given_at"] == datetime(2025, 3, 16, 7, tzinfo=UTC)


def test_the_hours_of_a_change_are_judged_as_in_text(tmp_path: Path) -> None:
    times = pa.array([datetime(2025, 3, 30, 2, 30), datetime(2025, 10, 26, 2, 30)], pa.timestamp("ns"))
    found = landed(tmp_path, doses(given_at=times))
    assert found.broken == [(1, "administration.given_at.missing_hour")]
    assert found.row["flags"].split(",")[0] == "administration.given_at.repeated_hour"


@pytest.mark.parametrize(
    ("amounts", "read"),
    [
        (pa.array([Decimal("1.500"), None], pa.decimal128(10, 3)), [Decimal("1.5"), None]),
        (pa.array([1.5, float("nan")]), [Decimal("1.5"), None]),
        (pa.array([0.1, 250000.0], pa.float32()), [Decimal("0.1"), Decimal(250000)]),
        (pa.array([3, 4], pa.int8()), [Decimal(3), Decimal(4)]),
        (pa.array(["43,69", ""]), [Decimal("43.69"), None]),
        (pa.array([b"43,69", None], pa.binary()), [Decimal("43.69"), None]),
        (pa.nulls(2), [None, None]),
    ],
)
def test_numbers_of_any_type_are_read_exactly(tmp_path: Path, amounts: pa.Array, read: list[Decimal | None]) -> None:
    assert [r["dose"] for r in landed(tmp_path, doses(dose=amounts)).rows] == read


def test_an_identifier_that_became_a_number_is_the_same_one(tmp_path: Path) -> None:
    """A column of numbers with nulls is exported as floats by some, as NUMBER(38, 10) by others."""
    for ids in (pa.array([77.0, None]), pa.array([Decimal(77), None], pa.decimal128(38, 10)), pa.array([77, None])):
        found = landed(tmp_path, doses(IPP=ids))
        assert found.row["patient_id"] == pseudonym("administration", "patient_id", "77")
        assert found.broken == [(2, "administration.patient_id.required")]


def test_days_and_their_midnights_are_dates(tmp_path: Path) -> None:
    for births in (
        pa.array([date(1955, 2, 1)]), pa.array([date(1955, 2, 1)], pa.date64()), pa.array([datetime(1955, 2, 1)], pa.timestamp("ns")),
        pa.array([datetime(1955, 1, 31, 23)], pa.timestamp("us", "UTC")), pa.array(["01/02/1955"]),
    ):  # fmt: skip
        table = pa.table({"IPP": ["7"], "DATE_NAISSANCE": births, "SEXE": ["f"], "INS": [int(NIR)]})
        row = land(tmp_path, "patient", parquet(table), rows=1).row
        assert row["birth_date"] == date(1955, 2, 1)
        assert row["national_id"] == pseudonym("patient", "national_id", NIR, "")


def test_what_is_damaged_or_of_another_type_costs_its_row(tmp_path: Path) -> None:
    found = landed(tmp_path, doses(drug_label=pa.array([b"\xff", b"ok"], pa.binary())))
    assert (found.broken, len(found.rows)) == ([(1, "administration.record.encoding")], 1)
    assert landed(tmp_path, doses(drug_label=["a\x00b", "ok"])).broken == [(1, "administration.record.nul")]
    found = landed(tmp_path, doses(dose=["1,5", "x"]))
    assert found.broken == [(2, "administration.dose.type")]
    assert (found.rejects[0]["record_number"], found.rejects[0]["byte_length"]) == (2, 0)
    assert landed(tmp_path, doses(drug_label=[NIR, "x"])).broken == [(1, "administration.drug_label.national_id")]


@pytest.mark.parametrize("nested", [pa.array([[1], [2]]), pa.array([{"NOM": 1}, {"NOM": 2}])])
def test_a_nested_column_of_the_contract_is_refused(tmp_path: Path, nested: pa.Array) -> None:
    found = landed(tmp_path, doses(dose=nested))
    assert found.error == "E_COLUMN_RETYPED"
    assert "column dose is nested" in (found.outcome.error or {})["what"]
    assert "NOM" not in str(found.outcome.error)
    assert landed(tmp_path, doses(more=nested)).outcome.extra_columns == ["11"]


def test_missing_columns_damage_and_growth_are_named(tmp_path: Path) -> None:
    assert landed(tmp_path, doses(status=None)).error == "E_COLUMN_MISSING"
    data = parquet(doses())
    assert land(tmp_path, "administration", data[:-20], rows=2).error == "E_FILE_TRUNCATED"
    assert land(tmp_path, "administration", data[:60] + b"\x00" * 40 + data[100:], rows=2).error == "E_FILE_TRUNCATED"
    equal = doses().take(pa.array([0] * 300_000))
    bounds = Limits(ratio_from=1 << 20, ratio=10)
    assert landed(tmp_path, equal, limits=bounds).error == "E_LIMIT"
    assert list(tmp_path.glob("*.parquet")) == []


def test_row_groups_are_read_on(tmp_path: Path) -> None:
    many = doses().take(pa.array([0, 1] * 50)).set_column(0, "administration_id", pa.array(range(100)))
    found = landed(tmp_path, many, row_group_size=7)
    assert [r["record_number"] for r in found.rows] == list(range(1, 101))


def test_it_is_handed_in_under_its_tables_name(tmp_path: Path) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "administration.parquet").write_bytes(parquet(doses()))
    store = DirectoryStore(tmp_path / "store")
    asked = Asked(kind="full", period=(date(2025, 4, 1), date(2025, 5, 1)))
    prepared = prepare(folder, "h01", load_registry(), store, asked, now=datetime(2025, 11, 1, tzinfo=UTC))
    assert [(f.path, f.rows) for f in prepared.manifest.files] == [("administration.parquet", 2)]
    assert "outside_period" in [w.kind for w in prepared.warnings]  # its days were read
    hand_in(prepared, store)
    assert [o.key.rsplit("/", 1)[1] for o in store.list("landing/h01/0001-full/") if o.key.endswith(".parquet")] == [
        "administration.parquet"
    ]


def reading_as_nothing(*texts: str) -> Hospital:
    """h01 with these texts for nothing."""
    hospital = load_registry().get("h01")
    dialects = {name: replace(dialect, null_values=texts) for name, dialect in hospital.dialects.items()}
    return replace(hospital, dialects=dialects)


def test_a_time_that_stands_for_nothing_is_none_however_wide(tmp_path: Path) -> None:
    times = pa.array(["16/03/2025 08:00:00", "31/12/9999 00:00:00"])
    landing = landed(tmp_path, doses(given_at=times), hospital=reading_as_nothing("", "31/12/9999 00:00:00"))
    assert landing.row["given_at"] == datetime(2025, 3, 16, 7, tzinfo=UTC)
    assert landing.broken == [(2, "administration.given_at.required")]


def test_an_empty_text_is_none_beside_nulls_that_had_a_width(tmp_path: Path) -> None:
    labels = pa.array(["NULL", ""])
    rows = landed(tmp_path, doses(drug_label=labels), hospital=reading_as_nothing("NULL")).rows
    assert [r["drug_label"] for r in rows] == [None, None]


def test_of_a_first_block_all_may_be_set_aside(tmp_path: Path) -> None:
    """Two blocks: the first has no record that is accepted."""
    rows = 65_536
    later = doses(given_at=pa.array([datetime(2030, 1, 1)] * 2, pa.timestamp("us"))).slice(0, 1)
    table = pa.concat_tables([*[later] * rows, doses(administration_id=[7, 8])])
    landing = landed(tmp_path, table.combine_chunks())
    assert landing.outcome.error is None
    assert [r["administration_id"] for r in landing.rows] == ["7", "8"]
    assert landing.outcome.rows_quarantined == rows
    files = LandedFiles([landing.outcome.output or ""])
    assert files.rows == 2
    assert files.read(landed_columns(load_contract().table("administration")))["administration_id"].to_pylist() == [
        "7",
        "8",
    ]
