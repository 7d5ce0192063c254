"""Starts the pipeline through Airflow's scheduler and follows it to its end: what `estuaire run` shows."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from estuaire.base.errors import FollowingStopped, RunFailed
from estuaire.base.run_names import DAGS, INGEST, ROOT_RUN, ledger_run_id
from estuaire.report.files import build_quietly
from estuaire.stack.airflow_client import AirflowClient
from estuaire.storage import error_columns, held_hospitals, ledger
from estuaire.storage.database import Database
from estuaire.storage.platform import Platform

Report = Callable[[str], None]
_POLL_SECONDS = 1.0
_PARSE_SECONDS = 90.0
_HANDOVER_SECONDS = 120.0


@dataclass(frozen=True)
class Followed:
    """How the chain of runs ended: the ingest run's id, its outcome (success or nothing_new), one line, seconds in all.

    ``report`` is the path of its report, empty where nothing new was done or it could not be written.
    """

    run_id: str
    outcome: str
    message: str
    blocked: list[str]
    seconds: float
    report: str = ""


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


def _sentence(database: Database, client: AirflowClient, since: datetime) -> str:
    """What is going on, in a few words: the newest running task, and for how long."""
    stages = ledger.fetch(
        database,
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


def _told(database: Database, told: set[tuple[str, str, int]], since: datetime, report: Report) -> None:
    """Report each stage that has ended and was not told yet."""
    for row in ledger.fetch(
        database,
        "select * from control.stage_run where started_at >= %s and state <> 'running' order by started_at",
        (since,),
    ):
        place = (row["run_id"], row["stage"], row["token"])
        if place not in told:
            told.add(place)
            memory = (row["peak_memory_bytes"] or 0) / 2**20
            told_of = error_columns.said(row)
            note = f" - {told_of}" if told_of else ""
            report(
                f"{row['stage']}: {row['state']} in {row['seconds'] or 0:.1f} s "
                f"({row['cpu_seconds'] or 0:.0f} CPU s, {memory:.0f} MiB, {row['rows'] or 0:,} rows){note}"
            )


def _ended(database: Database, dag_id: str, since: datetime) -> dict[str, Any] | None:
    rows = ledger.fetch(
        database,
        "select * from control.run where dag_id = %s and started_at >= %s and ended_at is not null "
        "order by started_at desc limit 1",
        (dag_id, since),
    )
    return rows[0] if rows else None


def _wait(
    database: Database,
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
        _told(database, told, began, report)
        row = _ended(database, dag_id, since)
        if row is not None:
            return row
        runs = client.dag_runs(dag_id, since=since.isoformat())
        failed = [r for r in runs if r["state"] == "failed"]
        if failed and not _ended(database, dag_id, since):
            tasks = client.task_instances(dag_id, failed[0]["dag_run_id"])
            names = ", ".join(t["task_id"] for t in tasks if t["state"] == "failed") or "no task"
            raise RunFailed(
                f"{dag_id} failed in task {names}", remedy="read the task's log (`estuaire logs`), then run again"
            )
        if not runs and time.monotonic() - asked > _HANDOVER_SECONDS:
            raise RunFailed(f"{dag_id} was not started by Airflow", remedy="see `estuaire logs scheduler`")
        if time.monotonic() - said > 5:
            report(_sentence(database, client, began))
            said = time.monotonic()
        time.sleep(_POLL_SECONDS)


@dataclass(frozen=True)
class _Chain:
    """A chain to follow: from which DAG on, the ledger's id of its first run, and since when."""

    dag_id: str
    run_id: str
    since: datetime


def under_way(database: Database, client: AirflowClient) -> _Chain | None:
    """The chain that runs now, from its most upstream DAG on, or None. A chain between two of its DAGs runs, too."""
    live = [run for state in ("running", "queued") for run in client.dag_runs(state=state)]
    for dag_id in DAGS:
        runs = [run for run in live if run["dag_id"] == dag_id]
        if runs:
            newest = max(runs, key=lambda run: str(run["run_after"]))
            run_id = ledger_run_id(dag_id, newest["dag_run_id"])
            rows = ledger.fetch(
                database, "select parent_run_id, ended_at from control.run where run_id = %s", (run_id,)
            )
            # Airflow closes a run a moment after its work: what came since is a new run's
            if rows and rows[0]["ended_at"]:
                continue
            parent = rows[0]["parent_run_id"] if rows else None
            return _Chain(dag_id, parent or run_id, datetime.fromisoformat(newest["run_after"]))
    for dag_id, following in itertools.pairwise(DAGS):
        rows = ledger.fetch(
            database,
            "select coalesce(r.parent_run_id, r.run_id) as run_id, r.started_at from control.run r "
            "where r.dag_id = %s and r.state = 'success' and r.ended_at > clock_timestamp() - interval '30 seconds' "
            "and not exists (select 1 from control.run n where n.dag_id = %s and n.started_at >= r.ended_at) "
            "order by r.started_at desc limit 1",
            (dag_id, following),
        )
        if rows:
            return _Chain(dag_id, rows[0]["run_id"], rows[0]["started_at"])
    return None


