"""A full delivery ends what it omits in its tables and period only; rows without a date lie where their parent does."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from one_file import land, lines, pseudonym

from estuaire.contracts import load_contract
from estuaire.registry import load_registry
from spark_jobs.kernel.consolidate import Full, HospitalInput, Rejected, TableOutcome, consolidate_hospital

HEADERS = {
    "patient": "patient_id;birth_date;sex",
    "unit": "unit_code;valid_from;unit_type",
    "stay": "stay_id;patient_id;admitted_at;discharged_at;stay_type",
    "movement": "stay_id;rank;unit_code;entered_at",
    "diagnosis": "stay_id;rank;diagnosis_code;diagnosis_type",
    "specimen": "specimen_id;patient_id;nature;purpose;collected_at",
    "isolate": "specimen_id;isolate_number;organism_code;status",
    "susceptibility": "specimen_id;isolate_number;drug_code;category",
}
BOTH, LAST = (date(2023, 1, 1), date(2025, 1, 1)), (date(2024, 1, 1), date(2025, 1, 1))


def year_of(year: int, *numbers: int, patient: str = "p") -> dict[str, list[str]]:
    """Per number a patient, a stay with a diagnosis and a movement, a specimen with an isolate and a result, all in March."""
    tables: dict[str, list[str]] = {}
    for n in numbers:
        who, nda, sample, at = f"{patient}{n}", f"n{year}-{n}", f"x{year}-{n}", f"{n:02d}/03/{year} 10:00"
        for table, record in (
            ("patient", f"{who};01/02/1955;female"), ("stay", f"{nda};{who};{at};{at};full"), ("movement", f"{nda};1;u{year};{at}"),
            ("diagnosis", f"{nda};1;N390;main"), ("specimen", f"{sample};{who};blood;diagnostic;{at}"),
            ("isolate", f"{sample};1;B_ESCHR_COLI;final"), ("susceptibility", f"{sample};1;CTX;R"),
        ):  # fmt: skip
            tables.setdefault(table, []).append(record)
        tables["unit"] = [f"u{year};01/01/2020;medicine"]
    return tables


def both(*parts: dict[str, list[str]]) -> dict[str, list[str]]:
    return {
        t: list(dict.fromkeys(r for p in parts for r in p.get(t, []))) for t in HEADERS if any(t in p for p in parts)
    }


@dataclass
class World:
    folder: Path
    files: list[tuple[str, str]] = field(default_factory=list)
    fulls: list[Full] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    runs: int = 0

    def deliver(self, sequence: int, tables: dict[str, list[str]], period: tuple[date, date] | None = None) -> None:
        """A full delivery of the tables given where a period is, else a delta (``;delete`` behind a record deletes it)."""
        names = load_contract().names
        own = replace(
            load_registry().get("h01"), table_dialect=dict.fromkeys(names, "main"), table_columns={}, code_maps={}
        )
        for table, records in tables.items():
            header = HEADERS[table] if period else HEADERS[table] + ";op"
            rows = records if period else [r if r.endswith(";delete") else f"{r};upsert" for r in records]
            landed = land(
                self.folder, table, lines(header, *rows), hospital=own, delivery=f"d{sequence}", sequence=sequence,
                kind="full" if period else "delta",
            )  # fmt: skip
            assert landed.error is None
            if landed.outcome.output:
                self.files.append((table, landed.outcome.output))
            self.rejected += [Rejected(table, r["business_key"], sequence, None) for r in landed.rejects]
        if period:
            self.fulls.append(Full(sequence, *period, tuple(tables)))

    def consolidate(self, shuffle: random.Random | None = None) -> dict[str, TableOutcome]:
        files, fulls, rejected = list(self.files), list(self.fulls), list(self.rejected)
        if shuffle:
            shuffle.shuffle(files)
            shuffle.shuffle(fulls)
            shuffle.shuffle(rejected)
        by_table: dict[str, list[str]] = {}
        for table, path in files:
            by_table.setdefault(table, []).append(path)
        self.runs += 1
        given = HospitalInput(load_registry().get("h01"), by_table, fulls, rejected, datetime(2025, 1, 1, tzinfo=UTC))
        found = consolidate_hospital(given, load_contract(), lambda t: self.folder / f"out-{self.runs}-{t}.parquet")
        return {o.table: o for o in found}

    def rows(self, table: str) -> list[dict[str, Any]]:
        return pq.ParquetFile(str(self.consolidate()[table].output)).read().to_pylist()

    def counts(self) -> dict[str, int]:
        return {t: o.rows for t, o in self.consolidate().items()}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def sample(number: str) -> str | None:
    return pseudonym("specimen", "specimen_id", number)


def test_a_full_of_2024_leaves_what_is_of_2023(world: World) -> None:
    world.deliver(1, both(year_of(2023, 1, 2), year_of(2024, 1, 2, 3)), BOTH)
    world.deliver(2, year_of(2024, 1, 2), LAST)
    kept = ("stay", "movement", "diagnosis", "specimen", "isolate", "susceptibility")
    assert {t: n for t, n in world.counts().items() if t in kept} == dict.fromkeys(kept, 4)
    assert {r["flags"] for t in kept for r in world.rows(t)} == {None}


def test_patients_and_units_stay_while_a_record_names_them(world: World) -> None:
    world.deliver(1, both(year_of(2023, 1, patient="old"), year_of(2024, 2, 3)), BOTH)
    world.deliver(2, year_of(2024, 2), LAST)
    patients = {r["patient_id"] for r in world.rows("patient")}
    assert patients == {pseudonym("patient", "patient_id", p) for p in ("old1", "p2")}  # nothing of p3 is left
    assert {r["unit_code"] for r in world.rows("unit")} == {"u2023", "u2024"}
    world.deliver(3, year_of(2024, 2), BOTH)
    assert (world.counts()["patient"], [r["unit_code"] for r in world.rows("unit")]) == (1, ["u2024"])


def test_a_full_without_some_tables_makes_no_orphan(world: World) -> None:
    """The second full holds patients and stays only: what it does not hold still names the patient whom it omits."""
    world.deliver(1, both(year_of(2024, 1, 2)), BOTH)
    second = {t: r for t, r in year_of(2024, 1).items() if t in ("patient", "stay")}
    world.deliver(2, second, BOTH)
    assert world.counts() | {"stay": 1} == dict.fromkeys(HEADERS, 2) | {"unit": 1, "stay": 1}
    assert {r["flags"] for r in world.rows("specimen")} == {None}


def test_an_isolate_that_the_full_omits_of_a_specimen_that_it_holds_is_ended(world: World) -> None:
    world.deliver(1, both(year_of(2024, 1), {"isolate": ["x2024-1;2;B_ESCHR_COLI;final"]}), BOTH)
    assert world.counts()["isolate"] == 2
    world.deliver(2, year_of(2024, 1), LAST)
    assert [r["isolate_number"] for r in world.rows("isolate")] == [1]


def test_the_parents_date_is_the_one_that_the_full_knew(world: World) -> None:
    """Moved to 2024 before the full of 2024 that omits it: ended with its specimen. Moved afterwards: the full knew it in 2023."""
    world.deliver(1, both(year_of(2023, 1, 2), year_of(2024, 5)), BOTH)
    world.deliver(2, {"specimen": ["x2023-1;p1;blood;diagnostic;02/01/2024 10:00"]})
    world.deliver(3, year_of(2024, 5), LAST)
    world.deliver(4, {"specimen": ["x2023-2;p2;blood;diagnostic;02/01/2024 10:00"]})
    assert {r["specimen_id"] for r in world.rows("isolate")} == {sample("x2023-2"), sample("x2024-5")}
    assert {r["specimen_id"] for r in world.rows("susceptibility")} == {sample("x2023-2"), sample("x2024-5")}
    assert {r["specimen_id"] for r in world.rows("specimen")} == {sample("x2023-2"), sample("x2024-5")}


def test_a_deleted_specimen_still_dates_its_isolates(world: World) -> None:
    world.deliver(1, both(year_of(2023, 1), year_of(2024, 2, 3)), BOTH)
    world.deliver(2, {"specimen": ["x2023-1;;;;;delete", "x2024-2;;;;;delete"]})
    world.deliver(3, year_of(2024, 3), LAST)
    assert {r["specimen_id"] for r in world.rows("isolate")} == {sample("x2023-1"), sample("x2024-3")}


def test_a_parent_that_comes_after_the_full_dates_too(world: World) -> None:
    first = both(year_of(2023, 1), year_of(2024, 2, 3))
    world.deliver(1, {t: r for t, r in first.items() if t != "specimen"}, BOTH)
    world.deliver(2, year_of(2024, 3), LAST)
    assert world.counts()["isolate"] == 3  # 2023-1 and 2024-2: of no known date
    world.deliver(3, {"specimen": first["specimen"][:2]})
    assert {r["specimen_id"] for r in world.rows("isolate")} == {sample("x2023-1"), sample("x2024-3")}


def test_an_orphan_that_a_full_omits_is_kept_flagged_and_counted(world: World) -> None:
    lost = {
        "isolate": ["gone;1;B_ESCHR_COLI;final"],
        "susceptibility": ["gone;1;CTX;R"],
        "diagnosis": ["gone;1;N390;main"],
    }
    world.deliver(1, both(year_of(2023, 1), year_of(2024, 2), lost), BOTH)
    assert "isolate.omitted.undated" not in {f for r in world.rows("isolate") for f in (r["flags"] or "").split(",")}
    world.deliver(2, year_of(2024, 2), LAST)
    for table in lost:
        flagged = [r for r in world.rows(table) if f"{table}.omitted.undated" in (r["flags"] or "")]
        assert len(flagged) == 1
    assert world.counts()["isolate"] == 3


def test_a_key_quarantined_in_the_full_is_not_omitted_whatever_dates_it(world: World) -> None:
    world.deliver(1, both(year_of(2024, 1, 2)), BOTH)
    second = both(year_of(2024, 1, 2))
    second["isolate"] = ["x2024-1;1;B_ESCHR_COLI;final", "x2024-2;1;;final"]  # no organism
    world.deliver(2, second, LAST)
    assert {r["specimen_id"]: r["stale_correction"] for r in world.rows("isolate")} == {
        sample("x2024-1"): False, sample("x2024-2"): True,
    }  # fmt: skip


def test_any_order_of_the_same_deliveries_gives_the_same_result(world: World) -> None:
    lost = {"isolate": ["gone;1;B_ESCHR_COLI;final"]}
    world.deliver(1, both(year_of(2023, 1, 2, 3), year_of(2024, 1, 2, 3, 4), lost), BOTH)
    world.deliver(2, {"specimen": ["x2023-1;p1;blood;diagnostic;02/01/2024 10:00", "x2024-4;;;;;delete"]})
    world.deliver(3, year_of(2024, 1, 2), LAST)
    world.deliver(
        4, {"specimen": ["x2023-2;p2;blood;diagnostic;02/01/2024 10:00"], "diagnosis": ["n2023-3;2;J180;associated"]}
    )
    world.deliver(5, both(year_of(2024, 2, 4)), LAST)
    expected = world.consolidate()
    rng = random.Random(3)  # noqa: S311
    for _ in range(15):
        found = world.consolidate(shuffle=rng)
        assert {t: o.content_hash for t, o in found.items()} == {t: o.content_hash for t, o in expected.items()}
        assert {t: o.superseded for t, o in found.items()} == {t: o.superseded for t, o in expected.items()}
    for table, outcome in expected.items():  # nothing is lost
        landed = sum(pq.ParquetFile(path).metadata.num_rows for t, path in world.files if t == table)
        assert landed == outcome.rows + sum(n for n, _ in outcome.superseded.values())
