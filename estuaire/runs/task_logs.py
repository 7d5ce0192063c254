"""Logs of Airflow's tasks, as they lie on this machine's disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from estuaire.base.run_names import ledger_run_id
from estuaire.base.settings import Settings


@dataclass(frozen=True)
class TaskLog:
    """The log of one try of one task (a Spark stage's own output is in it). ``failed``: it holds an error."""

    run_id: str
    task: str
    path: Path
    failed: bool


def task_logs(settings: Settings, runs: Sequence[str], stage: str | None = None) -> list[TaskLog]:
    """Logs of these runs' tasks on this machine's disk, oldest first; with ``stage`` only of the task of that name."""
    folder = settings.logs / "airflow"
    logs = []
    for run in folder.glob("dag_id=*/run_id=*"):
        run_id = ledger_run_id(run.parent.name.removeprefix("dag_id="), run.name.removeprefix("run_id="))
        if run_id not in runs:
            continue
        for path in run.rglob("attempt=*.log"):
            task = path.relative_to(run).parts[0].removeprefix("task_id=")
            if stage in (None, task):
                failed = '"level":"error"' in path.read_text(encoding="utf-8", errors="replace").replace(": ", ":")
                logs.append(TaskLog(run_id, task, path, failed))
    return sorted(logs, key=lambda log: (log.path.stat().st_mtime, str(log.path)))
