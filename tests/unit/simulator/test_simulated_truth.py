"""The truth file, against an independent reading of every file: planted records, rejects, current rows, linked people."""

from __future__ import annotations

from collections import Counter

import pytest
from delivered_files import Record, every, nir_holds, parse_datetime, planted, problems, records
from simulated_world import World

from estuaire.contracts import load_contract
from estuaire.registry import load_registry, read_code_map
from estuaire.simulator.trap_catalogue import CATALOGUE


def test_every_trap_is_planted_somewhere(world: World) -> None:
    found = {
        trap
        for deliveries in world.truth["hospitals"].values()
        for delivery in deliveries.values()
        for table in delivery["tables"].values()
        for trap in table["planted"]
    }
    assert found == {trap.name for trap in CATALOGUE}


def test_planted_and_rejected_counts_are_those_found_in_the_files(world: World) -> None:
    truth, registry = world.truth, load_registry()
    recognised = {t.name for t in CATALOGUE if t.outcome != "rejected"}
    for hospital, delivery, table in every(world.plan.hospitals, truth["plan"]["deliveries"]):
        expected = truth["hospitals"][hospital][delivery]["tables"][table]
        found = records(world.folder, hospital, delivery, table)
        entry = registry.get(hospital)
        assert len(found) == expected["rows"]
        broken = [problems(r, entry, table) for r in found]
        assert all(len(b) <= 1 for b in broken)
        assert dict(Counter(rule for b in broken for rule in b)) == expected["rejected"]
        assert dict(planted(found, entry, table)) == {k: n for k, n in expected["planted"].items() if k in recognised}
        kinds = expected["kinds"]
        assert sum(kinds.values()) + expected["duplicates"] == len(found)
        assert sum(r.get("op") == "delete" for r in found) == kinds["delete"]


Current = dict[tuple[str, str], dict[str, Record]]


def replayed(world: World, upto: str) -> Current:
    """Latest valid version of each key after the deliveries up to ``upto``: (hospital, table) -> key -> record."""
    current: Current = {}
    registry = load_registry()
    for hospital, delivery, table in every(world.plan.hospitals, world.truth["plan"]["deliveries"]):
        if delivery.split("-")[:2] > upto.split("-")[:2]:
            continue
        entry, key = registry.get(hospital), load_contract().table(table).key[0]
        dialect = entry.dialects[entry.table_dialect[table]]
        rows = records(world.folder, hospital, delivery, table)
        if rows and "source_updated_at" in rows[0]:
            rows.sort(key=lambda r: str(parse_datetime(r["source_updated_at"] or "", dialect)))
        held = current.setdefault((hospital, table), {})
        for row in rows:
            if problems(row, entry, table):
                continue
            if row.get("op") == "delete":
                assert held.pop(str(row[key]), None) is not None, "a deletion names a key that is not there"
            else:
                held[str(row[key])] = row
    return current


@pytest.mark.parametrize("delivery", ["2025-10-full", "2025-11-delta", "2025-12-delta"])
def test_current_rows_orphans_and_people_after_each_delivery(world: World, delivery: str) -> None:
    truth = world.truth
    current = replayed(world, delivery)
    people: Counter[str] = Counter()
    alone = 0
    for hospital in world.plan.hospitals:
        expected = truth["hospitals"][hospital][delivery]
        patient, stay, dose = (current[hospital, t] for t in ("patient", "stay", "administration"))
        for table, held in (("patient", patient), ("stay", stay), ("administration", dose)):
            assert len(held) == expected["tables"][table]["current_after"]
        assert expected["orphans_after"] == {
            "stay.patient_id": sum(r["patient_id"] not in patient for r in stay.values()),
            "administration.patient_id": sum(r["patient_id"] not in patient for r in dose.values()),
            "administration.stay_id": sum(r["stay_id"] not in stay for r in dose.values()),
        }
        for record in patient.values():
            nir, upstream = record["national_id"], record["upstream_pseudonym"]
            if nir is not None and nir_holds(nir):
                people[f"{nir}/{record['twin_rank']}"] += 1
            elif upstream is not None:
                people[f"{record['pseudonym_authority']}/{upstream}"] += 1
            else:
                alone += 1
    sequence = truth["plan"]["deliveries"].index(delivery) + 1
    assert truth["people_after"][str(sequence)] == {
        "local_patients": alone + people.total(),
        "people": alone + len(people),
        "people_in_several_hospitals": sum(n > 1 for n in people.values()),
    }
    assert truth["people_after"][str(sequence)]["people_in_several_hospitals"] > 5


def test_default_rates_let_the_gates_pass() -> None:
    rejected = sum(t.rate for t in CATALOGUE if t.outcome == "rejected" and t.table == "administration")
    assert rejected < 0.001
    assert sum(t.rate for t in CATALOGUE if t.name == "administration.unmapped_drug") < 0.01


def test_each_local_code_is_one_of_the_hospitals(world: World) -> None:
    registry = load_registry()
    for hospital, delivery, table in every(world.plan.hospitals, world.truth["plan"]["deliveries"]):
        for column in load_contract().table(table).columns:
            system = column.code_system
            if system in (None, "drug"):
                continue
            known = set(read_code_map(registry.get(hospital).code_maps[str(system)])) | {None}
            assert {r[column.name] for r in records(world.folder, hospital, delivery, table)} <= known
