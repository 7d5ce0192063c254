"""What several records of a hospital say together: identity merges, stays split in several records, bottles of one draw."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from one_file import land, lines, pseudonym

from estuaire.contract.registry import Hospital as Entry
from estuaire.contract.registry import load_registry
from estuaire.contract.tables import load_contract
from estuaire.kernel.consolidate import HospitalInput, TableOutcome, consolidate_hospital, survivors

UNTIL = datetime(2024, 7, 1, tzinfo=UTC)
HEADERS = {
    "patient": "patient_id;birth_date;sex",
    "patient_merge": "old_patient_id;new_patient_id;merged_at",
    "stay": "stay_id;patient_id;previous_stay_id;admitted_at;discharged_at;stay_type",
    "specimen": "specimen_id;patient_id;nature;purpose;body_site;collected_at",
}


def plain_entry() -> Entry:
    """A hospital that writes the contract's own names and codes."""
    entry = load_registry().get("h01")
    names = load_contract().names
    return replace(entry, table_dialect=dict.fromkeys(names, "main"), table_columns={}, code_maps={})


@dataclass
class World:
    """Deliveries of one hospital, each a delta."""

    folder: Path
    files: list[tuple[str, str]] = field(default_factory=list)
    runs: int = 0

    def deliver(self, sequence: int, **tables: list[str]) -> None:
        for table, records in tables.items():
            header = HEADERS[table] + ";op;source_updated_at"
            rows = [r if r.endswith(";delete;") else r + ";upsert;" for r in records]
            landed = land(
                self.folder, table, lines(header, *rows), hospital=plain_entry(), delivery=f"d{sequence}", sequence=sequence,
                kind="delta",
            )  # fmt: skip
            assert landed.error is None
            assert not landed.rejects
            assert landed.outcome.output
            self.files.append((table, landed.outcome.output))

    def consolidate(self, order: list[tuple[str, str]] | None = None) -> dict[str, TableOutcome]:
        self.runs += 1
        files: dict[str, list[str]] = {}
        for table, path in order or self.files:
            files.setdefault(table, []).append(path)
        target = self.folder / f"out{self.runs}"
        outcomes = consolidate_hospital(
            HospitalInput(plain_entry(), files, stays_until=UNTIL),
            load_contract(),
            lambda table: target / f"{table}.parquet",
        )
        return {o.table: o for o in outcomes}

    def rows(self, table: str) -> list[dict[str, Any]]:
        output = self.consolidate()[table].output
        assert output
        return pq.ParquetFile(output).read().to_pylist()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def patient(number: str) -> str:
    return f"{number};01/02/1955;female"


def stay(number: str, ipp: str, start: str, end: str = "", kind: str = "full", before: str = "") -> str:
    return f"{number};{ipp};{before};{start};{end};{kind}"


def ipp(number: str) -> str | None:
    return pseudonym("patient", "patient_id", number)


def nda(number: str) -> str | None:
    return pseudonym("stay", "stay_id", number)


# ------------------------------------------------------------------------------------------------ identity merges


def test_records_bear_the_id_that_the_patient_was_last_merged_into(world: World) -> None:
    world.deliver(1, patient=[patient(n) for n in "123"], stay=[stay("a", "1", "01/03/2024 10:00", "02/03/2024 10:00")])
    world.deliver(2, patient_merge=["1;2;01/05/2024 00:00"])
    world.deliver(3, patient_merge=["2;3;01/06/2024 00:00"])
    assert [r["patient_id"] for r in world.rows("stay")] == [ipp("3")]
    merged = {r["patient_id"]: r["merged_into"] for r in world.rows("patient")}
    assert merged == {ipp("1"): ipp("3"), ipp("2"): ipp("3"), ipp("3"): None}


