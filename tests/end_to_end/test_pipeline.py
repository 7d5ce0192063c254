"""The whole chain through the real scheduler, Spark, Great Expectations, dbt and PostgreSQL, as `make demo` runs it.

The tests of this file tell one story, in order, on one stack: history is published; nothing new changes nothing; a damaged delivery is
blocked and the others publish; mended, it lands; the scheduler is killed in mid-run and the run still ends; and a fresh database fed with
the same deliveries at once publishes the same marts.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import shutil
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg2
import psycopg2.extras
import pytest

from estuaire import ledger, migrations
from estuaire.following import Followed, follow
from estuaire.objectstore import open_store
from estuaire.orchestration.naming import INGEST
from estuaire.query import run_query
from estuaire.registry import load_registry
from estuaire.settings import Settings
from estuaire.simulator import SimulationPlan, simulate
from estuaire.stack import lifecycle, processes
from estuaire.stack.airflow_client import AirflowClient

pytestmark = pytest.mark.stack

PATIENTS = 90
BAD = ("h02", "2025-11-delta")
RELEASE_COLUMNS = ("release_id", "lake_snapshot", "built_at")


def deliver(settings: Settings, upto: int, *, bad: bool = True) -> None:
    plan = SimulationPlan(patients=PATIENTS, upto_sequence=upto, bad_checksum=(BAD,) if bad else ())
    simulate(settings, plan)


def run(settings: Settings) -> Followed:
    return follow(settings, lambda _: None)


def published(settings: Settings) -> list[dict[str, Any]]:
    """The mart as analysts see it, without the columns that name the release."""
    result = run_query(
        settings, "select * from antibiotic_days_of_therapy order by hospital_id, month, scope", limit=100_000
    )
    kept = [i for i, c in enumerate(result.columns) if c not in RELEASE_COLUMNS]
    return [{result.columns[i]: row[i] for i in kept} for row in result.rows]


def release(settings: Settings) -> int:
    return int(
        ledger.fetch(settings, "select release_id from control.release where state = 'published'")[0]["release_id"]
    )


def delivery(settings: Settings, place: tuple[str, str]) -> dict[str, Any]:
    return ledger.fetch(settings, "select * from control.delivery where hospital_id = %s and delivery_id = %s", place)[
        0
    ]


def gates(settings: Settings) -> dict[str, str]:
    """State of each hospital's gate in the newest ingest run, by the name that Airflow shows."""
    with AirflowClient(settings) as client:
        newest = client.dag_runs(INGEST)[0]
        tasks = client.task_instances(INGEST, newest["dag_run_id"])
        assert newest["state"] == "success"
    return {t["rendered_map_index"]: t["state"] for t in tasks if t["task_id"] == "gate"}


@pytest.fixture(scope="module")
def story(running_stack: Settings) -> Settings:
    """The stack with the history delivered and published."""
    deliver(running_stack, 1)
    assert run(running_stack).outcome == "success"
    return running_stack


def test_history_is_published_and_every_record_accounted_for(story: Settings) -> None:
    truth = json.loads((story.root / "simulation" / "truth.json").read_text(encoding="utf-8"))
    accounts = ledger.fetch(story, "select * from control.accounting where stage = 'land'")
    for hospital, deliveries in truth["hospitals"].items():
        for table, planted in deliveries["2025-10-full"]["tables"].items():
            account = next(a for a in accounts if (a["hospital_id"], a["table_name"]) == (hospital, table))
            assert account["rows_in"] == planted["rows"]
            assert account["rows_quarantined"] + account["rows_unparseable"] == sum(planted["rejected"].values())
    assert len(accounts) == 9
    assert len(published(story)) > 0
    assert gates(story) == {"h01": "success", "h02": "success", "h03": "success"}


def test_great_expectations_counted_what_the_kernel_counted(story: Settings) -> None:
    totals = ledger.fetch(story, "select * from quality.result where hospital_id = '*'")
    assert len(totals) > 10
    assert all(t["rows_failed_gx"] is not None and t["status"] != "error" for t in totals)
    assert {t["table_name"] for t in totals} == {"patient", "stay", "administration"}


def test_each_stage_tells_what_it_cost(story: Settings) -> None:
    stages = ledger.fetch(story, "select * from control.stage_run")
    assert {s["stage"] for s in stages} == {"land", "consolidate", "load", "publish"}
    for stage in stages:
        assert stage["state"] == "committed"
        assert stage["seconds"] > 0
        assert stage["cpu_seconds"] > 0
        assert stage["peak_memory_bytes"] > 10_000_000


def test_a_second_run_changes_nothing_and_says_so(story: Settings) -> None:
    before = (release(story), published(story), ledger.fetch(story, "select count(*) from control.stage_run"))
    result = run(story)
    assert result.outcome == "nothing_new"
    assert "nothing new" in result.message
    assert before == (release(story), published(story), ledger.fetch(story, "select count(*) from control.stage_run"))


