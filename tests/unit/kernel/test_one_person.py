"""Identifiers whose records cannot be one person's: what is recognised, what is not, and what each record then says."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from one_file import land, lines

from estuaire.contract.registry import Hospital, OnePerson, load_registry
from estuaire.contract.tables import load_contract
from estuaire.gates.consolidated import count
from estuaire.kernel.consolidate import HospitalInput, consolidate_hospital

HEADERS = {
    "patient": "patient_id;birth_date;sex",
    "patient_merge": "old_patient_id;new_patient_id;merged_at",
    "stay": "stay_id;patient_id;admitted_at;discharged_at;stay_type",
    "specimen": "specimen_id;patient_id;stay_id;unit_code;collected_at;nature;purpose",
    "administration": "administration_id;patient_id;stay_id;drug_code;drug_label;dose;dose_unit;route;given_at;status",
}
FLAG = ".patient_id.not_one_person"
WHO = "77001"  # an identifier like any other


@dataclass
class Extract:
    """Deliveries of one hospital that writes the contract's own names and codes, each a delta; what they consolidate to."""

    folder: Path
    limits: OnePerson = field(default_factory=OnePerson)
    files: dict[str, list[str]] = field(default_factory=dict)
    numbers: Any = field(default_factory=itertools.count)

    def entry(self) -> Hospital:
        names = load_contract().names
        return replace(
            load_registry().get("h01"),
            table_dialect=dict.fromkeys(names, "main"),
            table_columns={},
            code_maps={},
            one_person=self.limits,
        )

    def deliver(self, **tables: list[str]) -> None:
        sequence = next(self.numbers) + 1
        for table, records in tables.items():
            data = lines(f"{HEADERS[table]};op;source_updated_at", *(f"{r};upsert;" for r in records))
            landed = land(
                self.folder,
                table,
                data,
                hospital=self.entry(),
                delivery=f"d{sequence}",
                sequence=sequence,
                kind="delta",
            )
            assert landed.error is None
            assert not landed.rejects
            assert landed.outcome.output
            self.files.setdefault(table, []).append(landed.outcome.output)

    def consolidate(self) -> dict[str, str]:
        target = self.folder / f"out{next(self.numbers)}"
        given = HospitalInput(self.entry(), self.files, stays_until=datetime(2026, 1, 1, tzinfo=UTC))
        outcomes = consolidate_hospital(given, load_contract(), lambda t: target / f"{t}.parquet")
        return {o.table: o.output for o in outcomes if o.output}

    def flagged(self) -> dict[str, int]:
        """Table -> records of which the identifier is said not to be one person's; tables without any are left out. Every one is ``WHO``'s."""
        found: dict[str, int] = {}
        mine: dict[str, set[str]] = {}
        for table, path in self.consolidate().items():
            rows = pq.ParquetFile(path).read().to_pylist()
            for row in rows:
                if FLAG in (row["flags"] or ""):
                    assert f"{table}{FLAG}" in row["flags"].split(",")
                    found[table] = found.get(table, 0) + 1
                    mine.setdefault("", set()).add(row["patient_id"])
        assert all(len(ids) == 1 for ids in mine.values())
        return found


@pytest.fixture
def extract(tmp_path: Path) -> Extract:
    return Extract(tmp_path)


def patients(*others: str, born: str = "01/02/1955") -> list[str]:
    return [f"{n};{born};female" for n in (WHO, *others)]


def stay(number: str, who: str, start: str, end: str, kind: str = "full") -> str:
    return f"{number};{who};{start};{end};{kind}"


def specimen(number: object, collected: str, *, unit: str = "3101", stay_id: str = "", who: str = WHO) -> str:
    return f"X{number};{who};{stay_id};{unit};{collected};urine;diagnostic"


def at_once(count: int) -> dict[str, list[str]]:
    return {
        "stay": [stay(f"s{n}", WHO, f"{n + 1:02}/03/2025 10:00", f"{n + 20:02}/03/2025 10:00") for n in range(count)]
    }


def of_others(count: int) -> dict[str, list[str]]:
    who = [f"p{n}" for n in range(count)]
    return {
        "patient": patients(*who),
        "stay": [stay(f"s-{p}", p, "01/03/2025 10:00", "09/03/2025 10:00") for p in who],
        "specimen": [specimen(p, "03/03/2025 08:00", stay_id=f"s-{p}") for p in who],
    }


def units_at_once(count: int) -> dict[str, list[str]]:
    return {"specimen": [specimen(n, "03/03/2025 08:15", unit=f"U{n}") for n in range(count)]}


def units_a_day(count: int) -> dict[str, list[str]]:
    return {"specimen": [specimen(n, f"03/03/2025 {n + 1:02}:15", unit=f"U{n}") for n in range(count)]}


def specimens_a_day(count: int) -> dict[str, list[str]]:
    return {"specimen": [specimen(n, f"03/03/2025 08:{n % 60:02}") for n in range(count)]}


