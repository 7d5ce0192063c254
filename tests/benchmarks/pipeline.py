"""The chain through Airflow at the demo's size or the study's: what each stage costs, Airflow's own share, a run with nothing new, and
one hospital's delta alone.

Airflow's share = the part of the wall time, from triggering the ingest DAG to the end of the publish DAG, in which no task was running
our code: scheduling, task start, parsing, hand-over between DAGs. A task runs our code from the end of its "Pre Execute" to the start of
its "Post Execute", as its log says.
"""

from __future__ import annotations

import platform
import shutil
import socket
import tempfile
import time
from datetime import datetime
from pathlib import Path

import psutil

from estuaire.base.run_names import DAGS
from estuaire.base.settings import Settings
from estuaire.cli.demo import FULL_PATIENTS
from estuaire.contract.registry import load_registry
from estuaire.operations.pipeline_run import follow
from estuaire.simulator import SimulationPlan, simulate
from estuaire.stack import lifecycle
from estuaire.stack.airflow_client import AirflowClient
from estuaire.storage import ledger
from estuaire.storage.database import Database
from estuaire.storage.platform import Platform
from tests.benchmarks.memory_watch import MemoryWatch

DEMO_PATIENTS = 3_000
LATE = "h07"  # the hospital whose last delta comes alone


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _moment(line: str) -> datetime:
    return datetime.fromisoformat(line.split(" ", 1)[0])


def _worked(log: str) -> tuple[datetime, datetime] | None:
    """Between which moments a task ran our code, from its log."""
    lines = [x for x in log.splitlines() if x[:2] == "20"]
    begins = [i for i, x in enumerate(lines) if "::group::Pre Execute" in x]
    ends = [i for i, x in enumerate(lines) if "::group::Post Execute" in x]
    if not begins or not ends:
        return None
    start = next(i for i in range(begins[0], len(lines)) if "::endgroup::" in lines[i])
    return _moment(lines[start]), _moment(lines[ends[-1]])


def _covered(spans: list[tuple[datetime, datetime]]) -> float:
    """Seconds that at least one span covers."""
    total, reached = 0.0, None
    for start, end in sorted(spans):
        begin = start if reached is None or start > reached else reached
        if end > begin:
            total += (end - begin).total_seconds()
        reached = end if reached is None or end > reached else reached
    return total


def airflow_share(settings: Settings) -> tuple[float, float]:
    """(wall seconds of the newest chain of runs, seconds of it in which no task ran our code)."""
    spans: list[tuple[datetime, datetime]] = []
    starts, ends = [], []
    with AirflowClient(settings) as client:
        for dag_id in DAGS:
            run = client.dag_runs(dag_id)[0]
            starts.append(datetime.fromisoformat(run["queued_at"]))
            ends.append(datetime.fromisoformat(run["end_date"]))
            for task in client.task_instances(dag_id, run["dag_run_id"]):
                span = _worked(
                    client.task_log(dag_id, run["dag_run_id"], task["task_id"], task["try_number"], task["map_index"])
                )
                if span:
                    spans.append(span)
    wall = (max(ends) - min(starts)).total_seconds()
    return wall, wall - _covered(spans)


def _stages(settings: Settings, known: list[dict[str, object]]) -> list[dict[str, object]]:
    """Stage runs that are not among the known ones."""
    rows = ledger.fetch(Database.of(settings), "select * from control.stage_run order by started_at")
    return rows[len(known) :]


def _gates(stage: dict[str, object]) -> float:
    return float(str(stage["gate_seconds"] or 0))


def _print_stages(stages: list[dict[str, object]]) -> None:
    print("| stage | seconds | of them gates | CPU s | peak MiB of one process | rows |\n|---|---|---|---|---|---|")
    for s in stages:
        print(
            f"| {s['stage']} | {s['seconds']:.1f} | {_gates(s):.1f} | {s['cpu_seconds']:.1f} | {int(str(s['peak_memory_bytes'])) / 2**20:.0f} "
            f"| {s['rows']:,} |"
        )


