"""Starts the pipeline through Airflow's scheduler and follows it to its end: what `estuaire run` shows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from estuaire import ledger
from estuaire.errors import RunFailed
from estuaire.orchestration.naming import CONSOLIDATE, DAGS, INGEST, PUBLISH, ledger_run_id
from estuaire.settings import Settings
from estuaire.stack.airflow_client import AirflowClient

Report = Callable[[str], None]
_POLL_SECONDS = 1.0
_PARSE_SECONDS = 90.0
_HANDOVER_SECONDS = 120.0


@dataclass(frozen=True)
class Followed:
    """How the chain of runs ended: the ingest run's id, its outcome (success or nothing_new), one line, seconds in all."""

    run_id: str
    outcome: str
    message: str
    blocked: list[str]
    seconds: float


def wait_for_dags(client: AirflowClient, report: Report) -> None:
    """Wait until Airflow has parsed the DAGs.

    Raises:
        RunFailed: a DAG file does not import, or none appears in time.
    """
    deadline = time.monotonic() + _PARSE_SECONDS
    while True:
        present = {d["dag_id"] for d in client.dags()}
        if present.issuperset(DAGS):
            return
        errors = client.import_errors()
        if errors:
            names = ", ".join(str(e.get("filename")) for e in errors)
            raise RunFailed(f"DAG files do not import: {names}", remedy="see `estuaire logs dag-processor`")
        if time.monotonic() > deadline:
            raise RunFailed("Airflow has not parsed the DAGs", remedy="see `estuaire logs dag-processor`")
        report("waiting for Airflow to parse the DAGs")
        time.sleep(_POLL_SECONDS)


def _sentence(settings: Settings, client: AirflowClient, since: datetime) -> str:
    """What is going on, in a few words: the newest running task, and for how long."""
    stages = ledger.fetch(
        settings,
        "select stage, extract(epoch from clock_timestamp() - started_at) as seconds from control.stage_run "
        "where state = 'running' and started_at >= %s order by started_at desc limit 1",
        (since,),
    )
    if stages:
        return f"{stages[0]['stage']}: running for {float(stages[0]['seconds']):.0f} s"
    for run in client.dag_runs(state="running"):
        for task in client.task_instances(run["dag_id"], run["dag_run_id"]):
            if task["state"] in ("running", "queued"):
                return f"{run['dag_id']}: task {task['task_id']} is {task['state']}"
    return "waiting for the scheduler"


def _told(settings: Settings, told: set[tuple[str, str, int]], since: datetime, report: Report) -> None:
    """Report each stage that has ended and was not told yet."""
    for row in ledger.fetch(
        settings,
        "select * from control.stage_run where started_at >= %s and state <> 'running' order by started_at",
        (since,),
    ):
        place = (row["run_id"], row["stage"], row["token"])
        if place not in told:
            told.add(place)
            memory = (row["peak_memory_bytes"] or 0) / 2**20
            note = f" - {row['message']}" if row["message"] else ""
            report(
                f"{row['stage']}: {row['state']} in {row['seconds'] or 0:.1f} s "
                f"({row['cpu_seconds'] or 0:.0f} CPU s, {memory:.0f} MiB, {row['rows'] or 0:,} rows){note}"
            )


def _ended(settings: Settings, dag_id: str, since: datetime) -> dict[str, Any] | None:
    rows = ledger.fetch(
        settings,
        "select * from control.run where dag_id = %s and started_at >= %s and ended_at is not null "
        "order by started_at desc limit 1",
        (dag_id, since),
    )
    return rows[0] if rows else None


def _wait(
    settings: Settings,
    client: AirflowClient,
    dag_id: str,
    since: datetime,
    began: datetime,
    told: set[Any],
    report: Report,
) -> dict[str, Any]:
    """The ledger's row of the first run of ``dag_id`` that began after ``since``, once it has ended.

    Raises:
        RunFailed: Airflow's run failed without a word in the ledger, or no run appeared.
    """
    asked = time.monotonic()
    said = 0.0
    while True:
        _told(settings, told, began, report)
        row = _ended(settings, dag_id, since)
        if row is not None:
            return row
        runs = client.dag_runs(dag_id, since=since.isoformat())
        failed = [r for r in runs if r["state"] == "failed"]
        if failed and not _ended(settings, dag_id, since):
            tasks = client.task_instances(dag_id, failed[0]["dag_run_id"])
            names = ", ".join(t["task_id"] for t in tasks if t["state"] == "failed") or "no task"
            raise RunFailed(
                f"{dag_id} failed in task {names}", remedy="read the task's log in Airflow's page, then run again"
            )
        if not runs and time.monotonic() - asked > _HANDOVER_SECONDS:
            raise RunFailed(f"{dag_id} was not started by Airflow", remedy="see `estuaire logs scheduler`")
        if time.monotonic() - said > 5:
            report(_sentence(settings, client, began))
            said = time.monotonic()
        time.sleep(_POLL_SECONDS)


def follow(settings: Settings, report: Report) -> Followed:
    """Trigger the ingest DAG and follow the chain to the published marts.

    Raises:
        RunFailed: one of the runs failed; the sentence is the failing stage's own.
    """
    started = time.monotonic()
    told: set[tuple[str, str, int]] = set()
    with AirflowClient(settings) as client:
        wait_for_dags(client, report)
        began = datetime.now(UTC)
        run_id = f"run-{began:%Y%m%dT%H%M%S}-{began.microsecond // 1000:03d}"
        client.trigger(INGEST, run_id=run_id)
        own = ledger_run_id(INGEST, run_id)
        report(f"run {own} started")
        ingest = _wait(settings, client, INGEST, began, began, told, report)
        blocked = [
            str(r["error"])
            for r in ledger.fetch(
                settings, "select error from control.delivery where error_code is not null and run_id = %s", (own,)
            )
        ]
        last = ingest
        if ingest["state"] == "success":
            for dag_id in (CONSOLIDATE, PUBLISH):
                last = _wait(settings, client, dag_id, last["started_at"], began, told, report)
                if last["state"] == "failed":
                    break
        _told(settings, told, began, report)
    if last["state"] == "failed":
        raise RunFailed(
            f"run {last['run_id']}: {last['message']}",
            remedy="`estuaire runs` shows each stage; mend the cause and `estuaire run` again",
        )
    message = ingest["message"] if last is ingest else f"{ingest['message']}; {last['message']}"
    return Followed(own, ingest["state"], message, blocked, time.monotonic() - started)
