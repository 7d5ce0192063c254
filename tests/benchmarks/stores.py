"""The small demo on each store, through the real scheduler: the seconds of each stage, and whether the published tables are the same bytes.

Each store has a stack of its own with the same deliveries and the same pseudonym key. MinIO and versitygw are built once, with Go.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from estuaire.base.settings import Settings
from estuaire.contract.registry import load_registry
from estuaire.operations.pipeline_run import follow
from estuaire.simulator import SimulationPlan, simulate
from estuaire.stack import lifecycle
from estuaire.storage import ledger
from estuaire.storage.database import Database
from estuaire.storage.platform import Platform
from estuaire.storage.s3 import S3Store
from tests.benchmarks.pipeline import DEMO_PATIENTS
from tests.conftest import temporary_settings

FOLDER = "directory"
STAGES = ("land", "consolidate", "load", "publish")


def _run(settings: Settings, plan: SimulationPlan) -> tuple[dict[str, float], dict[str, str]]:
    """(seconds of each stage and of the whole chain, SHA-256 of each published table) of a stack of its own."""
    from published import copied

    try:
        lifecycle.up(settings)
        began = time.monotonic()
        simulate(settings, plan, workers=2)
        simulated = time.monotonic() - began
        followed = follow(Platform(settings), print)
        if followed.outcome != "success":
            raise SystemExit(f"the chain ended as {followed.outcome}: {followed.message}")
        rows = ledger.fetch(Database.of(settings), "select stage, sum(seconds) as s from control.stage_run group by 1")
        seconds = {r["stage"]: float(r["s"]) for r in rows}
        tables = {name: hashlib.sha256(content).hexdigest() for name, content in copied(settings).items()}
    finally:
        lifecycle.down(settings)
    return {"simulate": simulated} | seconds | {"chain": followed.seconds}, tables


def main() -> None:
    from servers import SERVERS, running, with_store

    hospitals = tuple(h.id for h in load_registry().hospitals.values() if h.fictional)
    plan = SimulationPlan(hospitals=hospitals, patients=DEMO_PATIENTS)
    folder = Path(tempfile.mkdtemp(prefix="estuaire-bench-"))
    columns = ("simulate", *STAGES, "chain")
    lines, first = [], {}
    try:
        for name in (FOLDER, *SERVERS):
            with ExitStack() as stack:
                settings = stack.enter_context(temporary_settings())
                settings = settings.model_copy(update={"secrets_dir": folder / "secrets"})
                if name != FOLDER:
                    server = stack.enter_context(running(SERVERS[name], folder / name))
                    settings = with_store(settings, server)
                    S3Store(settings).client.make_bucket(settings.s3_bucket)
                seconds, tables = _run(settings, plan)
            first = first or tables
            differing = sorted(t for t in first.keys() | tables.keys() if first.get(t) != tables.get(t))
            verdict = f"{len(tables)} identical" if not differing else f"differ: {', '.join(differing)}"
            cells = " | ".join(f"{seconds[c]:.1f} s" for c in columns)
            lines.append(f"| {name} | {cells} | {verdict} |")
            print(lines[-1], flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(
        f"\n{len(hospitals)} hospitals, {plan.patients:,} patients; published tables as ordered COPY, against the folder's\n"
    )
    print(f"| store | {' | '.join(columns)} | tables |\n|---{'|---' * (len(columns) + 1)}|")
    print("\n".join(lines))
