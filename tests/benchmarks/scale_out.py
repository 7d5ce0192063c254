"""Two Spark workers of one core against one, on the server of docker-compose.yml: the speed-up of landing and of consolidation beside its ceiling.

A stage takes W seconds with one worker, O of them in its driver alone (Spark's start, gate, read back, commit). Two workers can make it
(W + O) / 2 at best, a speed-up of 2 / (1 + O / W). Driver, database and store share the machine: with two cores they share those of the workers.
"""

from __future__ import annotations

import re
import socket
import subprocess
import tempfile
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from estuaire.base.settings import PROJECT_ROOT
from estuaire.storage import ledger
from estuaire.storage.database import Database

HOSPITALS, PATIENTS, ROUNDS = 12, 10_000, 2
_WORK = re.compile(r"(?:files read and written|hospitals consolidated) in ([0-9.]+) s")


def main() -> None:
    """Fresh volumes each time, one and two workers in turn; medians."""
    from compose_project import Project
    from engine import running

    taken: dict[tuple[str, int], list[tuple[float, float]]] = {}
    with running() as environment, tempfile.TemporaryDirectory() as folder:
        for _ in range(ROUNDS):
            for workers in (1, 2):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", 0))
                    port = int(probe.getsockname()[1])
                project = Project(
                    dict(environment) | {"ESTUAIRE_WATCH_LANDING": "false"}, Path(folder) / f"{port}", port
                )
                project.draw_secrets()
                try:
                    for stage, seconds in _run(project, workers).items():
                        taken.setdefault((stage, workers), []).append(seconds)
                        print(
                            f"{workers} worker(s), {stage}: {seconds[0]:.1f} s, {seconds[1]:.1f} of them work of the workers",
                            flush=True,
                        )
                finally:
                    project.remove()
    table = Table("stage", "one worker", "two", "alone in the driver", "ceiling", "speed-up", "of the ceiling")
    for stage in ("land", "consolidate"):
        one, two = ([s for s, _ in taken[stage, n]] for n in (1, 2))
        alone = median(s - w for s, w in taken[stage, 1])
        ceiling = 2 / (1 + alone / median(one))
        gained = median(one) / median(two)
        table.add_row(
            stage,
            f"{median(one):.1f} s",
            f"{median(two):.1f} s",
            f"{alone:.1f} s",
            f"{ceiling:.2f}",
            f"{gained:.2f}",
            f"{gained / ceiling:.2f}",
        )
    Console().print(table)


def _run(project, workers: int) -> dict[str, tuple[float, float]]:  # type: ignore[no-untyped-def]
    """(seconds, seconds of the workers' own work) of each Spark stage with so many workers."""
    project.compose("build", "--quiet", "init", timeout=3600)
    project.compose("build", "--quiet", "store", timeout=3600)
    project.start("--scale", f"spark-worker={workers}")
    project.cli("simulate", "--hospitals", str(HOSPITALS), "--patients", str(PATIENTS), "--only-deliveries", "1")
    command = ["docker", "compose", "run", "--rm", "--no-deps", "-T", "cli", "run"]
    with subprocess.Popen(command, env=project.environment, cwd=PROJECT_ROOT, stdout=subprocess.DEVNULL) as run:
        project.wait_committed("consolidate")  # publishing is PostgreSQL's: more workers change nothing
        run.terminate()
    found = {}
    for stage in ("land", "consolidate"):
        rows = ledger.fetch(
            Database.of(project.settings()),
            "select extract(epoch from ended_at - started_at)::float as s from control.stage_run where stage = %s and state = 'committed'",
            (stage,),
        )
        scheduler = project.container("scheduler")["Id"]
        told = project.docker(
            "exec",
            scheduler,
            "sh",
            "-c",
            f"cat $(find /var/lib/estuaire/logs/airflow -path '*task_id={stage}*' -name '*.log')",
        )
        work = [float(x) for x in _WORK.findall(told)]
        found[stage] = (max(r["s"] for r in rows), max(work))
    return found
