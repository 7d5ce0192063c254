"""How landed files become one consolidated file: by place, whatever the order of the files and however many rows are held at once."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from estuaire.contract.layer_columns import consolidated_columns, landed_columns
from estuaire.contract.tables import load_contract
from estuaire.kernel import consolidated_file, layer_file
from estuaire.kernel.consolidated_file import Said
from estuaire.kernel.layer_file import LandedFiles

SPECIMEN = load_contract().table("specimen")
UID = pa.schema([("row_uid_hi", pa.int64()), ("row_uid_lo", pa.int64())])
NOBODY = UID.empty_table()


def landed(
    path: Path, sequence: int, records: list[tuple[str, str, str | None]], *, without: str = "", plain: bool = False
) -> str:
    """A landed file of specimens: (specimen, patient, nature). Record n of delivery s has the identity (n, s)."""
    rows = len(records)
    given = {
        "specimen_id": [r[0] for r in records],
        "patient_id": [r[1] for r in records],
        "nature": [r[2] for r in records],
        "hospital_id": ["h01"] * rows,
        "delivery_id": [f"d{sequence}"] * rows,
        "sequence": [sequence] * rows,
        "source_file": ["specimen.csv"] * rows,
        "collected_at": [datetime(2025, 1, 1, tzinfo=UTC)] * rows,
        "latest_day": [date(2025, 2, 1)] * rows,
        "record_number": list(range(rows)),
        "line_number": list(range(rows)),
        "row_uid_hi": list(range(rows)),
        "row_uid_lo": [sequence] * rows,
        "op": ["upsert"] * rows,
    }
    columns = {}
    for column in landed_columns(SPECIMEN):
        if column.name != without:
            array = pa.array(given.get(column.name, [None] * rows), layer_file.type_of(column))
            columns[column.name] = array.dictionary_encode() if pa.types.is_string(array.type) and not plain else array
    data = pa.table(columns)
    with layer_file.writer(path, data.schema) as writer:
        writer.write_table(data)
    return str(path)


def uids(*pairs: tuple[int, int]) -> pa.Table:
    return pa.table({"row_uid_hi": [p[0] for p in pairs], "row_uid_lo": [p[1] for p in pairs]}, schema=UID)


def written(path: Path, files: list[str], said: Said, **more: int) -> list[dict[str, object]]:
    consolidated_file.write(path, SPECIMEN, LandedFiles(files), said, **more)
    data = pq.read_table(path)
    assert data.column_names == [c.name for c in consolidated_columns(SPECIMEN)]
    rows: list[dict[str, object]] = data.to_pylist()
    return rows


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    first = [(f"s{n}", f"p{n % 7}", ("HEMO", "ECBU", None)[n % 3]) for n in range(40)]
    second = [(f"t{n}", f"p{n % 5}", "HEMO") for n in range(10)]
    return [
        landed(tmp_path / "1.parquet", 1, first),
        landed(tmp_path / "2.parquet", 2, second, without="body_site", plain=True),
    ]


def test_rows_lie_by_patient_and_within_one_as_they_came(tmp_path: Path, files: list[str]) -> None:
    rows = written(tmp_path / "out.parquet", files, Said(NOBODY, NOBODY))
    places = [(r["patient_id"], r["sequence"], r["record_number"]) for r in rows]
    assert places == sorted(places)
    assert len(places) == 50


def test_what_is_gone_is_left_out_with_its_texts(tmp_path: Path) -> None:
    files = [landed(tmp_path / "1.parquet", 1, [("s0", "gone-patient", "GONE-NATURE"), ("s1", "p1", "ECBU")])]
    rows = written(tmp_path / "out.parquet", files, Said(uids((0, 1)), NOBODY))
    assert [r["specimen_id"] for r in rows] == ["s1"]
    content = pq.ParquetFile(tmp_path / "out.parquet").read()
    assert all(
        "gone" not in str(c.combine_chunks().dictionary).lower()
        for c in content.columns
        if pa.types.is_dictionary(c.type)
    )
    pq.write_table(content, tmp_path / "plain.parquet", compression="none")
    assert b"gone" not in (tmp_path / "plain.parquet").read_bytes().lower()


def test_two_records_whose_identities_share_a_half_are_told_apart(tmp_path: Path, files: list[str]) -> None:
    # record 3 of both deliveries has the high half 3
    flags = uids((3, 2)).append_column("flags", pa.array(["second"]))
    rows = written(tmp_path / "out.parquet", files, Said(uids((3, 1)), uids((4, 2)), (flags,)))
    assert {(r["row_uid_hi"], r["row_uid_lo"]) for r in rows} == {
        (n, s) for s, m in ((1, 40), (2, 10)) for n in range(m)
    } - {(3, 1)}
    assert [r["specimen_id"] for r in rows if r["flags"]] == ["t3"]
    assert [r["specimen_id"] for r in rows if r["stale_correction"]] == ["t4"]


def test_codes_patients_and_draws_are_renamed_by_text(tmp_path: Path, files: list[str]) -> None:
    draws = uids((0, 2), (5, 2)).append_column("draw_id", pa.array(["t9", "t9"]))
    said = Said(NOBODY, NOBODY, (draws,), {"nature": {"HEMO": "blood"}}, {"p1": "p0", "p6": "p0"})
    rows = {r["specimen_id"]: r for r in written(tmp_path / "out.parquet", files, said)}
    assert {(r["nature_source"], r["nature"]) for r in rows.values()} == {
        ("HEMO", "blood"),
        ("ECBU", None),
        (None, None),
    }
    assert {r["patient_id"] for r in rows.values()} == {"p0", "p2", "p3", "p4", "p5"}
    assert rows["s6"]["patient_id"] == "p0"
    assert (rows["t0"]["draw_id"], rows["t5"]["draw_id"], rows["t1"]["draw_id"]) == ("t9", "t9", "t1")


def test_the_order_in_which_files_come_changes_no_byte(tmp_path: Path, files: list[str]) -> None:
    said = Said(uids((1, 1)), NOBODY, (), {"nature": {"HEMO": "blood"}})
    written(tmp_path / "a.parquet", files, said)
    written(tmp_path / "b.parquet", files[::-1], said)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


@pytest.mark.parametrize("rows_at_once", [1, 7, 49, 50])
def test_how_many_rows_are_held_at_once_changes_none(tmp_path: Path, files: list[str], rows_at_once: int) -> None:
    said = Said(uids((1, 1), (2, 2)), uids((3, 1)), (), {"nature": {"HEMO": "blood"}}, {"p1": "p0"})
    whole = written(tmp_path / "whole.parquet", files, said)
    assert written(tmp_path / "parts.parquet", files, said, rows_at_once=rows_at_once) == whole


def test_of_no_current_record_a_file_without_rows_is_left(tmp_path: Path) -> None:
    files = [landed(tmp_path / "1.parquet", 1, [("s0", "p0", None)])]
    assert written(tmp_path / "out.parquet", files, Said(uids((0, 1)), NOBODY)) == []


def test_a_file_may_begin_with_a_group_of_no_rows(tmp_path: Path) -> None:
    [path] = [landed(tmp_path / "1.parquet", 1, [("s0", "p0", None), ("s1", "p1", None)])]
    data = pq.ParquetFile(path).read()
    with layer_file.writer(tmp_path / "2.parquet", data.schema) as writer:
        for part in (data.slice(0, 0), data.slice(0, 1), data.slice(0, 0), data.slice(1)):
            writer.write_table(part)
    assert pq.ParquetFile(tmp_path / "2.parquet").num_row_groups == 4
    rows = written(tmp_path / "out.parquet", [str(tmp_path / "2.parquet")], Said(NOBODY, NOBODY))
    assert [r["specimen_id"] for r in rows] == ["s0", "s1"]


def test_a_column_that_a_file_lacks_is_null_of_its_rows(tmp_path: Path, files: list[str]) -> None:
    rows = written(tmp_path / "out.parquet", files, Said(NOBODY, NOBODY))
    assert {r["body_site"] for r in rows if r["sequence"] == 2} == {None}