def measure(patients: int) -> None:
    """Simulate, run the chain, run it again with nothing new, then deliver one hospital's last delta alone."""
    parent = Path(tempfile.mkdtemp(prefix="estuaire-bench-"))
    settings = Settings(_env_file=None, home=parent / "home", postgres_port=free_port(), airflow_port=free_port())
    hospitals = tuple(h.id for h in load_registry().hospitals.values() if h.fictional)
    plan = SimulationPlan(hospitals=hospitals, patients=patients)
    try:
        up = lifecycle.up(settings).seconds
        summary = simulate(settings, plan, workers=2)
        last = plan.sendings(LATE)[-1].delivery_id
        shelf = parent / last
        shutil.move(settings.store_path / "landing" / LATE / last, shelf)
        with MemoryWatch(settings) as watch:
            followed = follow(Platform(settings), print)
        time.sleep(3)
        wall, idle = airflow_share(settings)
        stages = _stages(settings, [])
        again = follow(Platform(settings), print)
        shutil.move(shelf, settings.store_path / "landing" / LATE / last)
        delta = follow(Platform(settings), print)
        of_delta = _stages(settings, stages)
        rebuilt = ledger.fetch(
            Database.of(settings),
            "select count(*) as n from control.consolidation where run_id = %s",
            (next(s["run_id"] for s in of_delta if s["stage"] == "consolidate"),),
        )[0]["n"]
        verdicts = ledger.fetch(
            Database.of(settings), "select stage, verdict, count(*) as n from quality.verdict where run_id = any(%s) group by 1, 2 order by 1, 2",
            (sorted({str(s["run_id"]) for s in stages}),),
        )  # fmt: skip
        unbalanced = ledger.fetch(
            Database.of(settings),
            "select count(*) as n, count(*) filter (where rows_in <> rows_out + rows_quarantined + rows_superseded + rows_unparseable "
            "+ rows_not_loaded or hash_in <> hash_out + hash_quarantined + hash_superseded + hash_unparseable + hash_not_loaded) as wrong, "
            "sum(rows_in) filter (where stage = 'land') as landed from control.accounting",
        )[0]
    finally:
        lifecycle.down(settings)
        shutil.rmtree(parent, ignore_errors=True)
    memory = psutil.virtual_memory().total / 2**30
    print(f"\nMachine: {platform.system()} {platform.machine()}, {psutil.cpu_count()} cores, {memory:.0f} GiB")
    print(
        f"{len(hospitals)} hospitals, {patients:,} patients, {len(summary.deliveries)} deliveries, {summary.rows:,} records; "
        f"first up {up:.0f} s, simulation {summary.seconds:.1f} s\n"
    )
    _print_stages(stages)
    print(
        f"\nChain {followed.seconds:.0f} s as its user waits; wall {wall:.0f} s by Airflow's clock, its own share {idle:.1f} s "
        f"({idle / wall:.0%}). Largest process: {watch.name}, {watch.peak / 2**20:.0f} MiB. A run with nothing new: "
        f"{again.outcome}, {again.seconds:.1f} s."
    )
    print(
        f"Accounts: {unbalanced['n']:,} of (run, stage, delivery, table), {unbalanced['wrong']} unbalanced; "
        f"{unbalanced['landed']:,} records landed."
    )
    gates = sum(map(_gates, stages))
    print(
        f"Gates {gates:.1f} s, {gates / wall:.1%} of the chain; verdicts: "
        + ", ".join(f"{v['stage']} {v['verdict']} {v['n']}" for v in verdicts)
    )
    print(f"\n{LATE}'s last delta alone: {delta.seconds:.0f} s, {rebuilt} hospital consolidated anew\n")
    _print_stages(of_delta)


def main() -> None:
    measure(DEMO_PATIENTS)


def full() -> None:
    """The study's size: a quarter of an hour and some 20 GB of disk for a while."""
    measure(FULL_PATIENTS)
