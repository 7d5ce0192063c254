"""A file of one hospital that cannot be read back while gate 1 or gate 2 audits what was written ends at that hospital."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_platform import SmallPlatform, clones, dose, rewrite_as

from estuaire.gates import each_alone
from estuaire.gates import landed as gate
from estuaire.orchestration import consolidation_inputs
from estuaire.storage import set_aside

HOSPITALS = ("h01", "h02", "h03")


def _vanish(path: Path) -> None:
    path.unlink()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _empty(path: Path) -> None:
    path.write_bytes(b"")  # Spark reads it as no rows, without a word


def _spoil(path: Path) -> None:
    """Its footer is whole: only who reads the values meets it."""
    data = bytearray(path.read_bytes())
    data[4 : len(data) // 2] = bytes(len(data) // 2 - 4)
    path.write_bytes(bytes(data))


DAMAGES: list[Callable[[Path], None]] = [_vanish, _cut, _empty, _spoil]


@pytest.fixture(scope="module")
def three(new_platform: Callable[[], SmallPlatform], tmp_path_factory: pytest.TempPathFactory) -> SmallPlatform:
    return clones(new_platform(), tmp_path_factory.mktemp("registry"), *HOSPITALS)


@pytest.mark.parametrize(
    ("number", "damage"), list(enumerate(DAMAGES, start=1)), ids=lambda x: getattr(x, "__name__", None)
)
def test_a_file_that_cannot_be_read_back_stops_its_hospital_alone(
    three: SmallPlatform, monkeypatch: pytest.MonkeyPatch, number: int, damage: Callable[[Path], None]
) -> None:
    """Of the first hospital, whose file gives all files' schema, and of another."""
    at_fault = HOSPITALS[number % 2]
    others = [h for h in HOSPITALS if h != at_fault]
    for hospital in HOSPITALS:
        three.deliver(f"d{number}", number, hospital=hospital, administration=[dose(f"A{number}"), dose(f"B{number}")])
    with monkeypatch.context() as patch:
        audit = gate.audit

        def damaged(platform: Any, spark: Any, run_id: str, landed: Any) -> Any:
            [path] = (
                three.settings.store_path / f.output for m, files in landed if m.hospital == at_fault for f in files
            )
            damage(path)
            return audit(platform, spark, run_id, landed)

        patch.setattr(gate, "audit", damaged)
        landed = three.land()
    assert (landed["landed"], landed["blocked"], landed["waiting"]) == (2, 0, 1)
    assert three.state(f"d{number}", at_fault) == ("received", "E_LAKE_FILE")
    [error] = three.errors("control.delivery", f"(hospital_id, delivery_id) = ('{at_fault}', 'd{number}')")
    assert (error.hospital, error.delivery) == (at_fault, f"d{number}")
    assert "1 of the files just written of it cannot be read back" in error.sentence()
    # the next run lands it anew
    assert three.land()["landed"] == 1

    def before_audit(results: dict[str, list[dict[str, Any]]]) -> None:
        [path] = (o["output"] for o in results[at_fault] if o["table"] == "administration")
        damage(three.settings.store_path / path)

    result = three.consolidate(before_audit=before_audit)
    assert (result["hospitals"], result["blocked"]) == (others, [at_fault])
    aside = [(r["hospital_id"], r["stage"], r["error_code"]) for r in set_aside.standing(three.database)]
    assert aside == [(at_fault, "consolidate", "E_LAKE_FILE")]
    in_lake = "select hospital_id, count(*) from lake.consolidated.administration group by 1 order by 1"
    assert dict(three.in_lake(in_lake)) == dict.fromkeys(others, 2 * number) | (
        {at_fault: 2 * number - 2} if number > 1 else {}
    )
    # it is no block of its input: the next run consolidates it
    assert three.consolidate()["hospitals"] == [at_fault]
    assert set_aside.standing(three.database) == []
    assert dict(three.in_lake(in_lake)) == dict.fromkeys(HOSPITALS, 2 * number)


def test_a_file_lost_after_the_audit_stops_its_hospital_alone(three: SmallPlatform) -> None:
    for hospital in HOSPITALS:
        three.deliver("d8", 8, hospital=hospital, administration=[dose("A8")], patient=["77;01/02/1950;f;"])
    three.land()
    lost: list[str] = []

    def lose(table: str) -> Callable[[Any], None]:
        def before_commit(results: dict[str, list[dict[str, Any]]]) -> None:
            for outcome in results.get("h01", []):
                if outcome["table"] == table and not lost:
                    lost.append(outcome["output"])
                    (three.settings.store_path / outcome["output"]).unlink()

        return before_commit

    result = three.consolidate(before_commit=lose("patient"))
    assert (result["hospitals"], result["blocked"]) == (["h02", "h03"], ["h01"])
    assert three.in_lake("select distinct hospital_id from lake.consolidated.patient_map order by 1") == [
        ("h02",),
        ("h03",),
    ]
    assert consolidation_inputs.changed(three) == ["h01"]
    assert three.consolidate()["hospitals"] == ["h01"]
    counted = three.in_lake("select hospital_id, count(*) from lake.consolidated.patient_map group by 1 order by 1")
    assert counted == [("h01", 1), ("h02", 1), ("h03", 1)]


def test_counts_that_differ_in_one_hospitals_file_block_it_alone(three: SmallPlatform) -> None:
    for hospital in HOSPITALS:
        three.deliver("d9", 9, hospital=hospital, patient=["78;01/02/1950;f;"])
    three.land()

    def plant(results: dict[str, list[dict[str, Any]]]) -> None:
        [path] = (o["output"] for o in results["h02"] if o["table"] == "patient")
        rewrite_as(three.settings.store_path / path, "select * replace ('neuter' as sex) from t")

    result = three.consolidate(before_audit=plant)
    assert (result["hospitals"], result["blocked"]) == (["h01", "h03"], ["h02"])
    told = three.ask(
        "select hospital_id, reasons from quality.verdict where stage = 'consolidated' and verdict = 'block'"
    )
    differ = "patient.sex.code: Great Expectations and the native count differ"
    assert {hospital for hospital, reasons in told if differ in reasons} == {"h02"}


def test_where_all_is_well_nobody_is_counted_apart(three: SmallPlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    """The good path asks Spark for nothing more than it did."""
    for name in ("alone", "_unreadable", "_disagreeing"):
        monkeypatch.setattr(each_alone, name, lambda *_: pytest.fail("asked for"))
    three.deliver("d10", 10, administration=[dose("A10")])
    assert three.land()["landed"] == 1
    assert three.consolidate()["hospitals"] == ["h01"]
