"""The same plan gives the same bytes, whatever the workers and however often; other bytes are never put over a delivery."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import simulated_world
from simulated_world import World

from estuaire.base.errors import DeliveryChanged, SetupError, UnknownHospital
from estuaire.base.settings import Settings
from estuaire.simulator import SimulationPlan, already_written, simulate


def write(folder: Path, **changes: Any) -> World:
    """Every kind of file and of trap, in few rows: bytes are compared, not counted."""
    return simulated_world.write(folder, **({"patients": 60, "administrations_per_patient": 40} | changes))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return write(tmp_path_factory.mktemp("world"), shared_share=0.2)


def test_two_workers_write_the_bytes_of_one(world: World, tmp_path: Path) -> None:
    again = write(tmp_path, workers=2, shared_share=0.2)
    assert again.bytes() == world.bytes()
    assert again.truth == world.truth


def test_another_seed_writes_other_bytes(world: World, tmp_path: Path) -> None:
    other = write(tmp_path, shared_share=0.2, seed=2)
    assert other.bytes().keys() == world.bytes().keys()
    assert other.bytes() != world.bytes()


def test_history_first_and_deltas_later_are_the_same_bytes(world: World, tmp_path: Path) -> None:
    first = write(tmp_path, shared_share=0.2, upto_sequence=1)
    assert {d.delivery for d in first.summary.deliveries} == {"2025-10-full"}
    assert {d.state for d in first.summary.deliveries} == {"written"}
    whole = write(tmp_path, shared_share=0.2)
    assert {d.delivery for d in whole.summary.deliveries if d.state == "unchanged"} == {"2025-10-full"}
    assert whole.bytes() == world.bytes()


def test_files_left_by_an_interrupted_run_are_written_again(world: World, tmp_path: Path) -> None:
    write(tmp_path, shared_share=0.2)
    folder = tmp_path / "landing" / "h02" / "2025-11-delta"
    (folder / "manifest.json").unlink()
    (folder / "stay.csv.gz").write_bytes(b"half")
    again = write(tmp_path, shared_share=0.2)
    assert [d.delivery for d in again.summary.deliveries if d.state == "written"] == ["2025-11-delta"]
    assert again.bytes() == world.bytes()


def test_other_bytes_under_the_same_delivery_id_are_refused(tmp_path: Path) -> None:
    before = write(tmp_path).bytes()
    with pytest.raises(DeliveryChanged, match="2025-10-full"):
        write(tmp_path, patients=61)
    assert write(tmp_path).bytes() == before


def test_a_hospital_that_the_registry_does_not_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownHospital):
        write(tmp_path, hospitals=("h01", "h98"))
    assert not (tmp_path / "landing").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"until": "2025-13"},
        {"hospitals": ()},
        {"patients": 2},
        {"deliveries": 60},
        {"trap_rates": {"administration.no_such_trap": 1.0}},
        {"bad_checksum": (("h01", "2031-01-full"),)},
    ],
)
def test_a_plan_that_cannot_be_is_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(SetupError):
        write(tmp_path, **wrong)


def test_a_simulation_that_finished_is_recognised_and_not_made_again(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, home=tmp_path)
    plan = SimulationPlan(hospitals=("h01",), patients=20, administrations_per_patient=5)
    assert already_written(settings, plan) is None
    written = simulate(settings, plan)
    assert already_written(settings, plan) == written.rows
    assert already_written(settings, replace(plan, seed=2)) is None
    (settings.store_path / "landing" / "h01" / written.deliveries[-1].delivery / "manifest.json").unlink()
    assert already_written(settings, plan) is None
