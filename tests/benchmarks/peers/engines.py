"""One hospital landed and consolidated by each engine: ours, programs that do the same work, and plain ones.

The first two leave the same files, which ``compare`` reads: ``<n>.parquet`` and ``<n>.rejects.parquet`` per delivered file, ``out-<table>.parquet``,
``accounts.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from estuaire.contract.tables import load_contract
from estuaire.rules.rule_registry import load_rules
from tests.benchmarks.peers import same_checks
from tests.benchmarks.peers.deliveries import Source, sources

KEY = b"k" * 32
PROCESSES = 2


def _accounted(folder: Path, files: list[dict[str, Any]], tables: list[dict[str, Any]]) -> int:
    """Write what was counted; the records that were read."""
    (folder / "accounts.json").write_text(json.dumps({"files": files, "tables": tables}), encoding="utf-8")
    return sum(file["rows_in"] for file in files)


# ------------------------------------------------------------------------------------------------ ours


def by_estuaire(given: list[Source], folder: Path) -> int:
    from estuaire.kernel.consolidate import Full, HospitalInput, Rejected, consolidate_hospital, stays_until
    from estuaire.kernel.land_file import land_file

    rules = load_rules("landed")
    files: dict[str, list[str]] = {}
    fulls: dict[int, Full] = {}
    told: dict[str, tuple[Any, datetime]] = {}
    rejected: list[Rejected] = []
    accounts = []
    for n, source in enumerate(given):
        manifest = source.manifest
        outcome = land_file(
            lambda source=source: source.path.open("rb"),  # type: ignore[misc]
            manifest=manifest,
            file=source.file,
            table=source.table,
            hospital=source.hospital,
            rules=rules[source.table.name],
            key=KEY,
            output=folder / f"{n}.parquet",
            rejects=folder / f"{n}.rejects.parquet",
        )
        accounts.append(outcome.as_dict() | {"error": (outcome.error or {}).get("code", "")})
        if outcome.output:
            files.setdefault(source.table.name, []).append(outcome.output)
        if outcome.rejects:
            for key, updated in _rejected(outcome.rejects):
                rejected.append(Rejected(source.table.name, key, manifest.sequence, updated and updated.isoformat()))
        if source.table.name == "stay" and source.file.rows:
            told[manifest.delivery_id] = (manifest.period_to, manifest.extracted_at)
        if manifest.kind == "full":
            tables = tuple(f.table for f in manifest.files)
            fulls[manifest.sequence] = Full(manifest.sequence, manifest.period_from, manifest.period_to, tables)
    until = stays_until(given[0].hospital, told.values())
    whole = HospitalInput(given[0].hospital, files, list(fulls.values()), rejected, until)
    outcomes = consolidate_hospital(whole, load_contract(), lambda table: folder / f"out-{table}.parquet")
    return _accounted(folder, accounts, [asdict(outcome) for outcome in outcomes])


def _rejected(path: str) -> list[tuple[str, datetime | None]]:
    import pyarrow.parquet as pq

    columns = ["disposition", "business_key", "source_updated_at"]
    return [
        (row["business_key"], row["source_updated_at"])
        for row in pq.read_table(path, columns=columns).to_pylist()
        if row["business_key"] is not None and row["disposition"] == "quarantined"
    ]


# ------------------------------------------------------------------------------------------------ the same work


def _asked(given: list[Source]) -> list[same_checks.Source]:
    rules = load_rules("landed")
    return [
        same_checks.Source(s.path, s.manifest, s.file, s.table, s.hospital, s.dialect, rules[s.table.name])
        for s in given
    ]


def by_same_polars(given: list[Source], folder: Path) -> int:
    from tests.benchmarks.peers import same_polars, same_polars_tables

    asked = _asked(given)
    whole = same_checks.deliveries(asked)
    landed: dict[str, list[Path]] = {}
    accounts = []
    for n, source in enumerate(asked):
        target, rejects = folder / f"{n}.parquet", folder / f"{n}.rejects.parquet"
        accounts.append(asdict(same_polars.land(source, target, rejects)))
        if target.exists():
            landed.setdefault(source.table.name, []).append(target)
        if rejects.exists():
            kept = same_polars_tables.rejected_of(rejects, source.manifest.sequence)
            whole.rejected.setdefault(source.table.name, []).extend(kept)
    tables = same_polars_tables.consolidate(whole, load_contract(), landed, folder)
    return _accounted(folder, accounts, [asdict(table) for table in tables])


def by_same_duckdb(given: list[Source], folder: Path) -> int:
    from tests.benchmarks.peers import same_duckdb, same_duckdb_tables

    asked = _asked(given)
    whole = same_checks.deliveries(asked)
    landed: dict[str, list[Path]] = {}
    accounts = []
    with same_duckdb.connect() as connection:
        for n, source in enumerate(asked):
            target, rejects = folder / f"{n}.parquet", folder / f"{n}.rejects.parquet"
            accounts.append(asdict(same_duckdb.land(connection, source, target, rejects)))
            if target.exists():
                landed.setdefault(source.table.name, []).append(target)
            if rejects.exists():
                kept = same_duckdb_tables.rejected_of(connection, rejects, source.manifest.sequence)
                whole.rejected.setdefault(source.table.name, []).extend(kept)
        tables = same_duckdb_tables.consolidate(connection, whole, load_contract(), landed, folder)
    return _accounted(folder, accounts, [asdict(table) for table in tables])


# ------------------------------------------------------------------------------------------------ plain


def by_plain_polars(given: list[Source], folder: Path) -> int:
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


def by_plain_duckdb(given: list[Source], folder: Path) -> int:
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


ENGINES: dict[str, Callable[[list[Source], Path], int]] = {
    "estuaire": by_estuaire,
    "same_polars": by_same_polars,
    "same_duckdb": by_same_duckdb,
    "plain_polars": by_plain_polars,
    "plain_duckdb": by_plain_duckdb,
}
OURS = "estuaire"
SAME_WORK = ("same_polars", "same_duckdb")
LABELS = {
    "estuaire": "estuaire",
    "same_polars": "Polars, same work",
    "same_duckdb": "DuckDB, same work",
    "plain_polars": "Polars, plain",
    "plain_duckdb": "DuckDB, plain",
}
_ALL, _SAME = tuple(ENGINES), (OURS, *SAME_WORK)
# what is done, and by which engines
WORK: dict[str, tuple[str, ...]] = {
    "decoding, types, decimal commas, dates and times in the hospital's zone": _ALL,
    "identifiers replaced (HMAC; plain DuckDB: SHA-256 with the key in front)": _ALL,
    "codes translated by the hospital's map": _ALL,
    "newest version of each key, deletions": _ALL,
    "a damaged record costs itself; number, line and bytes of each record": _SAME,
    "identity of each record (128 bits), sums of identities that must agree": _SAME,
    "every rule of a record, flags, rejected records with reasons and key, counts by rule": _SAME,
    "texts in their normal form, national numbers found in plain columns, spoilt identifiers, nobody's": _SAME,
    "hours that are missing or come twice, placeholder days, numbers exactly as written": _SAME,
    "only a valid version supersedes; full deliveries end what they omit, by parent and by name": _SAME,
    "merged patients, ends of stays, draws, orphans, identifiers of several persons, unmapped codes": _SAME,
    "accounts of each file and table": _SAME,
    "memory bounded by blocks, limits of what a file may cost, Parquet deliveries": (OURS,),
    "typed errors with a remedy, in two languages": (OURS,),
}


def run(engine: str, landing: Path, hospital: str, folder: Path) -> int:
    """Land and consolidate one hospital into a folder; the records that were read."""
    folder.mkdir(parents=True, exist_ok=True)
    return ENGINES[engine](list(sources(landing, hospital)), folder)


def _measured(engine: str, landing: Path, hospital: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        return run(engine, landing, hospital, Path(folder))


def pool() -> ProcessPoolExecutor:
    """Two processes, each begun afresh: Polars does not survive a fork."""
    os.environ["POLARS_MAX_THREADS"] = "1"
    return ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn"))


def all_of(engine: str, landing: Path, names: Sequence[str]) -> int:
    """Every hospital, two at a time, nothing of which is kept; the records that were read."""
    with pool() as workers:
        return sum(workers.map(_measured, [engine] * len(names), [landing] * len(names), names))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=list(ENGINES), required=True)
    parser.add_argument("--landing", type=Path, required=True)
    parser.add_argument("--names", nargs="+", required=True)
    given = parser.parse_args()
    print(all_of(given.engine, given.landing, given.names))


if __name__ == "__main__":
    main()
