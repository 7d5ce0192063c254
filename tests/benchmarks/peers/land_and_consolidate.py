"""Landing and consolidating the same simulated hospitals: ours, programs that do the same work, and plain ones; in turn, each in a fresh process.

Gates, the lake's commit, Spark and Airflow are left out on our side: what remains is what the peers that do the same work do. A run is a process with two
workers of one thread, hospital by hospital; its wall, its CPU (of all its processes) and its largest process are told by the kernel as it ends. Engines take
turns; medians are told, and ratios of medians.

Before that, once and untimed, over the same hospitals with damaged records among them: what each engine reads, and whether those that do the same work
agree with ours row for row. The figures go into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from estuaire.base.settings import Settings
from estuaire.contract.registry import load_registry
from estuaire.simulator import SimulationPlan, simulate
from estuaire.simulator.plan import DEFAULT_RATES
from estuaire.simulator.trap_catalogue import CATALOGUE
from tests.benchmarks import figures
from tests.benchmarks.peers import compare, engines

ROUNDS = 3
PATIENTS_OF_HOSPITAL = 1_351  # of the study: 50,000 patients in 37 hospitals
PLOT = figures.PAGE.parent / "benchmarks" / "peers.svg"


@dataclass(frozen=True)
class Run:
    """One engine over all hospitals, from the start of its process to its end."""

    records: int
    wall: float  # seconds
    cpu: float  # seconds, of all its processes
    peak: float  # MiB of its largest process


def world(folder: Path, names: Sequence[str], damaged: bool) -> None:
    """Simulated hospitals of the study's size, ``damaged`` with records that no reader can read among them."""
    rates = {t.name: DEFAULT_RATES[t.name] if damaged or t.outcome != "unparseable" else 0.0 for t in CATALOGUE}
    plan = SimulationPlan(hospitals=tuple(names), patients=PATIENTS_OF_HOSPITAL * len(names), trap_rates=rates)
    simulate(Settings(_env_file=None, home=folder / "home"), plan, target=folder)


