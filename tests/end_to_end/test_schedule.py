"""Deliveries put into landing/ by plain file copy are in the marts without a command of ours; what is still being written waits."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from estuaire.base.run_names import INGEST
from estuaire.base.settings import Settings
from estuaire.simulator import SimulationPlan, simulate
from estuaire.stack import lifecycle
from estuaire.stack.airflow_client import AirflowClient
from estuaire.storage import ledger
from estuaire.storage.database import Database

pytestmark = pytest.mark.compose  # with the other tests of a server
HOSPITALS = ("h01", "h02")
DELIVERY = "2025-10-full"


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """landing/ of a simulation of two hospitals that nobody has delivered."""
    home = tmp_path_factory.mktemp("simulated")
    simulate(Settings(_env_file=None, home=home), SimulationPlan(patients=60, hospitals=HOSPITALS, upto_sequence=1))
    return home / "store" / "landing"


@pytest.fixture
def watching(airflow_home: Settings) -> Iterator[Settings]:
    settings = airflow_home.model_copy(update={"watch_landing": True, "watch_seconds": 5.0})
    try:
        lifecycle.up(settings)
        yield settings
    finally:
        lifecycle.down(settings)


def _until(condition: Callable[[], bool], seconds: float) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it did not happen in time"
        time.sleep(1)
    return time.monotonic() - began


def _states(settings: Settings) -> dict[str, str]:
    return {
        r["hospital_id"]: r["state"]
        for r in ledger.fetch(Database.of(settings), "select hospital_id, state from control.delivery")
    }


def _runs(settings: Settings) -> list[dict[str, object]]:
    return ledger.fetch(
        Database.of(settings), "select run_id, state from control.run where dag_id = %s order by started_at", (INGEST,)
    )


def test_a_copy_of_files_is_all_it_takes(watching: Settings, simulated: Path) -> None:
    landing = watching.store_path / "landing"
    # both come at the same time; of h02 the largest file is still being written
    largest = max((simulated / "h02" / DELIVERY).iterdir(), key=lambda f: f.stat().st_size)
    data = largest.read_bytes()
    for hospital in HOSPITALS:
        shutil.copytree(simulated / hospital / DELIVERY, landing / hospital / DELIVERY, copy_function=shutil.copyfile)
    upload = landing / "h02" / DELIVERY / largest.name
    upload.write_bytes(data[: len(data) // 2])

    _until(lambda: bool(_runs(watching)), 90)
    _until(lambda: _states(watching).get("h01") == "landed", 300)
    assert _states(watching) == {"h01": "landed", "h02": "arriving"}

    upload.write_bytes(data)
    _until(lambda: _states(watching).get("h02") == "landed", 400)
    served = "select contents from control.release where state = 'published'"
    _until(
        lambda: {*(ledger.fetch(Database.of(watching), served) or [{"contents": {}}])[0]["contents"]} == {*HOSPITALS},
        400,
    )

    with AirflowClient(watching) as client:
        assert all(str(r["run_type"]).startswith("asset") for r in client.dag_runs(INGEST))
    runs = _runs(watching)
    assert {r["state"] for r in runs} == {"success"}, runs
    assert len(runs) == 2, "one run for each arrival"