def test_a_merge_taken_back_is_as_if_it_never_was(world: World) -> None:
    world.deliver(1, patient=[patient("1"), patient("2")], stay=[stay("a", "1", "01/03/2024 10:00")])
    before = world.consolidate()["stay"].content_hash
    world.deliver(2, patient_merge=["1;2;01/05/2024 00:00"])
    assert world.consolidate()["stay"].content_hash != before
    world.deliver(3, patient_merge=["1;2;01/05/2024 00:00;delete;"])
    assert world.consolidate()["stay"].content_hash == before


def test_a_merge_into_an_unknown_patient_waits_and_is_flagged(world: World) -> None:
    world.deliver(
        1, patient=[patient("1")], stay=[stay("a", "1", "01/03/2024 10:00")], patient_merge=["1;9;01/05/2024 00:00"]
    )
    assert [r["patient_id"] for r in world.rows("stay")] == [ipp("1")]
    assert "patient_merge.new_patient_id.orphan" in world.rows("patient_merge")[0]["flags"]
    world.deliver(2, patient=[patient("9")])
    assert [r["patient_id"] for r in world.rows("stay")] == [ipp("9")]


def test_a_circle_of_merges_changes_nothing_and_is_flagged(world: World) -> None:
    world.deliver(
        1, patient=[patient(n) for n in "123"], stay=[stay("a", "1", "01/03/2024 10:00"), stay("b", "3", "01/03/2024 10:00")],
        patient_merge=["1;2;01/05/2024 00:00", "2;1;02/05/2024 00:00", "3;1;03/05/2024 00:00"],
    )  # fmt: skip
    assert {r["stay_id"]: r["patient_id"] for r in world.rows("stay")} == {nda("a"): ipp("1"), nda("b"): ipp("3")}
    assert all("patient_merge.old_patient_id.circular" in r["flags"] for r in world.rows("patient_merge"))


def test_an_id_merged_twice_goes_where_the_later_merge_says(world: World) -> None:
    world.deliver(
        1, patient=[patient(n) for n in "123"], stay=[stay("a", "1", "01/03/2024 10:00")],
        patient_merge=["1;2;02/05/2024 00:00", "1;3;01/05/2024 00:00"],
    )  # fmt: skip
    assert [r["patient_id"] for r in world.rows("stay")] == [ipp("2")]


def test_a_record_of_a_former_id_without_a_patient_row_is_no_orphan_once_merged(world: World) -> None:
    world.deliver(1, patient=[patient("2")], stay=[stay("a", "1", "01/03/2024 10:00")])
    assert "stay.patient_id.orphan" in world.rows("stay")[0]["flags"]
    world.deliver(2, patient_merge=["1;2;01/05/2024 00:00"])
    assert world.rows("stay")[0]["flags"] is None


def test_survivors_follow_chains_and_stop_at_circles() -> None:
    known = set("abcdx")
    assert survivors([("a", "b"), ("b", "c")], known) == ({"a": "c", "b": "c"}, set())
    assert survivors([("a", "b"), ("b", "a"), ("c", "a"), ("x", "d")], known) == ({"x": "d"}, {"a", "b", "c"})
    assert survivors([("a", "a"), ("b", "unknown")], known) == ({}, set())


# ------------------------------------------------------------------------------------------------ stays and draws


def test_full_stays_within_a_day_are_one_stay_and_day_cases_are_not(world: World) -> None:
    world.deliver(
        1, patient=[patient("1"), patient("2")],
        stay=[
            stay("a", "1", "01/03/2024 10:00", "03/03/2024 09:00"),
            stay("b", "1", "03/03/2024 11:00", "04/03/2024 10:00"),
            stay("c", "1", "05/03/2024 10:00", "06/03/2024 10:00"),  # 24 h exactly
            stay("d", "1", "07/03/2024 10:01", "08/03/2024 10:00"),  # 24 h and a minute
            stay("e", "1", "02/03/2024 10:00", "02/03/2024 15:00", "day"),
            stay("f", "2", "03/03/2024 10:00", "04/03/2024 10:00"),
        ],
    )  # fmt: skip
    whole = {r["stay_id"]: r["whole_stay_id"] for r in world.rows("stay")}
    assert whole == {nda(own): nda(first) for own, first in ("aa", "ba", "ca", "dd", "ee", "ff")}


