"""Where PostgreSQL stops being the place of a conformed fact: one aggregate on it and on the lake's Parquet files, at 1, 3, 10 times.

Aggregate: administrations joined to their stays, counted by hospital, month and ATC code. The larger sizes are the lake of ESTUAIRE_HOME again,
with other patients and stays: more patients in the same hospitals. PostgreSQL is a server of its own with the platform's settings; both have
the same columns of both tables, PostgreSQL an index on no column (the aggregate reads all). Cold start is not measured: warm, median of three.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb

from estuaire.base.settings import Settings
from estuaire.base.sql import literal
from estuaire.storage.database import Database
from estuaire.storage.duck import load_extension
from tests.benchmarks.own_server import own_server

COLUMNS = {
    "administration": "hospital_id, patient_id, stay_id, drug_code as atc, given_at_local, status",
    "stay": "hospital_id, patient_id, stay_id, admitted_at_local",
}
TYPES = {
    "administration": "hospital_id text, patient_id text, stay_id text, atc text, given_at_local timestamp, status text",
    "stay": "hospital_id text, patient_id text, stay_id text, admitted_at_local timestamp",
}
AGGREGATE = (
    "select a.hospital_id, date_trunc('month', a.given_at_local)::date as month, a.atc, count(*) as doses, "
    "count(*) filter (where a.given_at_local < s.admitted_at_local + interval '48 hours') as early "
    "from {administration} a join {stay} s on a.hospital_id = s.hospital_id and a.stay_id = s.stay_id "
    "where a.status = 'given' group by 1, 2, 3 order by 1, 2, 3"
)


def _timed(work: Callable[[], Any], rounds: int = 3) -> tuple[float, Any]:
    times, result = [], None
    for _ in range(rounds):
        began = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - began)
    return statistics.median(times), result


def _enlarge(duck: Any, lake: Path, folder: Path, factor: int) -> int:
    """Write the two tables ``factor`` times, each time with other patients and stays; the number of administrations."""
    for table, columns in COLUMNS.items():
        (folder / table).mkdir(parents=True)
        for copy in range(factor):
            duck.execute(
                f"copy (select * replace (patient_id || '-{copy}' as patient_id, stay_id || '-{copy}' as stay_id) from (select {columns} "
                f"from read_parquet({literal(str(lake / table / '*' / '*.parquet'))}))) "
                f"to {literal(str(folder / table / f'{copy}.parquet'))} (format parquet, compression zstd)"
            )
    [(rows,)] = duck.execute(f"select count(*) from read_parquet('{folder}/administration/*.parquet')").fetchall()
    return int(rows)


def _normal(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return sorted(tuple("" if v is None else str(v) for v in row) for row in rows)


def measure(lake: Path, factors: list[int]) -> None:
    print(
        "| size | administrations | COPY into PostgreSQL | PostgreSQL | DuckDB on Parquet | ratio | heap | Parquet |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    for factor in factors:
        folder = Path(tempfile.mkdtemp(prefix="estuaire-lake-"))
        try:
            with own_server() as settings:
                _one(settings, lake, folder, factor)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _one(settings: Settings, lake: Path, folder: Path, factor: int) -> None:
    duck = duckdb.connect(config={"threads": 2, "memory_limit": "4GB", "temp_directory": str(folder / "spill")})
    rows = _enlarge(duck, lake, folder, factor)
    load_extension(duck, "postgres_scanner")
    duck.execute(f"attach {literal(Database.of(settings).dsn())} as warehouse (type postgres)")
    with Database.of(settings).session() as session, session.cursor() as cursor:
        cursor.execute("create schema scale")
        for table, types in TYPES.items():
            cursor.execute(f"create table scale.{table} ({types})")
        session.commit()
        began = time.perf_counter()
        for table in COLUMNS:
            duck.execute(
                f"insert into warehouse.scale.{table} select * from read_parquet('{folder}/{table}/*.parquet')"
            )
        loaded = time.perf_counter() - began
        cursor.execute("analyze scale.administration; analyze scale.stay")
        session.commit()

        def by_postgres() -> list[tuple[Any, ...]]:
            cursor.execute(AGGREGATE.format(administration="scale.administration", stay="scale.stay"))
            return list(cursor.fetchall())

        def by_duckdb() -> list[tuple[Any, ...]]:
            tables = {t: f"read_parquet('{folder}/{t}/*.parquet')" for t in COLUMNS}
            return list(duck.execute(AGGREGATE.format(**tables)).fetchall())

        in_postgres, one = _timed(by_postgres)
        in_duckdb, other = _timed(by_duckdb)
        if _normal(one) != _normal(other):
            raise AssertionError(f"the two answers differ: {len(one)} and {len(other)} rows")
        cursor.execute("select pg_relation_size('scale.administration') + pg_relation_size('scale.stay')")
        [(heap,)] = cursor.fetchall()
    packed = sum(f.stat().st_size for f in folder.rglob("*.parquet"))
    print(
        f"| {factor}x | {rows:,} | {loaded:.1f} s | {in_postgres:.2f} s | {in_duckdb:.2f} s | {in_postgres / in_duckdb:.1f} "
        f"| {heap / 1e6:,.0f} MB | {packed / 1e6:,.0f} MB |",
        flush=True,
    )


def main() -> None:
    factors = [int(a) for a in sys.argv[2:] if a.isdigit()] or [1, 3, 10]
    measure(Settings().store_path / "lake" / "consolidated", factors)
