"""The DAG files, as Airflow parses them. First of all: the bag is not empty and holds exactly the expected DAGs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from estuaire.base.run_names import (
    CONSOLIDATE,
    DELIVERIES_ASSET,
    INGEST,
    LANDED_ASSET,
    PUBLISH,
    STAGING_ASSET,
    UPKEEP,
    WATCH,
    ledger_run_id,
)
from estuaire.base.settings import PROJECT_ROOT

EXPECTED = {
    INGEST: ["accept", "discover", "gate", "land"],
    CONSOLIDATE: ["audited", "consolidate", "gate", "load"],
    PUBLISH: ["gate_conformed", "gate_marts", "publish"],
    WATCH: ["watch"],
    UPKEEP: ["put_away"],
}

_PARSE = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
dags = {}
for dag in bag.dags.values():
    dags[dag.dag_id] = {
        "tasks": {
            t.task_id: {
                "retries": t.retries, "upstream": sorted(t.upstream_task_ids), "rule": t.trigger_rule.value,
                "outlets": [a.uri for a in t.outlets], "operator": t.task_type,
                "mapped": bool(getattr(t, "is_mapped", False)),
                "timeout": t.execution_timeout.total_seconds() if t.execution_timeout else None,
            } for t in dag.tasks
        },
        "max_active_runs": dag.max_active_runs, "catchup": dag.catchup,
        "assets": sorted(a.uri for a in getattr(dag.timetable.asset_condition, "objects", [])),
        "doc": bool(dag.doc_md), "timetable": type(dag.timetable).__name__,
        "watchers": [w.trigger.serialize()[0] for a in getattr(dag.timetable.asset_condition, "objects", []) for w in a.watchers],
    }
print("BAG " + json.dumps({"errors": {k: str(v) for k, v in bag.import_errors.items()}, "dags": dags}))
"""


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What Airflow reads from dags/, in a process and home of its own."""
    return _bag(tmp_path_factory.mktemp("airflow"))


def _bag(home: Path, **settings: str) -> dict[str, Any]:
    environment = {
        **os.environ,
        **settings,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/none.db",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": str(PROJECT_ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", _PARSE, str(PROJECT_ROOT / "dags")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("BAG ")]
    assert lines, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(lines[-1][4:])
    return found


def test_the_bag_holds_exactly_the_expected_dags(bag: dict[str, Any]) -> None:
    assert bag["errors"] == {}
    assert {name: sorted(dag["tasks"]) for name, dag in bag["dags"].items()} == EXPECTED


def test_each_dag_runs_one_at_a_time_and_documents_itself(bag: dict[str, Any]) -> None:
    for dag in bag["dags"].values():
        assert (dag["max_active_runs"], dag["catchup"], dag["doc"]) == (1, False, True)


def test_assets_join_the_dags(bag: dict[str, Any]) -> None:
    dags = bag["dags"]
    assert dags[INGEST]["assets"] == []
    assert dags[INGEST]["tasks"]["accept"]["outlets"] == [LANDED_ASSET] == dags[CONSOLIDATE]["assets"]
    assert dags[CONSOLIDATE]["tasks"]["load"]["outlets"] == [STAGING_ASSET] == dags[PUBLISH]["assets"]


@pytest.mark.parametrize(
    ("settings", "timetable", "assets", "watchers"),
    [
        ({}, "NullTimetable", [], []),
        (
            {"ESTUAIRE_WATCH_LANDING": "true"},
            "AssetTriggeredTimetable",
            [DELIVERIES_ASSET],
            ["estuaire.orchestration.arrivals.DeliveriesArrived"],
        ),
        ({"ESTUAIRE_NIGHTLY": "30 2 * * *"}, "CronTriggerTimetable", [], []),
        (
            {"ESTUAIRE_WATCH_LANDING": "true", "ESTUAIRE_NIGHTLY": "30 2 * * *"},
            "AssetOrTimeSchedule",
            [DELIVERIES_ASSET],
            ["estuaire.orchestration.arrivals.DeliveriesArrived"],
        ),
    ],
)
def test_what_starts_a_run_is_a_matter_of_settings(
    tmp_path: Path, settings: dict[str, str], timetable: str, assets: list[str], watchers: list[str]
) -> None:
    dag = _bag(tmp_path, **settings)["dags"][INGEST]
    assert (dag["timetable"], dag["assets"], dag["watchers"]) == (timetable, assets, watchers)


@pytest.mark.parametrize(
    ("settings", "timetable"),
    [({}, "NullTimetable"), ({"ESTUAIRE_ALERT_WEBHOOK_URL": "https://hub.example/hook"}, "CronTriggerTimetable")],
)
def test_the_platform_is_watched_where_somebody_is_to_be_told(
    tmp_path: Path, settings: dict[str, str], timetable: str
) -> None:
    assert _bag(tmp_path, **settings)["dags"][WATCH]["timetable"] == timetable


@pytest.mark.parametrize(
    ("settings", "timetable"), [({}, "NullTimetable"), ({"ESTUAIRE_UPKEEP": "0 4 * * sun"}, "CronTriggerTimetable")]
)
def test_upkeep_runs_by_itself_where_the_settings_say_when(
    tmp_path: Path, settings: dict[str, str], timetable: str
) -> None:
    assert _bag(tmp_path, **settings)["dags"][UPKEEP]["timetable"] == timetable


def test_a_wrong_setting_of_the_alerts_is_an_error_of_that_dag_alone(tmp_path: Path) -> None:
    found = _bag(tmp_path, ESTUAIRE_ALERT_WEBHOOK_URL="hub.example")
    [(file, text)] = found["errors"].items()
    assert file.endswith("watch_platform.py")
    assert "E_ALERT_SETTINGS" in text
    assert set(found["dags"]) == set(EXPECTED) - {WATCH}


def test_every_task_has_an_end(bag: dict[str, Any]) -> None:
    for dag in bag["dags"].values():
        for name, found in dag["tasks"].items():
            assert found["timeout"], name
    tasks = {**bag["dags"][INGEST]["tasks"], **bag["dags"][CONSOLIDATE]["tasks"]}
    assert {tasks[t]["timeout"] for t in ("land", "consolidate", "load")} == {12 * 3600.0}


def test_stages_go_through_spark_submit_and_are_retried(bag: dict[str, Any]) -> None:
    for dag, task in ((INGEST, "land"), (CONSOLIDATE, "consolidate"), (CONSOLIDATE, "load")):
        found = bag["dags"][dag]["tasks"][task]
        assert (found["operator"], found["retries"]) == ("StageSubmit", 2)


def test_a_gate_is_mapped_and_never_retried_and_a_blocked_one_does_not_stop_the_others(bag: dict[str, Any]) -> None:
    tasks = bag["dags"][INGEST]["tasks"]
    assert tasks["gate"]["mapped"]
    assert tasks["gate"]["retries"] == 0
    assert (tasks["accept"]["upstream"], tasks["accept"]["rule"]) == (["gate"], "all_done")


def test_each_rebuilt_hospital_has_a_gate_and_what_passed_is_loaded(bag: dict[str, Any]) -> None:
    tasks = bag["dags"][CONSOLIDATE]["tasks"]
    assert tasks["audited"]["upstream"] == ["consolidate"]
    assert (tasks["gate"]["mapped"], tasks["gate"]["retries"]) == (True, 0)
    assert (tasks["load"]["upstream"], tasks["load"]["rule"]) == (["gate"], "all_done")


def test_a_publication_shows_which_gate_stopped_it(bag: dict[str, Any]) -> None:
    tasks = bag["dags"][PUBLISH]["tasks"]
    for gate in ("gate_conformed", "gate_marts"):
        # after a publication that failed, too; being the last tasks they must fail then
        assert (tasks[gate]["upstream"], tasks[gate]["rule"], tasks[gate]["retries"]) == (["publish"], "all_done", 0)


def test_a_dag_file_only_wires() -> None:
    files = sorted(Path(PROJECT_ROOT / "dags").glob("*.py"))
    assert len(files) == len(EXPECTED)
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert len(text.splitlines()) < 100, file.name
        assert "psycopg2" not in text, file.name
        assert "duckdb" not in text, file.name


def test_ledger_run_ids_can_stand_in_file_names() -> None:
    run_id = ledger_run_id(CONSOLIDATE, "asset_triggered__2026-11-23T23:43:20.667949+00:00_Q6q9A71I")
    assert run_id == "consolidate-asset-triggered-2026-11-23T23-43-20-667949-00-00-Q6q9A71I"
