"""A plain program in DuckDB: the work of ``plain_polars``, each file by one statement and each table by another."""

from __future__ import annotations

from pathlib import Path

import duckdb

from estuaire.base.sql import literal
from estuaire.contract.codes import standard_codes
from estuaire.contract.tables import OPERATION_COLUMN, UPDATED_COLUMN, Column
from tests.benchmarks.peers.deliveries import Source

KEY = "k" * 32


def _time(name: str, source: Source) -> str:
    formats = source.dialect.datetime_formats
    local = [
        f"try_strptime({name}, {literal(f)})::timestamp at time zone {literal(source.hospital.timezone)}"
        for f in formats
        if "%z" not in f
    ]
    moments = [f"try_strptime({name}, {literal(f)})::timestamptz" for f in formats if "%z" in f]
    return f"coalesce({', '.join(local + moments)})"


def _typed(column: Column, source: Source) -> str:
    name = column.name
    if column.pseudonym is not None:
        return f"left(sha256({literal(KEY + column.pseudonym.domain)} || trim({name})), 32)"
    if column.type == "decimal":
        text = f"replace({name}, ',', '.')" if source.dialect.decimal == "," else name
        return f"try_cast({text} as decimal(18, 6))"
    if column.type == "integer":
        return f"try_cast({name} as bigint)"
    if column.type == "date":
        return f"try_strptime({name}, [{', '.join(map(literal, source.dialect.date_formats))}])::date"
    if column.type == "datetime":
        return _time(name, source)
    return f"trim({name})"


def land(connection: duckdb.DuckDBPyConnection, source: Source, target: Path) -> int:
    """One file to Parquet; the records that were read."""
    data = source.text()
    names = source.names(data)
    read = target.with_suffix(".csv")
    read.write_bytes(data)
    selected = [f"{_typed(c, source)} as {c.name}" for c in source.table.columns if c.name in names]
    selected += [f"{OPERATION_COLUMN if OPERATION_COLUMN in names else literal('upsert')} as {OPERATION_COLUMN}"]
    selected += [
        f"{_time(UPDATED_COLUMN, source) if UPDATED_COLUMN in names else 'null::timestamptz'} as {UPDATED_COLUMN}"
    ]
    selected += [
        f"{literal(source.hospital.id)} as hospital_id",
        f"{literal(source.manifest.delivery_id)} as delivery_id",
        f"{source.manifest.sequence} as sequence",
    ]
    columns = ", ".join(f"{literal(n)}: 'varchar'" for n in names)
    nulls = ", ".join(map(literal, source.dialect.null_values))
    row = connection.execute(
        f"copy (select {', '.join(selected)} from read_csv({literal(str(read))}, delim={literal(source.dialect.delimiter)}, header=false, skip=1, "
        f"quote='\"', escape='\"', auto_detect=false, columns={{{columns}}}, nullstr=[{nulls}], ignore_errors=true, max_line_size=16000000)) "
        f"to {literal(str(target))} (format parquet, compression zstd, compression_level 1)"
    ).fetchone()
    read.unlink()
    return int(row[0]) if row else 0


def consolidate(
    connection: duckdb.DuckDBPyConnection, table_sources: list[Source], landed: list[Path], target: Path
) -> int:
    """The newest version of each key of a table, with standard codes; its rows."""
    source = table_sources[0]
    paths = ", ".join(literal(str(path)) for path in landed)
    files = f"read_parquet([{paths}], union_by_name=true)"
    there = {row[0] for row in connection.execute(f"describe select * from {files}").fetchall()}
    key = ", ".join(k for k in source.table.key if k in there)
    joins, replaced = [], []
    for column in source.table.columns:
        if column.code_system is None or column.name not in there:
            continue
        written = [
            code
            for (code,) in connection.execute(
                f"select distinct {column.name} from {files} where {column.name} is not null"
            ).fetchall()
        ]
        codes = standard_codes(source.hospital, column.code_system, written)
        connection.execute(f"create or replace temp table map_{column.name} (local varchar, standard varchar)")
        if codes:
            connection.executemany(f"insert into map_{column.name} values (?, ?)", list(codes.items()))
        joins.append(f"left join map_{column.name} on map_{column.name}.local = newest.{column.name}")
        replaced += [f"newest.{column.name} as {column.name}_source", f"map_{column.name}.standard as {column.name}"]
    kept = ", ".join(f"newest.{c}" for c in sorted(there) if f"map_{c}" not in " ".join(joins))
    row = connection.execute(
        f"copy (select {', '.join([kept, *replaced])} from (select * from {files} qualify row_number() over "
        f"(partition by {key} order by sequence desc, {UPDATED_COLUMN} desc nulls last) = 1) as newest {' '.join(joins)} where {OPERATION_COLUMN} <> 'delete') "
        f"to {literal(str(target))} (format parquet, compression zstd, compression_level 1)"
    ).fetchone()
    return int(row[0]) if row else 0