def test_a_short_stay_inside_a_long_one_does_not_end_it(world: World) -> None:
    world.deliver(
        1, patient=[patient("1")],
        stay=[
            stay("a", "1", "01/03/2024 10:00", "20/03/2024 09:00"),
            stay("b", "1", "02/03/2024 11:00", "03/03/2024 10:00"),
            stay("c", "1", "20/03/2024 10:00", "21/03/2024 10:00"),
        ],
    )  # fmt: skip
    assert {r["whole_stay_id"] for r in world.rows("stay")} == {nda("a")}


def test_a_stay_that_names_the_one_before_continues_it_after_a_longer_gap(world: World) -> None:
    records = [
        stay("a", "1", "01/03/2024 10:00", "03/03/2024 09:00"),
        stay("b", "1", "06/03/2024 11:00", "07/03/2024 10:00"),
    ]
    world.deliver(1, patient=[patient("1")], stay=records)
    assert {r["whole_stay_id"] for r in world.rows("stay")} == {nda("a"), nda("b")}
    world.deliver(2, stay=[stay("b", "1", "06/03/2024 11:00", "07/03/2024 10:00", before="a")])
    assert {r["whole_stay_id"] for r in world.rows("stay")} == {nda("a")}


def test_stays_of_merged_ids_are_one_stay(world: World) -> None:
    world.deliver(
        1, patient=[patient("1"), patient("2")],
        stay=[stay("a", "1", "01/03/2024 10:00", "03/03/2024 09:00"), stay("b", "2", "03/03/2024 11:00", "04/03/2024 10:00")],
        patient_merge=["1;2;01/05/2024 00:00"],
    )  # fmt: skip
    assert {r["whole_stay_id"] for r in world.rows("stay")} == {nda("a")}


def test_blood_bottles_of_one_time_and_place_are_one_draw(world: World) -> None:
    at = "01/03/2024 10:00"
    world.deliver(
        1, patient=[patient("1"), patient("2")],
        specimen=[
            f"s1;1;blood;diagnostic;arm;{at}", f"s2;1;blood;diagnostic;arm;{at}", f"s3;1;blood;diagnostic;catheter;{at}",
            "s4;1;blood;diagnostic;arm;01/03/2024 10:01", f"s5;2;blood;diagnostic;arm;{at}",
            f"s6;1;urine;diagnostic;arm;{at}", f"s7;1;urine;diagnostic;arm;{at}",
        ],
    )  # fmt: skip
    draws = [r["draw_id"] for r in world.rows("specimen")]
    assert len(draws) == 7
    assert len(set(draws)) == 6
    names = {pseudonym("specimen", "specimen_id", f"s{i}"): f"s{i}" for i in range(1, 8)}
    by_name = {names[r["specimen_id"]]: r["draw_id"] for r in world.rows("specimen")}
    assert by_name["s1"] == by_name["s2"] in {k for k, v in names.items() if v in ("s1", "s2")}


@pytest.mark.thorough
def test_any_order_of_the_same_files_gives_the_same_content(world: World) -> None:
    world.deliver(
        1, patient=[patient(n) for n in "1234"], stay=[stay("a", "1", "01/03/2024 10:00", "03/03/2024 09:00")]
    )
    world.deliver(2, stay=[stay("b", "2", "03/03/2024 10:00")], patient_merge=["1;2;01/05/2024 00:00"])
    world.deliver(
        3, patient_merge=["2;3;01/06/2024 00:00"], stay=[stay("a", "1", "01/03/2024 10:00", "03/03/2024 10:00")]
    )
    every = list(itertools.permutations(world.files))
    orders = every[:: len(every) // 10]  # each file stands first in one or two
    found = {tuple((t, o.content_hash) for t, o in world.consolidate(list(order)).items()) for order in orders}
    assert len(found) == 1
