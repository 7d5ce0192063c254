"""The landing kernel against two peers on the same file: DuckDB's own CSV reader, and pyarrow CSV with Polars.

Speed: CPU microseconds per row from CSV to typed Parquet, one thread, best of three. The peers do less (no record numbers, no pseudonyms,
no checks, no hash sums): their figure is a floor. Damage: records lost around one stray quote at record 50,000 of 200,000.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from estuaire.contract.manifest import Manifest, ManifestFile
from estuaire.contract.registry import load_registry
from estuaire.contract.tables import load_contract
from estuaire.kernel.land_file import land_file
from estuaire.rules.rule_registry import load_rules
from tests.benchmarks import figures

ROWS = 1_000_000
HEADER = "administration_id;IPP;NDA;drug_code;drug_label;dose;dose_unit;route;given_at;status\n"
_TYPED = (
    "select administration_id, IPP, NDA, drug_code, drug_label, try_cast(replace(dose, ',', '.') as decimal(18,6)) dose, "
    "dose_unit, route, try_strptime(given_at, '%d/%m/%Y %H:%M:%S') given_at, status from "
)


def csv_bytes(rows: int, damage: int | None = None) -> bytes:
    """Administrations in hospital h01's dialect; ``damage``: number of the record that gets a stray quote."""
    start = datetime(2021, 1, 1)
    lines = [HEADER]
    for i in range(rows):
        given = start + timedelta(minutes=(i * 7) % 2_600_000)
        lines.append(
            f"A{i};P{i * 7919 % 1400:06d};S{i * 7919 % 4200:07d};J01DD04;Ceftriaxone;{i % 9},5;g;IV;"
            f"{given:%d/%m/%Y %H:%M:%S};F\n"
        )
    if damage:
        lines[damage] = lines[damage].replace(";Ceftriaxone", ';"Ceftriaxone')
    return "".join(lines).encode()


def by_kernel(data: bytes, folder: Path) -> int:
    hospital = load_registry().get("h01")
    file = ManifestFile(
        "administration", "a.csv", hashlib.sha256(data).hexdigest(), len(data), data.count(b"\n") - 1, "main"
    )
    manifest = Manifest(
        "1", "h01", hospital.finess, "d", 1, datetime.now(UTC), "full", date(2021, 1, 1), date(2026, 1, 1), (file,)
    )
    outcome = land_file(
        lambda: io.BytesIO(data),
        manifest=manifest,
        file=file,
        table=load_contract().table("administration"),
        hospital=hospital,
        rules=load_rules()["administration"],
        key=b"k" * 32,
        output=folder / "kernel.parquet",
        rejects=folder / "rejects.parquet",
    )
    return outcome.rows_out + outcome.rows_quarantined


def by_duckdb(data: bytes, folder: Path) -> int:
    source, target = folder / "a.csv", folder / "duckdb.parquet"
    source.write_bytes(data)
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute(
            f"copy ({_TYPED} read_csv('{source}', delim=';', header=true, all_varchar=true, quote='\"', store_rejects=true)) "
            f"to '{target}' (format parquet, compression zstd, compression_level 1)"
        )
    return int(pq.read_metadata(target).num_rows)


def by_arrow_polars(data: bytes, folder: Path) -> int:
    import polars as pl

    names = HEADER.strip().split(";")
    table = pacsv.read_csv(
        pa.BufferReader(data),
        read_options=pacsv.ReadOptions(use_threads=False, block_size=8 << 20),
        parse_options=pacsv.ParseOptions(delimiter=";"),
        convert_options=pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
    )
    frame = pl.DataFrame(table).with_columns(
        pl.col("dose").str.replace(",", ".", literal=True).cast(pl.Decimal(18, 6), strict=False),
        pl.col("given_at").str.to_datetime("%d/%m/%Y %H:%M:%S", strict=False),
    )
    pq.write_table(frame.to_arrow(), folder / "polars.parquet", compression="zstd", compression_level=1)
    return frame.height


def cpu_per_row(engine: Callable[[bytes, Path], int], data: bytes, folder: Path) -> float:
    """CPU microseconds per row, best of three (the first also warms imports)."""
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        rows = engine(data, folder)
        best = min(best, (time.process_time() - began) / rows * 1e6)
    return best


def _lost(engine: Callable[[bytes, Path], int], damaged: bytes, folder: Path) -> str:
    try:
        return f"{200_000 - engine(damaged, folder):,}"
    except (pa.ArrowInvalid, duckdb.Error) as error:
        return f"all 200,000 ({type(error).__name__})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, default=figures.PAGE, help="what holds the marks between which figures go")
    given, _ = parser.parse_known_args()
    os.environ["POLARS_MAX_THREADS"] = "1"
    engines = {"kernel": by_kernel, "DuckDB read_csv": by_duckdb, "pyarrow CSV + Polars": by_arrow_polars}
    whole, damaged = csv_bytes(ROWS), csv_bytes(200_000, damage=50_000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cost = {label: cpu_per_row(engine, whole, folder) for label, engine in engines.items()}
        rows = [
            [
                label,
                f"{cost[label]:.2f}",
                f"{cost[label] / cost['DuckDB read_csv']:.2f}",
                _lost(engine, damaged, folder),
            ]
            for label, engine in engines.items()
        ]
    columns = ("engine", "CPU us per row", "ratio to DuckDB", "records lost to one stray quote, of 200,000")
    lines = [
        "",
        f"{figures.measured_on()}: {ROWS:,} rows, {len(whole) / 1e6:.0f} MB.",
        "",
        *figures.table(columns, rows),
        "",
    ]
    print("\n".join(lines))
    figures.write("kernel", lines, given.page)


if __name__ == "__main__":
    main()