def timed(engine: str, landing: Path, names: Sequence[str]) -> Run:
    """A fresh process of an engine, measured from outside.

    Raises:
        RuntimeError: it failed.
    """
    began = time.monotonic()
    with tempfile.TemporaryFile() as told:
        command = [
            sys.executable,
            "-m",
            engines.__name__,
            "--engine",
            engine,
            "--landing",
            str(landing),
            "--names",
            *names,
        ]
        process = subprocess.Popen(command, stdout=told)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - began
        if process.returncode:
            raise RuntimeError(f"{engine} ended with {process.returncode}")
        told.seek(0)
        records = int(told.read())
    return Run(records, wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def rounds_of(landing: Path, names: Sequence[str], rounds: int) -> dict[str, list[Run]]:
    """Every engine so many times, in turn; each round another one begins."""
    runs: dict[str, list[Run]] = {engine: [] for engine in engines.ENGINES}
    order = list(engines.ENGINES)
    for n in range(rounds):
        for engine in order[n % len(order) :] + order[: n % len(order)]:
            runs[engine].append(timed(engine, landing, names))
            print(f"round {n + 1}, {engine}: {runs[engine][-1]}", file=sys.stderr, flush=True)
    return runs


# ------------------------------------------------------------------------------------------------ agreement


@dataclass
class Agreement:
    """What an engine made of the deliveries with damaged records. ``differences`` from ours row for row: None for one that does not try."""

    read: int = 0
    refused: int = 0  # hospitals that it gave up
    differences: list[str] | None = None


def _hospital(landing: Path, hospital: str, kept: Path) -> tuple[dict[str, tuple[int, bool, list[str]]], Counter[str]]:
    """Per engine (records read, whether it gave up, differences from ours) of one hospital, and how much was compared."""
    told: dict[str, tuple[int, bool, list[str]]] = {}
    for engine in engines.ENGINES:
        try:
            read = engines.run(engine, landing, hospital, kept / hospital / engine)
        except Exception as error:
            if engine in engines.SAME_WORK or engine == engines.OURS:
                raise
            told[engine] = (0, True, [type(error).__name__])
            continue
        ours, theirs = kept / hospital / engines.OURS, kept / hospital / engine
        told[engine] = (read, False, compare.differences(ours, theirs) if engine in engines.SAME_WORK else [])
    how_much = Counter(compare.compared(kept / hospital / engines.OURS))
    shutil.rmtree(kept / hospital)
    return told, how_much


def agreements(landing: Path, names: Sequence[str], kept: Path) -> tuple[dict[str, Agreement], Counter[str]]:
    """What each engine made of damaged deliveries, and how much was compared."""
    said = {e: Agreement(differences=[] if e in engines.SAME_WORK else None) for e in engines.ENGINES}
    how_much: Counter[str] = Counter()
    with engines.pool() as workers:
        for told, of_hospital in workers.map(_hospital, [landing] * len(names), names, [kept] * len(names)):
            how_much += of_hospital
            for engine, (read, refused, differences) in told.items():
                said[engine].read += read
                said[engine].refused += refused
                if (listed := said[engine].differences) is not None:
                    listed += differences
    return said, how_much


# ------------------------------------------------------------------------------------------------ what is told


def _median(runs: list[Run], of: str) -> float:
    return statistics.median(getattr(run, of) for run in runs)


def _speeds(runs: dict[str, list[Run]]) -> list[str]:
    ours = runs[engines.OURS]
    rows = []
    for engine, of in runs.items():
        wall, cpu, peak = (_median(of, what) for what in ("wall", "cpu", "peak"))
        records = of[0].records
        rows.append([
            engines.LABELS[engine], f"{wall:.1f}", f"{cpu:.1f}", f"{min(r.cpu for r in of):.1f} to {max(r.cpu for r in of):.1f}", f"{cpu / records * 1e6:.2f}",
            f"{peak:.0f}", f"{_median(ours, 'wall') / wall:.2f}", f"{_median(ours, 'cpu') / cpu:.2f}",
        ])  # fmt: skip
    columns = (
        "engine", "wall s", "CPU s", "of the rounds", "CPU us a record", "largest process MiB", "ours to it, wall", "ours to it, CPU",
    )  # fmt: skip
    return figures.table(columns, rows)


def _agreed(said: dict[str, Agreement], records: int, hospitals: int) -> list[str]:
    rows = []
    for engine, agreement in said.items():
        lost = records - agreement.read
        read = f"{agreement.read:,} (loses {lost:,})" if lost else f"{agreement.read:,}"
        if agreement.refused:
            read = f"gives up {agreement.refused} of {hospitals} hospitals"
        differ = "not asked" if agreement.differences is None else f"{len(agreement.differences):,}"
        rows.append([engines.LABELS[engine], read, "ours" if engine == engines.OURS else differ])
    return figures.table(("engine", "records that it reads", "differences from ours, row for row"), rows)


def _done() -> list[str]:
    columns = ("what is done", *(engines.LABELS[e] for e in engines.ENGINES))
    rows = [[what, *("yes" if e in by else "not done" for e in engines.ENGINES)] for what, by in engines.WORK.items()]
    return figures.table(columns, rows)


def _report(
    runs: dict[str, list[Run]], said: dict[str, Agreement], how_much: Counter[str], hospitals: int, seconds: float
) -> list[str]:
    records = runs[engines.OURS][0].records
    damaged = said[engines.OURS].read
    return [
        "",
        f"`python -m tests.benchmarks peers` (in `make bench`), {seconds / 60:.0f} min, {figures.measured_on()}: {hospitals} simulated hospitals of the study's size,",
        f"{records:,} records; each run a fresh process with {engines.PROCESSES} workers of one thread, median of {len(runs[engines.OURS])} rounds in turn. Polars {version('polars')},",
        f"DuckDB {version('duckdb')}.",
        "",
        *_speeds(runs),
        "",
        "![CPU microseconds a record](benchmarks/peers.svg)",
        "",
        f"The same hospitals with damaged records among them, {damaged:,} in all, once and untimed. Compared are every column, type and flag of {how_much['landed']:,} landed and",
        f"{how_much['consolidated']:,} consolidated records, place and reasons of {how_much['rejected']:,} rejected ones, {how_much['rules']:,} counts by file and rule, and each account.",
        "",
        *_agreed(said, damaged, hospitals),
        "",
        *_done(),
        "",
    ]  # fmt: skip


def _apart(work: Callable[..., None], *given: Any) -> None:
    """In a process of its own: what this one holds would be counted as the memory of each process that it begins."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as worker:
        worker.submit(work, *given).result()


def measure(hospitals: int, rounds: int, page: Path, plot: Path) -> None:
    """Both worlds, every engine; the figures into the page."""
    began = time.monotonic()
    names = sorted(h for h in load_registry().hospitals if load_registry().get(h).study_member)[:hospitals]
    folder = Path(tempfile.mkdtemp())
    try:
        _apart(world, folder / "damaged", names, True)
        said, how_much = agreements(folder / "damaged" / "landing", names, folder / "kept")
        for engine, agreement in said.items():
            print(f"{engine}: {json.dumps(agreement.differences)[:2000]}", file=sys.stderr, flush=True)
        shutil.rmtree(folder / "damaged")
        _apart(world, folder / "sound", names, False)
        runs = rounds_of(folder / "sound" / "landing", names, rounds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    lines = _report(runs, said, how_much, len(names), time.monotonic() - began)
    print("\n".join(lines))
    figures.write("peers", lines, page)
    a_record = {engines.LABELS[e]: [r.cpu / r.records * 1e6 for r in of] for e, of in runs.items()}
    medians = {label: statistics.median(values) for label, values in a_record.items()}
    figures.bars(plot, "CPU microseconds a record, landed and consolidated", "us", a_record, medians)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hospitals", type=int, default=6, help="37: the whole study")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--page", type=Path, default=figures.PAGE, help="what holds the marks between which figures go")
    parser.add_argument("--plot", type=Path, default=PLOT)
    given, _ = parser.parse_known_args()
    measure(given.hospitals, given.rounds, given.page, given.plot)


if __name__ == "__main__":
    main()
