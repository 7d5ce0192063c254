"""DuckDB connections that read the object store's files, and the extensions that come as wheels."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb

from estuaire.base.errors import StoreRefused, StoreUnavailable
from estuaire.contract.layer_columns import LayerColumn
from estuaire.storage.object_store import ObjectStore

REFUSED_REMEDY = (
    "look at ESTUAIRE_S3_ENDPOINT and ESTUAIRE_S3_REGION, at the keys and at what the bucket's policy allows them"
)
_FORBIDDEN = re.compile(
    r"\(HTTP 40[13]\)|HTTP 40[13]\b|: 40[13] \(|\b40[13] (?:Forbidden|Unauthorized)|Status Code: 40[13]|AccessDenied|InvalidAccessKeyId"
    r"|SignatureDoesNotMatch"
)


def load_extension(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Load a DuckDB extension from its wheel (signed by DuckDB, checked at LOAD)."""
    module = __import__(f"duckdb_extension_{name}")
    path = next(Path(module.__file__ or "").parent.rglob("*.duckdb_extension"))
    connection.execute(f"load {quoted(str(path))}")


def quoted(value: str) -> str:
    """A SQL string literal."""
    return "'" + value.replace("'", "''") + "'"


@contextmanager
def reading(store: ObjectStore, *, threads: int = 1) -> Iterator[duckdb.DuckDBPyConnection]:
    """An in-memory DuckDB that reads the store's files by their ``url``.

    Raises:
        StoreUnavailable: the store did not answer, or not with the file.
        StoreRefused: it answered that this is forbidden.
    """
    connection = duckdb.connect(config={"threads": threads})
    try:
        store.open_to(connection)
        yield connection
    except duckdb.IOException as error:  # an HTTPException is one; where nobody listens it is a bare one
        if isinstance(error, duckdb.HTTPException) or "HTTP" in str(error):
            raise store_error(f"HTTP {getattr(error, 'status_code', '')} {error}") from error
        raise
    finally:
        connection.close()


def of_files(connection: duckdb.DuckDBPyConnection, paths: Sequence[str], columns: Sequence[LayerColumn]) -> str:
    """SQL of the rows of Parquet files with all of a layer's columns: one that a file lacks, written before it was added, is null there."""
    listed = f"read_parquet([{', '.join(map(quoted, paths))}], union_by_name = true, hive_partitioning = false)"
    present = {row[0] for row in connection.execute(f"describe select * from {listed}").fetchall()}
    missing = [f"null::{c.duckdb} as {c.name}" for c in columns if c.name not in present]
    return f"select {', '.join(['*', *missing])} from {listed}"


def nothing(columns: Sequence[LayerColumn]) -> str:
    """SQL of no rows with a layer's columns."""
    return f"select {', '.join(f'null::{c.duckdb} as {c.name}' for c in columns)} where false"


def readable(connection: duckdb.DuckDBPyConnection, path: str) -> bool:
    """Whether a Parquet file is there and can be read to its last value."""
    try:
        connection.execute(
            f"select sum(hash(columns(*))) from read_parquet({quoted(path)}, hive_partitioning = false)"
        ).fetchall()
    except duckdb.Error:
        return False
    return True


def store_error(told: str) -> StoreRefused | StoreUnavailable:
    """The typed error of a read through DuckDB or Spark that the store refused or did not answer, by what they tell of it."""
    if _FORBIDDEN.search(told):
        return StoreRefused("the object store refused the request (403)", remedy=REFUSED_REMEDY)
    return StoreUnavailable(
        "the object store did not answer, or not with the file that was asked for",
        remedy="look at the store (`estuaire up` checks it), then run again",
    )
