"""The chain at N times the study's size: wall and CPU seconds of each stage, peak memory of each process, unit costs in us a record.

`make bench-scale FACTOR=10`, or `python -m tests.benchmarks scale 10 [DIR] [--keep]`. The registry's 37 hospitals stay and each has N times the patients: that is
how the study grows (longer, and more units of the same hospitals; a new hospital is a reviewed file), and it is the harder way, since a hospital is
what one Spark task, one consolidation and one gate hold. Resumable: the world stands in DIR until it has passed, and the same command goes on
from what is done (the simulation, then each committed stage). The disk is asked first.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

from estuaire.base.settings import Settings
from estuaire.cli.demo import FULL_PATIENTS
from estuaire.contract.registry import load_registry
from estuaire.operations.pipeline_run import follow
from estuaire.simulator import SimulationPlan, already_written, simulate
from estuaire.stack import lifecycle
from estuaire.storage import ledger
from estuaire.storage.database import Database
from estuaire.storage.platform import Platform
from tests.benchmarks.memory_watch import MemoryWatch
from tests.benchmarks.pipeline import free_port

GB_AT_FULL_SIZE = 20.0  # landing, lake and PostgreSQL with its candidate and temporary files, at 50,000 patients
SPARE_GB = 3.0
MEMORY_LIMIT_BYTES = 4 << 30


def needed_gb(factor: float) -> float:
    return GB_AT_FULL_SIZE * factor + SPARE_GB


def _ports(folder: Path) -> tuple[int, int]:
    """The world's ports, drawn once: a second command finds its servers."""
    file = folder / "ports.json"
    if not file.exists():
        file.write_text(json.dumps([free_port(), free_port()]), encoding="utf-8")
    first, second = json.loads(file.read_text(encoding="utf-8"))
    return first, second


def measure(factor: float, folder: Path, *, keep: bool = False) -> None:
    """Simulate, run the chain, print; the world is removed once the chain has passed, unless it is to be kept.

    Raises:
        SystemExit: the disk has not the room, or the chain did not end in a release (the world stays, for the next command).
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    done = (folder / "home").exists()
    free = shutil.disk_usage(folder).free / 1e9
    if not done and free < needed_gb(factor):
        raise SystemExit(f"{factor:g} times full size needs {needed_gb(factor):.0f} GB; {folder} has {free:.0f} free")
    postgres, airflow = _ports(folder)
    settings = Settings(_env_file=None, home=folder / "home", postgres_port=postgres, airflow_port=airflow)
    hospitals = tuple(h.id for h in load_registry().hospitals.values() if h.fictional)
    plan = SimulationPlan(hospitals=hospitals, patients=round(FULL_PATIENTS * factor))
    try:
        lifecycle.up(settings)
        if already_written(settings, plan) is None:
            simulate(settings, plan, workers=2)
        with MemoryWatch(settings) as peaks:
            followed = follow(Platform(settings), print)
        stages = ledger.fetch(Database.of(settings), "select * from control.stage_run order by started_at")
        [size] = ledger.fetch(Database.of(settings), "select pg_database_size(current_database()) as bytes")
        lake = sum(f.stat().st_size for f in (settings.store_path / "lake").rglob("*.parquet"))
    finally:
        lifecycle.down(settings)
    print(f"\n{factor:g} times full size: {plan.patients:,} patients, {len(hospitals)} hospitals; {followed.outcome}\n")
    print(
        "| stage | rows | wall s | of them gates | CPU s | us a record (CPU) | peak MiB |\n|---|---|---|---|---|---|---|"
    )
    landed = next((float(str(s["rows"])) for s in stages if s["stage"] == "land" and s["rows"]), 1.0)
    for s in stages:
        cpu = float(str(s["cpu_seconds"] or 0))
        print(
            f"| {s['stage']} | {s['rows'] or 0:,} | {float(str(s['seconds'] or 0)):.1f} | {float(str(s['gate_seconds'] or 0)):.1f} | {cpu:.1f} "
            f"| {1e6 * cpu / landed:.1f} | {int(str(s['peak_memory_bytes'] or 0)) / 2**20:.0f} |"
        )
    print(f"\nPostgreSQL {int(str(size['bytes'])) / 1e9:.1f} GB, lake's Parquet {lake / 1e9:.1f} GB\n")
    print("| process | peak MiB |\n|---|---|")
    for kind, peak in sorted(peaks.peaks.items(), key=lambda item: -item[1]):
        print(f"| {kind} | {peak / 2**20:.0f} |")
    largest = peaks.peak
    print(f"\nLargest process {largest / 2**20:.0f} MiB (target: under {MEMORY_LIMIT_BYTES / 2**20:.0f} MiB)")
    if followed.outcome != "success":
        raise SystemExit(
            f"the chain ended in {followed.outcome}; the world stays in {folder}: the same command goes on"
        )
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    words = [w for w in sys.argv[2:] if w != "--keep"]
    factor = float(words[0]) if words else 1.0
    default = Path(tempfile.gettempdir()) / f"estuaire-scale-{factor:g}"
    measure(factor, Path(words[1]) if len(words) > 1 else default, keep="--keep" in sys.argv)
