"""Landing and consolidating the same simulated hospitals: ours against plain programs, in turn, three rounds, two processes of one thread.

Gates, the lake's commit, Spark and Airflow are left out on our side: what remains is what the peers do, and what they do not (an identity for each
record, rules, rejected records with their place, counts). Rounds are interleaved; medians are told, and ratios of medians.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from estuaire.base.settings import Settings
from estuaire.contract.registry import load_registry
from estuaire.contract.tables import load_contract
from estuaire.kernel.consolidate import Full, HospitalInput, Rejected, consolidate_hospital
from estuaire.kernel.land_file import land_file
from estuaire.rules.rule_registry import load_rules
from estuaire.simulator import SimulationPlan, simulate
from estuaire.simulator.plan import DEFAULT_RATES
from estuaire.simulator.trap_catalogue import CATALOGUE
from tests.benchmarks.peers.deliveries import Source, sources

ENGINES = ("estuaire", "polars", "duckdb")
ROUNDS = 3
PROCESSES = 2
PATIENTS_OF_HOSPITAL = 1_351  # of the study: 50,000 patients in 37 hospitals


def _rejected(path: str, table: str, sequence: int) -> list[Rejected]:
    import pyarrow.parquet as pq

    return [
        Rejected(
            table, row["business_key"], sequence, row["source_updated_at"] and row["source_updated_at"].isoformat()
        )
        for row in pq.read_table(path).to_pylist()
        if row["business_key"] and row["disposition"] == "quarantined"
    ]


def by_estuaire(given: list[Source], folder: Path) -> int:
    rules = load_rules("landed")
    files: dict[str, list[str]] = {}
    fulls: dict[int, Full] = {}
    rejected: list[Rejected] = []
    records = 0
    for n, source in enumerate(given):
        manifest = source.manifest
        outcome = land_file(
            lambda source=source: source.path.open("rb"),  # type: ignore[misc]
            manifest=manifest,
            file=source.file,
            table=source.table,
            hospital=source.hospital,
            rules=rules[source.table.name],
            key=b"k" * 32,
            output=folder / f"{n}.parquet",
            rejects=folder / f"{n}.rejects.parquet",
        )
        records += outcome.rows_in
        if outcome.output:
            files.setdefault(source.table.name, []).append(outcome.output)
        if outcome.rejects:
            rejected += _rejected(outcome.rejects, source.table.name, manifest.sequence)
        if manifest.kind == "full":
            tables = tuple(f.table for f in manifest.files)
            fulls[manifest.sequence] = Full(manifest.sequence, manifest.period_from, manifest.period_to, tables)
    whole = HospitalInput(given[0].hospital, files, list(fulls.values()), rejected, datetime.now(UTC))
    consolidate_hospital(whole, load_contract(), lambda table: folder / f"out-{table}.parquet")
    return records


def by_polars(given: list[Source], folder: Path) -> int:
    from tests.benchmarks.peers import plain_polars

    records = 0
    by_table: dict[str, list[tuple[Source, Path]]] = {}
    for n, source in enumerate(given):
        target = folder / f"{n}.parquet"
        records += plain_polars.land(source, target)
        by_table.setdefault(source.table.name, []).append((source, target))
    for table, landed in by_table.items():
        plain_polars.consolidate([s for s, _ in landed], [p for _, p in landed], folder / f"out-{table}.parquet")
    return records


def by_duckdb(given: list[Source], folder: Path) -> int:
    import duckdb

    from tests.benchmarks.peers import plain_duckdb

    records = 0
    by_table: dict[str, list[tuple[Source, Path]]] = {}
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("set timezone = 'UTC'")
        for n, source in enumerate(given):
            target = folder / f"{n}.parquet"
            records += plain_duckdb.land(connection, source, target)
            by_table.setdefault(source.table.name, []).append((source, target))
        for table, landed in by_table.items():
            out = folder / f"out-{table}.parquet"
            plain_duckdb.consolidate(connection, [s for s, _ in landed], [p for _, p in landed], out)
    return records


def one(engine: str, landing: Path, hospital: str) -> int:
    """Land and consolidate one hospital; the records that were read."""
    with tempfile.TemporaryDirectory() as folder:
        run = {"estuaire": by_estuaire, "polars": by_polars, "duckdb": by_duckdb}[engine]
        return run(list(sources(landing, hospital)), Path(folder))


def all_of(engine: str, landing: Path, hospitals: list[str]) -> None:
    """Every hospital, two at a time; prints records, wall seconds, CPU seconds and the largest process in MiB."""
    os.environ["POLARS_MAX_THREADS"] = "1"
    began = time.monotonic()
    with ProcessPoolExecutor(PROCESSES) as pool:
        records = sum(pool.map(one, *zip(*((engine, landing, h) for h in hospitals), strict=True)))
    wall = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(records, round(wall, 2), round(used.ru_utime + used.ru_stime, 2), used.ru_maxrss >> 10)


def world(folder: Path, hospitals: int) -> list[str]:
    """Simulated hospitals of the study's size. Without records that no reader can read: a plain program does not survive them."""
    names = sorted(h for h in load_registry().hospitals if load_registry().get(h).study_member)[:hospitals]
    rates = {
        t.name: 0.0 if t.outcome == "unparseable" else DEFAULT_RATES[t.name]
        for t in CATALOGUE
        if t.name in DEFAULT_RATES
    }
    plan = SimulationPlan(hospitals=tuple(names), patients=PATIENTS_OF_HOSPITAL * hospitals, trap_rates=rates)
    simulate(Settings(_env_file=None, home=folder / "home"), plan, target=folder)
    return names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hospitals", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--engine", choices=ENGINES, help="(a process of the benchmark's own)")
    parser.add_argument("--landing", type=Path)
    parser.add_argument("--names", nargs="*", default=[])
    given, _ = parser.parse_known_args()
    if given.engine:
        all_of(given.engine, given.landing, given.names)
        return
    folder = Path(tempfile.mkdtemp())
    try:
        names = world(folder, given.hospitals)
        told: dict[str, list[list[float]]] = {engine: [] for engine in ENGINES}
        for _ in range(given.rounds):
            for engine in ENGINES:
                asked = [
                    sys.executable,
                    "-m",
                    __spec__.name,
                    "--engine",
                    engine,
                    "--landing",
                    str(folder / "landing"),
                    "--names",
                    *names,
                ]
                printed = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
                told[engine].append([float(x) for x in printed.split()])
        _print(told)
    finally:
        shutil.rmtree(folder)


def _print(told: dict[str, list[list[float]]]) -> None:
    medians = {
        engine: [statistics.median(column) for column in zip(*rounds, strict=True)] for engine, rounds in told.items()
    }
    records = medians["estuaire"][0]
    print(f"{records:,.0f} records, {PROCESSES} processes, median of {len(told['estuaire'])} rounds in turn\n")
    print(
        "| engine | wall s | CPU s | CPU us a record | wall, ratio to Polars | CPU, ratio to Polars | largest process MiB | records read |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for engine, (read, wall, cpu, peak) in medians.items():
        _, polars_wall, polars_cpu, _ = medians["polars"]
        print(
            f"| {engine} | {wall:.1f} | {cpu:.1f} | {cpu / records * 1e6:.2f} | {wall / polars_wall:.2f} | {cpu / polars_cpu:.2f} | {peak:.0f} | {read:,.0f} |"
        )


if __name__ == "__main__":
    main()