def _start(client: AirflowClient, dag_id: str, root: str | None) -> _Chain:
    began = datetime.now(UTC)
    run_id = f"run-{began:%Y%m%dT%H%M%S}-{began.microsecond // 1000:03d}"
    client.trigger(dag_id, {ROOT_RUN: root} if root else None, run_id)
    return _Chain(dag_id, root or ledger_run_id(dag_id, run_id), began)


def _to_the_end(database: Database, client: AirflowClient, chain: _Chain, report: Report) -> list[dict[str, Any]]:
    """The ledger's rows of the chain's runs, each once it has ended."""
    told: set[tuple[str, str, int]] = set()
    ended: list[dict[str, Any]] = []
    since = chain.since
    for dag_id in DAGS[DAGS.index(chain.dag_id) :]:
        ended.append(_wait(database, client, dag_id, since, chain.since, told, report))
        since = ended[-1]["started_at"]
        if ended[-1]["state"] != "success":
            break
    _told(database, told, chain.since, report)
    return ended


def _blocked(database: Database, root: str, runs: list[str]) -> list[str]:
    """What every gate of the chain blocked: deliveries, hospitals whose consolidated records did not pass, hospitals that the release
    holds back; and what could not be looked at or loaded."""
    deliveries = ledger.fetch(
        database,
        f"select {error_columns.of('d')} from control.delivery d join control.run r on r.run_id = %s where d.error_code is not null "
        "and (d.run_id = r.run_id or d.updated_at >= r.started_at) order by d.hospital_id, d.sequence nulls last, d.delivery_id",
        (root,),
    )
    consolidated = ledger.fetch(
        database,
        f"select v.hospital_id, v.reasons, {error_columns.of('v')} from quality.verdict v where v.run_id = any(%s) and v.stage = 'consolidated' "
        "and v.verdict = 'block' and v.hospital_id <> '*' order by 1",
        (runs,),
    )
    releases = ledger.fetch(
        database, "select held_back from control.release where run_id = any(%s) order by release_id", (runs,)
    )
    held = {h: one for r in releases for h, one in held_hospitals.read(r["held_back"]).items()}
    return [
        *(error.sentence() for r in deliveries if (error := error_columns.read(r)) is not None),
        *(f"{r['hospital_id']}: gate consolidated: {error_columns.reasons(r)}" for r in consolidated),
        *(one.note(hospital) for hospital, one in sorted(held.items())),
    ]


def follow(platform: Platform, report: Report, *, start: str = INGEST, root: str | None = None) -> Followed:
    """Follow the chain that runs already, or trigger ``start`` and follow from there to the published marts.

    Args:
        root: the ledger run that a retried consolidate or publish belongs to.

    Raises:
        RunFailed: one of the runs failed; the sentence is the failing stage's own.
        FollowingStopped: Ctrl-C; a chain that was started goes on.
    """
    started = time.monotonic()
    chain: _Chain | None = None
    try:
        with AirflowClient(platform.settings) as client:
            wait_for_dags(client, report)
            chain = under_way(platform.database, client)
            if chain:
                report(f"run {chain.run_id} is under way: following it, no second one is started")
            else:
                chain = _start(client, start, root)
                report(f"run {chain.run_id} started")
            ended = _to_the_end(platform.database, client, chain, report)
    except KeyboardInterrupt:
        if chain is None:
            raise FollowingStopped("stopped before a run began", remedy="`estuaire run` starts one") from None
        raise FollowingStopped(
            f"only the display has stopped: run {chain.run_id} goes on in Airflow",
            remedy=f"`estuaire run` attaches to it again, `estuaire explain {chain.run_id}` shows where it stands",
        ) from None
    blocked = _blocked(platform.database, chain.run_id, [row["run_id"] for row in ended])
    first, last = ended[0], ended[-1]
    written = None
    if last["state"] != "nothing_new":  # the run's last task writes it, too, a moment after the ledger's end
        written = build_quietly(platform, last["run_id"], unless_newer_than=last["ended_at"])
    if last["state"] == "failed":
        raise RunFailed(
            f"run {last['run_id']}: {error_columns.said(last)}",
            remedy=f"`estuaire explain {chain.run_id}` shows each stage; mend the cause, then "
            f"`estuaire retry {chain.run_id}`" + (f"; the report is {written}" if written else ""),
        )
    messages = [told for row in ended if (told := error_columns.said(row))]
    return Followed(
        chain.run_id, first["state"], "; ".join(messages), blocked, time.monotonic() - started, str(written or "")
    )
