"""A plain program in Polars: reads, decodes, types, replaces identifiers, writes; then takes the newest version of each key, maps codes, writes.

It numbers no record, keeps no rejected one, checks no rule and counts nothing; one stray quote ends it, or costs it what lies before the next.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path
from typing import Any

import polars as pl

from estuaire.contract.codes import standard_codes
from estuaire.contract.tables import OPERATION_COLUMN, UPDATED_COLUMN, Column
from tests.benchmarks.peers.deliveries import Source

KEY = b"k" * 32


def _time(name: str, source: Source) -> pl.Expr:
    formats = source.dialect.datetime_formats
    zone = source.hospital.timezone
    local = [pl.col(name).str.to_datetime(f, strict=False) for f in formats if "%z" not in f]
    moments = [
        time.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null").dt.convert_time_zone("UTC")
        for time in local
    ]
    moments += [pl.col(name).str.to_datetime(f, strict=False, time_zone="UTC") for f in formats if "%z" in f]
    return pl.coalesce(moments).alias(name)


def _typed(column: Column, source: Source) -> pl.Expr:
    text = pl.col(column.name)
    if column.type == "decimal":
        pointed = text.str.replace(",", ".", literal=True) if source.dialect.decimal == "," else text
        return pointed.str.strip_chars().cast(pl.Decimal(18, 6), strict=False)
    if column.type == "integer":
        return text.str.strip_chars().cast(pl.Int64, strict=False)
    if column.type == "date":
        return pl.coalesce(text.str.to_date(f, strict=False) for f in source.dialect.date_formats)
    if column.type == "datetime":
        return _time(column.name, source)
    return text.str.strip_chars()


def _pseudonyms(values: pl.Series, domain: str) -> pl.Series:
    distinct = values.unique().drop_nulls()
    replaced = [hmac.digest(KEY, f"{domain}\x1f{v}".encode(), hashlib.sha256).hex()[:32] for v in distinct]
    return values.replace_strict(distinct, pl.Series(replaced, dtype=pl.String), default=None)


def land(source: Source, target: Path) -> int:
    """One file to Parquet; the records that were read."""
    data = source.text()
    names = source.names(data)
    frame = pl.read_csv(
        data,
        separator=source.dialect.delimiter,
        has_header=False,
        skip_rows=1,
        new_columns=names,
        infer_schema=False,
        null_values=list(source.dialect.null_values),
        truncate_ragged_lines=True,
        encoding="utf8-lossy",
        schema_overrides=dict.fromkeys(names, pl.String),
        raise_if_empty=False,
    )
    if not frame.height:  # a header alone
        frame = pl.DataFrame(schema=dict.fromkeys(names, pl.String))
    known = [c for c in source.table.columns if c.name in names]
    expressions = [_typed(c, source).alias(c.name) for c in known]
    expressions += (
        [pl.col(OPERATION_COLUMN)] if OPERATION_COLUMN in names else [pl.lit("upsert").alias(OPERATION_COLUMN)]
    )
    expressions += (
        [_time(UPDATED_COLUMN, source)]
        if UPDATED_COLUMN in names
        else [pl.lit(None, pl.Datetime("us", "UTC")).alias(UPDATED_COLUMN)]
    )
    typed = frame.select(expressions).with_columns(
        pl.lit(source.hospital.id).alias("hospital_id"),
        pl.lit(source.manifest.delivery_id).alias("delivery_id"),
        pl.lit(source.manifest.sequence).alias("sequence"),
    )
    for column in known:
        if column.pseudonym is not None:
            typed = typed.with_columns(_pseudonyms(typed[column.name], column.pseudonym.domain).alias(column.name))
    typed.write_parquet(target, compression="zstd", compression_level=1)
    return typed.height


def consolidate(table_sources: list[Source], landed: list[Path], target: Path) -> int:
    """The newest version of each key of a table, with standard codes; its rows."""
    source = table_sources[0]
    frame = pl.concat([pl.read_parquet(path) for path in landed], how="diagonal_relaxed")
    key = [k for k in source.table.key if k in frame.columns]
    frame = (
        frame.sort(["sequence", UPDATED_COLUMN], descending=True, nulls_last=True, maintain_order=True)
        .unique(subset=key, keep="first", maintain_order=True)
        .filter(pl.col(OPERATION_COLUMN) != "delete")
    )
    maps: list[Any] = []
    for column in source.table.columns:
        if column.code_system is None or column.name not in frame.columns:
            continue
        written = frame[column.name].unique().drop_nulls().to_list()
        codes = standard_codes(source.hospital, column.code_system, written)
        maps += [
            pl.col(column.name).alias(f"{column.name}_source"),
            pl.col(column.name).replace_strict(codes, default=None, return_dtype=pl.String),
        ]
    frame.with_columns(maps).write_parquet(target, compression="zstd", compression_level=1)
    return frame.height
