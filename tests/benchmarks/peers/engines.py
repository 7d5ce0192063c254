"""One hospital landed and consolidated by each engine: ours, programs that do the same work, and plain ones.

The first two leave the same files, which ``compare`` reads: ``<n>.parquet`` and ``<n>.rejects.parquet`` per delivered file, ``out-<table>.parquet``,
``accounts.json``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from estuaire.contract.tables import load_contract
from estuaire.rules.rule_registry import load_rules
from tests.benchmarks.peers.deliveries import Source, sources

KEY = b"k" * 32


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


def by_same_polars(given: list[Source], folder: Path) -> int:
    from tests.benchmarks.peers import same_checks, same_polars, same_polars_tables

    rules = load_rules("landed")
    asked = [
        same_checks.Source(s.path, s.manifest, s.file, s.table, s.hospital, s.dialect, rules[s.table.name])
        for s in given
    ]
    whole = same_checks.deliveries(asked)
    landed: dict[str, list[Path]] = {}
    accounts = []
    for n, source in enumerate(asked):
        target, rejects = folder / f"{n}.parquet", folder / f"{n}.rejects.parquet"
        account = same_polars.land(source, target, rejects)
        accounts.append(asdict(account))
        if target.exists():
            landed.setdefault(source.table.name, []).append(target)
        if rejects.exists():
            kept = same_polars_tables.rejected_of(rejects, source.manifest.sequence)
            whole.rejected.setdefault(source.table.name, []).extend(kept)
    tables = same_polars_tables.consolidate(whole, load_contract(), landed, folder)
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
    "plain_polars": by_plain_polars,
    "plain_duckdb": by_plain_duckdb,
}


def run(engine: str, landing: Path, hospital: str, folder: Path) -> int:
    """Land and consolidate one hospital into a folder; the records that were read."""
    os.environ["POLARS_MAX_THREADS"] = "1"
    folder.mkdir(parents=True, exist_ok=True)
    return ENGINES[engine](list(sources(landing, hospital)), folder)
