"""One hospital's landed files to its current records: the latest valid version of each key, in standard codes."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from one_file import H01_ADMINISTRATION, H01_PATIENT, H01_STAY, land, lines, pseudonym

from estuaire.base.errors import RowUidCollision
from estuaire.contract.registry import load_registry
from estuaire.contract.tables import load_contract
from estuaire.kernel.consolidate import Full, HospitalInput, Rejected, TableOutcome, consolidate_hospital

DELTA = {
    "patient": H01_PATIENT + ";op;source_updated_at",
    "stay": H01_STAY + ";op;source_updated_at",
    "administration": H01_ADMINISTRATION + ";op;source_updated_at",
}
FULL = {"patient": H01_PATIENT, "stay": H01_STAY, "administration": H01_ADMINISTRATION}
EXTRACTED = datetime(2025, 11, 1, tzinfo=UTC)


def dose(
    id: str,
    amount: str = "1",
    *,
    at: str = "16/03/2025 08:00",
    ipp: str = "77",
    drug: str = "J01DD04",
    nda: str = "900",
) -> str:
    return f"{id};{ipp};{nda};{drug};Label;{amount};g;IV;{at};F"


def patient(ipp: str, postcode: str = "75001") -> str:
    return f"{ipp};01/02/1955;f;;;{postcode};;;;"


def stay(nda: str, ipp: str = "77", *, at: str = "15/03/2025 10:00") -> str:
    return f"{nda};{ipp};{at};;HC;8;8;;"


@dataclass
class Hospital:
    """A hospital whose deliveries a test lands one after another."""

    folder: Path
    id: str = "h01"
    files: list[tuple[str, str]] = field(default_factory=list)
    fulls: list[Full] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    runs: int = 0

    def deliver(self, sequence: int, kind: str = "delta", *, part: int = 1, **tables: list[str]) -> None:
        """Records by table, given as h01 writes them; of a delta with ``;op;source_updated_at`` behind each."""
        for table, records in tables.items():
            header = (FULL if kind == "full" else DELTA)[table]
            landed = land(
                self.folder, table, lines(header, *records), hospital=self.id, delivery=f"d{sequence}", sequence=sequence,
                kind=kind, path=f"{table}-{part}.csv",
            )  # fmt: skip
            assert landed.error is None
            if landed.outcome.output:
                self.files.append((table, landed.outcome.output))
            for reject in landed.rejects:
                if reject["business_key"]:
                    updated = reject["source_updated_at"]
                    self.rejected.append(
                        Rejected(table, reject["business_key"], sequence, updated.isoformat() if updated else None)
                    )

    def full(self, sequence: int, start: date, end: date, **tables: list[str]) -> None:
        self.deliver(sequence, "full", **tables)
        self.fulls.append(Full(sequence, start, end, tuple(tables)))

    def consolidate(self, shuffle: random.Random | None = None) -> dict[str, TableOutcome]:
        order = [list(self.files), list(self.fulls), list(self.rejected)]
        if shuffle:
            for items in order:
                shuffle.shuffle(items)
        files: dict[str, list[str]] = {}
        for table, path in order[0]:
            files.setdefault(table, []).append(path)
        given = HospitalInput(load_registry().get(self.id), files, order[1], order[2], EXTRACTED)  # type: ignore[arg-type]
        self.runs += 1
        outcomes = consolidate_hospital(given, load_contract(), lambda t: self.folder / f"out-{self.runs}-{t}.parquet")
        return {o.table: o for o in outcomes}

    def rows(self, table: str) -> list[dict[str, Any]]:
        return read(self.consolidate()[table])


def read(outcome: TableOutcome) -> list[dict[str, Any]]:
    assert outcome.output
    return pq.ParquetFile(outcome.output).read().to_pylist()


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    return Hospital(tmp_path)


def _doses(rows: list[dict[str, Any]]) -> dict[str, float]:
    return {r["administration_id"]: float(r["dose"]) for r in rows}


# ------------------------------------------------------------------------------------------------ version order


def test_the_delivery_with_the_highest_sequence_wins(hospital: Hospital) -> None:
    hospital.deliver(3, administration=[dose("A", "3") + ";upsert;01/01/2020 00:00"])
    hospital.deliver(1, administration=[dose("A", "1") + ";upsert;01/01/2030 00:00", dose("B", "1") + ";upsert;"])
    hospital.deliver(2, administration=[dose("A", "2") + ";upsert;"])
    assert _doses(hospital.rows("administration")) == {"A": 3, "B": 1}


def test_within_a_delivery_the_last_update_wins_and_an_undated_one_never_beats_a_dated_one(hospital: Hospital) -> None:
    hospital.deliver(
        1,
        administration=[
            dose("A", "2") + ";upsert;02/11/2025 10:00",
            dose("A", "3") + ";upsert;03/11/2025 10:00",
            dose("A", "1") + ";upsert;",
        ],
    )
    assert _doses(hospital.rows("administration")) == {"A": 3}


def test_then_the_file_name_then_the_line(hospital: Hospital) -> None:
    hospital.deliver(1, part=2, administration=[dose("A", "3") + ";upsert;", dose("A", "4") + ";upsert;"])
    others = [dose(str(i)) + ";upsert;" for i in range(5)]
    hospital.deliver(1, part=1, administration=[*others, dose("A", "1") + ";upsert;", dose("A", "2") + ";upsert;"])
    assert _doses(hospital.rows("administration"))["A"] == 4


def _busy(hospital: Hospital) -> None:
    """Six deliveries: corrections, deletions, duplicates, a second full, quarantined rows."""
    rng = random.Random(5)  # noqa: S311
    hospital.full(
        1, date(2021, 1, 1), date(2025, 11, 1),
        patient=[patient(str(i)) for i in range(20)], stay=[stay(str(i), str(i)) for i in range(20)],
        administration=[dose(str(i), ipp=str(i % 20), nda=str(i % 20)) for i in range(120)],
    )  # fmt: skip
    for sequence in (2, 3, 4):
        for part in (1, 2):
            picked = rng.sample(range(120), 25)
            hospital.deliver(
                sequence, part=part,
                administration=[
                    dose(str(i), str(sequence) if i % 7 else "bad", ipp=str(i % 20), nda=str(i % 25))
                    + (";delete" if i % 11 == 0 else ";upsert") + f";{rng.randrange(1, 4):02d}/11/2025 10:00"
                    for i in picked
                ],
                patient=[patient(str(i), f"750{sequence:02d}") + ";upsert;" for i in rng.sample(range(25), 3)],
            )  # fmt: skip
    hospital.full(
        5, date(2025, 1, 1), date(2025, 12, 1), administration=[dose(str(i), "5", ipp=str(i % 20)) for i in range(90)]
    )
    hospital.deliver(6, administration=[dose("3", "6") + ";upsert;", dose("115", "6") + ";upsert;"])


@pytest.mark.thorough
def test_any_order_of_the_same_deliveries_gives_the_same_result(hospital: Hospital) -> None:
    _busy(hospital)
    expected = hospital.consolidate()
    rows = {table: read(outcome) for table, outcome in expected.items()}
    assert {r["sequence"] for r in rows["administration"]} == {5, 6}
    assert {r["sequence"] for r in rows["patient"]} >= {1, 2, 3, 4}
    rng = random.Random(0)  # noqa: S311
    for _ in range(10):
        found = hospital.consolidate(shuffle=rng)
        for table, outcome in found.items():
            assert outcome.content_hash == expected[table].content_hash
            assert outcome.superseded == expected[table].superseded
            assert read(outcome) == rows[table]


def test_another_content_has_another_hash(hospital: Hospital, tmp_path: Path) -> None:
    hospital.deliver(1, administration=[dose("A", "1") + ";upsert;", dose("B", "2") + ";upsert;"])
    (tmp_path / "other").mkdir()
    other = Hospital(tmp_path / "other")
    other.deliver(1, administration=[dose("A", "2") + ";upsert;", dose("B", "1") + ";upsert;"])
    assert hospital.consolidate()["administration"].content_hash != other.consolidate()["administration"].content_hash


def test_every_landed_record_is_current_or_superseded(hospital: Hospital) -> None:
    _busy(hospital)
    for table, outcome in hospital.consolidate().items():
        landed = [r for t, path in hospital.files if t == table for r in pq.ParquetFile(path).read().to_pylist()]
        current = read(outcome)
        gone = outcome.superseded
        assert (
            len(landed)
            == len(current) + sum(n for n, _ in gone.values())
            == outcome.rows + sum(n for n, _ in gone.values())
        )
        for delivery in {r["delivery_id"] for r in landed}:
            total = sum(r["row_uid_hi"] + r["row_uid_lo"] for r in landed if r["delivery_id"] == delivery)
            kept = sum(r["row_uid_hi"] + r["row_uid_lo"] for r in current if r["delivery_id"] == delivery)
            assert total == kept + gone.get(delivery, (0, 0))[1]


def test_an_exact_duplicate_is_one_record(hospital: Hospital) -> None:
    hospital.deliver(1, administration=[dose("A") + ";upsert;", dose("A") + ";upsert;"])
    outcome = hospital.consolidate()["administration"]
    assert (outcome.rows, outcome.superseded["d1"][0]) == (1, 1)


def test_the_same_file_landed_twice_is_a_collision_and_no_row_is_written(hospital: Hospital) -> None:
    hospital.deliver(1, administration=[dose("A") + ";upsert;"])
    hospital.files.append(hospital.files[0])
    with pytest.raises(RowUidCollision):
        hospital.consolidate()
    assert not list(hospital.folder.glob("out-*"))


# ------------------------------------------------------------------------------------------------ deletions and quarantine


def test_a_deletion_ends_its_key_and_a_later_version_brings_it_back(hospital: Hospital) -> None:
    hospital.deliver(1, administration=[dose("A") + ";upsert;", dose("B") + ";upsert;"])
    hospital.deliver(2, administration=["A;;;;;;;;;;delete;", "unknown;;;;;;;;;;delete;"])
    assert set(_doses(hospital.rows("administration"))) == {"B"}
    hospital.deliver(3, administration=[dose("A", "3") + ";upsert;"])
    assert _doses(hospital.rows("administration")) == {"A": 3, "B": 1}


def test_an_invalid_newest_version_supersedes_nothing(hospital: Hospital) -> None:
    hospital.deliver(1, administration=[dose("A") + ";upsert;", dose("B") + ";upsert;"])
    hospital.deliver(2, administration=[dose("A", "bad") + ";upsert;"])
    rows = {r["administration_id"]: r for r in hospital.rows("administration")}
    assert float(rows["A"]["dose"]) == 1
    assert rows["A"]["stale_correction"] is True
    assert rows["B"]["stale_correction"] is False


def test_a_valid_version_after_the_invalid_one_is_not_stale(hospital: Hospital) -> None:
    hospital.deliver(1, administration=[dose("A", "bad") + ";upsert;", dose("B", "bad") + ";upsert;"])
    hospital.deliver(2, administration=[dose("A", "2") + ";upsert;"])
    [row] = hospital.rows("administration")
    assert (row["administration_id"], row["stale_correction"]) == ("A", False)


def test_within_one_delivery_the_time_of_the_update_tells_which_is_newer(hospital: Hospital) -> None:
    hospital.deliver(
        1,
        administration=[
            dose("A", "bad") + ";upsert;02/11/2025 10:00", dose("A", "2") + ";upsert;03/11/2025 10:00",
            dose("B", "2") + ";upsert;02/11/2025 10:00", dose("B", "bad") + ";upsert;03/11/2025 10:00",
        ],
    )  # fmt: skip
    assert {r["administration_id"]: r["stale_correction"] for r in hospital.rows("administration")} == {
        "A": False,
        "B": True,
    }


def test_an_invalid_deletion_deletes_nothing(hospital: Hospital) -> None:
    hospital.deliver(1, administration=[dose("A") + ";upsert;"])
    hospital.deliver(2, administration=[dose("A") + ";supprimer;"])
    [row] = hospital.rows("administration")
    assert row["stale_correction"] is True


# ------------------------------------------------------------------------------------------------ full deliveries


def test_a_full_delivery_ends_the_keys_that_it_omits_within_its_period_and_tables(hospital: Hospital) -> None:
    hospital.full(
        1, date(2021, 1, 1), date(2025, 11, 1),
        patient=[patient("77"), patient("78")],
        administration=[
            dose("kept"), dose("omitted"), dose("before", at="31/12/2024 23:59"), dose("first", at="01/01/2025 00:00"),
            dose("last", at="31/10/2025 23:59"), dose("after", at="01/11/2025 00:00"),
        ],
    )  # fmt: skip
    hospital.deliver(2, administration=[dose("late delta") + ";upsert;"])
    hospital.full(3, date(2025, 1, 1), date(2025, 11, 1), administration=[dose("kept", "3")])
    outcome = hospital.consolidate()
    assert set(_doses(read(outcome["administration"]))) == {"kept", "before", "after"}
    assert outcome["patient"].rows == 2  # not a table of the second full delivery
    hospital.deliver(4, administration=[dose("omitted", "4") + ";upsert;"])
    assert set(_doses(hospital.rows("administration"))) == {"kept", "before", "after", "omitted"}


def test_local_days_decide_what_lies_in_the_period(hospital: Hospital) -> None:
    """00:30 in Paris on 1 January is still the old year in UTC."""
    hospital.full(1, date(2021, 1, 1), date(2025, 11, 1), administration=[dose("A", at="01/01/2025 00:30")])
    hospital.full(2, date(2025, 1, 1), date(2025, 11, 1), administration=[dose("B")])
    assert set(_doses(hospital.rows("administration"))) == {"B"}


def test_patients_whom_no_record_names_are_ended_with_the_full_that_omits_them(hospital: Hospital) -> None:
    hospital.full(1, date(2021, 1, 1), date(2025, 11, 1), patient=[patient("77"), patient("78")])
    hospital.full(2, date(2025, 1, 1), date(2025, 11, 1), patient=[patient("78")])
    assert [r["patient_id"] for r in hospital.rows("patient")] == [pseudonym("patient", "patient_id", "78")]


def test_a_key_whose_row_in_the_full_delivery_was_quarantined_is_not_omitted(hospital: Hospital) -> None:
    hospital.full(1, date(2021, 1, 1), date(2025, 11, 1), administration=[dose("A"), dose("B"), dose("C")])
    hospital.full(2, date(2021, 1, 1), date(2025, 11, 1), administration=[dose("A", "bad"), dose("B", "2")])
    rows = hospital.rows("administration")
    assert _doses(rows) == {"A": 1, "B": 2}
    assert {r["administration_id"]: r["stale_correction"] for r in rows} == {"A": True, "B": False}


# ------------------------------------------------------------------------------------------------ codes and orphans


def _h02(folder: Path, drugs: list[str], status: str = "completed") -> TableOutcome:
    header = "administration_id|patient_id|stay_id|drug_code|drug_label|dose|dose_unit|route|given_at|status"
    records = [f"{i}|77|900|{d}|x|1|G|20045000|2025-01-01T00:00:00|{status}" for i, d in enumerate(drugs)]
    landed = land(folder, "administration", lines(header, *records), hospital="h02")
    assert landed.outcome.output
    given = HospitalInput(load_registry().get("h02"), {"administration": [landed.outcome.output]})
    [outcome] = consolidate_hospital(given, load_contract(), lambda t: folder / "out.parquet")
    return outcome


def test_local_codes_become_standard_ones_beside_the_source(tmp_path: Path) -> None:
    [row] = read(_h02(tmp_path, ["0000009200000"]))
    assert (row["drug_code"], row["drug_code_source"]) == ("J01DD04", "0000009200000")
    assert (row["dose_unit"], row["dose_unit_source"]) == ("g", "G")
    assert (row["route"], row["route_source"]) == ("intravenous", "20045000")
    assert (row["status"], row["status_source"]) == ("given", "completed")


@pytest.mark.parametrize("spelling", ["0000009200000", "9200000", "09200000", " 9200000 "])
def test_the_padding_of_a_ucd_code_means_nothing(tmp_path: Path, spelling: str) -> None:
    assert [r["drug_code"] for r in read(_h02(tmp_path, [spelling]))] == ["J01DD04"]


def test_a_standard_code_needs_no_map_and_its_case_no_care(tmp_path: Path) -> None:
    assert [r["drug_code"] for r in read(_h02(tmp_path, ["J01CR05", "j01cr05"], status="GIVEN"))] == ["J01CR05"] * 2


def test_an_unmapped_code_is_kept_and_counted(tmp_path: Path) -> None:
    outcome = _h02(tmp_path, ["LOCAL001", "LOCAL001", "LOCAL2", "9200000"])
    assert sorted((r["drug_code_source"], r["drug_code"]) for r in read(outcome) if r["drug_code"] is None) == [
        ("LOCAL001", None), ("LOCAL001", None), ("LOCAL2", None),
    ]  # fmt: skip
    place = "administration.drug_code"
    assert outcome.unmapped == {"drug": {"LOCAL001": {place: 2}, "LOCAL2": {place: 1}}}


def test_references_that_do_not_resolve_are_flagged_and_no_stay_at_all_is_no_orphan(hospital: Hospital) -> None:
    hospital.deliver(
        1, patient=[patient("77") + ";upsert;"], stay=[stay("900") + ";upsert;", stay("901", "99") + ";upsert;"],
        administration=[
            dose("fine") + ";upsert;", dose("stay", nda="123") + ";upsert;", dose("both", nda="123", ipp="99") + ";upsert;",
            dose("none", nda="") + ";upsert;",
        ],
    )  # fmt: skip
    outcome = hospital.consolidate()
    flags = {r["administration_id"]: r["flags"] for r in read(outcome["administration"])}
    assert flags == {
        "fine": None,
        "stay": "administration.stay_id.orphan",
        "both": "administration.patient_id.orphan,administration.stay_id.orphan",
        "none": "administration.stay.known",
    }
    assert sorted(r["flags"] or "" for r in read(outcome["stay"])) == ["", "stay.patient_id.orphan"]


def test_a_deleted_parent_makes_orphans(hospital: Hospital) -> None:
    hospital.deliver(
        1,
        patient=[patient("77") + ";upsert;"],
        stay=[stay("900") + ";upsert;"],
        administration=[dose("A") + ";upsert;"],
    )
    hospital.deliver(2, stay=["900;;;;;;;;;delete;"])
    [row] = hospital.rows("administration")
    assert row["flags"] == "administration.stay_id.orphan"


def test_rows_are_ordered_by_patient_so_that_readers_can_skip(hospital: Hospital) -> None:
    hospital.deliver(1, administration=[dose(str(i), ipp=str(i % 5)) + ";upsert;" for i in range(50)])
    patients = [r["patient_id"] for r in hospital.rows("administration")]
    assert patients == sorted(patients)


def test_local_and_utc_times_travel_together(hospital: Hospital) -> None:
    hospital.deliver(1, administration=[dose("A", at="16/07/2025 08:00") + ";upsert;"])
    [row] = hospital.rows("administration")
    assert row["given_at_local"] == datetime(2025, 7, 16, 8)
    assert row["given_at"].isoformat() == "2025-07-16T06:00:00+00:00"