SIGNS: dict[str, tuple[Callable[[int], dict[str, list[str]]], str]] = {
    "stays_at_once": (at_once, "stay"),
    "patients_of_stays": (of_others, "specimen"),
    "units_at_once": (units_at_once, "specimen"),
    "units_a_day": (units_a_day, "specimen"),
    "specimens_a_day": (specimens_a_day, "specimen"),
}


@pytest.mark.parametrize("sign", SIGNS)
def test_more_at_the_same_time_than_one_person_can_have(extract: Extract, sign: str) -> None:
    build, table = SIGNS[sign]
    most = getattr(OnePerson(), sign)
    extract.deliver(**{"patient": patients()} | build(most + 1))
    assert extract.flagged() == {"patient": 1, table: most + 1}
    extract.limits = replace(OnePerson(), **{sign: most + 1})  # the registry's word for this hospital
    assert extract.flagged() == {}


@pytest.mark.parametrize("sign", SIGNS)
def test_what_one_person_can_have_is_one_person_s(extract: Extract, sign: str) -> None:
    build, _ = SIGNS[sign]
    extract.deliver(**{"patient": patients()} | build(getattr(OnePerson(), sign)))
    assert extract.flagged() == {}


def test_versions_of_more_births_than_corrections_make(extract: Extract) -> None:
    for n, year in enumerate((1955, 1988)):
        extract.deliver(patient=patients(born=f"01/02/{year}"), specimen=[specimen(n, "03/03/2025 08:00")])
    assert extract.flagged() == {}
    extract.deliver(patient=patients(born="11/11/2011"))
    assert extract.flagged() == {"patient": 1, "specimen": 2}


def test_a_provisional_birth_that_became_a_true_one_is_no_other_person(extract: Extract) -> None:
    for year in (1900, 1901, 1955, 1965):
        extract.deliver(patient=patients(born=f"01/01/{year}"))
    extract.deliver(specimen=[specimen(1, "03/03/2025 08:00")])
    assert extract.flagged() == {}


@pytest.mark.parametrize(("born", "found"), [("01/01/1900", True), ("04/03/1902", False), ("02/03/1902", True)])
def test_nobody_is_older_than_anybody_ever_was(extract: Extract, born: str, found: bool) -> None:
    extract.deliver(patient=patients(born=born), specimen=[specimen(n, f"{n:02}/03/2025 08:00") for n in (1, 2, 3)])
    assert extract.flagged() == ({"patient": 1, "specimen": 3} if found else {})


def test_how_much_an_identifier_has_is_no_sign(extract: Extract) -> None:
    """Five cultures in five days are one patient in intensive care; records that overlap, that follow each other, that stay open, or that
    stand twice under two numbers are one patient's, too; so are sessions inside a stay."""
    full = [stay(f"a{n}", WHO, "01/02/2025 10:00", "20/02/2025 10:00") for n in range(5)]  # one stay under five numbers
    chain = [stay(f"b{n}", WHO, f"{n + 1:02}/03/2025 10:00", f"{n + 2:02}/03/2025 10:00") for n in range(10)]
    sessions = [stay(f"c{n}", WHO, f"05/02/2025 {n + 8:02}:00", "05/02/2025 23:00", "session") for n in range(6)]
    left_open = [stay(f"d{n}", WHO, f"{n + 1:02}/04/2025 10:00", "") for n in range(6)]
    cultures = [specimen(f"{d}-{n}", f"{d:02}/03/2025 {n + 1:02}:00") for d in range(1, 21) for n in range(10)]
    by_day = [
        specimen(f"day{n}", "02/04/2025 00:00", unit=f"U{n}") for n in range(8)
    ]  # dates without a time: no moment
    extract.deliver(patient=patients(), stay=[*full, *chain, *sessions, *left_open], specimen=[*cultures, *by_day])
    assert extract.flagged() == {}


def test_every_record_of_the_identifier_says_so_and_no_other(extract: Extract) -> None:
    doses = [f"{n};{who};;J01DD04;x;1;g;IV;03/03/2025 08:00;given" for n, who in enumerate((WHO, WHO, "p"))]
    extract.deliver(patient=patients("p"), administration=doses, **at_once(4))
    assert extract.flagged() == {"patient": 1, "stay": 4, "administration": 2}
    found = count(extract.consolidate()["stay"], "stay")
    assert found["stay.patient_id.not_one_person"] == [4, 4]


def test_records_of_an_identifier_merged_into_it_count_with_it(extract: Extract) -> None:
    several = at_once(4)["stay"]
    moved = [r.replace(f";{WHO};", ";former;") if r.startswith(("s0", "s1")) else r for r in several]
    extract.deliver(patient=patients("former"), stay=moved)
    assert extract.flagged() == {}
    extract.deliver(patient_merge=[f"former;{WHO};01/05/2025 00:00"])
    assert extract.flagged() == {"patient": 1, "stay": 4}
