"""The truth file, against an independent reading of every file: planted records, rejects, current rows, linked people."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

import pytest
from delivered_files import Record, damage, every, manifest, nir_holds, parse_datetime, planted, problems, records
from simulated_world import World

from estuaire.contract.registry import load_registry, read_code_map
from estuaire.contract.tables import load_contract
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
    damaged = {t.name for t in CATALOGUE if t.outcome == "unparseable"}
    for hospital, delivery, table in every(world.plan.hospitals, truth["plan"]["deliveries"]):
        expected = truth["hospitals"][hospital][delivery]["tables"][table]
        found = records(world.folder, hospital, delivery, table)
        entry = registry.get(hospital)
        lost = damage(world.folder, hospital, delivery, table)
        assert len(found) + expected["unparseable"] == expected["rows"]
        assert dict(lost) == {k: n for k, n in expected["planted"].items() if k in damaged}
        broken = [problems(r, entry, table) for r in found]
        assert all(len(b) <= 1 for b in broken)
        assert dict(Counter(rule for b in broken for rule in b)) == expected["rejected"]
        assert dict(planted(found, entry, table)) == {
            k: n for k, n in expected["planted"].items() if k in recognised - damaged
        }
        kinds = expected["kinds"]
        assert sum(kinds.values()) + expected["duplicates"] == expected["rows"]
        assert sum(r.get("op") == "delete" for r in found) == kinds["delete"]


Key = tuple[str | None, ...]
Current = dict[tuple[str, str], dict[Key, Record]]


def of(row: Record, columns: tuple[str, ...]) -> Key:
    return tuple(row[c] for c in columns)


def replayed(world: World, upto: str) -> Current:
    """Latest valid version of each key after the deliveries up to ``upto``: (hospital, table) -> key -> record."""
    current: Current = {}
    registry = load_registry()
    for hospital, delivery, table in every(world.plan.hospitals, world.truth["plan"]["deliveries"]):
        if delivery.split("-")[:2] > upto.split("-")[:2]:
            continue
        entry, key = registry.get(hospital), load_contract().table(table).key
        dialect = entry.dialects[entry.table_dialect[table]]
        rows = records(world.folder, hospital, delivery, table)
        if rows and "source_updated_at" in rows[0]:
            rows.sort(key=lambda r: str(parse_datetime(r["source_updated_at"] or "", dialect)))
        held = current.setdefault((hospital, table), {})
        for row in rows:
            if problems(row, entry, table):
                continue
            if row.get("op") == "delete":
                assert held.pop(of(row, key), None) is not None, "a deletion names a key that is not there"
            else:
                held[of(row, key)] = row
    return current


@pytest.mark.parametrize("delivery", ["2025-10-full", "2025-11-delta", "2025-12-delta"])
def test_current_rows_orphans_and_people_after_each_delivery(world: World, delivery: str) -> None:
    truth = world.truth
    current = replayed(world, delivery)
    contract = load_contract()
    links: dict[Key, set[Key]] = {}
    for hospital in world.plan.hospitals:
        expected = truth["hospitals"][hospital][delivery]
        for table in contract.names:
            assert len(current[hospital, table]) == expected["tables"][table]["current_after"]
        patient = current[hospital, "patient"]
        survivor = {
            m["old_patient_id"]: m["new_patient_id"]
            for m in current[hospital, "patient_merge"].values()
            if (m["new_patient_id"],) in patient
        }
        orphans = {}
        for table in contract.tables:
            for reference in table.references:
                known = {of(r, reference.to) for r in current[hospital, reference.table].values()}
                told = [of(r, reference.columns) for r in current[hospital, table.name].values()]
                if reference.columns == ("patient_id",):
                    told = [(survivor.get(t[0], t[0]),) for t in told]
                orphans[f"{table.name}.{reference.columns[-1]}"] = sum(None not in t and t not in known for t in told)
        assert {k: n for k, n in expected["orphans_after"].items() if k in orphans} == {
            k: n for k, n in orphans.items() if k in expected["orphans_after"]
        }
        assert {"administration.stay_id", "susceptibility.isolate_number", "patient_merge.new_patient_id"} <= set(
            orphans
        )
        assert expected["merged_after"] == sum((old,) in patient for old in survivor)
        for (ipp,), record in patient.items():
            own = links.setdefault((hospital, ipp), set())
            nir, upstream = record["national_id"], record["upstream_pseudonym"]
            if nir is not None and nir_holds(nir):
                own.add((nir, record["twin_rank"]))
            elif upstream is not None:
                own.add((record["pseudonym_authority"], upstream))
            own.add((hospital, survivor.get(ipp, ipp)))
    sequence = truth["plan"]["deliveries"].index(delivery) + 1
    assert truth["people_after"][str(sequence)] == people_of(links)
    assert people_of(links)["people_in_several_hospitals"] > 5


def people_of(links: dict[Key, set[Key]]) -> dict[str, int]:
    """Records that share a token, through any chain of them, are one person: merged until nothing changes."""
    group = {record: {record} for record in links}
    holder: dict[Key, Key] = {}
    for record, tokens in links.items():
        for token in tokens:
            if (other := holder.setdefault(token, record)) != record and group[other] is not group[record]:
                group[other] |= group[record]
                for member in group[record]:
                    group[member] = group[other]
    people = {id(g): g for g in group.values()}.values()
    return {
        "local_patients": len(links),
        "people": len(people),
        "people_in_several_hospitals": sum(len({hospital for hospital, _ in g}) > 1 for g in people),
    }


def test_merges_split_stays_and_repeated_deliveries_are_there(world: World) -> None:
    truth = world.truth
    last = {h: list(d.values())[-1] for h, d in truth["hospitals"].items()}
    assert all(d["merged_after"] > 0 for d in last.values())
    assert all(d["continued_stays_after"] > 0 for d in last.values())
    kinds = {h: sum(t["kinds"]["repeat"] for t in d["tables"].values()) for h, d in last.items()}
    assert kinds["h01"] > 0
    assert kinds["h02"] == kinds["h03"] == 0
    assert [d["sequence"] for d in truth["hospitals"]["h02"].values()] == [1, 2, 3, 4]
    first, again = (truth["hospitals"]["h02"][d] for d in ("2025-11-delta", "2025-11-delta-again"))
    assert first["rows"] == again["rows"] > 0
    extracted = [manifest(world.folder, "h03", d)["extracted_at"] for d in truth["plan"]["deliveries"]]
    assert extracted[1] > extracted[2] > extracted[0]


def test_split_stays_continue_the_one_before(world: World) -> None:
    """Stays told apart from the files alone: a gap of 24 hours at most, or the one before named."""
    current = replayed(world, "2025-12-delta")
    registry = load_registry()
    for hospital in world.plan.hospitals:
        entry = registry.get(hospital)
        dialect = entry.dialects[entry.table_dialect["stay"]]
        full = {
            local for local, standard in read_code_map(entry.code_maps["stay_type"]).items() if standard == "full"
        } | {"full"}
        survivor = {
            m["old_patient_id"]: m["new_patient_id"]
            for m in current[hospital, "patient_merge"].values()
            if (m["new_patient_id"],) in current[hospital, "patient"]
        }
        by_patient: dict[str | None, list[tuple[datetime, datetime, str | None, str | None]]] = {}
        for row in current[hospital, "stay"].values():
            begin = parse_datetime(row["admitted_at"] or "", dialect)
            assert begin is not None
            end = parse_datetime(row["discharged_at"], dialect) if row["discharged_at"] else begin
            assert end is not None
            if row["stay_type"] in full:
                who = survivor.get(row["patient_id"], row["patient_id"])
                by_patient.setdefault(who, []).append((begin, end, row["stay_id"], row["previous_stay_id"]))
        continued = 0
        for stays in by_patient.values():
            stays.sort(key=lambda s: (s[0], s[2]))
            until, before = stays[0][1], stays[0][2]
            for begin, end, stay, previous in stays[1:]:
                continued += begin - until <= timedelta(hours=24) or (previous is not None and previous == before)
                until, before = max(until, end), stay
        assert world.truth["hospitals"][hospital]["2025-12-delta"]["continued_stays_after"] == continued


def test_default_rates_let_the_gates_pass() -> None:
    rejected = sum(t.rate for t in CATALOGUE if t.outcome == "rejected" and t.table == "administration")
    assert rejected < 0.001
    assert sum(t.rate for t in CATALOGUE if t.name == "administration.unmapped_drug") < 0.01


def test_each_local_code_is_one_of_the_hospitals(world: World) -> None:
    registry = load_registry()
    for hospital, delivery, table in every(world.plan.hospitals, world.truth["plan"]["deliveries"]):
        for column in load_contract().table(table).columns:
            system = column.code_system
            map_path = registry.get(hospital).code_maps.get(str(system))
            if system in (None, "drug") or map_path is None:
                continue
            trapped = {trap.column for trap in CATALOGUE if trap.table == table}
            if system == "laboratory_test" or column.name in trapped:  # codes left unmapped, or spoiled, on purpose
                continue
            known = set(read_code_map(map_path)) | {None}
            assert {r[column.name] for r in records(world.folder, hospital, delivery, table)} <= known