def test_a_bad_delivery_is_blocked_and_the_others_publish(story: Settings) -> None:
    before = release(story)
    deliver(story, 2)
    result = run(story)
    blocked = delivery(story, BAD)
    assert (blocked["state"], blocked["error_code"]) == ("blocked", "E_CHECKSUM")
    for part in ("h02/2025-11-delta", ".csv", "What to do"):
        assert part in blocked["error"]
    assert [delivery(story, (h, "2025-11-delta"))["state"] for h in ("h01", "h03")] == ["landed", "landed"]
    assert result.blocked == [blocked["error"]]
    assert release(story) == before + 1
    assert gates(story) == {"h01": "success", "h02": "failed", "h03": "success"}
    with AirflowClient(story) as client:
        newest = client.dag_runs(INGEST)[0]["dag_run_id"]
        index = next(
            t["map_index"]
            for t in client.task_instances(INGEST, newest)
            if t["task_id"] == "gate" and t["rendered_map_index"] == "h02"
        )
        log = client.task_log(INGEST, newest, "gate", map_index=index)
    assert "E_CHECKSUM" in log
    assert "h02/2025-11-delta" in log


def _mend(settings: Settings) -> None:
    """What the hospital does: write the manifest again, with the checksums of the files that it sends."""
    store = open_store(settings)
    key = f"landing/{BAD[0]}/{BAD[1]}/manifest.json"
    with store.open(key) as stream:
        manifest = json.loads(stream.read())
    for file in manifest["files"]:
        with store.open(f"landing/{BAD[0]}/{BAD[1]}/{file['path']}") as stream:
            file["sha256"] = hashlib.sha256(stream.read()).hexdigest()
    store.put_bytes(key, json.dumps(manifest, indent=2).encode())


def test_the_mended_delivery_lands(story: Settings) -> None:
    _mend(story)
    assert run(story).outcome == "success"
    assert delivery(story, BAD)["state"] == "landed"


def _until(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)


def test_a_killed_scheduler_costs_nothing(story: Settings) -> None:
    deliver(story, 3, bad=False)
    ended: list[Followed | BaseException] = []

    def following() -> None:
        try:
            ended.append(run(story))
        except BaseException as error:  # noqa: BLE001 - handed to the test below
            ended.append(error)

    known = len(ledger.fetch(story, "select 1 from control.stage_run where stage = 'land'"))
    thread = threading.Thread(target=following)
    thread.start()
    _until(lambda: len(ledger.fetch(story, "select 1 from control.stage_run where stage = 'land'")) > known)
    scheduler = processes.find(story, "scheduler")
    assert scheduler is not None
    scheduler.kill()
    time.sleep(2)
    lifecycle.up(story)
    thread.join(timeout=420)
    assert not thread.is_alive()
    assert isinstance(ended[0], Followed), ended
    states = ledger.fetch(story, "select distinct state from control.delivery")
    assert states == [{"state": "landed"}]


def test_no_identifier_left_landing(story: Settings) -> None:
    """Identifiers of the deliveries, searched for in task logs, process logs, XCom, ledger, quality results and warehouse."""
    identifiers: set[bytes] = set()
    registry = load_registry()
    for item in open_store(story).list("landing/"):
        if "patient" not in item.key.split("/")[-1]:
            continue
        hospital = registry.get(item.key.split("/")[1])
        dialect = hospital.dialects[hospital.table_dialect["patient"]]
        with open_store(story).open(item.key) as stream:
            raw = stream.read()
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode(dialect.encoding)
        names = {v: k for k, v in hospital.columns_of("patient").items()}
        for row in csv.DictReader(io.StringIO(text), delimiter=dialect.delimiter):
            for column in ("patient_id", "national_id"):
                value = row.get(names.get(column, column)) or ""
                if len(value) >= 8:
                    identifiers.add(value.encode())
    assert len(identifiers) > PATIENTS
    searched = 0
    for path in [*story.logs.rglob("*.log"), *(story.store_path / "lake").rglob("*.parquet")]:
        content = path.read_bytes()
        searched += 1
        assert not [i for i in identifiers if i in content], path.name
    assert searched > 50
    for database, role in ((story.postgres_database, "estuaire"), ("airflow", "airflow")):
        with psycopg2.connect(story.dsn(role, database)) as session, session.cursor() as cursor:
            cursor.execute(
                "select format('%I.%I', schemaname, tablename) from pg_tables "
                "where schemaname in ('control', 'quality', 'staging', 'marts', 'conformed', 'public')"
            )
            for (table,) in cursor.fetchall():
                content_text = io.StringIO()
                cursor.copy_expert(f"copy (select * from {table}) to stdout", content_text)
                assert not [i for i in identifiers if i.decode() in content_text.getvalue()], table


def test_a_fresh_database_gives_the_same_marts(story: Settings) -> None:
    before = published(story)
    with psycopg2.connect(story.dsn()) as session, session.cursor() as cursor:
        for schema in ("control", "quality", "staging", "marts", "conformed", "lake"):
            cursor.execute(f"drop schema if exists {schema} cascade")
        cursor.execute("select nspname from pg_namespace where nspname like 'marts%' or nspname like 'conformed%'")
        for (schema,) in cursor.fetchall():
            cursor.execute(f"drop schema {schema} cascade")
        cursor.execute("drop table estuaire_version")
    shutil.rmtree(story.store_path / "lake")
    migrations.upgrade(story)
    assert run(story).outcome == "success"
    assert published(story) == before
