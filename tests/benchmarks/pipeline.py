"""The chain through Airflow on the demo's size: seconds of each stage, and the share that Airflow itself costs.

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

from estuaire import ledger
from estuaire.following import follow
from estuaire.orchestration.naming import DAGS
from estuaire.settings import Settings
from estuaire.simulator import SimulationPlan, simulate
from estuaire.stack import lifecycle
from estuaire.stack.airflow_client import AirflowClient

PATIENTS = 600


def _free_port() -> int:
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


def main() -> None:
    parent = Path(tempfile.mkdtemp(prefix="estuaire-bench-"))
    settings = Settings(_env_file=None, home=parent / "home", postgres_port=_free_port(), airflow_port=_free_port())
    try:
        up = lifecycle.up(settings).seconds
        summary = simulate(settings, SimulationPlan(patients=PATIENTS))
        follow(settings, lambda _: None)
        time.sleep(3)
        wall, idle = airflow_share(settings)
        stages = ledger.fetch(settings, "select * from control.stage_run order by started_at")
        again = follow(settings, lambda _: None)
    finally:
        lifecycle.down(settings)
        shutil.rmtree(parent, ignore_errors=True)
    memory = psutil.virtual_memory().total / 2**30
    print(f"\nMachine: {platform.system()} {platform.machine()}, {psutil.cpu_count()} cores, {memory:.0f} GiB")
    print(f"{PATIENTS} patients, {summary.rows:,} records; first up {up:.0f} s, simulation {summary.seconds:.1f} s\n")
    print("| stage | seconds | CPU s | peak MiB of one process | rows |\n|---|---|---|---|---|")
    for s in stages:
        print(
            f"| {s['stage']} | {s['seconds']:.1f} | {s['cpu_seconds']:.1f} | {s['peak_memory_bytes'] / 2**20:.0f} "
            f"| {s['rows']:,} |"
        )
    print(
        f"\nWall {wall:.0f} s; Airflow's own share {idle:.1f} s ({idle / wall:.0%}); a second run {again.seconds:.1f} s"
    )


if __name__ == "__main__":
    main()
